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
/* Where the blocks of keys and the tiles of queries begin of each document that goes that way (packed), or
 * does not; the others have none. */
struct attention_cut {
    int64_t *block_at, *tile_at; /* [docs + 1] */
    int64_t blocks, tiles;       /* how many */
};
int cpu_attention_cut(struct attention_cut *cut, const struct cpu *c, const struct attention_args *a,
                      bool packed, int keys, int rows, struct err *e);
void cpu_attention_cut_free(struct attention_cut *cut);
/* Attention within those documents. */
int cpu_attention_packed(struct cpu *c, const struct attention_args *a, struct err *e);

#endif
