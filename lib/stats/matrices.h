/*
 * matrices.h -- sums over pairs of experts, and over the elements of their inputs and outputs; their file is
 * moe-matrices(5).
 *
 *     matrices_new(&m, ...)                from moe-observe
 *     stats_add_part(&m.head, ...)         what text it is of
 *     matrices_add(&m, ...)                each routed token; the engine adds to matrices_vector()
 *     matrices_mirror(&m)                  when all are in
 *     matrices_write(&m, path, force, e)
 *     matrices_free(&m)
 *
 * A reader: matrices_read, matrices_merge for more files, matrices_pairs, matrices_vector, matrices_free.
 */
#ifndef MOE_STATS_MATRICES_H
#define MOE_STATS_MATRICES_H

#include "device/kinds.h"
#include "stats/stats.h"

/* Sums over the tokens that two experts i and j worked on together. g is the gate weight, f(x) the ungated
 * output, a = g |f(x)|. Where i = j: n the routed tokens, both others the sum of a^2. */
struct pair_sums {
    double n;        /* tokens: whole numbers */
    double weighted; /* sum of a_i a_j */
    double gram;     /* sum of g_i g_j <f_i(x), f_j(x)>: signed */
};

/* Sums by element: enum expert_sum, [experts][width]. */
extern const char *const expert_sum_name[EXPERT_SUMS]; /* of the file's tensors: "output_sum", ... */

/* Counts of tokens by what the router's logits said, before groups and correction biases; see
 * moe-matrices(5). */
enum router_count {
    R_ENTROPY, /* [ROUTER_BINS] by the entropy of their softmax, of 0 .. ln(experts) */
    R_MARGIN,  /* [ROUTER_BINS] by the lowest chosen minus the highest not chosen: below 0, then 1/8 each */
    R_NEAR,    /* [experts] by the expert that was nearest to being chosen */
    R_COUNT
};
enum { ROUTER_BINS = 64 };
extern const char *const router_count_name[R_COUNT];

struct matrices {
    struct stats head;           /* model, run, parts, layers, categories; no cells */
    int inter;                   /* width of an expert's intermediate activations */
    bool pooled;                 /* pairs are not told apart by category */
    struct pair_sums *pair;      /* [layers][categories; pooled: 1][experts][experts] */
    double *router[R_COUNT];     /* [layers][categories][width] */
    double *vector[EXPERT_SUMS]; /* [layers][experts][width]: of all categories */
};

/* Zeroed sums; the rest as for stats_new. */
int matrices_new(struct matrices *m, const struct model_id *id, const char *run, const int *layer,
                 int n_layers, char *const *category, int categories, int inter, bool pooled, struct err *e);
void matrices_free(struct matrices *m);
/* Bytes of the sums, in memory and (but for the header) in the file; UINT64_MAX if they are beyond that. */
uint64_t matrices_bytes(int experts, int hidden, int inter, int layers, int categories, bool pooled);

/* [experts][experts], symmetric; one that is pooled has the same for every category. */
struct pair_sums *matrices_pairs(const struct matrices *m, int layer_index, int category);
int matrices_width(const struct matrices *m, enum expert_sum v);
double *matrices_vector(const struct matrices *m, enum expert_sum v, int layer_index); /* [experts][width] */

int matrices_router_width(const struct matrices *m, enum router_count r);
double *matrices_router(const struct matrices *m, enum router_count r, int layer_index,
                        int category); /* [width] */
/* One token: entropy in nats, and the nearest expert that was not chosen (-1: all were). */
void matrices_add_view(struct matrices *m, int layer_index, int category, double entropy, double margin,
                       int nearest);

/* One token and its k experts, ascending. inner: g_i g_j <f_i, f_j> of its pairs, (0,1), (0,2) .. (0,k-1),
 * (1,2) .. (k-2,k-1). Fills pairs with i <= j only; matrices_mirror copies them to j, i. */
void matrices_add(struct matrices *m, int layer_index, int category, int k, const int32_t *expert,
                  const float *gate, const float *norm, const float *inner);
void matrices_mirror(struct matrices *m);

/* path "-": standard output. Same sums, same bytes. Refused: a sum that is infinite or NaN. */
int matrices_write(const struct matrices *m, const char *path, bool force, struct err *e);
/* Refused with file and tensor: not such a file, another version, truncated, metadata or tensors missing,
 * unknown or of the wrong shape, values that are not finite, counts that are no whole numbers, negative
 * squares, pairs that are not symmetric. */
int matrices_read(struct matrices *m, const char *path, struct err *e);
/* Adds b to a, as stats_merge does; refused, leaving a as it was: what that refuses, and one that is pooled
 * with one that is not. */
int matrices_merge(struct matrices *a, const struct matrices *b, struct err *e);

#endif
