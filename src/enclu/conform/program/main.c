/*
 * Executes the cases, each in a process of its own, and prints what was observed as JSON.
 *
 *   conform [PART]          the cases whose "group/name" contains PART
 *   conform --list [PART]   what is claimed and expected, without SGX
 *
 * Exit status: 0, all as expected or not supported here; 1, something differs; 2, usage.
 */
#include "conform.h"

enum { CASE_SECONDS = 300 };

static const struct group *const groups[] = {
	&cpuid_group, &leaf_group, &eenter_group, &entered_group, &eexit_group, &exception_group, &synthetic_group, &after_aex_group, &eresume_group, &edeccssa_group, &notify_group, &instruction_group, &ereport_group, &egetkey_group, &create_group, &add_pages_group, &init_group, &provision_group, &sgx2_group, &access_group, &may_map_group, &mapping_group, &vdso_group, &debug_group, &outside_group, &eaccept_group, &eacceptcopy_group, &emodpe_group, &operand_group, &sequence_group, &xfrm_group,
};

static char *text; /* of the case at hand, shared with its process */

static char buffer[1 << 16];
static unsigned int filled;

static void flush(void)
{
	for (unsigned int done = 0; done < filled;) {
		long n = call3(SYS_WRITE, 1, (long)(buffer + done), filled - done);

		if (n <= 0)
			call3(SYS_EXIT_GROUP, 2, 0, 0);
		done += (unsigned int)n;
	}
	filled = 0;
}

static void print(const char *what)
{
	for (; *what; what++) {
		if (filled == sizeof(buffer))
			flush();
		buffer[filled++] = *what;
	}
}

static void print_number(uint64_t number)
{
	char digits[32];

	format_into(digits, sizeof(digits), "%d", number);
	print(digits);
}

/* Names and sources have no other letters that JSON would want escaped; brand strings and such are cut to ASCII. */
static void print_string(const char *what)
{
	char letter[2] = { 0 };

	print("\"");
	for (; *what; what++) {
		if (*what == '"' || *what == '\\')
			print("\\");
		letter[0] = *what < ' ' || *what > '~' ? '?' : *what;
		print(letter);
	}
	print("\"");
}

static void print_field(const char *name, const char *value, const char *behind)
{
	print_string(name);
	print(": ");
	print_string(value);
	print(behind);
}

/* The value of the first line of /proc/cpuinfo that begins so. */
static void cpuinfo(const char *name, char *value, unsigned int size)
{
	static char lines[4096];
	long fd = call3(SYS_OPEN, (long)"/proc/cpuinfo", O_RDONLY, 0), n;
	unsigned int length = length_of(name);

	*value = 0;
	if (fd < 0)
		return;
	n = call3(SYS_READ, fd, (long)lines, sizeof(lines) - 1);
	call3(SYS_CLOSE, fd, 0, 0);
	lines[n > 0 ? n : 0] = 0;
	for (char *line = lines; *line; line++) {
		if ((line == lines || line[-1] == '\n') && same(line, name, length)) {
			while (*line && *line != ':')
				line++;
			while (*line == ':' || *line == ' ')
				line++;
			for (; *line && *line != '\n' && size > 1; size--)
				*value++ = *line++;
			*value = 0;
			return;
		}
	}
}

static void print_processor(void)
{
	uint32_t words[13] = { 0 }, leaf[4];
	char value[64];

	cpuid(0, 0, leaf);
	words[0] = leaf[1];
	words[1] = leaf[3];
	words[2] = leaf[2];
	print("\"processor\": {");
	print_field("vendor", (const char *)words, ", ");
	for (uint32_t i = 0; i < 3; i++)
		cpuid(0x80000002 + i, 0, words + 4 * i);
	print_field("brand", (const char *)words, ", ");
	cpuid(1, 0, leaf);
	print("\"family\": ");
	print_number((leaf[0] >> 8 & 15) + ((leaf[0] >> 8 & 15) == 15 ? leaf[0] >> 20 & 0xff : 0));
	print(", \"model\": ");
	print_number((leaf[0] >> 4 & 15) | (leaf[0] >> 12 & 0xf0));
	print(", \"stepping\": ");
	print_number(leaf[0] & 15);
	print(", ");
	cpuinfo("microcode", value, sizeof(value));
	print_field("microcode", value, "},\n");
}

static void print_kernel(void)
{
	static struct utsname name;

	call3(SYS_UNAME, (long)&name, 0, 0);
	print("\"kernel\": {");
	print_field("sysname", name.sysname, ", ");
	print_field("release", name.release, ", ");
	print_field("version", name.version, "},\n");
}

void end_case(int status)
{
	call3(SYS_EXIT_GROUP, status, 0, 0);
	for (;;)
		;
}

/* What the case observes is in `text`; whether it is supported here. */
static int execute(const struct claim *claim)
{
	int status = 0;
	long child, parent = call3(SYS_GETPID, 0, 0, 0);

	*text = 0;
	child = call6(SYS_CLONE, 17, 0, 0, 0, 0, 0); /* SIGCHLD: fork(2) */
	if (!child) {
		struct itimerval limit = { 0, 0, CASE_SECONDS, 0 };

		/* Nobody waits for the case when the program is killed. */
		call3(SYS_PRCTL, PR_SET_PDEATHSIG, SIGKILL, 0);
		if (call3(SYS_GETPPID, 0, 0, 0) != parent)
			end_case(OBSERVED);
		/* In time that the process itself uses, so that a busy machine is none that hangs. */
		call3(SYS_SETITIMER, 2, (long)&limit, 0);
		prepare_signals();
		claim->act(claim);
		end_case(OBSERVED);
	}
	if (child < 0) {
		say("broken: fork: %e", child);
		return 1;
	}
	while (call6(SYS_WAIT4, child, (long)&status, 0, 0, 0, 0) == -EINTR)
		;
	if (status & 0x7f)
		say("%sended by signal %d", *text ? "; " : "", (uint64_t)(status & 0x7f));
	return status >> 8 != NOT_SUPPORTED || (status & 0x7f);
}

static unsigned int size_of(const struct group *group)
{
	return group->counted ? group->counted() : group->count;
}

static struct claim claim_of(const struct group *group, unsigned int number)
{
	struct claim claim;

	if (!group->make)
		return group->claims[number];
	group->make(number, &claim);
	return claim;
}

/* 0, or 1 if the case differs. */
static int report(const struct group *group, const struct claim *claim, int list, int first)
{
	const char *outcome = NULL;

	if (!list)
		outcome = !execute(claim) ? "not supported" : same_text(text, claim->expected) ? "passes" : "differs";
	print(first ? "\n{" : ",\n{");
	print_field("group", group->name, ", ");
	print_field("name", claim->name, ",\n ");
	print_field("source", claim->source, ",\n ");
	print_field("expected", claim->expected, list ? "}" : ", ");
	if (list)
		return 0;
	print_field("observed", text, ", ");
	print_field("outcome", outcome, "}");
	flush();
	return same_text(outcome, "differs");
}

static int run(const char *part, int list)
{
	char name[256];
	int differs = 0, first = 1;

	print("{\"program\": \"enclu conform\", \"format\": 1,\n");
	if (!list) {
		print_processor();
		print_kernel();
	}
	print("\"groups\": {");
	for (unsigned int i = 0; i < COUNT(groups); i++)
		print_field(groups[i]->name, groups[i]->about, i + 1 < COUNT(groups) ? ",\n " : "},\n");
	print("\"cases\": [");
	for (unsigned int i = 0; i < COUNT(groups); i++) {
		for (unsigned int n = 0; n < size_of(groups[i]); n++) {
			struct claim claim = claim_of(groups[i], n);

			format_into(name, sizeof(name), "%s/%s", groups[i]->name, claim.name);
			if (!contains(name, part))
				continue;
			differs |= report(groups[i], &claim, list, first);
			first = 0;
		}
	}
	print("\n]}\n");
	flush();
	return differs;
}

_Noreturn void begin(uint64_t *stack)
{
	int count = (int)stack[0], list = 0, status = 2;
	char **arguments = (char **)(stack + 1);
	long shared = call6(SYS_MMAP, 0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	environment_at((uint64_t *)(arguments + count + 1));
	if (count > 1 && same_text(arguments[1], "--list")) {
		list = 1;
		count--;
		arguments++;
	}
	if (shared > 0 && count <= 2 && (count < 2 || arguments[1][0] != '-')) {
		text = shared_text((void *)shared);
		status = run(count > 1 ? arguments[1] : "", list);
	} else {
		static const char usage[] = "usage: conform [--list] [PART OF A NAME]\n";

		call3(SYS_WRITE, 2, (long)usage, sizeof(usage) - 1);
	}
	call3(SYS_EXIT_GROUP, status, 0, 0);
	for (;;)
		;
}
