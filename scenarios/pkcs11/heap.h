/* The enclave's heap: the addresses behind its image, whose pages are added when they are first used. */
#ifndef SCENARIOS_PKCS11_HEAP_H
#define SCENARIOS_PKCS11_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

bool in_heap(uint64_t address);
uint64_t heap_end(void);

/* A page, for good; NULL if there is none left. */
void *new_page(void);

#endif
