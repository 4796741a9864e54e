/* `mm-handler`: the runtime registers its handler for the whole process. */
#include "core.h"

#include "enclu_sgx.h"

static int start(void)
{
	struct enclu_sgx_mm_handler arguments = { .handler = (uint64_t)enter_faulted };

	return device_ioctl(ENCLU_SGX_IOC_REGISTER_MM_HANDLER, &arguments);
}

/* Removes what is registered, whosever it is. */
static int stop(void)
{
	return device_ioctl(ENCLU_SGX_IOC_UNREGISTER_MM_HANDLER, NULL);
}

const struct design design = { start, stop, enter_enclave };
