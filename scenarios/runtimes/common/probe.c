/* For the instance that records registers: what BEFORE fills extended state with. */
#ifdef PROBE
#include "core.h"

#include <string.h>

extern struct sgx_registers probe_filled;
extern uint8_t probe_avx;

__attribute__((constructor)) static void fill(void)
{
	static const uint16_t x87_control = 0x77f;	/* rounds down */
	static const uint32_t mxcsr = 0x3f80;		/* rounds down */

	/* ST0 := 1.0 */
	__asm__ volatile("fxsave64 %0; fld1; fxsave64 %0; fstp %%st(0)" : "+m"(probe_filled.fxsave));
	memcpy(probe_filled.fxsave, &x87_control, 2);
	memcpy(probe_filled.fxsave + 24, &mxcsr, 4);
	memset(probe_filled.fxsave + 160, 0xb1, 256);
	memset(probe_filled.ymm_high, 0xb2, sizeof(probe_filled.ymm_high));
	probe_avx = !!__builtin_cpu_supports("avx");
}
#endif
