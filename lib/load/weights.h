/*
 * weights.h -- the provider of weights: one layer's at a time, packed for a device.
 *
 * Who computes knows two verbs. weights_layer waits until a layer is there, weights_done says that it is no
 * longer needed. What is between them is the provider's: it has a number of sets of matrices, and layer l
 * goes into set l % sets. With two, where the device packs beside computing, a thread packs the next layer,
 * batch of experts by batch, meanwhile; elsewhere there is one, packed while weights_layer waits. With as
 * many sets as layers everything stays, and weights_layer returns at once from the second pass on: what
 * generates token by token asks for that, and its layer loop is the same.
 *
 *     weights_plan(&batches, device, model, e)
 *     reader_open(&reader, &batches, ...)
 *     weights_open(&w, device, model, reader, &batches, e)
 *     weights_layer(w, 0, &lw, e)      lw is good until
 *     weights_done(w, 0)               computing with it must be over
 *     weights_layer(w, 1, &lw, e) ...  layers in order
 *     weights_close(w)                 then the reader
 */
#ifndef MOE_LOAD_WEIGHTS_H
#define MOE_LOAD_WEIGHTS_H

#include "device/device.h"
#include "load/reader.h"
#include "model/mixer.h"

/* Experts of a layer, or the one MLP of a dense layer or shared expert. Device memory. */
struct ffn_weights {
    struct matrix **gate_up, **down; /* [n] */
    int n, inter;
    float *b_gate_up, *b_down; /* [n][2 * inter] gate first, [n][hidden]; NULL: none */
};

/* What a layer's mixer says it has, by the numbers of its kind (model/mixer.h). */
struct mixer_weights {
    struct matrix *m[MIXER_MATRICES];
    float *b[MIXER_MATRICES]; /* device, of m's rows; NULL: none */
    float *v[MIXER_VECTORS];  /* device; NULL: none */
};

struct layer_weights {
    float *in_norm, *post_norm; /* device [hidden] */
    struct mixer_weights mixer;
    enum ffn_kind kind;
    const struct ffn_weights *ffn;
    /* FFN_MOE */
    struct matrix *router;
    float *b_router, *corr;           /* device [experts], corr: for the ranking; NULL: none */
    const struct ffn_weights *shared; /* NULL: none */
    struct matrix *shared_gate;       /* one row; NULL: the shared expert is not gated */
};

/* The batches that suit a device, and how many of them are in memory at once. */
int weights_plan(struct batches *g, const struct device *d, const struct model *m, struct err *e);
int weights_ring(const struct device *d);
/* Device memory that the sets of matrices take, at most. */
uint64_t weights_bytes(const struct device *d, const struct model *m);

struct weights;
/* m, reader and batches must outlive it; each batch is done with once it is packed. */
int weights_open(struct weights **out, struct device *d, const struct model *m, struct reader *reader,
                 const struct batches *g, struct err *e);
int weights_layer(struct weights *w, int layer, const struct layer_weights **out, struct err *e);
void weights_done(struct weights *w, int layer);
/* Seconds that weights_layer waited for reading, and for packing where that goes on beside. */
double weights_waited(const struct weights *w);
void weights_close(struct weights *w);

/* What is not in a layer. */
/* The embedding table, in host memory until all users are done with it. */
struct embedding;
int embedding_open(struct embedding **out, const struct model *m, bool bf16, int threads, int users,
                   struct err *e);
/* Rows of n ids to dst [n][hidden], host elements. Any thread. */
int embedding_rows(struct embedding *t, const int32_t *ids, int64_t n, void *dst, struct err *e);
/* Once by each user. Any thread. */
void embedding_done(struct embedding *t);
uint64_t embedding_bytes(const struct embedding *t); /* read */
void embedding_close(struct embedding *t);
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
