/* The part in C of what such enclaves have in common. */
#include "protocol.h"

struct trusted_thread *trusted_thread(void)
{
	struct trusted_thread *self;

	__asm__("mov %%fs:0, %0" : "=r"(self));
	return self;
}

struct ssa_gpr *interrupted(void)
{
	return (struct ssa_gpr *)(trusted_thread()->ssa + SGX_PAGE) - 1;
}

void *sgx_ocalloc(size_t size)
{
	struct ssa_gpr *frame = interrupted();
	uint64_t top = (frame->ursp - size) & -16ul;

	for (uint64_t page = (frame->ursp - 1) & -SGX_PAGE; page >= (top & -SGX_PAGE); page -= SGX_PAGE)
		*(volatile uint8_t *)page = 0;
	frame->ursp = top;
	return (void *)top;
}

uint32_t make_ocall(uint32_t number, void *ms)
{
	struct trusted_thread *self = trusted_thread();
	uint32_t outer = self->ocall, status;

	self->ocall = number + 1;
	status = sgx_ocall(number, ms);
	self->ocall = outer;
	return status;
}

struct context *keep_interrupted(const struct ssa_gpr *saved)
{
	struct context *context = (struct context *)(saved->rsp - RED_ZONE) - 1;

	*context = (struct context){
		saved->r15, saved->r14, saved->r13, saved->r12, saved->r11, saved->r10, saved->r9, saved->r8, saved->rdi,
		saved->rsi, saved->rbp, saved->rbx, saved->rdx, saved->rcx, saved->rax, saved->rflags, saved->rip,
	};
	return context;
}

void run_when_resumed(struct ssa_gpr *saved, void (*handler)(struct context *context, uint32_t vector))
{
	struct context *context = keep_interrupted(saved);

	saved->rip = (uint64_t)handler;
	saved->rdi = (uint64_t)context;
	saved->rsi = saved->exitinfo & EXITINFO_VECTOR;
	saved->rsp = (((uint64_t)context - 256) & -16ul) - 8;
}
