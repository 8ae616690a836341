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

#include "stats/statistic.h"
#include "stats/stats.h"

/* Of two experts: enum pair_sum. */
struct pair_sums {
    double n, weighted, gram;
};

/* What sizes of tensors depend on beyond model, layers and categories. */
struct matrices_form {
    int inter;   /* width of an expert's intermediate activations */
    int shared;  /* the same of the shared expert; 0: there is none */
    bool pooled; /* pairs are not told apart by category */
    int edition; /* 0: this version's */
};

struct matrices {
    struct stats head; /* model, run, parts, layers, categories, edition; no cells */
    int inter, shared;
    bool pooled;                 /* as in struct matrices_form */
    struct pair_sums *pair;      /* [layers][categories; pooled: 1][experts][experts] */
    double *router[R_COUNT];     /* [layers][categories][width] */
    double *vector[EXPERT_SUMS]; /* [layers][experts][width]: of all categories */
    double *norms;               /* [layers][categories][experts][NORM_BINS] */
    double *shared_squares;      /* [layers][shared] */
};

/* Zeroed sums; the rest as for stats_new. */
int matrices_new(struct matrices *m, const struct model_id *id, const char *run, const int *layer,
                 int n_layers, char *const *category, int categories, const struct matrices_form *f,
                 struct err *e);
void matrices_free(struct matrices *m);
/* Shape of one of a layer's TENSORS; returns its rank, 0 for one that is not there: of a later edition, or of
 * a shared expert that the model does not have. */
int matrices_shape(const struct matrices *m, int which, uint64_t shape[3]);
/* Numbers of a layer's tensor, and where they are; of pairs, where that number of the first pair is, the
 * others being sizeof(struct pair_sums) apart. */
size_t matrices_values(const struct matrices *m, int which);
double *matrices_place(const struct matrices *m, int which, int layer_index);
/* From one of these numbers to the next. */
size_t matrices_stride(int which);
/* Bytes of the sums, in memory and (but for the header) in the file; UINT64_MAX if they are beyond that. */
uint64_t matrices_bytes(int experts, int hidden, int layers, int categories, const struct matrices_form *f);

/* [experts][experts], symmetric; one that is pooled has the same for every category. */
struct pair_sums *matrices_pairs(const struct matrices *m, int layer_index, int category);
int matrices_width(const struct matrices *m, enum expert_sum v);
double *matrices_vector(const struct matrices *m, enum expert_sum v, int layer_index); /* [experts][width] */

double *matrices_norms(const struct matrices *m, int layer_index, int category); /* [experts][NORM_BINS] */
double *matrices_shared(const struct matrices *m, int layer_index);              /* [shared] */

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
/* Adds b to a, as stats_merge does, of the earlier edition of the two; refused, leaving a as it was: what
 * that refuses, and one that is pooled with one that is not. */
int matrices_merge(struct matrices *a, const struct matrices *b, struct err *e);

#endif
