/* What a virtual machine does with SIGSEGV, as far as it matters here. */
#ifndef VM_H
#define VM_H

#include <stdint.h>

struct object {
	uint64_t header, field;
};

/* Installs the handler for SIGSEGV, SIGBUS, SIGILL and SIGFPE; generates code; has a heap and a polling page. */
void vm_start(void);

/* Generated code: object->field, without a test for null.  0 and *thrown = 1: NullPointerException. */
uint64_t vm_field(const struct object *object, int *thrown);

/* Generated code: object->field = value, past the write barrier, then a safepoint poll. */
void vm_set_field(struct object *object, uint64_t value);

struct object *vm_new(void);

/* Protects the heap, as a collection that begins does. */
void vm_arm_barrier(void);
/* Lifts the barrier if the address is behind it: from the handler, and for code that takes faults in another way. */
int vm_lift_barrier(uint64_t address);
/* The next poll of any thread stops there once. */
void vm_arm_poll(void);

extern _Atomic unsigned int vm_null_checks, vm_barriers, vm_polls;

#endif
