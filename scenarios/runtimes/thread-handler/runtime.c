/* `thread-handler`: the runtime registers its handler around every entry, as an OCALL may lead into another's. */
#include "core.h"

#include "enclu_sgx.h"

static int start(void)
{
	return 0;
}

static int stop(void)
{
	return 0;
}

static void unregister(struct enclu_sgx_thread_handler *registered)
{
	device_ioctl(ENCLU_SGX_IOC_UNREGISTER_THREAD_HANDLER, registered);
}

/* Also when a C++ exception leaves through here. */
static void enter(struct entry *entry)
{
	struct enclu_sgx_thread_handler arguments = { .handler = (uint64_t)enter_faulted };

	entry->status = device_ioctl(ENCLU_SGX_IOC_REGISTER_THREAD_HANDLER, &arguments);
	if (entry->status == 0) {
		__attribute__((cleanup(unregister))) struct enclu_sgx_thread_handler registered = arguments;

		(void)registered;
		enter_enclave(entry);
	}
}

const struct design design = { start, stop, enter };
