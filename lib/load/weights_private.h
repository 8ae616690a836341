/*
 * weights_private.h -- what the parts of weights share: weights.c reads and packs ahead, weights_layer.c
 * knows what a layer's slots become.
 */
#ifndef MOE_LOAD_WEIGHTS_PRIVATE_H
#define MOE_LOAD_WEIGHTS_PRIVATE_H

#include <pthread.h>

#include "load/weights.h"

/* The matrices and vectors of one layer. */
struct weights_set {
    struct layer_weights layer;
    struct ffn_weights moe, dense, shared;
    float *vectors; /* device; one piece for all biases and norms */
};

struct weights {
    struct device *d;
    const struct model *m;
    struct reader *reader;
    const struct batches *batches;
    size_t next;             /* batch to be packed */
    struct weights_set *set; /* [sets] */
    int sets;
    /* what is being packed, and where to */
    struct weights_set *to;
    const struct blob *blob;
    struct matrix_job *job;
    float *host_vectors; /* of host_new */
    size_t vectors_n;
    float *joined; /* of host_new, or NULL: latent.c */
    double wait_seconds;
    /* the thread that packs beside computing */
    pthread_t packer;
    bool packing;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int over, packed; /* layers that are done with; layers that are packed */
    bool stop;
    struct err err; /* kind 0: none */
};

/* ---- weights_layer.c ---- */

/* Floats that the vectors of a layer take. */
size_t weights_layer_floats(const struct model *m, int layer);
/* Device memory that a set takes once every layer went through it, at most. */
uint64_t weights_set_bytes(const struct device *d, const struct model *m);
int weights_set_open(struct weights_set *s, struct device *d, const struct arch *a, size_t floats,
                     struct err *e);
void weights_set_close(struct weights_set *s, struct device *d);
/* Into the set w->to, from w->blob: biases and norms. */
int weights_layer_vectors(struct weights *w, int layer, struct err *e);
/* All matrices but those of experts, LAYER_SLOTS at most: how many jobs, or -1. */
int weights_layer_jobs(struct weights *w, int layer, struct matrix_job *job, struct err *e);
/* Two jobs for each of n experts of a MoE layer. */
int weights_expert_jobs(struct weights *w, int layer, const int *expert, int n, struct matrix_job *job,
                        struct err *e);

/* ---- latent.c ---- */

/* Where k and v come of their latent by two matrices, they are one as they are packed: of each head the rows
 * of k, turned back, then those of v. Room for it, where it is needed; and the job's parts k and v become one
 * in it. */
int latent_room(struct weights *w, struct err *e);
int latent_join(struct weights *w, int layer, struct matrix_job *job, struct err *e);

#endif
