/* What Go needs of C: cgo cannot call functions with variable arguments, nor through pointers. */
#ifndef HOST_H
#define HOST_H

#include <stdint.h>

void host_start(void);
void host_observe(int condition, char *what);
void host_finish(void);

enum { RAISE_UD, RAISE_NULL, RAISE_GP, RAISE_DE };

/* An ECALL at a TCS that raises an exception: the vector that its host is told of, -1 if it is not. */
int host_raise(unsigned int tcs, int what);

/* An ECALL that makes an OCALL into Go: its result, UINT64_MAX if the ECALL fails. */
uint64_t host_call(uint64_t argument);

/* An ECALL that runs until spin->stop.  0 or an errno. */
struct spin {
	uint32_t stop, started, tid;
};
int host_spin(unsigned int tcs, struct spin *spin);
struct spin *host_new_spin(void);
int host_send_sigurg(struct spin *spin);

#endif
