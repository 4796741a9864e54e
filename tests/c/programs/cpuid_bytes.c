/* CPUID is the machine's; the same two bytes inside other instructions and in data stay what they are. */
#include "enclave.h"

#include <cpuid.h>

extern const uint8_t table[];

/* Data among the code, as hand-written assembly keeps it, after a function with unwind information. */
__asm__(".text\n"
	"neighbour: .cfi_startproc\n ret\n .cfi_endproc\n"
	"table: .byte 0x31, 0xc0, 0x0f, 0xa2, 0xc3\n");

/* 0F A2 in each place that an immediate has for it; decoding that stops short would see CPUID. */
__attribute__((noinline)) static uint64_t constants(void)
{
	uint64_t a, b, c, d;

	__asm__ volatile("movl $0x0000a20f, %k0\n movl $0x00a20f00, %k1\n movl $0xa20f0000, %k2\n"
			 "movabs $0x000000a20f000000, %3" : "=r"(a), "=r"(b), "=r"(c), "=r"(d));
	return a + b + c + d;
}

int main(void)
{
	uint32_t eax, ebx, ecx, edx;

	ok_eq(constants(), 0xa20f + 0xa20f00 + 0xa20f0000ull + 0xa20f000000, "constants");
	ok(!memcmp(table, "\x31\xc0\x0f\xa2\xc3", 5), "data");
	__cpuid_count(7, 0, eax, ebx, ecx, edx);
	ok_eq(ebx >> 2 & 1, 1, "CPUID announces SGX");
	__cpuid_count(0x12, 0, eax, ebx, ecx, edx);
	ok_eq(eax & 3, 3, "SGX1 and SGX2");
	return done();
}
