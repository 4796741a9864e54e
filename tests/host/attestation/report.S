/*
 * An enclave of 4 pages, to be written as an SGXS stream: code, TCS, SSA frame, data.  RDI is a struct report_request,
 * 16 bytes behind an address that is a multiple of 64; it answers with a REPORT that has the data it was asked for.
 */
	.text
	.globl _start
_start:
	mov %rcx, %r8			/* where to EEXIT to */
	mov %rdi, %r9
	mov %rdi, %rsi
	lea _start + 0x3000(%rip), %rdi
	mov $576, %ecx			/* TARGETINFO and 64 bytes of data */
	rep movsb
	lea _start + 0x3000(%rip), %rbx
	lea _start + 0x3200(%rip), %rcx
	lea _start + 0x3400(%rip), %rdx
	xor %eax, %eax			/* EREPORT */
	.byte 0x0f, 0x01, 0xd7
	mov %rdx, %rsi
	lea 576(%r9), %rdi
	mov $432, %ecx
	rep movsb
	mov %r8, %rbx
	mov $4, %eax			/* EEXIT */
	.byte 0x0f, 0x01, 0xd7
	.section .note.GNU-stack, "", @progbits
