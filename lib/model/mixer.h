/*
 * mixer.h -- what a layer does between its tokens: one row a kind (enum mixer_kind), a file each.
 *
 * A row says which numbers of config.json make a layer of this kind, which tensors it has and what it keeps
 * of the tokens that it has seen. How it is computed says engine/mixing.h.
 */
#ifndef MOE_MODEL_MIXER_H
#define MOE_MODEL_MIXER_H

#include "model/slots.h"

struct config;

/* Matrices and vectors that a mixer can have; each numbers its own. */
enum { MIXER_MATRICES = 8, MIXER_VECTORS = 8 };

struct mixer {
    const char *name; /* "gqa" */
    /* Numbers of a layer whose ffn, mask and presence of rope are known; failures are c->e's. */
    void (*read)(struct arch *a, struct config *c, struct layer_arch *l);
    /* Its tensors; how many. */
    int (*slots)(const struct arch *a, const struct layer_arch *l, struct slot *s);
    /* Bytes that a sequence of `tokens` tokens leaves behind for those that follow, at elem bytes an element:
     * keys and values grow up to the window, a recurrence keeps the same for any length. */
    uint64_t (*state)(const struct layer_arch *l, int64_t tokens, size_t elem);
};

const struct mixer *mixer_of(const struct layer_arch *l);

/* GQA: q, k and v are one product. */
enum { GQA_QKV, GQA_O };
enum { GQA_Q_NORM, GQA_K_NORM, GQA_SINKS };
/* MLA: the first product gives q, or its latent, and below it the latent of k and v with the rotated part of
 * k. */
enum { MLA_FIRST, MLA_O, MLA_Q_UP, MLA_KV_UP };
enum { MLA_Q_NORM, MLA_KV_NORM };

#define MIXER_ROW(ID, name) extern const struct mixer mixer_##name;
MIXERS(MIXER_ROW)
#undef MIXER_ROW

/* For rows of kinds that attend: heads, scale and the like from config.json, head_dim and v_dim aside; once
 * they are known, whether all heads together are a size that makes sense, and which rope there is, of
 * `rotated` dimensions; and how many of a sequence's tokens the mask keeps in sight. */
void attention_read(struct arch *a, struct config *c, struct attention_arch *t);
void attention_rope(struct arch *a, struct config *c, struct attention_arch *t, int rotated);
/* indexer.c: its tensors. */
int indexer_slots(const struct arch *a, const struct layer_arch *l, struct slot *s);
int64_t attention_kept(const struct attention_arch *t, int64_t tokens);

#endif
