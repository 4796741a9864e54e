/* Words and bytes, without a C library. */
#include "conform.h"

#include <stdarg.h>

enum { ROOM = 512 };

struct text {
	char *at, *end;
};

static char *heard; /* what the case at hand has said, ROOM bytes */

void *memcpy(void *to, const void *from, size_t size)
{
	copy(to, from, size);
	return to;
}

void *memset(void *to, int byte, size_t size)
{
	fill(to, byte, size);
	return to;
}

void copy(void *to, const void *from, uint64_t size)
{
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
}

void fill(void *to, int byte, uint64_t size)
{
	__asm__ volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(byte) : "memory");
}

int same(const void *a, const void *b, uint64_t size)
{
	const uint8_t *left = a, *right = b;

	while (size--)
		if (*left++ != *right++)
			return 0;
	return 1;
}

int same_text(const char *a, const char *b)
{
	return length_of(a) == length_of(b) && same(a, b, length_of(a));
}

int contains(const char *text, const char *part)
{
	for (unsigned int size = length_of(part); *text; text++)
		if (length_of(text) >= size && same(text, part, size))
			return 1;
	return !*part;
}

unsigned int length_of(const char *text)
{
	unsigned int size = 0;

	while (text[size])
		size++;
	return size;
}

static void put(struct text *text, const char *what)
{
	while (*what && text->at < text->end)
		*text->at++ = *what++;
}

static void put_number(struct text *text, uint64_t number, unsigned int base)
{
	char digits[24], *at = digits + sizeof(digits) - 1;

	*at = 0;
	do
		*--at = "0123456789abcdef"[number % base];
	while (number /= base);
	if (base == 16) {
		*--at = 'x';
		*--at = '0';
	}
	put(text, at);
}

static void put_address(struct text *text, uint64_t address)
{
	uint64_t offset;
	const char *name = name_of(address, &offset);

	if (!name) {
		put_number(text, address, 16);
		return;
	}
	put(text, name);
	if (offset) {
		put(text, "+");
		put_number(text, offset, 16);
	}
}

static void put_errno(struct text *text, long result)
{
	static const struct {
		int number;
		const char *name;
	} names[] = {
		{ EPERM, "EPERM" }, { ENOENT, "ENOENT" }, { EINTR, "EINTR" }, { EIO, "EIO" }, { ENOMEM, "ENOMEM" },
		{ EACCES, "EACCES" }, { EFAULT, "EFAULT" }, { EBUSY, "EBUSY" }, { EEXIST, "EEXIST" }, { ENODEV, "ENODEV" },
		{ EINVAL, "EINVAL" }, { ENOTTY, "ENOTTY" }, { EOVERFLOW, "EOVERFLOW" }, { EOPNOTSUPP, "EOPNOTSUPP" },
	};

	if (result >= 0) {
		put(text, "0");
		return;
	}
	for (unsigned int i = 0; i < COUNT(names); i++)
		if (names[i].number == -result) {
			put(text, names[i].name);
			return;
		}
	put(text, "errno ");
	put_number(text, -result, 10);
}

static void put_all(struct text *text, const char *format, va_list *values)
{
	char letter[2] = { 0 };

	for (; *format; format++) {
		if (*format != '%') {
			letter[0] = *format;
			put(text, letter);
			continue;
		}
		switch (*++format) {
		case 's':
			put(text, va_arg(*values, const char *));
			break;
		case 'd':
			put_number(text, va_arg(*values, uint64_t), 10);
			break;
		case 'x':
			put_number(text, va_arg(*values, uint64_t), 16);
			break;
		case 'a':
			put_address(text, va_arg(*values, uint64_t));
			break;
		case 'e':
			put_errno(text, va_arg(*values, long));
			break;
		}
	}
	*text->at = 0;
}

/* Adds to what is observed.  Numbers are 64 bits wide. */
void say(const char *format, ...)
{
	unsigned int used = length_of(heard);
	struct text text = { heard + used, heard + ROOM - 1 };
	va_list values;

	va_start(values, format);
	put_all(&text, format, &values);
	va_end(values);
}

void format_into(char *to, unsigned int size, const char *format, ...)
{
	struct text text = { to, to + size - 1 };
	va_list values;

	va_start(values, format);
	put_all(&text, format, &values);
	va_end(values);
}

char *shared_text(void *place)
{
	return heard = place;
}

const char *observed(void)
{
	return heard;
}

void forget_observed(void)
{
	*heard = 0;
}

void unsupported(const char *why)
{
	forget_observed();
	say("%s", why);
	end_case(NOT_SUPPORTED);
}

void broken(const char *format, ...)
{
	unsigned int used = length_of(heard);
	struct text text = { heard + used, heard + ROOM - 1 };
	va_list values;

	put(&text, used ? "; broken: " : "broken: ");
	va_start(values, format);
	put_all(&text, format, &values);
	va_end(values);
	end_case(OBSERVED);
}
