/*
 * An enclave is attested from its own OCALLs: they load and run the quoting enclave, whose OCALLs run the certification
 * enclave.  The platform's two may be another runtime's than the application's.
 */
#include "app.h"
#include "scenario.h"

#include "../../enclaves/qe.h"
#include "../pkcs11/verify.h"

enum { APP, QE, PCE, LEVELS };

struct level {
	const char *name;
	struct sgx_runtime *runtime;
	struct sgx_enclave enclave;
	unsigned int told, wrong;	/* of exceptions; of others than are expected */
	int vector;
};
static struct level levels[LEVELS] = { { .name = "application", .vector = 6 }, { .name = "quoting enclave", .vector = 14 },
	{ .name = "certification enclave", .vector = 14 } };

static uint8_t quote[4096];
static uint64_t quote_size;

static enum sgx_decision on_exception(void *context, const struct sgx_exception *exception)
{
	struct level *level = context;

	level->told++;
	level->wrong += exception->vector != level->vector || exception->leaf != ERESUME;
	return SGX_HANDLE;
}

/* Ends the program if the enclave does not return. */
static uint64_t call(struct level *level, uint64_t function, void *argument, const sgx_ocall *ocalls, size_t count)
{
	struct sgx_host host = { ocalls, count, on_exception, level };
	uint64_t result = ~0ull;
	int error = level->runtime->call(&level->enclave, sgx_tcs(&level->enclave, 0), function, argument, &host, &result, NULL);

	if (error == EOPNOTSUPP)
		refused_if(error, "resuming the %s", level->name);
	ok_eq(error, 0, "the %s returns", level->name);
	return result;
}

/* The QE's OCALLs: `argument` is a struct qe_certification. */
static uint64_t pce_info(void *context, void *argument)
{
	struct qe_certification *certification = argument;

	(void)context;
	return call(&levels[PCE], PCE_GET_INFO, &certification->pce, NULL, 0);
}

static uint64_t certify(void *context, void *argument)
{
	static const uint8_t ppid[36];
	struct qe_certification *certification = argument;

	(void)context;
	certification->type = 1;	/* nobody has made a certificate: a PPID, and the TCB */
	certification->size = sizeof(ppid);
	certification->data = ppid;
	return call(&levels[PCE], PCE_CERTIFY, &certification->qe, NULL, 0);
}

/* The application's: `argument` is a struct app_request. */
static uint64_t load_platform(void *context, void *argument)
{
	struct app_request *request = argument;

	(void)context;
	levels[QE].runtime = levels[PCE].runtime = open_runtime(PLATFORM_RUNTIME);
	if (levels[QE].runtime != levels[APP].runtime)
		refused_if(levels[QE].runtime->start(), "starting the platform's runtime");
	must_load(levels[QE].runtime, &levels[QE].enclave, SCENARIO "/qe.elf");
	must_load(levels[PCE].runtime, &levels[PCE].enclave, SCENARIO "/pce.elf");
	return call(&levels[QE], QE_GET_TARGETINFO, &request->target, NULL, 0);
}

static uint64_t make_quote(void *context, void *argument)
{
	static const sgx_ocall ocalls[] = { [QE_OCALL_PCE_INFO] = pce_info, [QE_OCALL_CERTIFY] = certify };
	static struct qe_request request = { .quote = quote, .quote_size = sizeof(quote) };
	uint64_t result;

	(void)context;
	request.report = ((struct app_request *)argument)->report;
	result = call(&levels[QE], QE_QUOTE, &request, ocalls, 2);
	quote_size = request.quote_size;
	return result;
}

/* The quote is signed with its attestation key, of which the QE's report tells. */
static void look_at_quote(const struct sgx_report *report)
{
	const uint8_t *signature = quote + 436, *key = signature + 64, *qe = key + 64, *authentication = qe + 384 + 64;
	uint8_t point[65] = { 4 }, bound[64 + 32], hash[64] = { 0 };

	memcpy(point + 1, key, 64);
	memcpy(bound, key, 64);
	memcpy(bound + 64, authentication + 2, 32);
	EVP_Digest(bound, sizeof(bound), hash, NULL, EVP_sha256(), NULL);
	ok(quote_size == 436 + 576 + 2 + 32 + 2 + 4 + 36, "the quote is whole");
	ok(!memcmp(quote + 48, report, sizeof(report->body)), "it is of the application's report");
	ok(verifies(key_of_point(point, sizeof(point)), signature, 64, quote, 432), "libcrypto verifies its signature");
	ok(!memcmp(qe + 320, hash, 64), "the QE's report is of its key");
}

int main(void)
{
	static const sgx_ocall ocalls[] = { [APP_OCALL_LOAD] = load_platform, [APP_OCALL_QUOTE] = make_quote };
	static struct app_request request;
	struct level *app = &levels[APP];

	app->runtime = open_runtime("a");
	must_start(app->runtime);
	must_load(app->runtime, &app->enclave, SCENARIO "/app.elf");
	ok_eq(call(app, APP_ATTEST, &request, ocalls, 2), 0, "its quote is made");
	look_at_quote(&request.report);
	ok_eq(app->told, 2, "the application's host is told of its two exceptions");
	for (int i = QE; i < LEVELS; i++)
		ok(levels[i].told >= 1, "the %s's is told of those of its heap", levels[i].name);
	for (int i = 0; i < LEVELS; i++)
		ok_eq(levels[i].wrong, 0, "the %s's of no other", levels[i].name);
	finish();
}
