#include "enclaves/basic.h"
#include "scenario.h"

#include <stdexcept>
#include <string>

namespace {

struct EnclaveException : std::runtime_error {
	explicit EnclaveException(const sgx_exception &exception) : runtime_error("exception"), vector(exception.vector) {}
	uint16_t vector;
};

struct Guard {
	explicit Guard(unsigned int &count) : count(count) {}
	~Guard() { count++; }
	unsigned int &count;
};

struct Host {
	sgx_runtime *runtime;
	sgx_enclave enclave;
	Host *inner = nullptr;
	unsigned int destructors = 0;

	explicit Host(sgx_runtime *runtime) : runtime(runtime) { must_load(runtime, &enclave, "enclaves/basic.elf"); }

	int call(step *steps);

	/* What it is that call() throws: "", or the vector, or what an OCALL throws. */
	std::string thrown(step first, step second = { STEP_END, 0, 0, 0 })
	{
		step steps[] = { first, second, { STEP_END, 0, 0, 0 } };

		try {
			return std::string("no exception, but ") + errno_name(call(steps));
		} catch (const EnclaveException &exception) {
			return std::to_string(exception.vector);
		} catch (const std::string &text) {
			return text;
		}
	}

	bool gives_up() { return runtime->reset(&enclave, sgx_tcs(&enclave, 0)) == 0; }
};

sgx_decision throw_it(void *context, const sgx_exception *exception)
{
	Guard guard(static_cast<Host *>(context)->destructors);

	throw EnclaveException(*exception);
}

enum { THROW, CATCH };

uint64_t throw_text(void *context, void *)
{
	Guard guard(static_cast<Host *>(context)->destructors);

	throw std::string("from an OCALL");
}

uint64_t catch_inner(void *context, void *)
{
	Host *inner = static_cast<Host *>(context)->inner;
	bool right = inner->thrown({ STEP_OCALL, THROW, 0, 0 }) == "from an OCALL";

	right = inner->thrown({ STEP_UD, 0, 0, 0 }) == "6" && right;
	return inner->gives_up() && right;
}

int Host::call(step *steps)
{
	static const sgx_ocall ocalls[] = { throw_text, catch_inner };
	sgx_host host = { ocalls, 2, throw_it, this };
	Guard guard(destructors);

	return runtime->call(&enclave, sgx_tcs(&enclave, 0), BASIC_RUN, steps, &host, nullptr, nullptr);
}

void expect_exceptions(Host &host)
{
	host.destructors = 0;
	ok(host.thrown({ STEP_UD, 0, 0, 0 }) == "6", "the decision about #UD throws, the ECALL's caller catches");
	ok(host.gives_up(), "the enclave gives up");
	ok(host.thrown({ STEP_READ, 8, 0, 0 }) == "14", "#PF");
	ok(host.gives_up(), "the enclave gives up");
	ok_eq(host.destructors, 4, "destructors have run");
}

void expect_ocalls(Host &host)
{
	host.destructors = 0;
	for (int i = 0; i < 10; i++)
		ok(host.thrown({ STEP_OCALL, THROW, 0, 0 }) == "from an OCALL", "an OCALL throws");
	ok_eq(host.destructors, 20, "destructors have run");
}

} // namespace

int main()
{
	sgx_runtime *runtime = open_runtime("a");

	must_start(runtime);
	Host host(runtime), inner(runtime);
	host.inner = &inner;
	expect_exceptions(host);
	expect_ocalls(host);
	expect_exceptions(host);
	step steps[] = { { STEP_OCALL, CATCH, 0, 0 }, { STEP_END, 0, 0, 0 } };
	ok_eq(host.call(steps), 0, "an ECALL whose OCALL makes others that throw");
	ok_eq(steps[0].result, 1, "and catches what they throw");
	ok(host.thrown({ STEP_OCALL, CATCH, 0, 0 }, { STEP_UD, 0, 0, 0 }) == "6", "afterwards, too, its exceptions come to its host");
	ok(host.gives_up(), "the enclave gives up");
	finish();
}
