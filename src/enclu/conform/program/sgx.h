/* SGX's leaves, structures and bits, as the SDM calls them (volume 3D chapters 35 and 38). */
#ifndef CONFORM_SGX_H
#define CONFORM_SGX_H

#include <stdint.h>

#define PAGE 4096

enum leaf { EREPORT, EGETKEY, EENTER, ERESUME, EEXIT, EACCEPT, EMODPE, EACCEPTCOPY, EVERIFYREPORT2, EDECCSSA };
enum vector { DE = 0, DB = 1, BP = 3, UD = 6, NM = 7, SS_FAULT = 12, GP = 13, PF = 14, MF = 16, AC = 17, XM = 19 };
enum page_type { PT_SECS, PT_TCS, PT_REG, PT_VA, PT_TRIM };
enum secinfo_flags { R = 1, W = 2, X = 4, PENDING = 8, MODIFIED = 0x10, PR = 0x20 };
enum attributes { ATTRIBUTE_INIT = 1, DEBUG = 2, MODE64BIT = 4, PROVISIONKEY = 0x10, EINITTOKEN_KEY = 0x20, KSS = 0x80,
	AEXNOTIFY = 0x400 };
enum miscselect { MISC_EXINFO = 1 };
enum { TCS_FLAGS = 8, TCS_AEXNOTIFY = 2 };
enum key_name { KEY_EINITTOKEN, KEY_PROVISION, KEY_PROVISION_SEAL, KEY_REPORT, KEY_SEAL };

#define FLAGS_OF(type) ((uint64_t)(type) << 8)
#define REG FLAGS_OF(PT_REG)
#define TCS FLAGS_OF(PT_TCS)
#define TRIM FLAGS_OF(PT_TRIM)

/* Page-fault error codes (SDM 3A section 4.7); bit 15 is SGX's. */
enum page_fault { PF_P = 1, PF_W = 2, PF_U = 4, PF_I = 0x10, PF_SGX = 0x8000 };

/* Bits of RFLAGS */
enum rflags { CF = 1, PARITY = 4, AF = 0x10, ZF = 0x40, SF = 0x80, TF = 0x100, DF = 0x400, OF = 0x800, RF = 0x10000,
       RFLAGS_AC = 0x40000, RFLAGS_ID = 0x200000 };
#define ARITHMETIC (CF | PARITY | AF | ZF | SF | OF)

struct secs {
	uint64_t size, baseaddr;
	uint32_t ssaframesize, miscselect;
	uint64_t cet_leg_bitmap_offset;
	uint8_t cet_attributes, reserved[15];
	uint64_t attributes, xfrm;
	uint8_t mrenclave[32], reserved2[32], mrsigner[32], reserved3[32], configid[64];
	uint16_t isvprodid, isvsvn, configsvn;
	uint8_t reserved4[3834];
};

struct secinfo {
	uint64_t flags, reserved[7];
} __attribute__((aligned(64)));

/* In the order of encoding, as GPRSGX has them. */
struct registers {
	uint64_t rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15, rflags;
};

struct gprsgx {
	struct registers registers;
	uint64_t rip, ursp, urbp;
	uint32_t exitinfo;
	uint8_t reserved[3], aexnotify;
	uint64_t fsbase, gsbase;
};

struct exinfo {
	uint64_t maddr;
	uint32_t errcd, reserved;
};

struct targetinfo {
	uint8_t measurement[32];
	uint64_t attributes, xfrm;
	uint8_t cet_attributes, reserved;
	uint16_t configsvn;
	uint32_t miscselect;
	uint8_t reserved2[8], configid[64], reserved3[384];
};

struct report {
	uint8_t cpusvn[16];
	uint32_t miscselect;
	uint8_t cet_attributes, reserved[11], isvextprodid[16];
	uint64_t attributes, xfrm;
	uint8_t mrenclave[32], reserved2[32], mrsigner[32], reserved3[32], configid[64];
	uint16_t isvprodid, isvsvn, configsvn;
	uint8_t reserved4[42], isvfamilyid[16], reportdata[64], keyid[32], mac[16];
};

struct keyrequest {
	uint16_t keyname, keypolicy, isvsvn;
	uint8_t cet_attributes_mask, reserved;
	uint8_t cpusvn[16];
	uint64_t attributemask, xfrmmask;
	uint8_t keyid[32];
	uint32_t miscmask;
	uint16_t configsvn;
	uint8_t reserved2[434];
};

#endif
