/* Loads an enclave: ECREATE, EADD and EEXTEND of an ELF file's segments, EINIT with the SIGSTRUCT next to it. */
#include "core.h"

#include <asm/sgx.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PT_TCS 0x100ul
#define PT_REG 0x200ul
#define PROVISIONKEY 0x10

#define SIGSTRUCT_SIZE 1808

/* The note that `enclu build` puts into an image. */
struct note {
	uint32_t name_size, size, type;
	char name[8];			/* "enclu" */
	uint64_t heap_pages;		/* read-write pages after the image, not measured */
	uint64_t spare_pages;		/* addresses after the heap, mapped, without pages */
	uint64_t attributes, xfrm;
	uint32_t miscselect, ssa_frame_size;
} __attribute__((packed));

struct secs {
	uint64_t size, base;
	uint32_t ssa_frame_size, miscselect;
	uint8_t reserved1[24];
	uint64_t attributes, xfrm;
	uint8_t reserved2[4096 - 64];
} __attribute__((aligned(4096)));

struct secinfo {
	uint64_t flags, reserved[7];
} __attribute__((aligned(64)));

/* A file's content, page-aligned. */
static int read_file(const char *path, uint8_t **content, size_t *size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), error = 0;
	struct stat status;

	if (fd < 0)
		return errno;
	if (fstat(fd, &status))
		error = errno;
	else {
		*size = status.st_size;
		*content = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0);
		error = *content == MAP_FAILED ? errno : 0;
	}
	close(fd);
	return error;
}

/* Addresses for ELRANGE, aligned to its size. */
static uint8_t *reserve(uint64_t size)
{
	uint8_t *area = mmap(NULL, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), *base;

	if (area == MAP_FAILED)
		return NULL;
	base = (uint8_t *)(((uint64_t)area + size - 1) & -size);
	if (base != area)
		munmap(area, base - area);
	munmap(base + size, area + size - base);
	return base;
}

static int add(const struct sgx_enclave *enclave, uint64_t offset, const uint8_t *source, uint64_t length, uint64_t flags,
	       bool measured)
{
	struct secinfo secinfo = { .flags = flags };
	struct sgx_enclave_add_pages arguments = { .src = (uint64_t)source, .offset = offset, .length = length,
		.secinfo = (uint64_t)&secinfo, .flags = measured ? SGX_PAGE_MEASURE : 0 };

	return length && ioctl(enclave->fd, SGX_IOC_ENCLAVE_ADD_PAGES, &arguments) ? errno : 0;
}

static int map(const struct sgx_enclave *enclave, uint64_t start, uint64_t end, int prot)
{
	if (start == end)
		return 0;
	return mmap(enclave->base + start, end - start, prot, MAP_SHARED | MAP_FIXED, enclave->fd, 0) == MAP_FAILED ? errno : 0;
}

/* A segment without permissions holds TCSes. */
static int add_segment(struct sgx_enclave *enclave, const uint8_t *image, const Elf64_Phdr *p)
{
	uint64_t length = (p->p_memsz + SGX_PAGE - 1) & -SGX_PAGE;
	uint64_t rights = (p->p_flags & PF_R ? 1 : 0) | (p->p_flags & PF_W ? 2 : 0) | (p->p_flags & PF_X ? 4 : 0);
	int prot = rights ? (p->p_flags & PF_W ? PROT_READ | PROT_WRITE : PROT_READ | PROT_EXEC) : PROT_READ | PROT_WRITE;
	uint8_t *pages = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int error;

	if (pages == MAP_FAILED)
		return errno;
	memcpy(pages, image + p->p_offset, p->p_filesz);
	error = add(enclave, p->p_vaddr, pages, length, rights ? PT_REG | rights : PT_TCS, true);
	munmap(pages, length);
	if (p->p_flags & PF_X)
		enclave->text = p->p_vaddr;
	else if (p->p_flags & PF_W)
		enclave->data = p->p_vaddr;
	return error ? error : map(enclave, p->p_vaddr, p->p_vaddr + length, prot);
}

static int create(struct sgx_enclave *enclave, const uint8_t *sigstruct)
{
	struct secs secs = { .size = enclave->size, .base = (uint64_t)enclave->base, .ssa_frame_size = 1 };
	struct sgx_enclave_create arguments = { .src = (uint64_t)&secs };

	/* As the signer has it. */
	memcpy(&secs.miscselect, sigstruct + 900, 4);
	memcpy(&secs.attributes, sigstruct + 928, 8);
	memcpy(&secs.xfrm, sigstruct + 936, 8);
	return ioctl(enclave->fd, SGX_IOC_ENCLAVE_CREATE, &arguments) ? errno : 0;
}

static const struct note *find_note(const uint8_t *image, const Elf64_Ehdr *header, const Elf64_Phdr *segments)
{
	for (int i = 0; i < header->e_phnum; i++) {
		const struct note *note = (void *)(image + segments[i].p_offset);

		if (segments[i].p_type == PT_NOTE && segments[i].p_filesz >= sizeof(*note) && !strcmp(note->name, "enclu"))
			return note;
	}
	return NULL;
}

static int allow_provision_key(const struct sgx_enclave *enclave)
{
	int fd = open("/dev/sgx_provision", O_RDONLY | O_CLOEXEC), error = 0;
	struct sgx_enclave_provision arguments = { .fd = fd };

	if (fd < 0)
		return errno;
	if (ioctl(enclave->fd, SGX_IOC_ENCLAVE_PROVISION, &arguments))
		error = errno;
	close(fd);
	return error;
}

static int fill(struct sgx_enclave *enclave, const uint8_t *image, const uint8_t *sigstruct)
{
	const Elf64_Ehdr *header = (void *)image;
	const Elf64_Phdr *segments = (void *)(image + header->e_phoff);
	const struct note *note = find_note(image, header, segments);
	struct sgx_enclave_init init = { .sigstruct = (uint64_t)sigstruct };
	uint64_t heap, end = 0;
	uint8_t *zeros;
	int error;

	if (!note)
		return ENOEXEC;
	heap = note->heap_pages * SGX_PAGE;
	for (int i = 0; i < header->e_phnum; i++)
		if (segments[i].p_type == PT_LOAD)
			end = (segments[i].p_vaddr + segments[i].p_memsz + SGX_PAGE - 1) & -SGX_PAGE;
	enclave->heap = end;
	enclave->spare = end + heap;
	enclave->spare_pages = note->spare_pages;
	end = enclave->spare + enclave->spare_pages * SGX_PAGE;
	for (enclave->size = SGX_PAGE; enclave->size < end;)
		enclave->size *= 2;
	enclave->base = reserve(enclave->size);
	if (!enclave->base)
		return ENOMEM;
	error = create(enclave, sigstruct);
	if (!error && note->attributes & PROVISIONKEY)
		error = allow_provision_key(enclave);
	for (int i = 0; !error && i < header->e_phnum; i++)
		if (segments[i].p_type == PT_LOAD)
			error = add_segment(enclave, image, &segments[i]);
	if (!error && heap) {
		zeros = mmap(NULL, heap, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		error = zeros == MAP_FAILED ? errno : add(enclave, enclave->heap, zeros, heap, PT_REG | 3, false);
		munmap(zeros, heap);
	}
	if (!error)
		error = map(enclave, enclave->heap, end, PROT_READ | PROT_WRITE);
	if (!error && ioctl(enclave->fd, SGX_IOC_ENCLAVE_INIT, &init))
		error = errno;
	return error;
}

int enclave_load(struct sgx_enclave *enclave, const char *path)
{
	uint8_t *image, *signature;
	size_t image_size, signature_size;
	char beside[4096];
	int error;

	memset(enclave, 0, sizeof(*enclave));
	enclave->fd = open("/dev/sgx_enclave", O_RDWR | O_CLOEXEC);
	if (enclave->fd < 0)
		return errno;
	snprintf(beside, sizeof(beside), "%s.sig", path);
	error = read_file(path, &image, &image_size);
	if (!error) {
		error = read_file(beside, &signature, &signature_size);
		if (!error) {
			error = signature_size == SIGSTRUCT_SIZE ? fill(enclave, image, signature) : ENOEXEC;
			munmap(signature, signature_size);
		}
		munmap(image, image_size);
	}
	if (error)
		enclave_unload(enclave);
	return error;
}

void enclave_unload(struct sgx_enclave *enclave)
{
	if (enclave->base)
		munmap(enclave->base, enclave->size);
	close(enclave->fd);
}
