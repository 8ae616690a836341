/* cpu_attention.h -- private to the CPU backend: what its two kinds of attention share. */
#ifndef MOE_ENGINE_CPU_ATTENTION_H
#define MOE_ENGINE_CPU_ATTENTION_H

#include "cpu/cpu.h"

static inline const float *head_at(const struct heads *x, size_t token, int head)
{
    return x->of + token * x->row + (size_t)head * x->step;
}

/* The first key that a query sees; never decreases from one query to the next. */
static inline int64_t first_key(const struct attention_args *a, int64_t query)
{
    switch (a->mask) {
    case MASK_SLIDING:
        return query >= a->window ? query - a->window + 1 : 0;
    case MASK_CHUNKED:
        return query - query % a->window;
    default:
        return 0;
    }
}

static inline int64_t doc_length(const struct attention_args *a, int doc)
{
    return a->docs.first[doc + 1] - a->docs.first[doc];
}

/* Whether a document of this many tokens goes through packed products of bf16. A question of its own length
 * only, so that a result stays independent of its neighbours. */
bool cpu_attention_is_packed(const struct cpu *c, int64_t len);
/* Attention within those documents. */
int cpu_attention_packed(struct cpu *c, const struct attention_args *a, struct err *e);

#endif
