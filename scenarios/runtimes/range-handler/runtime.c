/* `range-handler`: the runtime registers a handler for its own code. */
#include "core.h"

#include "enclu_sgx.h"

static int start(void)
{
	struct enclu_sgx_range_handler arguments = {
		.start = (uint64_t)enter_enclave,
		.length = enter_end - (uint8_t *)enter_enclave,
		.handler = (uint64_t)enter_faulted,
	};

	return device_ioctl(ENCLU_SGX_IOC_REGISTER_RANGE_HANDLER, &arguments);
}

static int stop(void)
{
	struct enclu_sgx_range arguments = {
		.start = (uint64_t)enter_enclave,
		.length = enter_end - (uint8_t *)enter_enclave,
	};

	return device_ioctl(ENCLU_SGX_IOC_UNREGISTER_RANGE_HANDLER, &arguments);
}

const struct design design = { start, stop, enter_enclave };
