#include "textflag.h"

// The handler is called as C is, with the address of the siginfo_t in SI. If si_code is
// not SI_KERNEL, it adds the bit of si_signo to caughtSet, and then calls
// write(signalPipe.write, siginfo, 1). The kernel restores all registers.
TEXT ·handler(SB), NOSPLIT|NOFRAME, $0
	CMPL 8(SI), $0x80
	JEQ done
	MOVL 0(SI), CX
	DECL CX
	MOVL $1, AX
	SHLQ CX, AX
	LOCK
	ORQ AX, ·caughtSet(SB)
	MOVL ·signalPipe+4(SB), DI
	MOVL $1, DX
	MOVL $1, AX
	SYSCALL
done:
	RET

// It returns to rt_sigreturn(2).
TEXT ·handlerReturn(SB), NOSPLIT|NOFRAME, $0
	MOVL $15, AX
	SYSCALL
	INT $3

DATA ·handlerAddress(SB)/8, $·handler(SB)
GLOBL ·handlerAddress(SB), RODATA|NOPTR, $8
DATA ·returnAddress(SB)/8, $·handlerReturn(SB)
GLOBL ·returnAddress(SB), RODATA|NOPTR, $8
