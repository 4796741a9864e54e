/* Finding a function of the vDSO: its ELF file is in memory, where the auxiliary vector says. */
#include "conform.h"

enum { PT_LOAD = 1, PT_DYNAMIC = 2, DT_STRTAB = 5, DT_SYMTAB = 6, DT_HASH = 4, DT_GNU_HASH = 0x6ffffef5 };

struct elf_header {
	uint8_t ident[16];
	uint16_t type, machine;
	uint32_t version;
	uint64_t entry, phoff, shoff;
	uint32_t flags;
	uint16_t ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};

struct program_header {
	uint32_t type, flags;
	uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

struct symbol {
	uint32_t name;
	uint8_t info, other;
	uint16_t shndx;
	uint64_t value, size;
};

static uint64_t image;

void environment_at(uint64_t *environment)
{
	while (*environment)
		environment++;
	for (uint64_t *pair = environment + 1; pair[0] != AT_NULL; pair += 2)
		if (pair[0] == AT_SYSINFO_EHDR)
			image = pair[1];
}

uint64_t vdso_function(const char *name)
{
	const struct elf_header *header = (const void *)image;
	const struct program_header *segments = (const void *)(image + header->phoff);
	const uint64_t *dynamic = NULL;
	uint64_t load = 0, strings = 0, symbols = 0;

	if (!image)
		return 0;
	for (unsigned int i = 0; i < header->phnum; i++) {
		if (segments[i].type == PT_LOAD && !load)
			load = image + segments[i].offset - segments[i].vaddr;
		if (segments[i].type == PT_DYNAMIC)
			dynamic = (const void *)(image + segments[i].offset);
	}
	for (; dynamic && dynamic[0]; dynamic += 2) {
		if (dynamic[0] == DT_STRTAB)
			strings = load + dynamic[1];
		if (dynamic[0] == DT_SYMTAB)
			symbols = load + dynamic[1];
	}
	/* The vDSO's strings are right behind its symbols: that is where these end (binutils' order; image.lds's, too). */
	for (const struct symbol *s = (const void *)symbols; symbols && (uint64_t)s < strings; s++)
		if (s->shndx && same_text((const char *)strings + s->name, name))
			return load + s->value;
	return 0;
}
