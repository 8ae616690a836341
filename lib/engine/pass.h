/*
 * pass.h -- private to the layer loop: one pass over a batch (forward.c), and the halves of its
 * layers (attention.c, ffn.c).
 */
#ifndef MOE_ENGINE_PASS_H
#define MOE_ENGINE_PASS_H

#include "engine/engine_private.h"
#include "engine/rope.h"
#include "engine/weights.h"

/* One mask of several that run together. Variants share the hidden states of the first of them whose masks
 * are the same in all layers so far. */
struct variant {
    const uint8_t *mask;
    struct hidden *h;
    int before, after; /* whose states it shares before and after the experts of the layer at hand */
};

struct pass {
    struct engine *en;
    struct device *d;
    const struct ops *op;
    const struct arch *a;
    const struct batch *b;
    struct variant *variant; /* [variants] */
    int variants;
    const struct observer *observer;
    struct groups groups;
    struct reader *reader;
    struct weights *weights;
    struct rope_tables rope;
    int64_t piece;          /* tokens that go through the experts at once */
    int64_t *chunk;         /* [chunks + 1] first document of each */
    int64_t chunks, widest; /* widest: tokens of the largest chunk */
    int64_t *first;         /* first tokens of a chunk's documents, from the chunk's own */
    /* device */
    void *x, *ctx;
    float *qkv, *q, *kv; /* attention_widths */
    /* device, of a piece: logits, results of experts and what weighs them */
    float *logits, *gate, *norm, *max, *shared_gate;
    void *y, *shared; /* elements */
    int32_t *chosen;
    /* host, for the observer: [piece][topk] */
    float *host_gate, *host_norm, *host_max;
    int32_t *host_chosen;
    /* what watch.c keeps for an observer that wants it: device, and where the layer's sums are on the host */
    struct expert_sums sums;
    double *host_sum[V_COUNT];
    float *pair, *host_pair; /* device and host [piece][topk * (topk - 1) / 2] */
    double flops;
};

/* Device memory for rows of a product, TILE_ROWS of them to spare. */
void *pass_rows(struct pass *p, int64_t rows, int width, size_t size, struct err *e);

/* Elements that a token takes in the buffers of attention. */
struct attention_widths {
    int x;   /* what goes into a product: hidden states, latents */
    int qkv; /* the first product: q, k and v; latent attention: q or its latent, latent of k and v, rotated k
              */
    int q;   /* q from its latent; 0: it is in the first product */
    int kv;  /* k without its rotated part, and v, from their latent; 0: they are in the first product */
    int ctx;
};
struct attention_widths attention_widths(const struct arch *a);
/* Bytes that a token takes in them, and in keys and values as the backend wants them. */
int64_t attention_row(const struct arch *a, size_t elem);
int attention_buffers(struct pass *p, struct err *e);
void attention_free(struct pass *p);

/* h += attention of `docs` documents from `doc` on, whose first hidden state is h. */
int attention_block(struct pass *p, const struct layer_weights *w, int layer, int64_t doc, int64_t docs,
                    uint8_t *h, struct err *e);

/* Sums by element and inner products for an observer that asked for them; nothing else costs anything. */
int watch_buffers(struct pass *p, struct err *e);
void watch_free(struct pass *p);
/* Around the pieces of a layer. */
void watch_begin(struct pass *p, const struct layer_weights *w, int layer);
void watch_end(struct pass *p, const struct layer_weights *w);
/* The pairs of a piece whose routing is on the host already. */
int watch_pairs(struct pass *p, int layer, int64_t first, int64_t n, struct err *e);

/* Bytes that a token takes in the buffers of the experts. */
int64_t ffn_row(const struct arch *a, size_t elem_bytes);
int ffn_buffers(struct pass *p, struct err *e);
void ffn_free(struct pass *p);
/* Router, experts (or the dense MLP) and residual of tokens first .. first+n-1, whose states are h. mask:
 * [experts], of this layer, or NULL. */
int ffn_piece(struct pass *p, const struct layer_weights *w, int layer, const uint8_t *mask, int64_t first,
              int64_t n, uint8_t *h, struct err *e);

#endif
