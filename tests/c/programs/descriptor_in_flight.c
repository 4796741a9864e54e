/* An enclave lives on while its only reference is a descriptor that waits in a socket. */
#include "enclave.h"

#include <sys/socket.h>

union control { struct cmsghdr header; char room[CMSG_SPACE(sizeof(int))]; };

static void send_descriptor(int socket, int fd)
{
	union control control = { .header = { .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET,
					      .cmsg_type = SCM_RIGHTS } };
	struct iovec byte = { .iov_base = "x", .iov_len = 1 };
	struct msghdr message = { .msg_iov = &byte, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };

	memcpy(CMSG_DATA(&control.header), &fd, sizeof(int));
	sendmsg(socket, &message, 0);
}

static int receive_descriptor(int socket)
{
	union control control;
	char byte;
	struct iovec vector = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
	int fd;

	recvmsg(socket, &message, 0);
	memcpy(&fd, CMSG_DATA(&control.header), sizeof(int));
	return fd;
}

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
