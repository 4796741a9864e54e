/* The entry table of PKCS#11 v2.40, slot, token and sessions. */
#include "module.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SESSIONS = 16, SLOT = 0 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pid_t initialized_in;	/* 0: not initialized; a forked child must do it again */
static struct session sessions[SESSIONS];

static const struct {
	CK_MECHANISM_TYPE type;
	CK_MECHANISM_INFO info;
} mechanisms[] = {
	{ CKM_SHA256, { 0, 0, CKF_HW | CKF_DIGEST } },
	{ CKM_EC_KEY_PAIR_GEN, { 256, 256, CKF_HW | CKF_GENERATE_KEY_PAIR | CKF_EC_F_P | CKF_EC_NAMEDCURVE | CKF_EC_UNCOMPRESS } },
	{ CKM_ECDSA, { 256, 256, CKF_HW | CKF_SIGN | CKF_EC_F_P | CKF_EC_NAMEDCURVE | CKF_EC_UNCOMPRESS } },
	{ CKM_ECDSA_SHA256, { 256, 256, CKF_HW | CKF_SIGN | CKF_EC_F_P | CKF_EC_NAMEDCURVE | CKF_EC_UNCOMPRESS } },
};
enum { MECHANISMS = sizeof(mechanisms) / sizeof(*mechanisms) };

bool module_lock(void)
{
	return !pthread_mutex_lock(&mutex);
}

static bool initialized(void)
{
	return initialized_in == getpid();
}

void module_unlock(bool *locked)
{
	if (*locked)
		pthread_mutex_unlock(&mutex);
}

struct session *find_session(CK_SESSION_HANDLE handle, CK_RV *error)
{
	struct session *session = handle - 1 < SESSIONS ? &sessions[handle - 1] : NULL;

	*error = !initialized() ? CKR_CRYPTOKI_NOT_INITIALIZED : session && session->used ? CKR_OK : CKR_SESSION_HANDLE_INVALID;
	return *error ? NULL : session;
}

void end_operation(struct operation *operation)
{
	free(operation->data);
	memset(operation, 0, sizeof(*operation));
}

/* Texts of PKCS#11 are padded with blanks, and have no end. */
#define TEXT(field, text) padded(field, sizeof(field), text)
static void padded(CK_UTF8CHAR *field, size_t size, const char *text)
{
	memset(field, ' ', size);
	memcpy(field, text, strlen(text) < size ? strlen(text) : size);
}

static CK_RV on_slot(CK_SLOT_ID slot, const void *argument)
{
	if (!initialized())
		return CKR_CRYPTOKI_NOT_INITIALIZED;
	return slot != SLOT ? CKR_SLOT_ID_INVALID : !argument ? CKR_ARGUMENTS_BAD : CKR_OK;
}

/* A child of fork: enclave and keys are the parent's, and the child may not enter it. */
static void leave_to_parent(void)
{
	memset(sessions, 0, sizeof(sessions));
	objects_lose();
	device_close();
	initialized_in = 0;
}

CK_RV C_Initialize(void *arguments)
{
	CK_C_INITIALIZE_ARGS *wanted = arguments;
	CK_RV error;
	LOCKED;

	if (wanted && wanted->pReserved)
		return CKR_ARGUMENTS_BAD;
	if (wanted && wanted->CreateMutex && !(wanted->flags & CKF_OS_LOCKING_OK))
		return CKR_CANT_LOCK;
	if (initialized())
		return CKR_CRYPTOKI_ALREADY_INITIALIZED;
	if (initialized_in)
		leave_to_parent();
	error = device_open();
	if (error)
		return error;
	error = objects_load();
	if (error)
		device_close();
	else
		initialized_in = getpid();
	return error;
}

static void close_session(CK_SESSION_HANDLE handle)
{
	struct session *session = &sessions[handle - 1];

	objects_forget(handle);
	end_operation(&session->digest);
	end_operation(&session->sign);
	memset(session, 0, sizeof(*session));
}

static void close_all(void)
{
	for (CK_SESSION_HANDLE handle = 1; handle <= SESSIONS; handle++)
		if (sessions[handle - 1].used)
			close_session(handle);
}

CK_RV C_Finalize(void *reserved)
{
	LOCKED;

	if (reserved)
		return CKR_ARGUMENTS_BAD;
	if (!initialized())
		return CKR_CRYPTOKI_NOT_INITIALIZED;
	close_all();
	objects_forget(ANY_SESSION);
	device_close();
	initialized_in = 0;
	return CKR_OK;
}

CK_RV C_GetInfo(CK_INFO *info)
{
	LOCKED;

	if (!initialized())
		return CKR_CRYPTOKI_NOT_INITIALIZED;
	if (!info)
		return CKR_ARGUMENTS_BAD;
	*info = (CK_INFO){ .cryptokiVersion = { 2, 40 }, .libraryVersion = { 1, 0 } };
	TEXT(info->manufacturerID, "enclu");
	TEXT(info->libraryDescription, TOKEN " tokens");
	return CKR_OK;
}

CK_RV C_GetSlotList(CK_BBOOL present, CK_SLOT_ID *slots, CK_ULONG *count)
{
	CK_ULONG room;
	LOCKED;

	(void)present;
	if (!initialized())
		return CKR_CRYPTOKI_NOT_INITIALIZED;
	if (!count)
		return CKR_ARGUMENTS_BAD;
	room = *count;
	*count = 1;
	if (slots && !room)
		return CKR_BUFFER_TOO_SMALL;
	if (slots)
		slots[0] = SLOT;
	return CKR_OK;
}

CK_RV C_GetSlotInfo(CK_SLOT_ID slot, CK_SLOT_INFO *info)
{
	CK_RV error;
	LOCKED;

	error = on_slot(slot, info);
	if (error)
		return error;
	*info = (CK_SLOT_INFO){ .flags = CKF_TOKEN_PRESENT | CKF_HW_SLOT };
	TEXT(info->slotDescription, TOKEN " enclave");
	TEXT(info->manufacturerID, "enclu");
	return CKR_OK;
}

CK_RV C_GetTokenInfo(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
	CK_RV error;
	LOCKED;

	error = on_slot(slot, info);
	if (error)
		return error;
	memset(info, 0, sizeof(*info));
	TEXT(info->label, TOKEN);
	TEXT(info->manufacturerID, "enclu");
	TEXT(info->model, "P-256");
	TEXT(info->serialNumber, "1");
	TEXT(info->utcTime, "");
	info->flags = CKF_RNG | CKF_TOKEN_INITIALIZED | (objects_writable() ? 0 : CKF_WRITE_PROTECTED);
	info->ulMaxSessionCount = info->ulMaxRwSessionCount = SESSIONS;
	info->ulSessionCount = info->ulRwSessionCount = CK_UNAVAILABLE_INFORMATION;
	info->ulTotalPublicMemory = info->ulFreePublicMemory = CK_UNAVAILABLE_INFORMATION;
	info->ulTotalPrivateMemory = info->ulFreePrivateMemory = CK_UNAVAILABLE_INFORMATION;
	return CKR_OK;
}

CK_RV C_GetMechanismList(CK_SLOT_ID slot, CK_MECHANISM_TYPE *list, CK_ULONG *count)
{
	CK_ULONG room;
	CK_RV error;
	LOCKED;

	error = on_slot(slot, count);
	if (error)
		return error;
	room = *count;
	*count = MECHANISMS;
	if (list && room < MECHANISMS)
		return CKR_BUFFER_TOO_SMALL;
	for (int i = 0; list && i < MECHANISMS; i++)
		list[i] = mechanisms[i].type;
	return CKR_OK;
}

CK_RV C_GetMechanismInfo(CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO *info)
{
	CK_RV error;
	LOCKED;

	error = on_slot(slot, info);
	if (error)
		return error;
	for (int i = 0; i < MECHANISMS; i++)
		if (mechanisms[i].type == type) {
			*info = mechanisms[i].info;
			return CKR_OK;
		}
	return CKR_MECHANISM_INVALID;
}

CK_RV C_OpenSession(CK_SLOT_ID slot, CK_FLAGS flags, void *application, CK_NOTIFY notify, CK_SESSION_HANDLE *handle)
{
	CK_RV error;
	LOCKED;

	(void)application, (void)notify;
	error = on_slot(slot, handle);
	if (error)
		return error;
	if (!(flags & CKF_SERIAL_SESSION))
		return CKR_SESSION_PARALLEL_NOT_SUPPORTED;
	for (*handle = 1; *handle <= SESSIONS; ++*handle)
		if (!sessions[*handle - 1].used) {
			sessions[*handle - 1] = (struct session){ .used = true, .flags = flags };
			return CKR_OK;
		}
	return CKR_SESSION_COUNT;
}

CK_RV C_CloseSession(CK_SESSION_HANDLE handle)
{
	CK_RV error;
	LOCKED;

	if (!find_session(handle, &error))
		return error;
	close_session(handle);
	return CKR_OK;
}

CK_RV C_CloseAllSessions(CK_SLOT_ID slot)
{
	CK_RV error;
	LOCKED;

	error = on_slot(slot, &slot);
	if (!error)
		close_all();
	return error;
}

CK_RV C_GetSessionInfo(CK_SESSION_HANDLE handle, CK_SESSION_INFO *info)
{
	struct session *session;
	CK_RV error;
	LOCKED;

	session = find_session(handle, &error);
	if (!session)
		return error;
	if (!info)
		return CKR_ARGUMENTS_BAD;
	*info = (CK_SESSION_INFO){ .slotID = SLOT, .flags = session->flags };
	info->state = session->flags & CKF_RW_SESSION ? CKS_RW_PUBLIC_SESSION : CKS_RO_PUBLIC_SESSION;
	return CKR_OK;
}

CK_RV C_DestroyObject(CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE object)
{
	CK_RV error;
	LOCKED;

	return find_session(handle, &error) ? objects_destroy(object) : error;
}

CK_RV C_GetAttributeValue(CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *template, CK_ULONG count)
{
	CK_RV error;
	LOCKED;

	return find_session(handle, &error) ? objects_attributes(object, template, count) : error;
}

CK_RV C_FindObjectsInit(CK_SESSION_HANDLE handle, CK_ATTRIBUTE *template, CK_ULONG count)
{
	struct session *session;
	CK_OBJECT_HANDLE object = 0;
	CK_RV error;
	LOCKED;

	session = find_session(handle, &error);
	if (!session)
		return error;
	if (count && !template)
		return CKR_ARGUMENTS_BAD;
	if (session->finding)
		return CKR_OPERATION_ACTIVE;
	session->finding = true;
	session->found_count = session->found_next = 0;
	while ((object = objects_next(object, template, count)))
		session->found[session->found_count++] = object;
	return CKR_OK;
}

CK_RV C_FindObjects(CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE *objects, CK_ULONG room, CK_ULONG *count)
{
	struct session *session;
	CK_RV error;
	LOCKED;

	session = find_session(handle, &error);
	if (!session)
		return error;
	if (!session->finding)
		return CKR_OPERATION_NOT_INITIALIZED;
	if (!count || (room && !objects))
		return CKR_ARGUMENTS_BAD;
	for (*count = 0; *count < room && session->found_next < session->found_count;)
		objects[(*count)++] = session->found[session->found_next++];
	return CKR_OK;
}

CK_RV C_FindObjectsFinal(CK_SESSION_HANDLE handle)
{
	struct session *session;
	CK_RV error;
	LOCKED;

	session = find_session(handle, &error);
	if (!session)
		return error;
	if (!session->finding)
		return CKR_OPERATION_NOT_INITIALIZED;
	session->finding = false;
	return CKR_OK;
}

CK_RV C_GetFunctionStatus(CK_SESSION_HANDLE handle)
{
	(void)handle;
	return CKR_FUNCTION_NOT_PARALLEL;
}

CK_RV C_CancelFunction(CK_SESSION_HANDLE handle)
{
	(void)handle;
	return CKR_FUNCTION_NOT_PARALLEL;
}

/* PKCS#11 wants every entry to be callable; what they get in argument registers does not matter to this one. */
static CK_RV not_supported(void)
{
	return CKR_FUNCTION_NOT_SUPPORTED;
}

#define HAS(name) .name = name
#define LACKS(name) .name = (void *)not_supported
static CK_FUNCTION_LIST functions = {
	.version = { 2, 40 },
	HAS(C_Initialize), HAS(C_Finalize), HAS(C_GetInfo), HAS(C_GetFunctionList), HAS(C_GetSlotList), HAS(C_GetSlotInfo),
	HAS(C_GetTokenInfo), HAS(C_GetMechanismList), HAS(C_GetMechanismInfo), LACKS(C_InitToken), LACKS(C_InitPIN),
	LACKS(C_SetPIN), HAS(C_OpenSession), HAS(C_CloseSession), HAS(C_CloseAllSessions), HAS(C_GetSessionInfo),
	LACKS(C_GetOperationState), LACKS(C_SetOperationState), LACKS(C_Login), LACKS(C_Logout), LACKS(C_CreateObject),
	LACKS(C_CopyObject), HAS(C_DestroyObject), LACKS(C_GetObjectSize), HAS(C_GetAttributeValue),
	LACKS(C_SetAttributeValue), HAS(C_FindObjectsInit), HAS(C_FindObjects), HAS(C_FindObjectsFinal),
	LACKS(C_EncryptInit), LACKS(C_Encrypt), LACKS(C_EncryptUpdate), LACKS(C_EncryptFinal), LACKS(C_DecryptInit),
	LACKS(C_Decrypt), LACKS(C_DecryptUpdate), LACKS(C_DecryptFinal), HAS(C_DigestInit), HAS(C_Digest),
	HAS(C_DigestUpdate), LACKS(C_DigestKey), HAS(C_DigestFinal), HAS(C_SignInit), HAS(C_Sign), HAS(C_SignUpdate),
	HAS(C_SignFinal), LACKS(C_SignRecoverInit), LACKS(C_SignRecover), LACKS(C_VerifyInit), LACKS(C_Verify),
	LACKS(C_VerifyUpdate), LACKS(C_VerifyFinal), LACKS(C_VerifyRecoverInit), LACKS(C_VerifyRecover),
	LACKS(C_DigestEncryptUpdate), LACKS(C_DecryptDigestUpdate), LACKS(C_SignEncryptUpdate),
	LACKS(C_DecryptVerifyUpdate), LACKS(C_GenerateKey), HAS(C_GenerateKeyPair), LACKS(C_WrapKey), LACKS(C_UnwrapKey),
	LACKS(C_DeriveKey), LACKS(C_SeedRandom), HAS(C_GenerateRandom), HAS(C_GetFunctionStatus), HAS(C_CancelFunction),
	LACKS(C_WaitForSlotEvent),
};

__attribute__((visibility("default"))) CK_RV C_GetFunctionList(CK_FUNCTION_LIST **list)
{
	if (!list)
		return CKR_ARGUMENTS_BAD;
	*list = &functions;
	return CKR_OK;
}
