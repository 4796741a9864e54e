/* CPUID in a program's text announces SGX, and is seen to be patched; in code made at run time it is the host's. */
#include "enclave.h"

extern uint8_t cpuid_function[], cpuid_instruction[], cpuid_end[];

/* uint32_t (uint32_t leaf, uint32_t subleaf): EBX */
__asm__(".type cpuid_function, @function\n"
	"cpuid_function: .cfi_startproc; push %rbx; .cfi_adjust_cfa_offset 8; mov %edi, %eax; mov %esi, %ecx\n"
	"cpuid_instruction: cpuid\n"
	"mov %ebx, %eax; pop %rbx; .cfi_adjust_cfa_offset -8; ret; .cfi_endproc\n"
	"cpuid_end: .size cpuid_function, . - cpuid_function");

int main(void)
{
	uint32_t (*function)(uint32_t, uint32_t) = (void *)cpuid_function;
	uint8_t *made = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ok_eq(function(7, 0) & 4, 4, "leaf 7: SGX");
	ok(!memcmp(cpuid_instruction, "\x0f\x0b", 2), "the instruction reads as UD2 (hardware: CPUID)");
	memcpy(made, cpuid_function, cpuid_end - cpuid_function);
	memcpy(made + (cpuid_instruction - cpuid_function), "\x0f\xa2", 2);
	function = (void *)made;
	printf("# of the host: leaf 7 EBX %#x\n", function(7, 0));
	ok_eq(memcmp(made + (cpuid_instruction - cpuid_function), "\x0f\xa2", 2), 0, "made at run time, it stays");
	return done();
}
