#include "enclave.h"

#include "../../src/enclu/include/enclu_sgx.h"

#include <elf.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdarg.h>
#include <sys/auxv.h>
#include <sys/socket.h>

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

#define ATTRIBUTES_MODE64 4

static void fail(const char *what)
{
	printf("Bail out! %s: %s\n", what, strerror(errno));
	exit(99);
}

/* SIGSTRUCT and measurement (SDM, "SIGSTRUCT", "Measurement of the enclave") */

static EVP_PKEY *signing_key(void)
{
	const char *path = getenv("ENCLU_TEST_KEY");
	FILE *file = path ? fopen(path, "r") : NULL;
	EVP_PKEY *key = NULL;
	EVP_PKEY_CTX *context;
	BIGNUM *exponent;

	if (file) {
		key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
		fclose(file);
		return key;
	}
	context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	exponent = BN_new();
	BN_set_word(exponent, 3);
	EVP_PKEY_keygen_init(context);
	EVP_PKEY_CTX_set_rsa_keygen_bits(context, 3072);
	EVP_PKEY_CTX_set1_rsa_keygen_pubexp(context, exponent);
	EVP_PKEY_generate(context, &key);
	BN_free(exponent);
	EVP_PKEY_CTX_free(context);
	return key;
}

static void put32(uint8_t *at, uint32_t value) { memcpy(at, &value, 4); }
static void put64(uint8_t *at, uint64_t value) { memcpy(at, &value, 8); }

static void sign(struct enclave *enclave, const struct enclave_options *options, uint64_t xfrm)
{
	static const uint8_t header[] = { 6, 0, 0, 0, 0xe1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0 };
	static const uint8_t header2[] = { 1, 1, 0, 0, 0x60, 0, 0, 0, 0x60, 0, 0, 0, 1, 0, 0, 0 };
	uint8_t *s = enclave->sigstruct, message[256], signature[384];
	size_t size = sizeof(signature);
	EVP_PKEY *key = signing_key();
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	BN_CTX *numbers = BN_CTX_new();
	BIGNUM *n = NULL, *sig, *square = BN_new(), *q1 = BN_new(), *r = BN_new(), *q2 = BN_new();

	memset(s, 0, sizeof(enclave->sigstruct));
	memcpy(s, header, 16);
	put32(s + 20, 0x20240101);
	memcpy(s + 24, header2, 16);
	put32(s + 512, 3);
	put32(s + 900, options->miscselect);
	put32(s + 904, 0xffffffff);
	put64(s + 928, ATTRIBUTES_MODE64 | options->attributes);
	put64(s + 936, xfrm);
	put64(s + 944, ~0ull);
	put64(s + 952, ~0ull);
	memcpy(s + 960, enclave->mrenclave, 32);
	put32(s + 1024, 1u | 1u << 16); /* ISVPRODID, ISVSVN */

	memcpy(message, s, 128);
	memcpy(message + 128, s + 900, 128);
	if (!key || EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key) != 1 ||
	    EVP_DigestSign(context, signature, &size, message, sizeof(message)) != 1 || size != 384)
		fail("signing");
	EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &n);
	sig = BN_bin2bn(signature, 384, NULL);
	BN_sqr(square, sig, numbers);
	BN_div(q1, r, square, n, numbers);
	BN_mul(square, r, sig, numbers);
	BN_div(q2, NULL, square, n, numbers);
	if (BN_bn2lebinpad(n, s + 128, 384) < 0 || BN_bn2lebinpad(sig, s + 516, 384) < 0 ||
	    BN_bn2lebinpad(q1, s + 1040, 384) < 0 || BN_bn2lebinpad(q2, s + 1424, 384) < 0)
		fail("numbers of the SIGSTRUCT");
	BN_free(n), BN_free(sig), BN_free(square), BN_free(q1), BN_free(r), BN_free(q2);
	BN_CTX_free(numbers);
	EVP_MD_CTX_free(context);
	EVP_PKEY_free(key);
}

static void measure(EVP_MD_CTX *context, const char *tag, uint64_t first, uint64_t second, const uint8_t *chunk)
{
	uint8_t block[64] = { 0 };

	memcpy(block, tag, strlen(tag));
	if (!strcmp(tag, "ECREATE")) {
		put32(block + 8, first);
		put64(block + 12, second);
	} else {
		put64(block + 8, first);
		put64(block + 16, second);
	}
	EVP_DigestUpdate(context, block, 64);
	if (chunk)
		EVP_DigestUpdate(context, chunk, 256);
}

static void add(struct enclave *enclave, EVP_MD_CTX *context, uint64_t offset, const uint8_t *source, uint64_t length,
		uint64_t flags, bool measured)
{
	struct secinfo secinfo = { .flags = flags };
	struct sgx_enclave_add_pages arguments = { .src = (uint64_t)source, .offset = offset, .length = length,
		.secinfo = (uint64_t)&secinfo, .flags = measured ? SGX_PAGE_MEASURE : 0 };

	offset = arguments.offset += enclave->place;
	if (enclave->singly)
		arguments.length = PAGE;
	for (uint64_t done = 0; done < length; done += arguments.length) {
		arguments.offset = offset + done;
		arguments.src = (uint64_t)source + done;
		arguments.count = 0;
		if (ioctl(enclave->fd, SGX_IOC_ENCLAVE_ADD_PAGES, &arguments) || arguments.count != arguments.length)
			fail("SGX_IOC_ENCLAVE_ADD_PAGES");
	}
	for (uint64_t page = 0; page < length; page += PAGE) {
		measure(context, "EADD", offset + page, flags, NULL);
		for (uint64_t i = 0; measured && i < PAGE; i += 256)
			measure(context, "EEXTEND", offset + page + i, 0, source + page + i);
	}
}

static uint8_t *read_image(void)
{
	const char *path = getenv("ENCLU_TEST_ENCLAVE");
	FILE *file = fopen(path ? path : "enclave.elf", "rb");
	uint8_t *image = malloc(1 << 20);

	if (!file || !image || !fread(image, 1, 1 << 20, file))
		fail("reading the enclave (ENCLU_TEST_ENCLAVE)");
	fclose(file);
	return image;
}

static uint8_t *reserve(uint64_t size)
{
	uint8_t *area = mmap(NULL, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *base;

	if (area == MAP_FAILED)
		fail("reserving addresses");
	base = (uint8_t *)(((uint64_t)area + size - 1) & -size);
	if (base != area)
		munmap(area, base - area);
	munmap(base + size, area + size - base);
	return base;
}

static void map(const struct enclave *enclave, uint64_t start, uint64_t end, int prot)
{
	if (start != end && mmap(enclave->base + start, end - start, prot, MAP_SHARED | MAP_FIXED, enclave->fd, 0) == MAP_FAILED)
		fail("mapping the enclave");
}

void enclave_map(const struct enclave *enclave)
{
	map(enclave, 0, enclave->text, PROT_READ | PROT_WRITE);
	map(enclave, enclave->text, enclave->data, PROT_READ | PROT_EXEC);
	map(enclave, enclave->data, enclave->heap, PROT_READ | PROT_WRITE);
}

int enclave_access(const struct enclave *enclave, const void *address, void *buffer, uint64_t length, uint64_t flags)
{
	struct enclu_sgx_debug_access access = { (uint64_t)address, (uint64_t)buffer, length, flags, 0 };

	return ioctl(enclave->fd, ENCLU_SGX_IOC_DEBUG_ACCESS, &access) ? errno : 0;
}

int enclave_init(struct enclave *enclave)
{
	struct sgx_enclave_init arguments = { .sigstruct = (uint64_t)enclave->sigstruct };

	return ioctl(enclave->fd, SGX_IOC_ENCLAVE_INIT, &arguments);
}

void enclave_load(struct enclave *enclave, const struct enclave_options *options)
{
	static const struct enclave_options defaults;
	struct secs secs;
	struct sgx_enclave_create create = { .src = (uint64_t)&secs };
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	uint8_t *image = read_image();
	Elf64_Ehdr *header = (void *)image;
	Elf64_Phdr *segments = (void *)(image + header->e_phoff);
	uint64_t end = 0;

	options = options ? options : &defaults;
	memset(enclave, 0, sizeof(*enclave));
	for (int i = 0; i < header->e_phnum; i++)
		if (segments[i].p_type == PT_LOAD)
			end = (segments[i].p_vaddr + segments[i].p_memsz + PAGE - 1) & -PAGE;
	enclave->heap = end;
	enclave->singly = options->singly;
	enclave->spare = end += options->heap_pages * PAGE;
	end += options->spare_pages * PAGE;
	for (enclave->size = PAGE; enclave->size < end;)
		enclave->size *= 2;
	if (options->elrange_size) {
		enclave->size = options->elrange_size;
		enclave->place = options->place;
		enclave->base = mmap((void *)(options->elrange_base + options->place), end, PROT_NONE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
		if (enclave->base == MAP_FAILED)
			fail("reserving addresses");
	} else {
		enclave->base = reserve(enclave->size);
	}
	enclave->fd = open("/dev/sgx_enclave", O_RDWR | O_CLOEXEC);
	if (enclave->fd < 0)
		fail("/dev/sgx_enclave");

	memset(&secs, 0, sizeof(secs));
	secs.size = enclave->size;
	secs.base = (uint64_t)enclave->base - enclave->place;
	secs.ssa_frame_size = 1;
	secs.miscselect = options->miscselect;
	secs.attributes = ATTRIBUTES_MODE64 | options->attributes;
	secs.xfrm = options->xfrm ? options->xfrm : 3;
	if (ioctl(enclave->fd, SGX_IOC_ENCLAVE_CREATE, &create))
		fail("SGX_IOC_ENCLAVE_CREATE");
	EVP_DigestInit_ex(context, EVP_sha256(), NULL);
	measure(context, "ECREATE", 1, enclave->size, NULL);

	for (int i = 0; i < header->e_phnum; i++) {
		Elf64_Phdr *p = &segments[i];
		uint64_t length = (p->p_memsz + PAGE - 1) & -PAGE;
		uint64_t rights = (p->p_flags & PF_R ? 1 : 0) | (p->p_flags & PF_W ? 2 : 0) | (p->p_flags & PF_X ? 4 : 0);
		uint8_t *pages;

		if (p->p_type != PT_LOAD)
			continue;
		pages = aligned_alloc(PAGE, length);
		memset(pages, 0, length);
		memcpy(pages, image + p->p_offset, p->p_filesz);
		for (uint64_t tcs = 0; !rights && tcs < length; tcs += PAGE) {
			*(uint64_t *)(pages + tcs + 8) = options->tcs_flags;
			*(uint64_t *)(pages + tcs + 16) += enclave->place; /* OSSA */
			*(uint64_t *)(pages + tcs + 32) += enclave->place; /* OENTRY */
		}
		add(enclave, context, p->p_vaddr, pages, length, rights ? PT_REG_FLAGS | rights : PT_TCS_FLAGS, true);
		free(pages);
		if (p->p_flags & PF_X)
			enclave->text = p->p_vaddr;
		else if (p->p_flags & PF_W)
			enclave->data = p->p_vaddr;
	}
	if (options->heap_pages) {
		uint8_t *zeros = mmap(NULL, options->heap_pages * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		add(enclave, context, enclave->heap, zeros, options->heap_pages * PAGE, PT_REG_FLAGS | 3, false);
		munmap(zeros, options->heap_pages * PAGE);
	}
	EVP_DigestFinal_ex(context, enclave->mrenclave, NULL);
	EVP_MD_CTX_free(context);
	free(image);
	sign(enclave, options, secs.xfrm);
	if (!options->no_init && enclave_init(enclave))
		fail("SGX_IOC_ENCLAVE_INIT");
	if (options->no_map)
		return;
	enclave_map(enclave);
	map(enclave, enclave->heap, end, PROT_READ | PROT_WRITE);
}

void enclave_unload(struct enclave *enclave)
{
	munmap(enclave->base, enclave->size);
	close(enclave->fd);
}

/* The vDSO */

void *vdso_symbol(const char *name)
{
	uint8_t *base = (uint8_t *)getauxval(AT_SYSINFO_EHDR);
	Elf64_Ehdr *header = (void *)base;
	Elf64_Phdr *segments = (void *)(base + header->e_phoff);
	Elf64_Dyn *dynamic = NULL;
	Elf64_Sym *symbols = NULL;
	const char *strings = NULL;
	Elf64_Word *hash = NULL;
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

const char *delivery(void)
{
	static struct enclu_sgx_delivery answer;
	int fd;

	if (answer.name[0])
		return answer.name;
	fd = open("/dev/sgx_enclave", O_RDWR | O_CLOEXEC);
	/* Hardware and its kernel know no such question: Linux 5.11 and later. */
	if (fd < 0 || ioctl(fd, ENCLU_SGX_IOC_GET_DELIVERY, &answer))
		strcpy(answer.name, "vdso");
	close(fd);
	return answer.name;
}

void (*before_vdso_call)(void);

int vdso_call(uint64_t rdi, uint64_t rsi, uint64_t rdx, unsigned int leaf, uint64_t r8, uint64_t r9,
	      struct sgx_enclave_run *run, void *function);

int vdso_enter(void *tcs, struct request *request, unsigned int leaf, struct sgx_enclave_run *run)
{
	static void *function;

	if (!function)
		function = vdso_symbol("__vdso_sgx_enter_enclave");
	if (!function) {
		errno = ENOSYS;
		fail("__vdso_sgx_enter_enclave");
	}
	memset(run, 0, sizeof(*run));
	run->tcs = (uint64_t)tcs;
	if (before_vdso_call)
		before_vdso_call();
	return vdso_call((uint64_t)request, 0, 0, leaf, 0, 0, run, function);
}

int enclave_call(void *tcs, struct request *request, struct sgx_enclave_run *run)
{
	struct sgx_enclave_run mine;
	struct raw_fault fault;

	/* Designs without the vDSO's function, or with another: raw ENCLU, good for requests that do not fault. */
	if (strcmp(delivery(), "vdso"))
		return raw_enter_count(EENTER, tcs, request, &fault);
	return vdso_enter(tcs, request, EENTER, run ? run : &mine);
}

void at_each_tcs(void *(*work)(void *index))
{
	pthread_t threads[TEST_TCS_COUNT];

	for (uint64_t i = 0; i < TEST_TCS_COUNT; i++)
		pthread_create(&threads[i], NULL, work, (void *)i);
	for (int i = 0; i < TEST_TCS_COUNT; i++)
		pthread_join(threads[i], NULL);
}

/* TAP */

static int tests, failures;

bool ok(bool condition, const char *format, ...)
{
	va_list arguments;

	tests++;
	failures += !condition;
	printf("%sok %d ", condition ? "" : "not ", tests);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	printf("\n");
	fflush(stdout);
	return condition;
}

int done(void)
{
	printf("1..%d\n", tests);
	fflush(stdout);
	return tests == 0 || failures != 0;
}

void handle(int signo, void (*handler)(int, siginfo_t *, void *))
{
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_NODEFER };

	if (sigaction(signo, &action, NULL))
		fail("sigaction");
}

void send_descriptor(int socket, int fd)
{
	union { struct cmsghdr header; char room[CMSG_SPACE(sizeof(int))]; } control = { 0 };
	struct iovec byte = { .iov_base = "x", .iov_len = 1 };
	struct msghdr message = { .msg_iov = &byte, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };

	control.header = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
	memcpy(CMSG_DATA(&control.header), &fd, sizeof(int));
	sendmsg(socket, &message, 0);
}

int receive_descriptor(int socket)
{
	union { struct cmsghdr header; char room[CMSG_SPACE(sizeof(int))]; } control;
	char byte;
	struct iovec vector = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
	int fd = -1;

	if (recvmsg(socket, &message, 0) == 1 && message.msg_controllen)
		memcpy(&fd, CMSG_DATA(&control.header), sizeof(int));
	return fd;
}
