/*
 * engine.h -- the forward pass, layer by layer, over a set of documents.
 *
 * Layer-major and streaming: hidden states of all documents are held, one layer's weights are read (threads
 * read the next layer meanwhile, and a GPU packs it beside computing), every document runs through it, the
 * layer is dropped. Only the routed experts of a token are computed. Results do not depend on thread count,
 * chunking, neighbours, the number of devices or where the hidden states are kept: every product runs in row
 * tiles of one fixed height, and sums are made in document order in f64.
 *
 *     engine_open(&en, &options, e)
 *     engine_forward(en, model, &batch, mask, &observer, &hidden, &cost, e)   hidden: after the final norm
 *     engine_nll(en, model, hidden, &batch, nll, e)                           or engine_logits, engine_kl
 *     hidden_free(hidden); engine_close(en)
 */
#ifndef MOE_ENGINE_ENGINE_H
#define MOE_ENGINE_ENGINE_H

#include "device/device.h"
#include "model/model.h"

enum { ENGINE_DEVICES = 16 };

struct engine_options {
    /* Kind of backend, as in device/registry.h; NULL, "auto": the best that can be used. */
    const char *device;
    int device_index; /* if there is only one */
    /* Several devices of one host: those listed; -1: all. Does not change any result. 0: one. A CPU poses as
     * so many devices that share its threads, for tests. */
    int devices, device_list[ENGINE_DEVICES];
    enum precision precision;
    int threads;         /* 0: all */
    uint64_t mem_max;    /* bytes for hidden states and chunks; 0: no limit of our own */
    int chunk_tokens;    /* internal knob: tokens that go through an operation at once; 0: default. Whole
                            documents are kept together. Does not change any result. */
    uint64_t device_mem; /* bytes of device memory that may be used; 0: what is free. If hidden states do not
                            fit beside weights and buffers, they stay in host memory. */
    bool states_on_host; /* internal knob: they stay there in any case. Does not change any result. */
    /* fraction: of the whole forward pass; layer == layers: of what follows it, products with the vocabulary
     * (the head). May be NULL. */
    void (*progress)(void *ctx, int layer, int layers, double fraction);
    void *progress_ctx;
};

struct engine;
int engine_open(struct engine **out, const struct engine_options *o, struct err *e);
void engine_close(struct engine *en);
const char *engine_device(const struct engine *en); /* kind of backend: "cpu", "cuda" */
/* One line about the choice that "auto" made, worth telling the user; NULL: none. */
const char *engine_note(const struct engine *en);
const char *engine_library(const struct engine *en); /* "oneDNN 2.6.3 (avx512_core_bf16)", "builtin" */
const struct precision_row *engine_precision(const struct engine *en); /* resolved */
int engine_threads(const struct engine *en);

/* Documents end to end; document d is ids[first[d]] .. ids[first[d+1]-1], positions from 0. */
struct batch {
    const int32_t *ids;
    const int64_t *first; /* [docs + 1] */
    int64_t docs;
};

/*
 * What of a model takes part: its experts and, if wanted, channels of them, that is elements of their
 * intermediate activations. Numbers are the checkpoint's; what is said of dense layers does not matter.
 * mask_free frees both.
 */
struct mask {
    uint8_t *experts;  /* [layers][experts], 0 = may not be chosen: its router logit counts as -infinity, and
                          softmax runs over the others, exactly what the router of the pruned model computes.
                          NULL: all may */
    uint8_t *channels; /* [layers][experts][inter], 0 = what goes into the down projection is 0 there: exactly
                          an expert without these rows of gate and up and columns of down. NULL: all are in */
};
void mask_free(struct mask *m);

/* Of some tokens. Elements are in the engine's precision, bf16 or f32. */
struct token_rows {
    const void *x; /* elements [n][hidden]: what router and experts read */
    const void *y; /* elements [n][k][hidden]: what the experts gave (ungated; a gate on the input: what
                      they add) */
    const int32_t *expert; /* [n][k], ascending */
    const float *gate;     /* [n][k] */
    /* Under another mask [n][k]: expert, or -1 where y has nothing, since it is what the same expert gave in
     * the pass. NULL: all of y is there. */
    const int32_t *fresh;
    const struct residual_view *residual; /* [n], of the pass; NULL unless routed is wanted too */
};

/* Of some tokens: their k experts, ascending, and what weighs them. */
struct choices {
    const int32_t *expert; /* [n][k], as are the next three */
    const float *gate;     /* the weight that the model applied */
    const float *norm;     /* L2 of the ungated output */
    const float *max;      /* its largest |element|. A gate on the input: these two of what the expert adds,
                              divided      by the gate; 0 if that is 0 */
    const struct residual_view *residual; /* [n] */
};

/* Host memory that the engine goes on adding to, of one layer. */
struct layer_sums {
    double *sum[EXPERT_SUMS]; /* [experts][expert_sum_width] */
    double *shared; /* [shared_inter]: squares of the shared expert's inner activations, if there is one */
};

/*
 * Called after each MoE layer with consecutive tokens, in document order, each token once (in pieces of
 * any size). layer is the checkpoint's layer number. Not called from several threads at once. A return other
 * than 0 stops the pass (fill e). NULL: only samples are wanted.
 *
 * What costs more is asked for by the others; NULL: not wanted, and not computed.
 * pairs is called after routed, for the same tokens. inner: [n][k(k-1)/2], gate_i gate_j <f_i, f_j> of a
 * token's pairs of experts, (0,1), (0,2) .. (k-2,k-1), f being the ungated outputs. sums is called before a
 * MoE layer and says where its sums by element are kept. The engine goes on adding to them, token after token
 * in document order. They must stay until engine_forward returns, and hold the sums only then.
 *
 * viewed is called after routed for the same tokens, view [n]; a correction bias and groups, which come
 * after the logits, do not matter there.
 *
 * sampled is called for the tokens sample[0 .. samples-1], ascending, or all (sample NULL), once each, some
 * at a time: n of them from number i of the sample on. What it is shown stays until it returns. With `apart`
 * a second mask is observed and not followed: the same tokens are routed under it as well, from what the
 * layer reads in this pass, and the experts that this chooses give what they give; the pass goes on as if
 * nothing had been. That costs no more than the experts that a token had not chosen anyway.
 */
struct observer {
    int (*routed)(void *ctx, int layer, int64_t first_token, int n, const struct choices *c, struct err *e);
    void *ctx;
    int (*pairs)(void *ctx, int layer, int64_t first_token, int n, const int32_t *expert, const float *gate,
                 const float *norm, const float *inner, struct err *e);
    void (*sums)(void *ctx, int layer, struct layer_sums *to);
    void (*viewed)(void *ctx, int layer, int64_t first_token, int n, const struct router_view *view);
    void (*sampled)(void *ctx, int layer, int64_t i, int n, const struct token_rows *rows,
                    const struct token_rows *under_apart); /* NULL: there is no such mask */
    const int64_t *sample;                                 /* [samples] */
    int64_t samples;
    const struct mask *apart; /* with sampled only */
};

/* What a pass cost; filled when asked for. */
struct engine_cost {
    double seconds, read_seconds, wait_seconds; /* all; reading in the reader thread; waiting for it */
    double flops; /* useful multiply-adds x 2: routed products, attention, projections */
    uint64_t bytes_read;
    uint64_t peak_bytes;        /* largest resident set of the process */
    uint64_t peak_device_bytes; /* most device memory held at once; 0: the device is the host */
};

/* What a forward pass and the head after it take, told beforehand. Host bytes are what this process would
 * hold at once beside what it holds before; of a device that is the host they are all there is. */
struct engine_need {
    double flops;                                      /* as engine_cost */
    double head_flops;                                 /* of one product of all tokens with the vocabulary */
    uint64_t layer_bytes, embedding_bytes, head_bytes; /* to be read */
    uint64_t host, device;                             /* of the forward pass */
    uint64_t head_host, head_device;                   /* while the head works, the hidden states included */
};
/* observer: as it would be given, NULL: none. For `variants` masks at once; what they share is counted for
 * each. */
int engine_need(struct engine *en, const struct model *m, const struct batch *b, int variants,
                const struct observer *observer, struct engine_need *out, struct err *e);

/* How fast this machine is at it, by the layers up to the first one with experts, and b: at least two
 * documents should be in it, of which some thousand tokens. Runs for a second or so. head: the vocabulary,
 * too. */
struct engine_speed {
    double flops;        /* a second, of a forward pass, with what else goes with tokens */
    double pack_seconds; /* for each byte of layers */
    double read; /* bytes of layers a second: of the disk, or of what the system still had of the file */
    double head_seconds, head_first; /* for each token, and once */
    double seconds;                  /* of computing all of the text: little of it tells nothing */
    uint64_t host;                   /* what engine_need says of these runs */
};
int engine_calibrate(struct engine *en, const struct model *m, const struct batch *b, bool head,
                     const struct observer *observer, struct engine_speed *out, struct err *e);

struct hidden; /* [tokens][H] after the final norm, in the engine's precision */
/*
 * mask, observer, hidden and cost may be NULL. With hidden NULL the last layer's leftovers (final norm) are
 * not computed.
 */
int engine_forward(struct engine *en, const struct model *m, const struct batch *b, const struct mask *mask,
                   const struct observer *observer, struct hidden **hidden, struct engine_cost *cost,
                   struct err *e);
/* The same for mask[0 .. n-1] over one batch, hidden[n] (all NULL on failure): each layer is read and packed
 * once, and masks that agree in all layers so far are computed once. It holds n hidden states a token. */
int engine_forward_masks(struct engine *en, const struct model *m, const struct batch *b,
                         const struct mask *mask, int n, struct hidden **hidden, struct engine_cost *cost,
                         struct err *e);
void hidden_free(struct hidden *h);

/* nll[t] = -ln p(ids[t+1] | up to t) for every token but the last of a document (there NaN). f64 log-sum
 * over f32 logits. */
int engine_nll(struct engine *en, const struct model *m, const struct hidden *h, const struct batch *b,
               float *nll, struct err *e);
/* f32 logits of tokens first .. first+n-1: out[n][V]. */
int engine_logits(struct engine *en, const struct model *m, const struct hidden *h, int64_t first, int n,
                  float *out, struct err *e);
/* A model's hidden states for one batch: one side of a comparison. */
struct judged {
    const struct model *m;
    const struct hidden *h;
};
/* Per token of[i], i > 0, against of[0]: KL(of[0] || of[i]) in nats over the whole vocabulary, whether the
 * most likely token agrees, the nll of both (as above), to out[i - 1][tokens]. Models may be the same
 * (masks). The logits of of[0] are computed once for all. */
struct kl_row {
    float kl, nll_ref, nll;
    uint8_t same_top;
};
int engine_kl(struct engine *en, const struct judged *of, int n, const struct batch *b,
              struct kl_row *const *out, struct err *e);

/*
 * What is kept of a model's distributions to compare others with it later: for each token the `top` most
 * likely next ones (of equals the lower), and `samples` of the others, drawn by their probability: those at
 * which the cumulated probability of the others, in order of id, passes the middles of `samples` equal parts
 * (so one may be there more than once). top + samples = the vocabulary: all of it, no sample.
 */
struct top_probs {
    int top, samples;
    int32_t *id;      /* [tokens][top + samples], ascending */
    float *logp;      /* [tokens][top + samples] their log-probabilities */
    uint8_t *sampled; /* [tokens][top + samples] 1: a sample of the others */
    float *rest;      /* [tokens] ln of what all others have together, 2^-24 at least */
    float *nll; /* [tokens] as engine_nll; what stands at the last token of a document does not matter */
};
/* As many as the vocabulary has, at most; zeroed. */
int top_probs_new(struct top_probs *t, int64_t tokens, int top, int samples, int vocab, struct err *e);
void top_probs_free(struct top_probs *t);
/* Fills t, which is of the batch's tokens. */
int engine_top(struct engine *en, const struct model *m, const struct hidden *h, const struct batch *b,
               struct top_probs *t, struct err *e);
/*
 * engine_kl of of[0..n-1] to out[n], against what was kept:
 *     sum over top of p ln(p/q)  +  r * mean over samples of ln(p/q),    r = 1 - sum of the top's p.
 * The mean estimates that over the others without leaning to one side. Its error at one position is about
 * r * s / sqrt(samples), s the standard deviation of ln(p/q) among the others, less by the even spacing;
 * errors of positions do not add up.
 */
int engine_kl_top(struct engine *en, const struct top_probs *ref, const struct judged *of, int n,
                  const struct batch *b, struct kl_row *const *out, struct err *e);

/* Matrix-product peak of this machine through the same library, packed weights, all threads: flop/s. Products
 * of size x size x size; 0: large enough for the device to be at its best, small enough for a fraction of a
 * second. */
int engine_peak(struct engine *en, int size, double *flops, struct err *e);

#endif
