/* cpu_attention.h -- private to the CPU backend: what its two kinds of attention share. */
#ifndef MOE_CPU_CPU_ATTENTION_H
#define MOE_CPU_CPU_ATTENTION_H

#include "cpu/cpu.h"

static inline const float *head_at(const struct heads *x, size_t token, int head)
{
    return x->of + token * x->row + (size_t)head * x->step;
}

/* The first row of a document's keys that the query of row `row` sees; never decreases from one query to the
 * next. */
static inline int64_t first_row(const struct attention_args *a, int64_t before, int64_t row)
{
    int64_t first = mask_first_key(a->mask, a->window, (int)(before + row)) - before;

    return first > 0 ? first : 0;
}

/* Whether a document goes through packed products of bf16. A question of the document only, so that a result
 * stays independent of its neighbours. */
bool cpu_attention_is_packed(const struct cpu *c, const struct attention_args *a, int doc);
/* Attention within those documents. */
int cpu_attention_packed(struct cpu *c, const struct attention_args *a, struct err *e);

#endif
