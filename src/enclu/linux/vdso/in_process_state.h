/* What in_process.h and Python know alike of transitions in process: slots, tickets, TCSes and SSA frames, and the rules. */
#define EENTER_LEAF	2
#define ERESUME_LEAF	3
#define EEXIT_LEAF	4
#define EDECCSSA_LEAF	9

/* native/shared_area.py: the segment, what its limit in bytes lacks to a slot's address, and the tickets. */
#define SELECTOR	0x73
#define SLOT_BIAS	0x7ff8000
#define TICKETS		0x7e2100000000

/* sgx/enclave_mode.py: fields of a slot. */
#define S_TCS_LA	(0 - SLOT_BIAS)
#define S_EID		(8 - SLOT_BIAS)
#define S_BASE		(16 - SLOT_BIAS)
#define S_SIZE		(24 - SLOT_BIAS)
#define S_FS		(32 - SLOT_BIAS)
#define S_GS		(40 - SLOT_BIAS)
#define S_GPRSGX	(48 - SLOT_BIAS)
#define S_TF		(56 - SLOT_BIAS)
#define S_EPOCH		(64 - SLOT_BIAS)
#define S_MODE		(72 - SLOT_BIAS)
#define S_TCS		(80 - SLOT_BIAS)
#define S_ASIDE		(88 - SLOT_BIAS)
#define S_NARROW	(96 - SLOT_BIAS)
#define S_SITE		(104 - SLOT_BIAS)
#define S_FLAGS		(112 - SLOT_BIAS)
#define S_RCX		(120 - SLOT_BIAS)
#define S_RDX		(128 - SLOT_BIAS)
#define S_RSI		(136 - SLOT_BIAS)
#define S_RDI		(144 - SLOT_BIAS)
#define S_TICKET	(152 - SLOT_BIAS)
#define S_STUB		(160 - SLOT_BIAS)
#define S_AEP		(168 - SLOT_BIAS)
#define S_NEXT		(176 - SLOT_BIAS)
#define S_CSSA		(184 - SLOT_BIAS)
#define S_FSBASE	(192 - SLOT_BIAS)
#define S_GSBASE	(200 - SLOT_BIAS)
#define S_RIP		(208 - SLOT_BIAS)
#define S_CS		(216 - SLOT_BIAS)
#define S_RFLAGS	(224 - SLOT_BIAS)
#define S_RSP		(232 - SLOT_BIAS)
#define S_SS		(240 - SLOT_BIAS)
#define S_EENTERS	(248 - SLOT_BIAS)
#define S_ERESUMES	(256 - SLOT_BIAS)
#define S_EEXITS	(264 - SLOT_BIAS)
#define S_EDECCSSAS	(272 - SLOT_BIAS)
#define S_ONWARD	(280 - SLOT_BIAS)
#define S_COUNT		(288 - SLOT_BIAS)
#define S_RING		(296 - SLOT_BIAS)
#define S_RING_END	(304 - SLOT_BIAS)
#define S_RING_NEXT	(312 - SLOT_BIAS)
#define S_LOSSY		(320 - SLOT_BIAS)
#define S_FIXUP		(328 - SLOT_BIAS)
#define S_VECTOR	(336 - SLOT_BIAS)
#define S_ADDRESS	(344 - SLOT_BIAS)
#define S_CODES		(352 - SLOT_BIAS)
#define S_EXITINFO	(360 - SLOT_BIAS)
#define S_XFRM		(368 - SLOT_BIAS)
#define S_FAULT_RSP	(376 - SLOT_BIAS)
#define S_INITIAL	(384 - SLOT_BIAS)
#define S_XSAVE		(960 - SLOT_BIAS)

/* native/in_process.py: fields of a record in the ring. */
#define R_TSC		0
#define R_LEAF		8	/* and the EID, from bit 32 on */
#define R_TCS		16	/* and CSSA, in the bits that are 0 */
#define R_RDI		24
#define R_RSI		32
#define R_RBX		40
#define R_RCX		48
#define R_RSP		56
#define R_SIZE		64

/* native/tickets.py: fields of a ticket. */
#define T_KEY		0
#define T_TCS		8
#define T_GPRSGX	16
#define T_FRAME_SIZE	24
#define T_FRAMES	32
#define T_TF		40
#define T_FS		48
#define T_GS		56
#define T_EID		64
#define T_BASE		72
#define T_SIZE		80
#define T_EPOCH		88
#define T_NARROW	96
#define T_XFRM		104
#define T_STUBS		128
#define TICKET_SHIFT	8
#define TICKET_HASH	0x9e3779b1
#define TICKET_BITS	10

/* native/own_aex.py: fields of struct rt_sigframe, and of error codes in the slot. */
#define F_SS_FLAGS	32
#define F_RDI		112
#define F_RSI		120
#define F_RDX		144
#define F_RAX		152
#define F_RCX		160
#define F_RIP		176
#define F_RFLAGS	184
#define F_ERR		200
#define F_FPSTATE	232
#define F_XFEATURES	472	/* from what FPSTATE points to */
#define CODE_W		0x2
#define CODE_I		0x10
#define CODE_UNKNOWN	0x2000
#define CODE_OF_FRAME	0x4000
#define CODE_MASK	0x9fff

/* TCS and GPRSGX, SDM 3D sections 35.8 and 35.9. */
#define TCS_STATE	0
#define TCS_CSSA	24
#define TCS_AEP		40
#define GPRSGX_RAX	0
#define GPRSGX_RCX	8
#define GPRSGX_RDX	16
#define GPRSGX_RBX	24
#define GPRSGX_RSP	32
#define GPRSGX_RBP	40
#define GPRSGX_RSI	48
#define GPRSGX_RDI	56
#define GPRSGX_R8	64
#define GPRSGX_R9	72
#define GPRSGX_R10	80
#define GPRSGX_R11	88
#define GPRSGX_R12	96
#define GPRSGX_R13	104
#define GPRSGX_R14	112
#define GPRSGX_R15	120
#define GPRSGX_RFLAGS	128
#define GPRSGX_RIP	136
#define GPRSGX_URSP	144
#define GPRSGX_URBP	152
#define GPRSGX_EXITINFO	160
#define GPRSGX_AEXNOTIFY	167
#define GPRSGX_FSBASE	168
#define GPRSGX_GSBASE	176
#define GPRSGX_SIZE	184
#define EXINFO_MADDR	-16	/* from GPRSGX */
#define EXINFO_ERRCD	-8

#define XSAVE_MXCSR	24
#define XSAVE_HEADER	512
#define XSAVE_AVX	0x4	/* components, as in XCR0 */
#define XSAVE_ZMM_HI256	0x40
#define XSAVE_AVX512	0xe0
#define NOT_CANONICAL	47	/* bits below are any; only the lower half is for us */
#define RFLAGS_RESTORED	0x254cd5
#define RFLAGS_FIXED	0x202
#define RFLAGS_TF	0x100
#define RFLAGS_RF	0x10000
#define RFLAGS_CLEARED	0x108d5
#define SYNTHETIC_MXCSR	0x1fb0

/* native/trampoline.py: Rule. */
#define AT_ENCLU	0	/* nothing has changed */
#define SWAPPED		1	/* RAX and RCX are swapped */
#define SWAPPED_LESS	2	/* and RCX lacks the leaf's number */
#define FOUND		3	/* RAX: the program's RCX; the leaf is known */
#define FOUND_NZ	4	/* and ZF was 0 */
#define FOUND_Z		5	/* and ZF was 1 */
#define KEPT_NZ		6	/* RCX is in the slot, and ZF was 0 */
#define KEPT_Z		7
#define KEPT_AX		8	/* RCX is in the slot, the flags are in AX */
#define KEPT		9	/* both are in the slot, the site is not */
#define SITED		10	/* the site is, too */
#define CLAIMING	11	/* and RDX, RSI and RDI; a TCS may be claimed, and state be put aside */
#define ENTERED		12	/* in the enclave */
#define LEFT		13	/* outside */
#define RESUMING	14	/* in the enclave; its extended state may not have been loaded */
#define RESUMED		15	/* it has */
#define DECREASED	16	/* CSSA is what EDECCSSA makes of it */
#define FAULTED		17	/* in a signal frame is what an enclave had at its exception */
#define AEX_DONE	18	/* the AEX is over, not all registers are loaded */
#define SHOWING		19	/* all are, but RIP and what a system call and its arguments need */
#define LOCKING		20	/* an ioctl is looked at (add_queue.h); the lock is its, if ZF is 1 */
#define QUEUEING	21	/* the lock is, registers are in the queue */
#define QUEUED		22	/* and the call is over */
#define OUT		23	/* the program's own code again */
