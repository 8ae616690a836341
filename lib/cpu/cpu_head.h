/* cpu_head.h -- private to the CPU backend: what the segments of the vocabulary give, and joining them. */
#ifndef MOE_CPU_CPU_HEAD_H
#define MOE_CPU_CPU_HEAD_H

#include "cpu/cpu.h"

enum { SEGMENTS = 16 };

/* What a segment gives for one row and side: sums of exp(logit - top). */
struct sums {
    double sum, cross; /* cross: of exp(logit0 - top0) * (logit0 - logit) */
    float top, at;
    int32_t which;
};

struct head {
    struct cpu *c;
    const struct head_args *a;
    int panels; /* of HEAD_COLUMNS */
    long blocks;
    struct sums *part; /* [SEGMENTS][n][sides] */
};

/* A task of the pool: the segments of GEMM_ROWS rows become a->row. */
void head_join(void *ctx, long task, int worker);

#endif
