/* Looks up functions of the vDSO. */
#include "core.h"

#include <elf.h>
#include <string.h>
#include <sys/auxv.h>

void *vdso_symbol(const char *name)
{
	uint8_t *base = (uint8_t *)getauxval(AT_SYSINFO_EHDR);
	const Elf64_Ehdr *header = (void *)base;
	const Elf64_Phdr *segments = (void *)(base + header->e_phoff);
	const Elf64_Dyn *dynamic = NULL;
	const Elf64_Sym *symbols = NULL;
	const Elf64_Word *hash = NULL;
	const char *strings = NULL;
	uint64_t bias = 0;

	for (int i = 0; i < header->e_phnum; i++) {
		if (segments[i].p_type == PT_LOAD)
			bias = (uint64_t)base + segments[i].p_offset - segments[i].p_vaddr;
		if (segments[i].p_type == PT_DYNAMIC)
			dynamic = (void *)(base + segments[i].p_offset);
	}
	for (; dynamic && dynamic->d_tag; dynamic++) {
		if (dynamic->d_tag == DT_SYMTAB)
			symbols = (void *)(bias + dynamic->d_un.d_ptr);
		if (dynamic->d_tag == DT_STRTAB)
			strings = (void *)(bias + dynamic->d_un.d_ptr);
		if (dynamic->d_tag == DT_HASH)
			hash = (void *)(bias + dynamic->d_un.d_ptr);
	}
	for (Elf64_Word i = 0; hash && i < hash[1]; i++)
		if (symbols[i].st_shndx && !strcmp(strings + symbols[i].st_name, name))
			return (void *)(bias + symbols[i].st_value);
	return NULL;
}
