#include "pair.h"
#include "vm.h"

#include <pthread.h>

enum { ROUNDS = 10 };

static struct sgx_runtime *runtime;
static struct pair pair;
static struct object *object;

static bool null_is_thrown(void)
{
	unsigned int before = vm_null_checks;
	int thrown;

	vm_field(NULL, &thrown);
	return thrown && vm_null_checks == before + 1;
}

/* All that the VM uses SIGSEGV for. */
static void expect_vm(const char *where)
{
	unsigned int barriers = vm_barriers, polls = vm_polls;
	int thrown;

	ok(null_is_thrown(), "%s: null is found by its fault", where);
	vm_arm_barrier();
	vm_arm_poll();
	vm_set_field(object, 42);
	ok_eq(vm_field(object, &thrown), 42, "%s: the field is written", where);
	ok_eq(vm_barriers - barriers, 1, "%s: past the barrier", where);
	ok_eq(vm_polls - polls, 1, "%s: and the safepoint is reached", where);
}

static uint64_t upcall(void *context, void *argument)
{
	(void)context, (void)argument;
	expect_vm("in an OCALL");
	return 0;
}

static enum sgx_decision on_exception(void *context, const struct sgx_exception *exception)
{
	if (context)
		*(struct sgx_exception *)context = *exception;
	if (exception->vector == 14 && vm_lift_barrier(exception->address))
		return SGX_RESUME;
	expect_vm("while the host decides about an exception");
	return SGX_FAIL;
}

static void expect_upcall(void)
{
	static const sgx_ocall ocalls[] = { upcall };
	struct step steps[] = { { STEP_OCALL, 0, 0, 0 }, { STEP_UD, 0, 0, 0 }, { STEP_END, 0, 0, 0 } };
	struct sgx_exception told = { 0 };
	struct sgx_host host = { ocalls, 1, on_exception, &told };

	ok_eq(runtime->call(&pair.enclave, sgx_tcs(&pair.enclave, 0), BASIC_RUN, steps, &host, NULL, NULL), EFAULT,
	      "an ECALL with an OCALL, then an exception");
	ok_eq(told.vector, 6, "of which the host is told");
	ok_eq(runtime->reset(&pair.enclave, sgx_tcs(&pair.enclave, 0)), 0, "the enclave gives up");
}

/* A null pointer of the enclave is not one of the VM. */
static void expect_enclave_null(void)
{
	struct step steps[] = { { STEP_READ, 8, 0, 0 }, { STEP_END, 0, 0, 0 } };
	struct sgx_exception told = { 0 };
	unsigned int before = vm_null_checks;

	ok_eq(runtime->call(&pair.enclave, sgx_tcs(&pair.enclave, 0), BASIC_RUN, steps, NULL, NULL, &told), EFAULT,
	      "an ECALL that reads at 8");
	ok_eq(told.vector, 14, "its host is told of #PF");
	ok_eq(vm_null_checks, before, "the VM is not");
	ok_eq(runtime->reset(&pair.enclave, sgx_tcs(&pair.enclave, 0)), 0, "and gives up");
}

static void *check_nulls(void *argument)
{
	unsigned int *right = argument;

	for (int i = 0; i < ROUNDS; i++)
		*right += null_is_thrown();
	return NULL;
}

/* null_is_thrown() counts with the whole VM's counter, so only this thread uses it now. */
static void expect_threads(void)
{
	unsigned int nulls = 0, faults = 0;
	pthread_t thread;

	pthread_create(&thread, NULL, check_nulls, &nulls);
	for (int i = 0; i < ROUNDS; i++)
		faults += pair_fault(&pair, 1);
	pthread_join(thread, NULL);
	ok_eq(nulls, ROUNDS, "a thread finds all of its nulls");
	ok_eq(faults, ROUNDS, "while the host of another is told of all exceptions");
}

static void expect_write_behind_barrier(void)
{
	struct step steps[] = { { STEP_WRITE, (uint64_t)&object->field, 43, 0 }, { STEP_END, 0, 0, 0 } };
	struct sgx_host host = { NULL, 0, on_exception, NULL };
	unsigned int before = vm_barriers;
	int error, thrown;

	vm_arm_barrier();
	error = runtime->call(&pair.enclave, sgx_tcs(&pair.enclave, 0), BASIC_RUN, steps, &host, NULL, NULL);
	ok_eq(vm_barriers - before, 1, "the enclave meets the barrier");
	refused_if(error, "resuming an enclave that has written behind the VM's barrier");
	ok_eq(vm_field(object, &thrown), 43, "and writes");
}

static int crash(void)
{
	*(volatile int *)1 = 0;
	return 0;
}

int main(void)
{
	runtime = open_runtime("a");
#ifndef VM_STARTS_LAST
	vm_start();
#endif
	must_start(runtime);
	pair = new_pair("only", runtime);
#ifdef VM_STARTS_LAST
	vm_start();
#endif
	object = vm_new();
	expect_vm("in the VM");
	expect_upcall();
	expect_enclave_null();
	expect_threads();
	expect_vm("afterwards");
	ok(!strcmp(in_child(crash), "killed by SIGABRT"), "a crash outside is the VM's to report");
	expect_write_behind_barrier();
	finish();
}
