/* Uses a PKCS#11 module as the standard has it.  pkcs11_api MODULE CASE; TAP. */
#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static CK_FUNCTION_LIST *p11;
static CK_SESSION_HANDLE session;
static CK_OBJECT_HANDLE public, private;
static CK_BYTE text[] = "text";

static void ok_eq(unsigned long got, unsigned long want, const char *what)
{
	static int tests;

	printf("%sok %d - %s (%#lx, expected %#lx)\n", got == want ? "" : "not ", ++tests, what, got, want);
}

static CK_RV open_session(CK_FLAGS flags)
{
	return p11->C_OpenSession(0, CKF_SERIAL_SESSION | flags, NULL, NULL, &session);
}

static CK_RV generate(CK_BBOOL token)
{
	CK_BYTE p256[] = { 0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7 };
	CK_ATTRIBUTE wanted[] = { { CKA_EC_PARAMS, p256, sizeof(p256) }, { CKA_TOKEN, &token, sizeof(token) } };
	CK_MECHANISM mechanism = { CKM_EC_KEY_PAIR_GEN, NULL, 0 };

	return p11->C_GenerateKeyPair(session, &mechanism, wanted, 2, NULL, 0, &public, &private);
}

static CK_RV sign_init(void)
{
	CK_MECHANISM mechanism = { CKM_ECDSA_SHA256, NULL, 0 };

	return p11->C_SignInit(session, &mechanism, private);
}

static CK_ULONG objects(void)
{
	CK_OBJECT_HANDLE found[64];
	CK_ULONG count = 99;

	p11->C_FindObjectsInit(session, NULL, 0);
	p11->C_FindObjects(session, found, 64, &count);
	p11->C_FindObjectsFinal(session);
	if (count)
		private = found[1];
	return count;
}

static void table(void)
{
	void *const *entries = (void *const *)(p11 + 1);
	size_t missing = 0;

	ok_eq(p11->version.major * 100 + p11->version.minor, 240, "version");
	for (void *const *entry = (void *const *)&p11->C_Initialize; entry < entries; entry++)
		missing += !*entry;
	ok_eq(missing, 0, "entries that are null");
	ok_eq(p11->C_Encrypt(0, NULL, 0, NULL, NULL), CKR_FUNCTION_NOT_SUPPORTED, "C_Encrypt");
	ok_eq(p11->C_GetFunctionStatus(0), CKR_FUNCTION_NOT_PARALLEL, "C_GetFunctionStatus");
}

static void life(void)
{
	CK_INFO info;

	ok_eq(p11->C_GetInfo(&info), CKR_CRYPTOKI_NOT_INITIALIZED, "C_GetInfo at first");
	ok_eq(p11->C_Initialize(NULL), CKR_OK, "C_Initialize");
	ok_eq(p11->C_Initialize(NULL), CKR_CRYPTOKI_ALREADY_INITIALIZED, "C_Initialize again");
	ok_eq(p11->C_GetInfo(&info), CKR_OK, "C_GetInfo");
	ok_eq(p11->C_Finalize(NULL), CKR_OK, "C_Finalize");
	ok_eq(open_session(0), CKR_CRYPTOKI_NOT_INITIALIZED, "C_OpenSession after it");
	ok_eq(p11->C_Initialize(NULL), CKR_OK, "C_Initialize after it");
	ok_eq(open_session(0), CKR_OK, "C_OpenSession after that");
	ok_eq(generate(CK_FALSE), CKR_OK, "C_GenerateKeyPair");
}

static void room(void)
{
	CK_BYTE signature[64];
	CK_ULONG size = 0;

	generate(CK_FALSE);
	ok_eq(sign_init(), CKR_OK, "C_SignInit");
	ok_eq(p11->C_Sign(session, text, sizeof(text), NULL, &size), CKR_OK, "C_Sign without room");
	ok_eq(size, 64, "the size it tells");
	size = 63;
	ok_eq(p11->C_Sign(session, text, sizeof(text), signature, &size), CKR_BUFFER_TOO_SMALL, "C_Sign with too little");
	ok_eq(p11->C_Sign(session, text, sizeof(text), signature, &size), CKR_OK, "C_Sign with enough");
	ok_eq(p11->C_Sign(session, text, sizeof(text), signature, &size), CKR_OPERATION_NOT_INITIALIZED, "C_Sign once more");
}

static void parts(void)
{
	CK_MECHANISM mechanism = { CKM_SHA256, NULL, 0 };
	CK_BYTE whole[32], joined[32];
	CK_ULONG size = 32;

	p11->C_DigestInit(session, &mechanism);
	ok_eq(p11->C_Digest(session, text, 4, whole, &size), CKR_OK, "C_Digest");
	p11->C_DigestInit(session, &mechanism);
	ok_eq(p11->C_DigestUpdate(session, text, 1), CKR_OK, "C_DigestUpdate");
	ok_eq(p11->C_Digest(session, text, 4, joined, &size), CKR_OPERATION_ACTIVE, "C_Digest between parts");
	ok_eq(p11->C_DigestUpdate(session, text + 1, 3), CKR_OK, "C_DigestUpdate");
	ok_eq(p11->C_DigestFinal(session, joined, &size), CKR_OK, "C_DigestFinal");
	ok_eq(memcmp(whole, joined, 32), 0, "the same digest");
}

static void secret(void)
{
	CK_BYTE value[64];
	CK_ATTRIBUTE wanted = { CKA_VALUE, value, sizeof(value) };

	generate(CK_FALSE);
	ok_eq(p11->C_GetAttributeValue(session, private, &wanted, 1), CKR_ATTRIBUTE_SENSITIVE, "CKA_VALUE");
	ok_eq(wanted.ulValueLen, CK_UNAVAILABLE_INFORMATION, "its size");
	ok_eq(p11->C_GetAttributeValue(session, public, &wanted, 1), CKR_ATTRIBUTE_TYPE_INVALID, "of the public key");
}

static void session_objects(void)
{
	generate(CK_FALSE);
	ok_eq(objects(), 2, "a key pair's objects");
	p11->C_CloseSession(session);
	open_session(0);
	ok_eq(objects(), 0, "objects when its session has been closed");
}

static void no_store(void)
{
	ok_eq(generate(CK_TRUE), CKR_TOKEN_WRITE_PROTECTED, "C_GenerateKeyPair on a token without a store");
}

static void read_only(void)
{
	p11->C_CloseSession(session);
	open_session(0);
	ok_eq(generate(CK_TRUE), CKR_SESSION_READ_ONLY, "C_GenerateKeyPair on the token in a read-only session");
	ok_eq(generate(CK_FALSE), CKR_OK, "C_GenerateKeyPair for the session");
}

static void full(void)
{
	int made = 0;

	while (generate(CK_FALSE) == CKR_OK)
		made++;
	ok_eq(made, 16, "key pairs that the token has room for");
	ok_eq(generate(CK_FALSE), CKR_DEVICE_MEMORY, "one more");
	ok_eq(p11->C_DestroyObject(session, 5), CKR_OK, "C_DestroyObject");
	ok_eq(generate(CK_FALSE), CKR_OK, "then there is room");
}

/* Leaves it on the token; finds it when the module starts again. */
static void stored(void)
{
	ok_eq(generate(CK_TRUE), CKR_OK, "C_GenerateKeyPair on the token");
	p11->C_Finalize(NULL);
	p11->C_Initialize(NULL);
	open_session(CKF_RW_SESSION);
	ok_eq(objects(), 2, "objects when the module starts again");
	ok_eq(sign_init(), CKR_OK, "C_SignInit");
	ok_eq(p11->C_DestroyObject(session, private), CKR_OK, "C_DestroyObject");
	p11->C_Finalize(NULL);
	p11->C_Initialize(NULL);
	open_session(CKF_RW_SESSION);
	ok_eq(objects(), 0, "objects when the module starts once more");
}

static void changed(void)
{
	FILE *store = fopen(getenv("TOKEN_STORE_red"), "r+");
	int byte;

	generate(CK_TRUE);
	p11->C_Finalize(NULL);
	fseek(store, 65 + 32 + 12 + 16, SEEK_SET);	/* struct token_key: the sealed key */
	byte = fgetc(store);
	fseek(store, -1, SEEK_CUR);
	fputc(~byte, store);
	fclose(store);
	p11->C_Initialize(NULL);
	open_session(CKF_RW_SESSION);
	ok_eq(objects(), 2, "objects");
	ok_eq(sign_init(), CKR_KEY_HANDLE_INVALID, "C_SignInit with a key that was changed");
}

/* Keys of the token whose module's path comes third. */
static void stranger(const char *path)
{
	CK_C_GetFunctionList get = (CK_C_GetFunctionList)dlsym(dlopen(path, RTLD_NOW | RTLD_LOCAL), "C_GetFunctionList");

	generate(CK_TRUE);
	ok_eq(sign_init(), CKR_OK, "C_SignInit with its own");
	get(&p11);
	p11->C_Initialize(NULL);
	open_session(CKF_RW_SESSION);
	ok_eq(objects(), 2, "objects of the other token, in the same store");
	ok_eq(sign_init(), CKR_KEY_HANDLE_INVALID, "C_SignInit with another enclave's key");
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
		bool started;
	} cases[] = {
		{ "table", table, false }, { "life", life, false }, { "room", room, true }, { "parts", parts, true },
		{ "secret", secret, true }, { "session-objects", session_objects, true }, { "no-store", no_store, true },
		{ "read-only", read_only, true }, { "full", full, true }, { "stored", stored, true },
		{ "changed", changed, true },
	};
	void *object = argc > 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
	CK_C_GetFunctionList get = object ? (CK_C_GetFunctionList)dlsym(object, "C_GetFunctionList") : NULL;

	if (!get || get(&p11)) {
		fprintf(stderr, "%s\n", dlerror());
		return 2;
	}
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		if (!strcmp(cases[i].name, argv[2])) {
			if (cases[i].started && (p11->C_Initialize(NULL) || open_session(CKF_RW_SESSION)))
				return 2;
			cases[i].run();
			return 0;
		}
	if (argc == 4 && !strcmp(argv[2], "stranger") && !p11->C_Initialize(NULL) && !open_session(CKF_RW_SESSION)) {
		stranger(argv[3]);
		return 0;
	}
	return 2;
}
