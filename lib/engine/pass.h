/*
 * pass.h -- private to the layer loop: one pass over a batch (forward.c), how it is cut (cutting.c), the
 * halves of its layers (mixing.c, ffn.c), and what an observer is told (watch.c).
 */
#ifndef MOE_ENGINE_PASS_H
#define MOE_ENGINE_PASS_H

#include "engine/engine_private.h"
#include "engine/rope_tables.h"
#include "engine/states.h"
#include "load/weights.h"

/* One mask of several that run together. Variants share the hidden states of the first of them whose masks
 * are the same in all layers so far. */
struct variant {
    struct mask mask;
    uint8_t *channels; /* device [experts][inter], of the layer at hand; NULL: all are in */
    int before, after; /* whose states it shares before and after the experts of the layer at hand */
};

/* Experts of a piece's tokens and what weighs them: [piece][topk]. All device, or all host. */
struct routing {
    int32_t *chosen;
    float *gate, *norm, *max;
    struct residual_view *residual; /* [piece]; NULL: not wanted */
    struct router_view *view;       /* [piece]; NULL: not wanted */
    float *pair;                    /* [piece][topk * (topk - 1) / 2]; NULL: not wanted */
};

/* A piece on its way to the observer. */
struct watched {
    struct routing device, host;
    uint64_t ticket; /* of the last copy from device to host */
    int layer;
    int64_t first, n;
    bool pending; /* not handed over */
};
enum { WATCH_SETS = 2 };

/* What an observer is shown of its sample: rows of `room` tokens at most, host. */
struct sample {
    int64_t room;
    uint8_t *x, *y, *apart_y; /* elements [room][hidden], [room][topk][hidden] */
    int32_t *chosen, *apart_chosen, *fresh;
    float *gate, *apart_gate;       /* [room][topk] */
    struct residual_view *residual; /* [room]; NULL: not wanted */
};

/* A mask that is observed and not followed: device. */
struct apart {
    struct variant with;
    void *y; /* elements [piece][topk][hidden] */
    int32_t *chosen, *fresh;
    float *gate; /* [piece][topk] */
};

/* What passes read from, on however many devices. */
struct loading {
    struct batches batches;
    struct reader *reader;
    struct embedding *table;
};

/* Elements that a token takes in the buffers of a mixer. */
enum { MIX_FLOATS = 3 };
struct mix_widths {
    int x;             /* elements: what goes into its products */
    int ctx;           /* elements: what goes into its last one */
    int f[MIX_FLOATS]; /* f32, for it to name; 0: not needed */
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
    const struct loading *loading;
    int64_t doc_base, token_base; /* of the batch's first, in the batch that the caller knows */
    struct weights *weights;
    struct rope_tables *rope; /* [arch.ropes] */
    int64_t piece;            /* tokens that go through the experts at once */
    bool on_host;             /* where the hidden states are */
    int64_t *chunk, *token;   /* [chunks + 1] first document, first token of each */
    int64_t chunks, widest;   /* widest: tokens of the largest chunk */
    int64_t *first;           /* first tokens of a chunk's documents, from the chunk's own */
    struct states states;
    bool *before, *after; /* [variants] that have states of their own, see struct variant */
    int layer;            /* at hand */
    /* device */
    void *x, *ctx;          /* see mix_widths */
    float *mix[MIX_FLOATS]; /* the mixer's */
    /* device, of a piece: logits, results of experts */
    float *logits, *shared_gate;
    void *y, *shared; /* elements */
    struct watched watch[WATCH_SETS];
    int turn; /* the set of the piece at hand */
    /* for an observer that wants sums by element: device, and where the layer's are on the host */
    struct expert_sums sums, shared_sums;
    struct layer_sums host;
    struct sample sample;
    struct apart apart;
    double flops;
};

/* Of one device, the engine's first, with nothing planned or opened yet. */
static inline struct pass pass_of(struct engine *en, const struct model *m, const struct batch *b,
                                  struct variant *variant, int variants, const struct observer *observer)
{
    return (struct pass){.en = en,
                         .d = en->d,
                         .op = en->d->ops,
                         .a = &m->arch,
                         .b = b,
                         .variant = variant,
                         .variants = variants,
                         .observer = observer};
}

/* All of it, from embedding to final norm (norm: the states are wanted); pass_free in any case. */
int pass_run(struct pass *p, const struct model *m, bool norm, struct err *e);
void pass_free(struct pass *p);
int pass_layers(struct pass *p, bool norm, struct err *e);
int pass_norm(struct pass *p, const struct model *m, struct err *e);

/* Cuts the batch into chunks and decides where the hidden states are kept; says what is missing when the
 * device is too small. */
int pass_plan(struct pass *p, const struct model *m, struct err *e);
/* Device memory that the pass takes as it was planned; *held: what the operations hold of it while they work.
 */
uint64_t pass_device_bytes(struct pass *p, const struct model *m, uint64_t *held);
/* Device memory for rows of a product, TILE_ROWS of them to spare. */
void *pass_rows(struct pass *p, int64_t rows, int width, size_t size, struct err *e);

/* The error that names layer, document and place of a token whose state is not finite. */
int pass_not_finite(const struct pass *p, int64_t token, struct err *e);

/* Is a mask observed that is not followed? */
static inline bool watch_apart(const struct pass *p)
{
    return p->observer && p->observer->apart;
}
int64_t watch_row(const struct pass *p);        /* device bytes of a token */
uint64_t watch_sum_bytes(const struct pass *p); /* and of what is summed by element */
int watch_buffers(struct pass *p, struct err *e);
void watch_free(struct pass *p);
/* Around the pieces of a layer. */
void watch_begin(struct pass *p, const struct layer_weights *w, int layer);
int watch_end(struct pass *p, const struct layer_weights *w, struct err *e);
/* Where the piece to be computed puts its routing, device. */
const struct routing *watch_piece(struct pass *p);
/* What the observer wants summed by element, of the experts and of the shared one; NULL: nothing. */
const struct expert_sums *watch_sums(struct pass *p, const struct layer_weights *w);
const struct expert_sums *watch_shared(struct pass *p, const struct layer_weights *w);
/* The piece was asked to be computed: hands over the one before. */
int watch_routed(struct pass *p, int64_t first, int64_t n, struct err *e);
/* Hands over what is left. */
int watch_finish(struct pass *p, struct err *e);

/* Device bytes that a token takes on its way through the experts, with what the operations hold themselves.
 */
int64_t ffn_row(const struct arch *a, size_t elem_bytes);
int64_t ffn_held(const struct arch *a, size_t elem_bytes); /* what the operations hold, of these */
int ffn_buffers(struct pass *p, struct err *e);
void ffn_free(struct pass *p);
/* Device bytes for the channels of the masks. */
uint64_t ffn_channel_bytes(struct pass *p);
/* Useful multiply-adds x 2 of n tokens in a layer. */
double ffn_flops(const struct arch *a, const struct layer_arch *l, int64_t n);
/* Before the pieces of a layer. */
void ffn_begin(struct pass *p, const struct layer_weights *w);
/* Router, experts (or the dense MLP) and residual of tokens first .. first+n-1, whose states are h. */
int ffn_piece(struct pass *p, const struct layer_weights *w, const struct variant *v, int64_t first,
              int64_t n, uint8_t *h, struct err *e);

#endif
