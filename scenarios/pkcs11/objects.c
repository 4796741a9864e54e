/* Key pairs, and what PKCS#11 tells of them.  Private halves are sealed by the enclave: nothing here is secret. */
#include "module.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct pair pairs[TOKEN_KEYS];

static const CK_BYTE p256[] = { 0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7 };	/* prime256v1, an OID in DER */

static CK_OBJECT_HANDLE public_of(const struct pair *pair)
{
	return 2 * (pair - pairs) + 2;
}

static bool is_private(CK_OBJECT_HANDLE object)
{
	return object & 1;
}

static struct pair *pair_of(CK_OBJECT_HANDLE object)
{
	struct pair *pair = object / 2 - 1 < TOKEN_KEYS ? &pairs[object / 2 - 1] : NULL;

	return pair && pair->used ? pair : NULL;
}

static const char *store(void)
{
	return getenv("TOKEN_STORE_" TOKEN);
}

bool objects_writable(void)
{
	return store() != NULL;
}

static CK_RV save(void)
{
	int fd = open(store(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	bool written = fd >= 0;

	for (struct pair *pair = pairs; written && pair < pairs + TOKEN_KEYS; pair++)
		if (pair->used && !pair->session)
			written = write(fd, &pair->stored, sizeof(pair->stored)) == sizeof(pair->stored);
	if (fd >= 0)
		written = !close(fd) && written;
	return written ? CKR_OK : CKR_DEVICE_ERROR;
}

CK_RV objects_load(void)
{
	struct pair *pair = pairs;
	ssize_t size = 0;
	int fd;

	if (!store())
		return CKR_OK;
	fd = open(store(), O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? CKR_OK : CKR_DEVICE_ERROR;
	for (; pair < pairs + TOKEN_KEYS; pair++) {
		size = read(fd, &pair->stored, sizeof(pair->stored));
		if (size != sizeof(pair->stored) || pair->stored.id_size > LABEL_MAX || pair->stored.label_size > LABEL_MAX)
			break;
		pair->used = true;
	}
	close(fd);
	return size == 0 || pair == pairs + TOKEN_KEYS ? CKR_OK : CKR_DEVICE_ERROR;
}

/* Attributes of bytes that the program gives, of one half or the other. */
static CK_RV name(struct pair *pair, const CK_ATTRIBUTE *template, CK_ULONG count)
{
	for (; count--; template++) {
		bool id = template->type == CKA_ID;

		if (!id && template->type != CKA_LABEL)
			continue;
		if (template->ulValueLen > LABEL_MAX)
			return CKR_ATTRIBUTE_VALUE_INVALID;
		memcpy(id ? pair->stored.id : pair->stored.label, template->pValue, template->ulValueLen);
		*(id ? &pair->stored.id_size : &pair->stored.label_size) = template->ulValueLen;
	}
	return CKR_OK;
}

static bool given(const CK_ATTRIBUTE *template, CK_ULONG count, CK_ATTRIBUTE_TYPE type, const void *value, CK_ULONG size)
{
	for (; count--; template++)
		if (template->type == type)
			return template->ulValueLen == size && !memcmp(template->pValue, value, size);
	return false;
}

static void forget(struct pair *pair)
{
	struct token_request request = { .key = pair->number };

	if (pair->open)
		device_call(TOKEN_FORGET, &request);
	memset(pair, 0, sizeof(*pair));
}

CK_RV objects_generate(CK_SESSION_HANDLE session, bool writable, const CK_ATTRIBUTE *template, CK_ULONG count,
		       CK_OBJECT_HANDLE *public, CK_OBJECT_HANDLE *private)
{
	static const CK_BBOOL true_value = CK_TRUE;
	struct token_request request = { .output_size = sizeof(struct token_key) };
	struct pair *pair = pairs;
	CK_RV error;

	while (pair->used)
		if (++pair == pairs + TOKEN_KEYS)
			return CKR_DEVICE_MEMORY;
	if (!given(template, count, CKA_EC_PARAMS, p256, sizeof(p256)))
		return CKR_CURVE_NOT_SUPPORTED;
	memset(pair, 0, sizeof(*pair));
	pair->session = given(template, count, CKA_TOKEN, &true_value, sizeof(true_value)) ? 0 : session;
	if (!pair->session && !objects_writable())
		return CKR_TOKEN_WRITE_PROTECTED;
	if (!pair->session && !writable)
		return CKR_SESSION_READ_ONLY;
	error = name(pair, template, count);
	if (error)
		return error;
	request.output = &pair->stored.key;
	error = device_call(TOKEN_GENERATE, &request);
	if (error)
		return error;
	pair->number = request.key;
	pair->used = pair->open = true;
	*public = public_of(pair);
	*private = *public + 1;
	error = pair->session ? CKR_OK : save();
	if (error)
		forget(pair);
	return error;
}

void objects_forget(CK_SESSION_HANDLE session)
{
	for (struct pair *pair = pairs; pair < pairs + TOKEN_KEYS; pair++)
		if (pair->used && (session == ANY_SESSION || pair->session == session))
			forget(pair);
}

void objects_lose(void)
{
	memset(pairs, 0, sizeof(pairs));
}

/* Both halves: neither is of use without the other. */
CK_RV objects_destroy(CK_OBJECT_HANDLE object)
{
	struct pair *pair = pair_of(object);
	bool stored = pair && !pair->session;

	if (!pair)
		return CKR_OBJECT_HANDLE_INVALID;
	if (stored && !objects_writable())
		return CKR_TOKEN_WRITE_PROTECTED;
	forget(pair);
	return stored ? save() : CKR_OK;
}

CK_RV objects_private(CK_OBJECT_HANDLE object, struct pair **pair)
{
	struct token_request request = { .input_size = sizeof(struct token_key) };
	CK_RV error;

	*pair = is_private(object) ? pair_of(object) : NULL;
	if (!*pair)
		return CKR_KEY_HANDLE_INVALID;
	if ((*pair)->open)
		return CKR_OK;
	request.input = &(*pair)->stored.key;
	error = device_call(TOKEN_OPEN, &request);
	(*pair)->number = request.key;
	(*pair)->open = !error;
	return error;
}

/* Its value and size; NULL: the object has no such attribute. */
static const void *attribute(CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type, CK_ULONG *size)
{
	static const CK_OBJECT_CLASS classes[] = { CKO_PUBLIC_KEY, CKO_PRIVATE_KEY };
	static const CK_KEY_TYPE ec = CKK_EC;
	static const CK_BBOOL booleans[] = { CK_FALSE, CK_TRUE };
	static const CK_MECHANISM_TYPE generated_by = CKM_EC_KEY_PAIR_GEN;
	static CK_BYTE point[2 + TOKEN_POINT] = { 0x04, TOKEN_POINT };	/* an OCTET STRING in DER */
	const struct pair *pair = pair_of(object);
	bool private = is_private(object), value;

	switch (type) {
	case CKA_CLASS:
		*size = sizeof(classes[0]);
		return &classes[private];
	case CKA_KEY_TYPE:
		*size = sizeof(ec);
		return &ec;
	case CKA_KEY_GEN_MECHANISM:
		*size = sizeof(generated_by);
		return &generated_by;
	case CKA_ID:
		*size = pair->stored.id_size;
		return pair->stored.id;
	case CKA_LABEL:
		*size = pair->stored.label_size;
		return pair->stored.label;
	case CKA_EC_PARAMS:
		*size = sizeof(p256);
		return p256;
	case CKA_EC_POINT:
		memcpy(point + 2, pair->stored.key.point, TOKEN_POINT);
		*size = sizeof(point);
		return private ? NULL : point;
	case CKA_TOKEN:
		value = !pair->session;
		break;
	case CKA_LOCAL:
		value = true;
		break;
	case CKA_PRIVATE: case CKA_MODIFIABLE: case CKA_DERIVE:
		value = false;
		break;
	case CKA_VERIFY: case CKA_ENCRYPT: case CKA_WRAP: case CKA_VERIFY_RECOVER:
		if (private)
			return NULL;
		value = type == CKA_VERIFY;
		break;
	case CKA_SIGN: case CKA_SENSITIVE: case CKA_ALWAYS_SENSITIVE: case CKA_NEVER_EXTRACTABLE:
		if (!private)
			return NULL;
		value = true;
		break;
	case CKA_EXTRACTABLE: case CKA_DECRYPT: case CKA_UNWRAP: case CKA_SIGN_RECOVER: case CKA_ALWAYS_AUTHENTICATE:
		if (!private)
			return NULL;
		value = false;
		break;
	default:
		return NULL;
	}
	*size = sizeof(booleans[0]);
	return &booleans[value];
}

CK_RV objects_attributes(CK_OBJECT_HANDLE object, CK_ATTRIBUTE *template, CK_ULONG count)
{
	CK_RV error = CKR_OK;

	if (count && !template)
		return CKR_ARGUMENTS_BAD;
	if (!pair_of(object))
		return CKR_OBJECT_HANDLE_INVALID;
	for (; count--; template++) {
		CK_ULONG size;
		const void *value = attribute(object, template->type, &size);

		if (!value) {
			error = is_private(object) && template->type == CKA_VALUE ? CKR_ATTRIBUTE_SENSITIVE
										  : CKR_ATTRIBUTE_TYPE_INVALID;
			template->ulValueLen = CK_UNAVAILABLE_INFORMATION;
		} else if (template->pValue && template->ulValueLen < size) {
			error = CKR_BUFFER_TOO_SMALL;
			template->ulValueLen = CK_UNAVAILABLE_INFORMATION;
		} else {
			if (template->pValue)
				memcpy(template->pValue, value, size);
			template->ulValueLen = size;
		}
	}
	return error;
}

static bool matches(CK_OBJECT_HANDLE object, const CK_ATTRIBUTE *template, CK_ULONG count)
{
	for (; count--; template++) {
		CK_ULONG size;
		const void *value = attribute(object, template->type, &size);

		if (!value || size != template->ulValueLen || memcmp(value, template->pValue, size))
			return false;
	}
	return true;
}

CK_OBJECT_HANDLE objects_next(CK_OBJECT_HANDLE object, const CK_ATTRIBUTE *template, CK_ULONG count)
{
	for (object = object ? object + 1 : 2; object < 2 * TOKEN_KEYS + 2; object++)
		if (pair_of(object) && matches(object, template, count))
			return object;
	return 0;
}
