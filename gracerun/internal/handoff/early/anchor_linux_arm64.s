#include "textflag.h"

// The handler is called as C is, with the address of the siginfo_t in R1. If si_code is
// not SI_KERNEL, it adds the bit of si_signo to caughtSet, and then calls
// write(signalPipe.write, siginfo, 1). The kernel restores all registers, and returns
// by itself.
TEXT ·handler(SB), NOSPLIT|NOFRAME, $0
	MOVW 8(R1), R2
	CMPW $0x80, R2
	BEQ done
	MOVWU 0(R1), R3
	SUB $1, R3, R3
	MOVD $1, R4
	LSL R3, R4, R4
	MOVD $·caughtSet(SB), R5
again:
	LDAXR (R5), R6
	ORR R4, R6, R6
	STLXR R6, (R5), R7
	CBNZ R7, again
	MOVW ·signalPipe+4(SB), R0
	MOVD $1, R2
	MOVD $64, R8
	SVC
done:
	RET

DATA ·handlerAddress(SB)/8, $·handler(SB)
GLOBL ·handlerAddress(SB), RODATA|NOPTR, $8
DATA ·returnAddress(SB)/8, $0
GLOBL ·returnAddress(SB), RODATA|NOPTR, $8
