/*
 * isa.h -- which of the instruction sets that hot code is compiled for may be used.
 *
 * Each set contains those before it. The environment variable MOE_CPU names the largest one that may be used,
 * so that a machine can run what an older one would; without it that is the largest one that it has.
 */
#ifndef MOE_BASE_ISA_H
#define MOE_BASE_ISA_H

#include "base/err.h"

enum isa {
    ISA_PLAIN,       /* what every processor of the architecture has: SSE2, NEON */
    ISA_AVX2,        /* and FMA */
    ISA_AVX512,      /* F, BW, DQ, VL */
    ISA_AVX512_BF16, /* products of pairs of bf16, conversion to bf16 */
    ISA_AMX,         /* tiles of bf16; the system has given the right to use them */
    ISA_COUNT
};

/* As MOE_CPU spells it. */
const char *isa_name(enum isa i);
/* The largest set that may be used. Any thread; the same answer until the program ends, or isa_limit. */
enum isa isa_best(void);
/* No more than this set from now on: what was opened before stays as it is. For tests. */
void isa_limit(enum isa most);
/* -1: MOE_CPU is not the name of a set (isa_best takes no notice of it). */
int isa_check(struct err *e);

#endif
