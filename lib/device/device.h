/*
 * device.h -- the contract between programs and backends, complete in this header and what it includes: what
 * a backend is, what its devices can, and one table of operations on a device's own memory.
 *
 * MOE_CONTRACT (contract.h, made by the Makefile) is the checksum of all of these headers; programs and
 * backends of different ones refuse each other. Makers (cpu/, kernels/cuda/) see device/, quant/ and base/,
 * nothing else; the layer loop and the head (engine/) see makers through this table only. Another maker is an
 * object libmoe-KIND.so with one symbol, moe_backend: registry.h says where it is looked for.
 *
 * Pointers marked "device" come from buf_new; others are host memory. "Elements" are bf16 or f32 according to
 * the precision's row; everything else is f32. Operations run in order, but may still be under way when they
 * return: what they were given in host memory can be changed at once, what they leave in device memory is for
 * later operations. An operation that returns nothing cannot fail but may remember a failure of the library
 * below it, which check() reports. One thread computes. Another one may at the same time use what is marked
 * "any thread".
 *
 * Products run in whole tiles of rows: buffers of rows that go into one are TILE_ROWS rows longer than
 * their content (what stands there does not matter). The height of a tile is the pass's, never n's: a corpus
 * goes in tiles of TILE_ROWS; a step of generation, which has one row a sequence, is to go in tiles of a
 * height that the device names among what it can, for all products of that pass. So a row's bits are the same
 * in all passes of one height; between a step and a pass over the same text they may differ in the last
 * place. Every float vector of a layer begins at a multiple of VECTOR_ALIGN bytes; rows within an array
 * follow each other without a gap.
 *
 * Every result must depend on its own token, document and the weights only: not on n, neighbours or threads.
 *
 * Several makers of a linear map. A device may have more than one way to multiply (its own kernels in
 * variants, a vendor's library). They are its own affair: pack() chooses one for each matrix by its shape,
 * lays the weights out as that one wants them, and struct matrix carries the choice; linear, linear_add,
 * experts and head follow it. A maker promises what every operation does (a row's bits do not depend on n),
 * so a library that picks its algorithm by n is asked for one fixed algorithm. device_options.products names
 * the one that is to be preferred; device_can.products lists them.
 */
#ifndef MOE_DEVICE_DEVICE_H
#define MOE_DEVICE_DEVICE_H

#include <math.h>

#include "base/err.h"
#include "device/kinds.h"
#include "quant/stored.h"

enum { TILE_ROWS = 64, MAX_TOPK = 64, VECTOR_ALIGN = 16 };

struct device;
struct matrix; /* one linear map, packed for the device's products */

/*
 * Packs part[0..parts-1], stacked along out, into *m (made when NULL, else reused if the shape is the
 * same). paired: two parts of equal shape, gate and up, laid side by side so that an activation finds
 * both in one tile; such a matrix goes to experts() only. for_head: for head(), which needs the same cut
 * of the vocabulary whatever the width of the model. f32: products of this matrix are f32 products whatever
 * the elements are; such a matrix goes to linear() only.
 */
struct matrix_job {
    struct matrix **m;
    struct stored part[3];
    int parts;
    bool paired, for_head, f32;
};

/*
 * The documents of a chunk, and what is kept of them. Queries of document d are tokens first[d] ..
 * first[d+1]-1; its keys and values are rows key[d] .. key[d+1]-1 of theirs, as many or more: the last ones
 * are the queries' own, those before them of tokens before. The first query is at position past[d], and rows
 * follow each other in position, so that a document need not keep all of its keys (a window does not ask for
 * more). rope[d]: device, [positions][rot], a row being rot/2 cosines and rot/2 sines, times the model's
 * scaling.
 */
struct docs {
    const int64_t *first; /* [n + 1] */
    const float *const *rope;
    int n;
    const int64_t *key;  /* [n + 1]; NULL: first, nothing is kept */
    const int64_t *past; /* [n]; NULL: as many as there are rows of tokens before */
};

/* What the queries of one of them reach. Row r of its keys is at position before + r; query q is row keys -
 * queries + q. */
struct reach {
    int64_t first, key; /* its first query, its first key */
    int64_t queries, keys, before;
};

static inline struct reach docs_reach(const struct docs *d, int i)
{
    const int64_t *key = d->key ? d->key : d->first;
    struct reach x = {d->first[i], key[i], d->first[i + 1] - d->first[i], key[i + 1] - key[i], 0};

    if (d->past)
        x.before = d->past[i] + x.queries - x.keys;
    return x;
}

/* The document of query t: the last that begins at or before it and is not empty. */
DEVICE_INLINE int docs_find(const int64_t *first, int docs, int64_t t)
{
    int lo = 0, hi = docs; /* first[lo] <= t < first[hi] */

    while (hi - lo > 1) {
        int mid = (lo + hi) / 2;

        if (first[mid] <= t)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

/* Heads of all tokens: head h of token t begins at of + t * row + h * step. Device f32. */
struct heads {
    float *of;
    size_t row, step;
};

/*
 * The key of a head is nope elements of k_nope, then head_dim - nope of k. Latent attention has one k for
 * all heads (step 0), which is its rotated part; otherwise nope is 0. Queries are whole, nope elements
 * first. Before they meet, q and k are normed, clipped (v too), rotated (the rot elements after the first
 * nope) and given their temperature, by position; whether that changes the arrays is the backend's affair.
 *
 * With docs.key it is not: what k and v hold of the queries' own rows is left as it meets queries, and the
 * rows before are taken as earlier calls left them, so that k and v may be a cache that grows. Results are
 * those of all tokens at once but for the order of sums.
 */
struct attention_args {
    struct heads q, k, v, k_nope;
    struct docs docs;
    int heads, kv_heads, head_dim, v_dim, nope, rot;
    enum qk_norm norm;
    const float *q_norm, *k_norm; /* device [head_dim], QKN_FULL_PRE: of all heads; or NULL */
    bool rope;                    /* this layer rotates */
    enum rope_layout layout;
    float eps, scale;
    float clip;                   /* 0: none */
    float temp_floor, temp_scale; /* as in struct arch, for a layer without rope; floor 0: off */
    enum mask_kind mask;
    int window; /* of the mask, as in struct layer_arch */
    /* Device [n][selects]: the positions of the keys that a query sees of those that the mask leaves, for all
     * heads; ascending, -1 fills the rest. One at least, unless there are sinks. NULL: all. */
    const int32_t *select;
    int selects;
    const float *sinks; /* device [heads], or NULL */
    void *out;          /* device elements [n][heads * v_dim] */
};

/*
 * How experts are chosen and weighed. Scores of the allowed experts, plus the
 * correction bias; all but the best groups put aside; the topk largest, lowest index first on ties; their
 * gates, divided by max(sum, renorm_min) + renorm_eps if renorm, times scale.
 */
struct router {
    enum score_kind score;
    enum gate_kind gate;
    enum group_kind group;
    int experts, topk, groups, topk_group;
    bool renorm;
    float renorm_eps, renorm_min, scale;
};

struct route_args {
    const float *logits; /* device [n][experts], bias included */
    const float *corr;   /* device [experts], correction bias; NULL: none */
    const uint8_t *mask; /* host [experts], 0 = not allowed; NULL: all are */
    int64_t n;
    struct router router;
    int32_t *chosen; /* device [n][topk], ascending */
    float *gate;     /* device [n][topk] */
    /* For routing a second time: chosen, but -1 for those of a token that `known` has too, where known_gate
     * is NULL or has the same gate. known NULL: none. */
    int32_t *fresh;          /* device [n][topk]; NULL: not wanted */
    const int32_t *known;    /* device [n][topk], ascending */
    const float *known_gate; /* device [n][topk] */
};

/*
 * Sums by element over the slots (token * topk + rank) of each expert. Every element is added to in f64, in
 * the order of the slots, so that what stands there after many calls depends on the order of all tokens only.
 * Wanted are all sums; or, of one expert that all choose, SUM_INNER_SQUARE alone.
 */
struct expert_sums {
    const float *gate;        /* device [n][topk], what the results count with; in_gate if there is one */
    double *sum[EXPERT_SUMS]; /* device [experts][expert_sum_width]; NULL: not wanted */
};

/* f_j(x) = down_j(act(gate_up_j(x))) of every chosen expert. A dense or shared MLP is one expert that all
 * choose. With in_gate, f_j(g x): then norm and max are divided by g (0 if g is 0). */
struct experts_args {
    const void *x;         /* device elements [n][hidden] */
    const int32_t *chosen; /* device [n][topk]; NULL: expert 0, topk 1; -1: no expert, and y is left as it is
                              (only without norm, max and sums) */
    const float *in_gate;  /* device [n][topk], multiplies x; NULL: none */
    int64_t n;
    int topk, experts, hidden, inter;
    struct matrix *const *gate_up, *const *down; /* [experts] */
    const float *b_gate_up;                      /* device [experts][2 * inter], gate first; or NULL */
    const float *b_down;                         /* device [experts][hidden], or NULL */
    enum act_kind act;
    float limit;
    const uint8_t *channels; /* device [experts][inter], 0: the activation counts as 0; NULL: none does */
    void *y;                 /* device elements [n * topk][hidden], ungated */
    float *norm, *max;       /* device [n * topk] of y before it was rounded; NULL: not wanted */
    const struct expert_sums *sums; /* NULL: not wanted */
};

/* What the router's logits said of a token, before groups and correction biases. */
struct router_view {
    float entropy;   /* nats, of the softmax of the token's router logits */
    float margin;    /* the lowest logit of a chosen expert minus the highest of one that is not */
    int32_t nearest; /* that one; -1: all are chosen */
};

struct view_args {
    const float *logits;   /* device [n][experts], as for route; experts >= 2 */
    const int32_t *chosen; /* device [n][topk], ascending */
    int64_t n;
    int experts, topk;
    struct router_view *out; /* device [n] */
};

/* out = gate_i gate_j <y_i, y_j> of the pairs of a token's results: (0,1), (0,2) .. (topk-2, topk-1). */
struct pairs_args {
    const void *y;     /* device elements [n * topk][width] */
    const float *gate; /* device [n][topk]; NULL: 1 */
    int64_t n;
    int topk, width;
    float *out; /* device [n][topk * (topk - 1) / 2] */
};

/* What the routed experts of a token did to its hidden state h, by their sum d alone, without the shared
 * expert: the length of h, and 1 - cos(h, h + d), at least 0. */
struct residual_view {
    float norm, turn;
};

/*
 * turn from <h, h>, <h, d> and <d, d>. 1 - cos = sin^2 / (1 + cos), and the sine from what of d is not along
 * h, so that it has all its digits where d is small beside h, which 1 - cos has not. 1 if h or h + d is 0.
 */
DEVICE_INLINE float residual_turn(float hh, float hd, float dd)
{
    float p = hd / hh, q = dd / hh, all = 1 + 2 * p + q; /* |h + d|^2 / |h|^2 */
    float cosine = (1 + p) / sqrtf(all), sine2 = (q - p * p) / all;

    if (hh == 0 || all <= 0)
        return 1;
    if (cosine <= 0)
        return 1 - cosine;
    return sine2 <= 0 ? 0 : sine2 / (1 + cosine);
}

/* h += sum over k of gate * y, + sigmoid(shared_gate) * shared. Remembers tokens whose h is not finite, see
 * bad_token. */
struct combine_args {
    const void *y;            /* device elements [n * topk][width] */
    const float *gate;        /* device [n][topk]; NULL: 1 */
    const void *shared;       /* device elements [n][width]; NULL: none */
    const float *shared_gate; /* device [n]; NULL: shared as it is */
    int64_t first, n;         /* first: what the first of the n tokens is called */
    int topk, width;
    void *h;                    /* device elements [n][width] */
    struct residual_view *seen; /* device [n], before what is added was rounded; NULL: not wanted */
};

/* The last step of one model, or of one of its masks; see head_row. */
struct head_side {
    const void *x; /* device elements [n][hidden], after the final norm */
    const struct matrix *w;
    const float *bias; /* device [vocab], or NULL */
    int hidden;
};
struct head_row {
    double lse;    /* ln sum exp of the logits */
    double cross;  /* sides but the first: sum of p0 * (logit0 - logit), p0 and logit0 of the first */
    float at;      /* logit of the target */
    float top;     /* largest logit */
    int32_t which; /* its token, the lowest on a tie */
};
struct head_args {
    const struct head_side *side; /* [sides]; the first is what the others are compared with */
    int sides;
    int64_t n;
    int vocab;
    const int32_t *target; /* host [n]; -1: none */
    struct head_row *row;  /* host [sides][n] */
    const int32_t *pick;   /* host [n][picks], ascending: tokens whose logits are wanted too; picks 0: none */
    int picks;
    float *picked; /* host [sides][n][picks] */
};

/* Bytes. On a CPU nothing is held, and there is no end of what is free. */
struct device_memory {
    uint64_t held, most; /* by buf_new and pack and the operations themselves: now, most since opening */
    uint64_t free;
};

/*
 * Memory, copies, pack, check and the like are there always. An operation that computes (those of enum
 * device_op) may be NULL: a model with a layer that needs it is then refused before anything is computed
 * (device_lacks), so that a backend can be brought up operation by operation.
 */
struct ops {
    void (*close)(struct device *d);
    /* To be called by every thread but the one that opened the device, before anything else. */
    void (*enter)(struct device *d);
    /* Zeroed. */
    void *(*buf_new)(struct device *d, size_t bytes, struct err *e);
    void (*buf_free)(struct device *d, void *p);
    /* In order with what is computed, and done when they return. */
    void (*to_device)(struct device *d, void *dst, const void *src, size_t n);
    void (*to_host)(struct device *d, void *dst, const void *src, size_t n);
    void (*copy)(struct device *d, void *dst, const void *src, size_t n); /* both device, not overlapping */

    /* Host memory that the device reaches fast; not zeroed. Any thread. */
    void *(*host_new)(struct device *d, size_t bytes, struct err *e);
    void (*host_free)(struct device *d, void *p);
    /*
     * Copies beside computing; host memory must be of host_new. Each returns a ticket, larger than those
     * before it; 0 is one that is done. Copies up are made in the order in which they were asked for, and so
     * are copies down; up and down run side by side. A copy up begins when the copy with ticket `after` is
     * done; a copy down, when what was to be computed so far is done. Any thread.
     */
    uint64_t (*copy_up)(struct device *d, void *dst, const void *src, size_t n, uint64_t after);
    uint64_t (*copy_down)(struct device *d, void *dst, const void *src, size_t n);
    /* What is to be computed from now on waits for the copy. */
    void (*await_copy)(struct device *d, uint64_t ticket);
    /* Returns when the copy is done. Any thread. */
    void (*finish_copy)(struct device *d, uint64_t ticket);

    /* Returns when it is done. -1 names the tensor with a value that is not finite. Where the device packs
     * beside computing, any one thread may pack; sources must then be in memory of host_new. */
    int (*pack)(struct device *d, const struct matrix_job *job, int jobs, struct err *e);
    void (*matrix_free)(struct device *d, struct matrix *m);

    /* x = h / rms(h) * w, [n][width] */
    void (*norm)(struct device *d, const void *h, int64_t n, int width, const float *w, float eps, void *x);
    /* The same from f32 rows that begin `row` floats apart. */
    void (*norm_rows)(struct device *d, const float *y, size_t row, int64_t n, int width, const float *w,
                      float eps, void *x);
    /* y = x W^T + bias, f32 [n][out]; bias may be NULL */
    void (*linear)(struct device *d, const struct matrix *m, const void *x, int64_t n, const float *bias,
                   float *y);
    /* h += x W^T + bias */
    void (*linear_add)(struct device *d, const struct matrix *m, const void *x, int64_t n, const float *bias,
                       void *h);
    int (*attention)(struct device *d, const struct attention_args *a, struct err *e);
    void (*route)(struct device *d, const struct route_args *a);
    int (*experts)(struct device *d, const struct experts_args *a, struct err *e);
    void (*pairs)(struct device *d, const struct pairs_args *a);
    void (*view)(struct device *d, const struct view_args *a);
    void (*combine)(struct device *d, const struct combine_args *a);
    /* Waits for what is computed. The lowest token that combine found not finite since the last question, or
     * -1. */
    int64_t (*bad_token)(struct device *d);
    int (*head)(struct device *d, const struct head_args *a, struct err *e);
    /* Waits for what is computed. */
    int (*check)(struct device *d, struct err *e);
    void (*memory)(struct device *d, struct device_memory *out);
    /* Frees what operations keep for themselves from one to the next; nothing must be under way. */
    void (*trim)(struct device *d);
};

/* Operations that may be NULL, as bits of what a layer needs: 1u << OP_... */
enum device_op {
    OP_NORM,
    OP_NORM_ROWS,
    OP_LINEAR,
    OP_LINEAR_ADD,
    OP_ATTENTION,
    OP_ROUTE,
    OP_EXPERTS,
    OP_PAIRS,
    OP_VIEW,
    OP_COMBINE,
    OP_HEAD,
    DEVICE_OPS
};

struct device_can {
    uint64_t codings;            /* bits of enum coding that pack() decodes; others are decoded to elements on
                                    the host first (load/): slower, and as right */
    const char *const *products; /* names of its makers of linear maps, best first, NULL-terminated */
    bool f64; /* adds in f64. False: it is never given expert_sums, and an observer that wants sums by element
                 is refused with the device's name; nothing else needs f64 of a device */
    bool beside;  /* pack() and copies run beside computing: two sets of weights, large chunks */
    bool unified; /* its memory is the host's: states need not be moved there to make room */
};

struct device {
    const struct ops *ops;
    const char *kind, *library; /* of the backend; "oneDNN ..." */
    enum precision precision;   /* resolved */
    bool bf16;                  /* of its row: elements are bf16, else f32 */
    size_t elem_bytes;          /* of its row */
    int threads;                /* of the host that work for it */
    size_t pack_bytes;          /* what pack() had best be given at once; 0: a layer */
    struct device_can can;
};

/* The name of the first operation among the bits that the device does not have; NULL: it has them all. */
const char *device_lacks(const struct device *d, uint32_t ops);

struct device_options {
    int index; /* which device of the backend's */
    enum precision precision;
    int threads; /* 0: all */
    /* Maker of linear maps to be used for every matrix that it can take; NULL: the device chooses. For tests
     * and comparisons; refused when it has none of that name. */
    const char *products;
};

/* What a backend's object exports as `moe_backend`. Nothing but `contract` is looked at when that differs. */
struct backend {
    uint32_t contract; /* MOE_CONTRACT */
    const char *kind;  /* "cuda": as in libmoe-cuda.so and --device */
    /* Devices that can be opened. 0: there is none here, or no driver, and e says so (the one answer that
     * lets a test be skipped); -1: something is broken. */
    int (*count)(struct err *e);
    uint32_t precisions; /* bits of enum precision, PREC_AUTO's too: what open() knows of; it may still refuse
                            one that the device at hand lacks */
    int (*open)(struct device **out, const struct device_options *o, struct err *e);
};
#define BACKEND_SYMBOL "moe_backend"

#endif
