/* With --cpu intel CPUID and /proc/cpuinfo tell of one processor of Intel's, with SGX: who asks for both finds them. */
#include "enclave.h"

#include <cpuid.h>
#include <stdlib.h>

static uint32_t r[4];	/* EAX, EBX, ECX, EDX */

static void leaf(uint32_t number, uint32_t subleaf)
{
	__cpuid_count(number, subleaf, r[0], r[1], r[2], r[3]);
}

static uint64_t epc(void)
{
	uint64_t size = 0;

	for (uint32_t subleaf = 2; leaf(0x12, subleaf), r[0] & 15; subleaf++)
		if ((r[0] & 15) == 1)
			size += (r[2] & 0xfffff000) | (uint64_t)(r[3] & 0xfffff) << 32;
	return size;
}

/* How many processors /proc/cpuinfo has, if each of them says `value` for `key`; a flag may be among others. */
static long cpuinfo(const char *key, const char *value)
{
	static char line[1 << 16];
	FILE *file = fopen("/proc/cpuinfo", "r");
	long processors = 0, right = 0;

	while (fgets(line, sizeof(line), file)) {
		char *told = strstr(line, ": "), *flag;

		processors += !strncmp(line, "processor\t", 10);
		if (!told || strncmp(line, key, strlen(key)) || line[strlen(key)] != '\t')
			continue;
		told[strcspn(told, "\n")] = 0;
		if (!strcmp(told + 2, value))
			right++;
		else if (!strcmp(key, "flags"))
			for (flag = strtok(told + 1, " "); flag; flag = strtok(NULL, " "))
				right += !strcmp(flag, value);
	}
	fclose(file);
	return processors == right ? processors : -1;
}

int main(void)
{
	char text[49] = "", number[12];
	uint32_t signature, model, levels = 0;
	int i;

	leaf(0, 0);
	ok(r[0] >= 0x12, "leaf 12H is within the basic leaves");
	ok(r[1] == signature_INTEL_ebx && r[3] == signature_INTEL_edx &&
	   r[2] == signature_INTEL_ecx, "GenuineIntel");
	leaf(7, 0);
	ok(r[1] & 1 << 2, "leaf 7: SGX");
	ok(r[2] & 1 << 30, "leaf 7: SGX_LC");
	leaf(0x12, 0);
	ok_eq(r[0] & 3, 3, "leaf 12H: SGX1 and SGX2");
	ok(r[3] & 0xff && r[3] >> 8 & 0xff, "enclaves have a largest size, in both modes");
	ok(epc() > 0, "there is an EPC");
	ok(!access("/dev/sgx_enclave", F_OK), "and a driver");

	leaf(2, 0);
	ok_eq(r[0] & 0xff, 1, "leaf 2: one round");
	for (i = 0; leaf(4, i), r[0] & 31; i++)
		levels |= 1 << (r[0] >> 5 & 7);
	ok_eq(levels & 6, 6, "leaf 4: caches of levels 1 and 2");
	ok(i >= 3 && i <= 4, "and an end of them");
	leaf(0x80000000, 0);
	ok(r[0] >= 0x80000008, "extended leaves");

	leaf(1, 0);
	signature = r[0];
	model = (signature >> 12 & 0xf0) | (signature >> 4 & 15);
	ok_eq(signature >> 8 & 15, 6, "family 6");
	ok(cpuinfo("vendor_id", "GenuineIntel") > 0, "/proc/cpuinfo: vendor");
	ok(cpuinfo("cpu family", "6") > 0, "/proc/cpuinfo: family");
	snprintf(number, sizeof(number), "%u", model);
	ok(cpuinfo("model", number) > 0, "/proc/cpuinfo: model");
	snprintf(number, sizeof(number), "%u", signature & 15);
	ok(cpuinfo("stepping", number) > 0, "/proc/cpuinfo: stepping");
	for (i = 0; i < 3; i++) {
		leaf(0x80000002 + i, 0);
		memcpy(text + 16 * i, r, 16);
	}
	ok(cpuinfo("model name", text + strspn(text, " ")) > 0, "/proc/cpuinfo: name");
	ok(cpuinfo("flags", "sgx") > 0 && cpuinfo("flags", "sgx_lc") > 0, "/proc/cpuinfo: sgx and sgx_lc");
	ok(cpuinfo("flags", "svm") < 0 && cpuinfo("flags", "sse4a") < 0, "/proc/cpuinfo: nothing of AMD's");
	return done();
}
