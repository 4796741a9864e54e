/* Digests, signatures, keys and random numbers: all of them the enclave's work. */
#include "module.h"

#include <stdlib.h>
#include <string.h>

/* Collects a part. */
static CK_RV append(struct operation *operation, const CK_BYTE *part, CK_ULONG size)
{
	uint8_t *longer;

	if (size && !part)
		return CKR_ARGUMENTS_BAD;
	if (size > TOKEN_INPUT_MAX - operation->size)
		return CKR_DATA_LEN_RANGE;
	longer = realloc(operation->data, operation->size + size + 1);
	if (!longer)
		return CKR_HOST_MEMORY;
	operation->data = longer;
	if (size)
		memcpy(longer + operation->size, part, size);
	operation->size += size;
	return CKR_OK;
}

static CK_RV digest(const struct operation *operation, void *output)
{
	struct token_request request = {
		.input = operation->data, .input_size = operation->size, .output = output, .output_size = TOKEN_HASH,
	};

	return device_call(TOKEN_DIGEST, &request);
}

static CK_RV sign(const struct operation *operation, void *output)
{
	struct token_request request = {
		.input = operation->data, .input_size = operation->size, .output = output, .output_size = TOKEN_SIGNATURE,
	};
	uint8_t hash[TOKEN_HASH];
	struct pair *pair;
	CK_RV error = objects_private(operation->key, &pair);

	if (error)
		return error;
	request.key = pair->number;
	if (operation->mechanism == CKM_ECDSA_SHA256) {
		error = digest(operation, hash);
		request.input = hash;
		request.input_size = sizeof(hash);
	}
	return error ? error : device_call(TOKEN_SIGN, &request);
}

/* What digests and signatures differ in, once they have begun. */
struct kind {
	size_t operation;	/* offset in struct session */
	CK_RV (*make)(const struct operation *operation, void *output);
	CK_ULONG size;		/* of the output */
};
static const struct kind digests = { offsetof(struct session, digest), digest, TOKEN_HASH };
static const struct kind signatures = { offsetof(struct session, sign), sign, TOKEN_SIGNATURE };

/* The session's, under way; NULL: *error tells why not. */
static struct operation *find_operation(CK_SESSION_HANDLE handle, const struct kind *kind, CK_RV *error)
{
	struct session *session = find_session(handle, error);
	struct operation *operation = session ? (struct operation *)((uint8_t *)session + kind->operation) : NULL;

	if (operation && !operation->active) {
		*error = CKR_OPERATION_NOT_INITIALIZED;
		return NULL;
	}
	return operation;
}

/*
 * An operation ends by giving its output, or by failing, but not by telling how
 * much room that needs.
 */
static CK_RV finish(struct operation *operation, const struct kind *kind, void *output, CK_ULONG *room)
{
	CK_RV error = CKR_OK;

	if (!room)
		error = CKR_ARGUMENTS_BAD;
	else if (output && *room >= kind->size)
		error = kind->make(operation, output);
	else {
		*room = kind->size;
		return output ? CKR_BUFFER_TOO_SMALL : CKR_OK;
	}
	if (!error)
		*room = kind->size;
	end_operation(operation);
	return error;
}

/* C_Digest and C_Sign, in one go: what was there before must be a call that only asked for the size. */
static CK_RV at_once(CK_SESSION_HANDLE handle, const struct kind *kind, const CK_BYTE *data, CK_ULONG size, CK_BYTE *output,
		     CK_ULONG *room)
{
	struct operation *operation;
	CK_RV error;
	LOCKED;

	operation = find_operation(handle, kind, &error);
	if (!operation)
		return error;
	if (operation->in_parts)
		return CKR_OPERATION_ACTIVE;
	operation->size = 0;
	error = append(operation, data, size);
	if (error) {
		end_operation(operation);
		return error;
	}
	return finish(operation, kind, output, room);
}

/* C_DigestUpdate and C_SignUpdate. */
static CK_RV update(CK_SESSION_HANDLE handle, const struct kind *kind, const CK_BYTE *part, CK_ULONG size)
{
	struct operation *operation;
	CK_RV error;
	LOCKED;

	operation = find_operation(handle, kind, &error);
	if (!operation)
		return error;
	if (!operation->in_parts)
		operation->size = 0;
	operation->in_parts = true;
	error = append(operation, part, size);
	if (error)
		end_operation(operation);
	return error;
}

/* C_DigestFinal and C_SignFinal. */
static CK_RV end(CK_SESSION_HANDLE handle, const struct kind *kind, CK_BYTE *output, CK_ULONG *room)
{
	struct operation *operation;
	CK_RV error;
	LOCKED;

	operation = find_operation(handle, kind, &error);
	return operation ? finish(operation, kind, output, room) : error;
}

CK_RV C_DigestInit(CK_SESSION_HANDLE handle, CK_MECHANISM *mechanism)
{
	struct session *session;
	CK_RV error;
	LOCKED;

	session = find_session(handle, &error);
	if (!session)
		return error;
	if (!mechanism)
		return CKR_ARGUMENTS_BAD;
	if (session->digest.active)
		return CKR_OPERATION_ACTIVE;
	if (mechanism->mechanism != CKM_SHA256)
		return CKR_MECHANISM_INVALID;
	session->digest = (struct operation){ .active = true };
	return CKR_OK;
}

CK_RV C_Digest(CK_SESSION_HANDLE handle, CK_BYTE *data, CK_ULONG size, CK_BYTE *output, CK_ULONG *room)
{
	return at_once(handle, &digests, data, size, output, room);
}

CK_RV C_DigestUpdate(CK_SESSION_HANDLE handle, CK_BYTE *part, CK_ULONG size)
{
	return update(handle, &digests, part, size);
}

CK_RV C_DigestFinal(CK_SESSION_HANDLE handle, CK_BYTE *output, CK_ULONG *room)
{
	return end(handle, &digests, output, room);
}

CK_RV C_SignInit(CK_SESSION_HANDLE handle, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
	struct session *session;
	struct pair *pair;
	CK_RV error;
	LOCKED;

	session = find_session(handle, &error);
	if (!session)
		return error;
	if (!mechanism)
		return CKR_ARGUMENTS_BAD;
	if (session->sign.active)
		return CKR_OPERATION_ACTIVE;
	if (mechanism->mechanism != CKM_ECDSA && mechanism->mechanism != CKM_ECDSA_SHA256)
		return CKR_MECHANISM_INVALID;
	error = objects_private(key, &pair);
	if (!error)
		session->sign = (struct operation){ .active = true, .mechanism = mechanism->mechanism, .key = key };
	return error;
}

CK_RV C_Sign(CK_SESSION_HANDLE handle, CK_BYTE *data, CK_ULONG size, CK_BYTE *output, CK_ULONG *room)
{
	return at_once(handle, &signatures, data, size, output, room);
}

CK_RV C_SignUpdate(CK_SESSION_HANDLE handle, CK_BYTE *part, CK_ULONG size)
{
	return update(handle, &signatures, part, size);
}

CK_RV C_SignFinal(CK_SESSION_HANDLE handle, CK_BYTE *output, CK_ULONG *room)
{
	return end(handle, &signatures, output, room);
}

CK_RV C_GenerateKeyPair(CK_SESSION_HANDLE handle, CK_MECHANISM *mechanism, CK_ATTRIBUTE *public_template,
			CK_ULONG public_count, CK_ATTRIBUTE *private_template, CK_ULONG private_count,
			CK_OBJECT_HANDLE *public, CK_OBJECT_HANDLE *private)
{
	struct session *session;
	CK_RV error;
	LOCKED;

	/* Both halves have the names and the place that the public one is given. */
	(void)private_template, (void)private_count;
	session = find_session(handle, &error);
	if (!session)
		return error;
	if (!mechanism || !public || !private || (public_count && !public_template))
		return CKR_ARGUMENTS_BAD;
	if (mechanism->mechanism != CKM_EC_KEY_PAIR_GEN)
		return CKR_MECHANISM_INVALID;
	return objects_generate(handle, session->flags & CKF_RW_SESSION, public_template, public_count, public, private);
}

CK_RV C_GenerateRandom(CK_SESSION_HANDLE handle, CK_BYTE *output, CK_ULONG size)
{
	struct token_request request = { .output = output, .output_size = size };
	CK_RV error;
	LOCKED;

	if (!find_session(handle, &error))
		return error;
	return size > TOKEN_INPUT_MAX ? CKR_ARGUMENTS_BAD : device_call(TOKEN_RANDOM, &request);
}
