/* The module's enclave, and the SGX runtime that it brings along. */
#include "module.h"
#include "scenario.h"

#include <dlfcn.h>

static struct sgx_runtime *runtime;
static struct sgx_enclave enclave;

/* The enclave's heap has it accept pages as it comes to them. */
static enum sgx_decision on_exception(void *context, const struct sgx_exception *exception)
{
	(void)context, (void)exception;
	return SGX_HANDLE;
}

static CK_RV failed(const char *what, int error)
{
	fprintf(stderr, "%s: %s: %s\n", TOKEN, what, errno_name(error));
	return CKR_FUNCTION_FAILED;
}

/* TOKEN.elf lies beside the module. */
static int load(void)
{
	char path[4096];
	Dl_info module;

	if (!dladdr(&runtime, &module))
		return ENOENT;
	snprintf(path, sizeof(path), "%.*s%s.elf", (int)(strrchr(module.dli_fname, '/') + 1 - module.dli_fname),
		 module.dli_fname, TOKEN);
	return runtime->load(&enclave, path);
}

CK_RV device_open(void)
{
	int error;

	runtime = open_runtime(RUNTIME);
	error = runtime->start();
	if (error)
		return failed("starting its runtime", error);
	error = load();
	if (error) {
		runtime->stop();
		return failed("loading its enclave", error);
	}
	return CKR_OK;
}

void device_close(void)
{
	int error;

	runtime->unload(&enclave);
	error = runtime->stop();
	if (error)
		failed("stopping its runtime", error);
}

CK_RV device_call(enum token_function function, struct token_request *request)
{
	static const CK_RV meanings[] = {
		[TOKEN_OK] = CKR_OK, [TOKEN_BAD_REQUEST] = CKR_ARGUMENTS_BAD, [TOKEN_FULL] = CKR_DEVICE_MEMORY,
		[TOKEN_NOT_MINE] = CKR_KEY_HANDLE_INVALID, [TOKEN_FAILED] = CKR_DEVICE_ERROR,
	};
	struct sgx_host host = { NULL, 0, on_exception, NULL };
	uint64_t result;
	int error = runtime->call(&enclave, sgx_tcs(&enclave, 0), function, request, &host, &result, NULL);

	if (error) {
		failed("calling its enclave", error);
		runtime->reset(&enclave, sgx_tcs(&enclave, 0));
		return CKR_DEVICE_ERROR;
	}
	return result < sizeof(meanings) / sizeof(*meanings) ? meanings[result] : CKR_DEVICE_ERROR;
}
