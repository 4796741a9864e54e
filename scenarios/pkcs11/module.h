/* A PKCS#11 module whose token is an enclave.  TOKEN is its name, RUNTIME the SGX runtime that it brings. */
#ifndef SCENARIOS_PKCS11_MODULE_H
#define SCENARIOS_PKCS11_MODULE_H

#include "token.h"

#include <p11-kit/pkcs11.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* device.c: the enclave.  One call at a time. */
CK_RV device_open(void);
void device_close(void);
CK_RV device_call(enum token_function function, struct token_request *request);

/* objects.c: key pairs.  Each is two objects. */
enum { LABEL_MAX = 64 };
struct pair {
	bool used;
	CK_SESSION_HANDLE session;	/* that it goes with; 0: none, it is on the token */
	bool open;			/* `number` is the enclave's */
	uint64_t number;
	struct stored {
		struct token_key key;
		uint8_t id[LABEL_MAX], label[LABEL_MAX];
		uint64_t id_size, label_size;
	} stored;
};

/* Reads what is on the token: the file that the environment's TOKEN_STORE_name names, if it does. */
CK_RV objects_load(void);
bool objects_writable(void);
/* `writable`: the session may put them on the token. */
CK_RV objects_generate(CK_SESSION_HANDLE session, bool writable, const CK_ATTRIBUTE *template, CK_ULONG count,
		       CK_OBJECT_HANDLE *public, CK_OBJECT_HANDLE *private);
CK_RV objects_destroy(CK_OBJECT_HANDLE object);
/* Those that go with a session, or all from memory: ANY_SESSION. */
void objects_forget(CK_SESSION_HANDLE session);
#define ANY_SESSION (~0ul)
/* All from memory, and the enclave is not to be told. */
void objects_lose(void);
/* The pair of a private key, open in the enclave. */
CK_RV objects_private(CK_OBJECT_HANDLE object, struct pair **pair);
CK_RV objects_attributes(CK_OBJECT_HANDLE object, CK_ATTRIBUTE *template, CK_ULONG count);
/* The next object after `object` (at first 0) that has these attributes; 0: no more. */
CK_OBJECT_HANDLE objects_next(CK_OBJECT_HANDLE object, const CK_ATTRIBUTE *template, CK_ULONG count);

/* module.c */
struct operation {
	bool active, in_parts;
	CK_MECHANISM_TYPE mechanism;
	CK_OBJECT_HANDLE key;
	uint8_t *data;
	size_t size;
};
struct session {
	bool used;
	CK_FLAGS flags;
	struct operation digest, sign;
	bool finding;
	CK_OBJECT_HANDLE found[2 * TOKEN_KEYS];
	CK_ULONG found_count, found_next;
};
/* Takes the module's lock, until the calling function ends. */
#define LOCKED __attribute__((cleanup(module_unlock), unused)) bool locked = module_lock()
bool module_lock(void);
void module_unlock(bool *locked);
/* NULL: *error tells why not. */
struct session *find_session(CK_SESSION_HANDLE handle, CK_RV *error);
void end_operation(struct operation *operation);
#endif
