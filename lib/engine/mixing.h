/*
 * mixing.h -- how what a layer does between its tokens is computed: a row for each kind (enum mixer_kind), a
 * file each in mixers/. What a kind is made of says model/mixer.h.
 *
 * Documents go through whole and from their first token on. A row's own buffers are the pass's, wide enough
 * for the widest layer of any kind.
 */
#ifndef MOE_ENGINE_MIXING_H
#define MOE_ENGINE_MIXING_H

#include "engine/pass.h"

/* The documents of a chunk, and where their hidden states stand. */
struct span {
    int layer;
    int64_t doc, docs; /* the first in the batch, how many */
    int64_t n;         /* tokens */
    uint8_t *h;        /* elements [n][hidden] */
};

struct mixing {
    uint32_t ops; /* operations that it calls: bits of enum device_op */
    /* What a token takes in the pass's buffers. */
    void (*widths)(const struct arch *a, const struct layer_arch *l, struct mix_widths *w);
    /* Bytes of a token that the device's operations hold themselves. */
    int64_t (*held)(const struct layer_arch *l, size_t elem);
    /* Useful multiply-adds x 2 of a document of n tokens, between its tokens; and for each token beside. */
    double (*flops)(const struct layer_arch *l, int64_t n);
    double (*token_flops)(const struct arch *a, const struct layer_arch *l);
    /* h += what it makes of x, the normed h, in p->x. */
    int (*run)(struct pass *p, const struct layer_weights *w, const struct span *s, struct err *e);
};

#define MIXING_ROW(ID, name) extern const struct mixing mixing_##name;
MIXERS(MIXING_ROW)
#undef MIXING_ROW

/* Refuses a model with a layer that needs an operation which the device does not have. */
int mixing_check(const struct device *d, const struct arch *a, struct err *e);
/* Bytes of a token in the buffers, and in what the device makes of them. */
int64_t mixing_row(const struct arch *a, size_t elem);
int64_t mixing_held(const struct arch *a, size_t elem); /* what the device makes of them */
/* Useful multiply-adds x 2 of documents end to end, as first [docs + 1] says. */
double mixing_flops(const struct arch *a, const struct layer_arch *l, const int64_t *first, int64_t docs);
int mixing_buffers(struct pass *p, struct err *e);
void mixing_free(struct pass *p);
/* h += the mixer's, from the norm to the residual, of `docs` documents from `doc` on, whose first hidden
 * state is h. */
int mixing_block(struct pass *p, const struct layer_weights *w, int layer, int64_t doc, int64_t docs,
                 uint8_t *h, struct err *e);

/* For kinds that attend (mixers/attend.c): their multiply-adds by pairs of tokens, and the arguments that do
 * not depend on how q, k and v are made. */
double attend_flops(const struct layer_arch *l, int64_t n);
int64_t attend_held(const struct layer_arch *l, size_t elem);
struct attention_args attend_args(struct pass *p, const struct span *s);

#endif
