/*
 * weights_private.h -- what the parts of weights share: weights.c packs ahead and assembles a layer,
 * weights_attention.c and weights_ffn.c know the tensors of its halves.
 */
#ifndef MOE_ENGINE_WEIGHTS_PRIVATE_H
#define MOE_ENGINE_WEIGHTS_PRIVATE_H

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
    const struct groups *groups;
    size_t next; /* group to be packed */
    struct weights_set set[2];
    int sets;
    /* what is being packed, and where to */
    struct weights_set *to;
    const struct blob *blob;
    struct matrix_job *job;
    float *host_vectors; /* of host_new */
    size_t vectors_cap, vectors_n;
    double wait_seconds;
    /* the thread that packs beside computing */
    pthread_t packer;
    bool packing;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int current, packed; /* layer that computes; layers that are packed */
    bool stop;
    struct err err; /* kind 0: none */
};

/* Room for n floats; NULL when they were counted wrong. Offsets are the same on both sides. */
float *weights_reserve(struct weights *w, size_t n, float **device);
/* n elements of tensor "NAME" of a layer into dst. */
int weights_put(struct weights *w, int layer, const char *name, int n, float *dst, struct err *e);
/* The same into room of their own. */
int weights_vector(struct weights *w, int layer, const char *name, int n, float **device, struct err *e);

enum { ATTENTION_JOBS = 4 };
/* Bytes of its matrices, one being bytes(d, out, in). */
uint64_t weights_attention_bytes(const struct device *d, const struct arch *a,
                                 uint64_t (*bytes)(const struct device *d, int64_t out, int64_t in));
/* Floats that the vectors of a layer's attention take. */
size_t weights_attention_size(const struct arch *a);
int weights_attention_vectors(struct weights *w, int layer, struct err *e);
/* How many of ATTENTION_JOBS it needed, or -1. */
int weights_attention_jobs(struct weights *w, int layer, struct matrix_job *job, struct err *e);

int weights_ffn_open(struct weights_set *s, const struct arch *a, struct err *e);
void weights_ffn_close(struct weights_set *s, struct device *d);
/* Floats that the vectors take beside those of attention. */
size_t weights_ffn_size(const struct arch *a);
int weights_ffn_vectors(struct weights *w, int layer, struct err *e);
/* Jobs besides those of experts: FFN_JOBS at most. How many, or -1. */
enum { FFN_JOBS = 4 };
int weights_ffn_jobs(struct weights *w, int layer, struct matrix_job *job, struct err *e);
/* Two jobs for each of n experts of a MoE layer. */
int weights_expert_jobs(struct weights *w, int layer, const int *expert, int n, struct matrix_job *job,
                        struct err *e);

#endif
