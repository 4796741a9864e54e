/* A descriptor sent over a socket is the enclave to its receiver, too, who never opened the device. */
#include "enclave.h"

#include <sys/socket.h>

/* The receiver: maps the enclave where its ELRANGE is, and enters. */
static int receiver(int socket, uint64_t base, uint64_t size, uint64_t text, uint64_t data)
{
	struct enclave enclave = { .fd = receive_descriptor(socket), .base = (uint8_t *)base };
	struct request request = { .op = OP_ADD, .a = 40, .b = 2 };

	if (mmap(enclave.base, text, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, enclave.fd, 0) == MAP_FAILED)
		return 2;
	if (mmap(enclave.base + text, data - text, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, enclave.fd, 0) == MAP_FAILED)
		return 3;
	if (mmap(enclave.base + data, size - data, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, enclave.fd, 0) == MAP_FAILED)
		return 4;
	if (mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, enclave.fd, 0) != MAP_FAILED || errno != EINVAL)
		return 5;
	if (attempt(enclave_tcs(&enclave, 1), &request, EENTER).function != EEXIT || request.result != 42)
		return 6;
	return 42;
}

int main(void)
{
	struct request request = { .op = OP_ADD, .a = 1, .b = 2 };
	struct enclave enclave;
	int sockets[2], go[2], status;
	uint64_t place[4];
	pid_t child;

	socketpair(AF_UNIX, SOCK_STREAM, 0, sockets);
	pipe(go);
	child = fork(); /* before this process itself has opened anything */
	if (!child) {
		if (read(go[0], place, sizeof(place)) != sizeof(place))
			_exit(1);
		_exit(receiver(sockets[1], place[0], place[1], place[2], place[3]));
	}
	enclave_load(&enclave, NULL);
	memcpy(place, (uint64_t[]){ (uint64_t)enclave.base, enclave.heap, enclave.text, enclave.data }, sizeof(place));
	send_descriptor(sockets[0], enclave.fd);
	close(enclave.fd);
	ok_eq(write(go[1], place, sizeof(place)), sizeof(place), "sent");
	waitpid(child, &status, 0);
	ok_eq(status, 42 << 8, "the receiver maps and enters it");
	expect_exit("and so does the sender, still", attempt(enclave_tcs(&enclave, 0), &request, EENTER));
	return done();
}
