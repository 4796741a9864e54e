/* An enclave lives on while its only reference is a descriptor that waits in a socket. */
#include "enclave.h"

#include <sys/socket.h>

int main(void)
{
	struct enclave_options options = { .heap_pages = 1, .no_map = true };
	struct sgx_enclave_restrict_permissions probe = { .length = PAGE, .permissions = 3 };
	struct enclave enclave, another;
	int sockets[2], fd;

	socketpair(AF_UNIX, SOCK_STREAM, 0, sockets);
	enclave_load(&enclave, &options);
	send_descriptor(sockets[0], enclave.fd);
	close(enclave.fd);
	/* Another enclave comes and goes: whatever nobody refers to is freed by now. */
	enclave_load(&another, NULL);
	enclave_unload(&another);
	enclave_load(&another, NULL);
	fd = receive_descriptor(sockets[1]);
	probe.offset = enclave.heap;
	ok_eq(ioctl(fd, SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, &probe) ? errno : 0, 0, "the received enclave has its pages");
	ok_eq(probe.count, PAGE, "count");
	return done();
}
