/* The ioctls that change the pages of an initialised enclave. */
#include "conform.h"

enum number { RESTRICT, MODIFY, REMOVE };
static const uint32_t commands[] = { SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, SGX_IOC_ENCLAVE_MODIFY_TYPES, SGX_IOC_ENCLAVE_REMOVE_PAGES };
/* offset, length, then permissions or type, result and count; REMOVE_PAGES: count only. */
static long change(enum number number, uint64_t fields[5])
{
	uint64_t argument[5] = { fields[0], fields[1], fields[2], fields[3], fields[4] };
	long result;

	if (number == REMOVE)
		argument[2] = fields[4];
	result = call3(SYS_IOCTL, enclave.fd, commands[number], (long)argument);
	if (result == -ENOTTY || result == -ENODEV)
		unsupported("the kernel has no ioctls of SGX2 (Linux 6.0 has)");
	if (number == REMOVE)
		fields[4] = argument[2];
	else
		copy(fields, argument, sizeof(argument));
	return result;
}

static const uint64_t change_to[] = { R, PT_TRIM, 0 };

static void say_changed(enum number number, uint64_t fields[5])
{
	long result = change(number, fields);

	say("%e, count %x", result, fields[4]);
	if (number != REMOVE)
		say(", result %x", fields[3]);
}

/* a: which; b: the field that is c instead; d: the enclave's state. */
static void wrong_field(const struct claim *claim)
{
	uint64_t fields[5] = { PAGE_RW, PAGE, change_to[claim->a], 0, 0 };

	need_sgx2();
	load((struct options){ .state = claim->d });
	if (claim->b < 5)
		fields[claim->b] = claim->c;
	say("%e", change((enum number)claim->a, fields));
}

static void wrong_pointer(const struct claim *claim)
{
	need_sgx2();
	load((struct options){ 0 });
	change(RESTRICT, (uint64_t[5]){ PAGE_RW, PAGE, R | W, 0, 0 }); /* unsupported otherwise */
	say("%e", call3(SYS_IOCTL, enclave.fd, commands[claim->a], NOWHERE));
}

/* a: which; b: offset; c: length; d: permissions or type. */
static void changed(const struct claim *claim)
{
	uint64_t fields[5] = { claim->b, claim->c, claim->d, 0, 0 };

	need_sgx2();
	load((struct options){ 0 });
	say_changed((enum number)claim->a, fields);
}

/* The same, of a page that the kernel has added by EAUG and that nobody has accepted. */
static void changed_pending(const struct claim *claim)
{
	struct request request = { 0 };
	uint64_t fields[5] = { HOLE, PAGE, claim->b, 0, 0 };

	need_sgx2();
	load((struct options){ 0 });
	request.in.rbx = place(HOLE);
	run_code(AT_read, &request);
	say_changed((enum number)claim->a, fields);
}

/* a: which, of a page that was trimmed (b: and accepted) before. */
static void changed_trimmed(const struct claim *claim)
{
	uint64_t fields[5] = { PAGE_RW, PAGE, claim->c, 0, 0 };

	need_sgx2();
	load((struct options){ 0 });
	if (modify(PAGE_RW, PT_TRIM))
		broken("SGX_IOC_ENCLAVE_MODIFY_TYPES");
	if (claim->b)
		accept(PAGE_RW, TRIM | MODIFIED);
	say_changed((enum number)claim->a, fields);
}

static void removed_partly(const struct claim *claim)
{
	uint64_t fields[5] = { PAGE_RW, claim->a * PAGE, PT_TRIM, 0, 0 };

	need_sgx2();
	load((struct options){ 0 });
	if (change(MODIFY, fields))
		broken("SGX_IOC_ENCLAVE_MODIFY_TYPES");
	for (uint64_t i = 0; i < claim->b; i++)
		accept(PAGE_RW + i * PAGE, TRIM | MODIFIED);
	copy(fields, (uint64_t[5]){ PAGE_RW, 4 * PAGE, 0, 0, 0 }, sizeof(fields));
	say_changed(REMOVE, fields);
}

static void changed_twice(const struct claim *claim)
{
	uint64_t fields[5] = { PAGE_RW, PAGE, claim->b, 0, 0 };

	need_sgx2();
	load((struct options){ 0 });
	change((enum number)claim->a, fields);
	copy(fields, (uint64_t[5]){ PAGE_RW, PAGE, claim->c, 0, 0 }, sizeof(fields));
	say_changed((enum number)claim->a, fields);
}

/* What may be mapped after a page has become a TCS. */
static void mapped_as_tcs(const struct claim *claim)
{
	need_sgx2();
	load((struct options){ 0 });
	if (modify(PAGE_RWX, PT_TCS))
		broken("SGX_IOC_ENCLAVE_MODIFY_TYPES");
	say("%e", call3(SYS_MPROTECT, (long)place(PAGE_RWX), PAGE, (long)claim->a));
}

static void nowhere_in_state(const struct claim *claim)
{
	need_sgx2();
	load((struct options){ .state = claim->b });
	say("%e", call3(SYS_IOCTL, enclave.fd, commands[claim->a], NOWHERE));
}

/* a: which; b: offset; d: permissions or type.  The argument cannot be written back; c: what EACCEPT is then told, if that. */
static void read_only_argument(const struct claim *claim)
{
	struct sgx_enclave_modify_types *argument = (struct sgx_enclave_modify_types *)memory;

	need_sgx2();
	load((struct options){ 0 });
	change(RESTRICT, (uint64_t[5]){ PAGE_R, PAGE, R, 0, 0 }); /* unsupported otherwise */
	*argument = (struct sgx_enclave_modify_types){ .offset = claim->b, .length = PAGE,
		.page_type = claim->a == REMOVE ? 0 : claim->d };
	if (call3(SYS_MPROTECT, (long)memory, PAGE, PROT_READ))
		broken("mprotect");
	say("%e", call3(SYS_IOCTL, enclave.fd, commands[claim->a], (long)argument));
	if (claim->c)
		say(", EACCEPT %x", accept(claim->b, claim->c));
}

/* A page that EAUG has added is accepted, trimmed and accepted; no page is behind it. */
static void removed_up_to_none(const struct claim *claim)
{
	uint64_t fields[5] = { HOLE, 2 * PAGE, 0, 0, 0 };

	(void)claim;
	need_sgx2();
	load((struct options){ 0 });
	accept(HOLE, REG | R | W | PENDING);
	if (modify(HOLE, PT_TRIM))
		broken("SGX_IOC_ENCLAVE_MODIFY_TYPES");
	accept(HOLE, TRIM | MODIFIED);
	say_changed(REMOVE, fields);
}

enum made { RESTRICTED, REMOVED, AUGMENTED };

/* mprotect(2) to b of a page that has become what a says. */
static void protected_as(const struct claim *claim)
{
	uint64_t offset = PAGE_RW;
	struct request request = { 0 };
	long result = 0;

	need_sgx2();
	load((struct options){ 0 });
	switch ((enum made)claim->a) {
	case RESTRICTED:
		result = restrict_to(PAGE_RW, R);
		break;
	case REMOVED:
		result = modify(PAGE_RW, PT_TRIM);
		accept(PAGE_RW, TRIM | MODIFIED);
		result |= remove_page(PAGE_RW);
		break;
	case AUGMENTED:
		offset = HOLE;
		request.in.rbx = place(HOLE);
		run_code(AT_read, &request);
		break;
	}
	if (result)
		broken("an ioctl: %e", result);
	say("%e", call3(SYS_MPROTECT, (long)place(offset), PAGE, (long)claim->b));
}

#define RANGE_SAYS "Linux sgx_validate_offset_length()"
#define EACH(name, source, expected, field, value, state) \
	{ "RESTRICT_PERMISSIONS: " name, source, expected, wrong_field, RESTRICT, field, value, state }, \
	{ "MODIFY_TYPES: " name, source, expected, wrong_field, MODIFY, field, value, state }, \
	{ "REMOVE_PAGES: " name, source, expected, wrong_field, REMOVE, field, value, state }
#define RESTRICT_SAYS "Linux sgx_ioc_enclave_restrict_permissions()"
#define MODIFY_SAYS "Linux sgx_enclave_modify_types()"
#define REMOVE_SAYS "Linux sgx_encl_remove_pages()"
static const struct claim claims[] = {
	EACH("before CREATE", "Linux sgx_ioc_sgx2_ready()", "EINVAL", 9, 0, OPENED), EACH("before INIT", "Linux sgx_ioc_sgx2_ready()", "EINVAL", 9, 0, ADDED),
	EACH("offset not of pages", RANGE_SAYS, "EINVAL", 0, PAGE_RW + 8, 0), EACH("offset behind the end", RANGE_SAYS, "EINVAL", 0, ENCLAVE_SIZE, 0),
	EACH("length 0", RANGE_SAYS, "EINVAL", 1, 0, 0), EACH("length not of pages", RANGE_SAYS, "EINVAL", 1, 8, 0),
	EACH("length beyond the end", RANGE_SAYS, "EINVAL", 1, ENCLAVE_SIZE, 0), EACH("count not 0", "Linux sgx_ioc_enclave_*()", "EINVAL", 4, PAGE, 0),
	EACH("where no page is", "Linux sgx_encl_load_page()", "EFAULT", 0, HOLE, 0),
	{ "RESTRICT_PERMISSIONS: before INIT, argument nowhere", "Linux sgx_ioc_sgx2_ready() comes first", "EINVAL", nowhere_in_state, RESTRICT, ADDED, 0, 0 },
	{ "MODIFY_TYPES: before INIT, argument nowhere", "Linux sgx_ioc_sgx2_ready() comes first", "EINVAL", nowhere_in_state, MODIFY, ADDED, 0, 0 },
	{ "REMOVE_PAGES: before INIT, argument nowhere", "Linux sgx_ioc_sgx2_ready() comes first", "EINVAL", nowhere_in_state, REMOVE, ADDED, 0, 0 },
	{ "RESTRICT_PERMISSIONS: an argument that cannot be written back", RESTRICT_SAYS ": copy_to_user() comes last", "EFAULT, EACCEPT 0x0", read_only_argument, RESTRICT, PAGE_RW, REG | PR | R, R },
	{ "MODIFY_TYPES: an argument that cannot be written back", "Linux sgx_ioc_enclave_modify_types(): copy_to_user() comes last", "EFAULT, EACCEPT 0x0", read_only_argument, MODIFY, PAGE_RW, TRIM | MODIFIED, PT_TRIM },
	{ "MODIFY_TYPES: to PT_REG, an argument that cannot be written back", MODIFY_SAYS ": the argument has been taken", "EFAULT", read_only_argument, MODIFY, PAGE_RW, 0, PT_REG },
	{ "MODIFY_TYPES: to type 100H, an argument that cannot be written back", "Linux sgx_ioc_enclave_modify_types(): the argument has not been taken", "EINVAL", read_only_argument, MODIFY, PAGE_RW, 0, 0x100 | PT_TRIM },
	{ "RESTRICT_PERMISSIONS: to W, an argument that cannot be written back", RESTRICT_SAYS ": the argument has not been taken", "EINVAL", read_only_argument, RESTRICT, PAGE_RW, 0, W },
	{ "REMOVE_PAGES: a page that is not trimmed, an argument that cannot be written back", "Linux sgx_ioc_enclave_remove_pages(): the argument has been taken", "EFAULT", read_only_argument, REMOVE, PAGE_RW, 0, 0 },
	{ "RESTRICT_PERMISSIONS: argument nowhere", RESTRICT_SAYS, "EFAULT", wrong_pointer, RESTRICT, 0, 0, 0 },
	{ "MODIFY_TYPES: argument nowhere", "Linux sgx_ioc_enclave_modify_types()", "EFAULT", wrong_pointer, MODIFY, 0, 0, 0 },
	{ "REMOVE_PAGES: argument nowhere", "Linux sgx_ioc_enclave_remove_pages()", "EFAULT", wrong_pointer, REMOVE, 0, 0, 0 },
	{ "RESTRICT_PERMISSIONS: result not 0", RESTRICT_SAYS, "EINVAL", wrong_field, RESTRICT, 3, 1, 0 },
	{ "MODIFY_TYPES: result not 0", "Linux sgx_ioc_enclave_modify_types()", "EINVAL", wrong_field, MODIFY, 3, 1, 0 },
	{ "RESTRICT_PERMISSIONS: to W", RESTRICT_SAYS, "EINVAL", wrong_field, RESTRICT, 2, W, 0 },
	{ "RESTRICT_PERMISSIONS: to WX", RESTRICT_SAYS, "EINVAL", wrong_field, RESTRICT, 2, W | X, 0 },
	{ "RESTRICT_PERMISSIONS: bit 3", RESTRICT_SAYS, "EINVAL", wrong_field, RESTRICT, 2, R | 8, 0 },
	{ "RESTRICT_PERMISSIONS: the last bit", RESTRICT_SAYS, "EINVAL", wrong_field, RESTRICT, 2, 1ull << 63, 0 },
	{ "RESTRICT_PERMISSIONS: to nothing", RESTRICT_SAYS, "0", wrong_field, RESTRICT, 2, 0, 0 },
	{ "RESTRICT_PERMISSIONS: to X", RESTRICT_SAYS, "0", wrong_field, RESTRICT, 2, X, 0 },
	{ "RESTRICT_PERMISSIONS: to more than there is", RESTRICT_SAYS ": ignored", "0", wrong_field, RESTRICT, 2, R | W | X, 0 },
	{ "MODIFY_TYPES: to PT_SECS", MODIFY_SAYS, "EINVAL", wrong_field, MODIFY, 2, PT_SECS, 0 },
	{ "MODIFY_TYPES: to PT_REG", MODIFY_SAYS, "EINVAL", wrong_field, MODIFY, 2, PT_REG, 0 },
	{ "MODIFY_TYPES: to PT_VA", MODIFY_SAYS, "EINVAL", wrong_field, MODIFY, 2, PT_VA, 0 },
	{ "MODIFY_TYPES: to PT_SS_FIRST", MODIFY_SAYS, "EINVAL", wrong_field, MODIFY, 2, 5, 0 },
	{ "MODIFY_TYPES: to type 100H", "Linux sgx_ioc_enclave_modify_types()", "EINVAL", wrong_field, MODIFY, 2, 0x100 | PT_TRIM, 0 },
	{ "RESTRICT_PERMISSIONS: four pages", "Linux sgx_enclave_restrict_permissions()", "0, count 0x4000, result 0x0", changed, RESTRICT, PAGE_RW, 4 * PAGE, R },
	{ "RESTRICT_PERMISSIONS: a TCS", "Linux sgx_enclave_restrict_permissions()", "EINVAL, count 0x0, result 0x0", changed, RESTRICT, TCS0, PAGE, R },
	{ "RESTRICT_PERMISSIONS: twice, without EACCEPT between", "SDM 3D 38.3 EMODPR", "0, count 0x1000, result 0x0", changed_twice, RESTRICT, R, R, 0 },
	{ "RESTRICT_PERMISSIONS: a page that is pending", "SDM 3D 38.3 EMODPR: SGX_PAGE_NOT_MODIFIABLE", "EFAULT, count 0x0, result 0x14", changed_pending, RESTRICT, R, 0, 0 },
	{ "RESTRICT_PERMISSIONS: a page that is trimmed", "Linux sgx_enclave_restrict_permissions()", "EINVAL, count 0x0, result 0x0", changed_trimmed, RESTRICT, 0, R, 0 },
	{ "RESTRICT_PERMISSIONS: up to where no page is", "Linux sgx_enclave_restrict_permissions(): count", "EFAULT, count 0x1000, result 0x0", changed, RESTRICT, PAGE_X, 2 * PAGE, 0 },
	{ "MODIFY_TYPES: four pages to PT_TRIM", MODIFY_SAYS, "0, count 0x4000, result 0x0", changed, MODIFY, PAGE_RW, 4 * PAGE, PT_TRIM },
	{ "MODIFY_TYPES: a page to PT_TCS", MODIFY_SAYS, "0, count 0x1000, result 0x0", changed, MODIFY, PAGE_RW, PAGE, PT_TCS },
	{ "MODIFY_TYPES: a TCS to PT_TRIM", MODIFY_SAYS, "0, count 0x1000, result 0x0", changed, MODIFY, TCS1, PAGE, PT_TRIM },
	{ "MODIFY_TYPES: a TCS to PT_TCS", MODIFY_SAYS, "EINVAL, count 0x0, result 0x0", changed, MODIFY, TCS1, PAGE, PT_TCS },
	{ "MODIFY_TYPES: a page that is only read to PT_TCS", MODIFY_SAYS ": vm_max_prot_bits", "EPERM, count 0x0, result 0x0", changed, MODIFY, PAGE_R, PAGE, PT_TCS },
	{ "MODIFY_TYPES: text to PT_TCS", MODIFY_SAYS ": vm_max_prot_bits", "EPERM, count 0x0, result 0x0", changed, MODIFY, TEXT, PAGE, PT_TCS },
	{ "MODIFY_TYPES: text to PT_TRIM", MODIFY_SAYS, "0, count 0x1000, result 0x0", changed, MODIFY, TEXT, PAGE, PT_TRIM },
	{ "MODIFY_TYPES: to PT_TRIM twice", MODIFY_SAYS ": entry->type", "EINVAL, count 0x0, result 0x0", changed_twice, MODIFY, PT_TRIM, PT_TRIM, 0 },
	{ "MODIFY_TYPES: to PT_TCS, then to PT_TRIM, without EACCEPT between", "SDM 3D 38.3 EMODT: SGX_PAGE_NOT_MODIFIABLE", "EFAULT, count 0x0, result 0x14", changed_twice, MODIFY, PT_TCS, PT_TRIM, 0 },
	{ "MODIFY_TYPES: a page that is pending", "SDM 3D 38.3 EMODT: SGX_PAGE_NOT_MODIFIABLE", "EFAULT, count 0x0, result 0x14", changed_pending, MODIFY, PT_TRIM, 0, 0 },
	{ "MODIFY_TYPES: from where it may to where it may not", MODIFY_SAYS ": count", "EPERM, count 0x1000, result 0x0", changed, MODIFY, PAGE_RW + 3 * PAGE, 2 * PAGE, PT_TCS },
	{ "MODIFY_TYPES: up to where no page is", MODIFY_SAYS ": count", "EFAULT, count 0x1000, result 0x0", changed, MODIFY, PAGE_X, 2 * PAGE, PT_TRIM },
	{ "REMOVE_PAGES: up to where no page is", REMOVE_SAYS ": count", "EFAULT, count 0x1000", removed_up_to_none, 0, 0, 0, 0 },
	{ "REMOVE_PAGES: a page that is not trimmed", REMOVE_SAYS, "EPERM, count 0x0", changed, REMOVE, PAGE_RW, PAGE, 0 },
	{ "REMOVE_PAGES: a TCS", REMOVE_SAYS, "EPERM, count 0x0", changed, REMOVE, TCS1, PAGE, 0 },
	{ "REMOVE_PAGES: trimmed, but not accepted", REMOVE_SAYS ": EMODPR tells", "EPERM, count 0x0", changed_trimmed, REMOVE, 0, 0, 0 },
	{ "REMOVE_PAGES: trimmed and accepted", REMOVE_SAYS, "0, count 0x1000", changed_trimmed, REMOVE, 1, 0, 0 },
	{ "REMOVE_PAGES: four, all accepted", REMOVE_SAYS, "0, count 0x4000", removed_partly, 4, 4, 0, 0 },
	{ "REMOVE_PAGES: four, of which three are accepted", REMOVE_SAYS ": count", "EPERM, count 0x3000", removed_partly, 4, 3, 0, 0 },
	{ "REMOVE_PAGES: four, of which two are trimmed", REMOVE_SAYS ": count", "EPERM, count 0x2000", removed_partly, 2, 2, 0, 0 },
	{ "a restricted page may be mapped as it was added", "Linux sgx_enclave_restrict_permissions(): vm_max_prot_bits stays", "0", protected_as, RESTRICTED, PROT_READ | PROT_WRITE, 0, 0 },
	{ "where a page was removed all may be mapped", "Linux sgx_encl_remove_pages(): xa_erase()", "0", protected_as, REMOVED, PROT_READ | PROT_WRITE | PROT_EXEC, 0, 0 },
	{ "a page that EAUG has added may be mapped with all permissions", "Linux sgx_encl_eaug_page(): vm_max_prot_bits", "0", protected_as, AUGMENTED, PROT_READ | PROT_WRITE | PROT_EXEC, 0, 0 },
	{ "a page made a TCS may be mapped to be read and written", MODIFY_SAYS ": vm_max_prot_bits", "0", mapped_as_tcs, PROT_READ | PROT_WRITE, 0, 0, 0 },
	{ "a page made a TCS may not be mapped to be executed", MODIFY_SAYS ": vm_max_prot_bits", "EACCES", mapped_as_tcs, PROT_READ | PROT_EXEC, 0, 0, 0 },
};
GROUP(sgx2_group, "sgx2", "SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, MODIFY_TYPES and REMOVE_PAGES", claims);
