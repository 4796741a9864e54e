#include "pkcs11/verify.h"
#include "scenario.h"

#include <sys/mman.h>

static const char text[] = "One or both could be PKCS#11 modules, for example.";

struct module {
	const char *name;
	EVP_PKEY *key;
	uint8_t signature[64];
};

/* The file that the module keeps sealed keys in: gone with this program, and reached by those it runs. */
static void give_store(const char *name)
{
	char variable[64], file[64];

	snprintf(variable, sizeof(variable), "TOKEN_STORE_%s", name);
	snprintf(file, sizeof(file), "/proc/self/fd/%d", memfd_create(name, 0));
	setenv(variable, file, 1);
}

/* pkcs11-tool with the module and these options, the last of which is NULL; `text` is its input. */
static struct ran tool(const char *name, const char *const options[])
{
	const char *arguments[16] = { "pkcs11-tool", "--module" };
	char file[64], *error, *end;
	struct ran ran;

	snprintf(file, sizeof(file), "pkcs11-tool/%s.so", name);
	arguments[2] = built(file);
	for (int i = 0; options[i] && i < 12; i++)
		arguments[3 + i] = options[i];
	ran = run_program(arguments, text, sizeof(text));
	if (!strcmp(ran.ended, "exited with 1") && (error = strstr(ran.errors, "error: "))) {
		end = strchrnul(error, '\n');
		refused("%s: %.*s", options[0], (int)(end - error - strlen("error: ")), error + strlen("error: "));
	}
	ok(!strcmp(ran.ended, "exited with 0"), "%s: %s %s", name, options[0], ran.ended);
	return ran;
}
#define TOOL(name, ...) tool(name, (const char *const[]){ __VA_ARGS__, NULL })

static void says(const struct module *module, const struct ran *ran, const char *what)
{
	ok(strstr((char *)ran->output, what) != NULL, "%s: it says \"%s\"", module->name, what);
}

static void use(struct module *module)
{
	struct ran ran;
	uint8_t digest[32];
	const uint8_t *der;

	give_store(module->name);
	ran = TOOL(module->name, "--show-info", "--list-token-slots", "--list-mechanisms");
	says(module, &ran, "Cryptoki version 2.40");
	says(module, &ran, "ECDSA-SHA256, keySize={256,256}, hw, sign");
	says(module, &ran, module->name);

	ran = TOOL(module->name, "--hash", "--mechanism", "SHA256");
	EVP_Digest(text, sizeof(text), digest, NULL, EVP_sha256(), NULL);
	ok(ran.size == sizeof(digest) && !memcmp(ran.output, digest, ran.size), "%s: the digest is libcrypto's", module->name);

	TOOL(module->name, "--keypairgen", "--key-type", "EC:prime256v1", "--id", "01", "--label", "a key");
	ran = TOOL(module->name, "--list-objects");
	says(module, &ran, "Public Key Object; EC  EC_POINT 256 bits");
	says(module, &ran, "Private Key Object; EC");
	says(module, &ran, "sensitive, always sensitive, never extractable, local");

	ran = TOOL(module->name, "--read-object", "--type", "pubkey", "--id", "01");
	der = ran.output;
	module->key = d2i_PUBKEY(NULL, &der, ran.size);
	ran = TOOL(module->name, "--sign", "--mechanism", "ECDSA-SHA256", "--id", "01");
	ok(verifies(module->key, ran.output, ran.size, text, sizeof(text)), "%s: libcrypto verifies the signature", module->name);
	memcpy(module->signature, ran.output, sizeof(module->signature));
	/* Of the two processes that fork makes, each must initialize the module. */
	TOOL(module->name, "--test-fork");
}

int main(void)
{
	struct module red = { .name = "red" }, blue = { .name = "blue" };

	use(&red);
	use(&blue);
	ok(!verifies(blue.key, red.signature, sizeof(red.signature), text, sizeof(text)),
	   "red's signature is none of blue's key");
	finish();
}
