#include "pkcs11/verify.h"
#include "scenario.h"

#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <pthread.h>

enum { SLOT = 0, ROUNDS = 3 };

struct module {
	const char *name;
	CK_FUNCTION_LIST *p11;
	CK_SESSION_HANDLE session;
};

struct key {
	CK_OBJECT_HANDLE private;
	EVP_PKEY *public;
};

static CK_BYTE text[] = "I can easily imagine two SGX libraries that know nothing about each other";

static struct module load(const char *name)
{
	struct module module = { .name = name };
	char file[64];
	CK_C_GetFunctionList get;
	void *object;

	snprintf(file, sizeof(file), "pkcs11-two-modules/%s.so", name);
	object = dlopen(built(file), RTLD_NOW | RTLD_LOCAL);
	get = object ? (CK_C_GetFunctionList)dlsym(object, "C_GetFunctionList") : NULL;
	if (!get || get(&module.p11))
		wrong("loading %s: %s", name, dlerror());
	return module;
}

static const char *error_name(CK_RV error)
{
	return error == CKR_FUNCTION_FAILED ? "CKR_FUNCTION_FAILED" : error == CKR_DEVICE_ERROR ? "CKR_DEVICE_ERROR" : "another error";
}

static void start(struct module *module)
{
	CK_C_INITIALIZE_ARGS arguments = { .flags = CKF_OS_LOCKING_OK };
	CK_FLAGS flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
	CK_RV error = module->p11->C_Initialize(&arguments);

	if (error == CKR_FUNCTION_FAILED)
		refused("C_Initialize of %s: %s", module->name, error_name(error));
	ok_eq(error, CKR_OK, "%s: C_Initialize", module->name);
	ok_eq(module->p11->C_OpenSession(SLOT, flags, NULL, NULL, &module->session), CKR_OK, "%s: C_OpenSession", module->name);
}

static bool generate(const struct module *module, CK_SESSION_HANDLE session, struct key *key)
{
	static CK_BYTE p256[] = { 0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7 };
	CK_ATTRIBUTE wanted[] = { { CKA_EC_PARAMS, p256, sizeof(p256) } };
	CK_MECHANISM mechanism = { CKM_EC_KEY_PAIR_GEN, NULL, 0 };
	CK_BYTE point[128];
	CK_ATTRIBUTE told = { CKA_EC_POINT, point, sizeof(point) };
	CK_OBJECT_HANDLE public;
	CK_RV error = module->p11->C_GenerateKeyPair(session, &mechanism, wanted, 1, NULL, 0, &public, &key->private);

	if (error == CKR_DEVICE_ERROR)
		refused("generating a key pair with %s: %s", module->name, error_name(error));
	if (error || module->p11->C_GetAttributeValue(session, public, &told, 1))
		return false;
	key->public = key_of_point(point + 2, told.ulValueLen - 2);
	return key->public != NULL;
}

static bool sign(const struct module *module, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key, CK_BYTE *signature)
{
	CK_MECHANISM mechanism = { CKM_ECDSA_SHA256, NULL, 0 };
	CK_ULONG size = 64;

	return !module->p11->C_SignInit(session, &mechanism, key) &&
	       !module->p11->C_Sign(session, text, sizeof(text), signature, &size) && size == 64;
}

/* A new key pair of the module's enclave signs, and nobody else's verifies.  It stays, as the next must have a new page. */
static bool key_works(const struct module *module, CK_SESSION_HANDLE session, EVP_PKEY *other)
{
	struct key key;
	CK_BYTE signature[64];

	return generate(module, session, &key) && sign(module, session, key.private, signature) &&
	       verifies(key.public, signature, sizeof(signature), text, sizeof(text)) &&
	       !verifies(other, signature, sizeof(signature), text, sizeof(text));
}

static bool digest_is_right(const struct module *module)
{
	CK_MECHANISM mechanism = { CKM_SHA256, NULL, 0 };
	CK_BYTE digest[32], reference[32];
	CK_ULONG size = sizeof(digest);

	EVP_Digest(text, sizeof(text), reference, NULL, EVP_sha256(), NULL);
	return !module->p11->C_DigestInit(module->session, &mechanism) &&
	       !module->p11->C_Digest(module->session, text, sizeof(text), digest, &size) &&
	       !memcmp(digest, reference, sizeof(reference));
}

static CK_ULONG objects(const struct module *module)
{
	CK_OBJECT_HANDLE found[64];
	CK_ULONG count = 0;

	module->p11->C_FindObjectsInit(module->session, NULL, 0);
	module->p11->C_FindObjects(module->session, found, 64, &count);
	module->p11->C_FindObjectsFinal(module->session);
	return count;
}

struct worker {
	pthread_t thread;
	const struct module *modules;
	EVP_PKEY *other;
	pthread_barrier_t *barrier;
	unsigned int first, right;
};

/* Both modules in turn; the other thread begins with the other. */
static void *work(void *argument)
{
	struct worker *worker = argument;
	CK_SESSION_HANDLE sessions[2];

	for (int i = 0; i < 2; i++)
		worker->modules[i].p11->C_OpenSession(SLOT, CKF_SERIAL_SESSION, NULL, NULL, &sessions[i]);
	pthread_barrier_wait(worker->barrier);
	for (unsigned int round = 0; round < 2 * ROUNDS; round++) {
		unsigned int which = (worker->first + round) % 2;

		worker->right += key_works(&worker->modules[which], sessions[which], worker->other);
	}
	return NULL;
}

static void two_threads(const struct module *modules, EVP_PKEY *other)
{
	struct worker workers[2];
	pthread_barrier_t barrier;

	pthread_barrier_init(&barrier, NULL, 2);
	for (int i = 0; i < 2; i++) {
		workers[i] = (struct worker){ .modules = modules, .other = other, .barrier = &barrier, .first = i };
		pthread_create(&workers[i].thread, NULL, work, &workers[i]);
	}
	for (int i = 0; i < 2; i++) {
		pthread_join(workers[i].thread, NULL);
		ok_eq(workers[i].right, 2 * ROUNDS, "thread %d: keys of both modules sign", i + 1);
	}
}

int main(void)
{
	struct module modules[] = { load("red"), load("blue") }, *red = &modules[0], *blue = &modules[1];
	struct key red_key, blue_key;
	CK_BYTE signature[64];

	start(red);
	ok(generate(red, red->session, &red_key), "alone, red generates a key pair");
	start(blue);
	ok(generate(blue, blue->session, &blue_key), "blue generates a key pair");
	ok(key_works(red, red->session, blue_key.public), "red generates another and signs with it");
	ok(key_works(blue, blue->session, red_key.public), "blue generates another and signs with it");
	ok(sign(red, red->session, red_key.private, signature) &&
	   verifies(red_key.public, signature, sizeof(signature), text, sizeof(text)), "red signs with its first");
	ok(!verifies(blue_key.public, signature, sizeof(signature), text, sizeof(text)), "which blue's does not verify");
	ok(digest_is_right(red) && digest_is_right(blue), "both digest");
	ok(objects(red) == 4 && objects(blue) == 4, "each has its own objects only");
	two_threads(modules, red_key.public);
	ok_eq(red->p11->C_Finalize(NULL), CKR_OK, "red: C_Finalize");
	ok(key_works(blue, blue->session, red_key.public), "blue generates a key pair when red has gone");
	ok_eq(blue->p11->C_Finalize(NULL), CKR_OK, "blue: C_Finalize");
	finish();
}
