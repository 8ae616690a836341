/*
 * weights.h -- one layer's weights at a time: read by a thread of its own while the layer before computes,
 * then decoded and packed for the device.
 *
 *     weights_open(&w, device, model, e)
 *     weights_layer(w, 0, &lw, e)      lw is good until the next call
 *     weights_layer(w, 1, &lw, e) ...  layers in order
 *     weights_close(w)
 */
#ifndef MOE_ENGINE_WEIGHTS_H
#define MOE_ENGINE_WEIGHTS_H

#include "engine/ops.h"

/* Experts of a layer, or the one MLP of a dense layer or shared expert. Device memory. */
struct ffn_weights {
    struct matrix **gate_up, **down; /* [n] */
    int n, inter;
    float *b_gate_up, *b_down; /* [n][2 * inter] gate first, [n][hidden]; NULL: none */
};

struct layer_weights {
    float *in_norm, *post_norm; /* device [hidden] */
    float *q_norm, *k_norm;     /* device [head_dim], QKN_FULL_PRE: of all heads; or NULL */
    float *sinks;               /* device [heads], or NULL */
    /* q, k and v of a token below each other; latent attention: q, or the latent of q, then the latent
     * of k and v with the rotated part of k */
    struct matrix *qkv, *o;
    float *b_qkv, *b_o;                    /* device; NULL: none */
    struct matrix *q_b, *kv_b;             /* from the latents; or NULL */
    float *q_latent_norm, *kv_latent_norm; /* device, or NULL */
    enum ffn_kind kind;
    const struct ffn_weights *ffn;
    /* FFN_MOE */
    struct matrix *router;
    float *b_router, *corr;           /* device [experts], corr: for the ranking; NULL: none */
    const struct ffn_weights *shared; /* NULL: none */
    struct matrix *shared_gate;       /* one row; NULL: the shared expert is not gated */
};

struct weights;
/* Starts reading layer 0. m must outlive it. */
int weights_open(struct weights **out, struct device *d, const struct model *m, struct err *e);
int weights_layer(struct weights *w, int layer, const struct layer_weights **out, struct err *e);
/* Adds what reading cost so far. */
void weights_cost(const struct weights *w, struct engine_cost *cost);
void weights_close(struct weights *w);

/* What is not in a layer. */
/* h: device elements [n][hidden] of the ids. Reads the embedding table. */
int weights_embed(struct device *d, const struct model *m, const int32_t *ids, int64_t n, void *h,
                  uint64_t *bytes, struct err *e);
/* The final norm: device [hidden], to be freed with buf_free. */
int weights_final_norm(struct device *d, const struct model *m, float **out, struct err *e);
/* The map to the vocabulary: lm_head, or the embedding if there is none. */
struct head_weights {
    struct matrix *w;
    float *bias; /* device [vocab]; NULL: none */
};
int weights_head(struct device *d, const struct model *m, struct head_weights *out, struct err *e);
void head_weights_free(struct device *d, struct head_weights *h);

#endif
