/*
 * reservoir.h -- whole rows of a sample of tokens: what the experts of every MoE layer read and gave
 * (moe-reservoir(5)).
 *
 * The sample is the same for all layers. A token's place in it depends on its document's tokens, its position
 * and its category, not on what else there is, so parts of a corpus agree on it.
 */
#ifndef MOE_OBSERVE_RESERVOIR_H
#define MOE_OBSERVE_RESERVOIR_H

#include "engine/engine.h"
#include "stats/stats.h"
#include "text/corpus.h"

struct reservoir {
    int64_t tokens;
    int64_t *token; /* [tokens] of the corpus, ascending */
    uint64_t *hash; /* [tokens] what it was chosen by */
    int n_layers, topk, hidden;
    bool bf16;       /* elements are bf16, else f32 */
    uint8_t *input;  /* elements [layers][tokens][hidden] */
    uint8_t *output; /* the same, of the routed experts together */
    int32_t *expert; /* [layers][tokens][topk] */
    float *gate;     /* [layers][tokens][topk] */
    float *residual; /* [layers][tokens] length of the hidden state before the experts */
    float *turn;     /* [layers][tokens] 1 - cos, see struct residual_view */
};

/* Chooses up to `tokens` tokens of c, as many of each category (of a smaller one, all it has), and makes room
 * for their rows. */
int reservoir_new(struct reservoir *r, const struct corpus *c, const struct arch *a, bool bf16,
                  int64_t tokens, struct err *e);
void reservoir_free(struct reservoir *r);
/* Bytes of the rows, in memory and (but for the header) in the file; UINT64_MAX if they are beyond that. */
uint64_t reservoir_bytes(const struct arch *a, bool bf16, int64_t tokens);

/* Rows of one layer, for n samples from number `at` on; what the experts add is summed over y times gate, or
 * over y if gated. */
void reservoir_put(struct reservoir *r, int layer_index, int64_t at, int n, const struct token_rows *rows,
                   bool gated);
/* head: model, run and parts of the observation. Same sample, same bytes. */
int reservoir_write(const struct reservoir *r, const struct stats *head, const struct corpus *c,
                    const char *path, bool force, struct err *e);

#endif
