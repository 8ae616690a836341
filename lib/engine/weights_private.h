/*
 * weights_private.h -- what the parts of weights share: weights.c reads ahead and assembles a layer,
 * weights_attention.c and weights_ffn.c know the tensors of its halves.
 */
#ifndef MOE_ENGINE_WEIGHTS_PRIVATE_H
#define MOE_ENGINE_WEIGHTS_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/blob.h"
#include "engine/weights.h"

struct weights {
    struct device *d;
    const struct model *m;
    struct blob blob;
    pthread_t reader;
    bool reading;
    atomic_int stop;
    int next, read_rc;
    struct err read_err;
    double read_seconds, wait_seconds;
    uint64_t bytes_read;
    struct layer_weights layer;
    struct ffn_weights moe, dense, shared;
    float *device_vectors, *host_vectors; /* one piece for all biases and norms */
    size_t vectors_cap, vectors_n;
};

/* Room for n floats; NULL when they were counted wrong. Offsets are the same on both sides. */
float *weights_reserve(struct weights *w, size_t n, float **device);
/* n elements of tensor "NAME" of a layer into dst. */
int weights_put(struct weights *w, int layer, const char *name, int n, float *dst, struct err *e);
/* The same into room of their own. */
int weights_vector(struct weights *w, int layer, const char *name, int n, float **device, struct err *e);

enum { ATTENTION_JOBS = 4 };
/* Floats that the vectors of a layer's attention take. */
size_t weights_attention_size(const struct arch *a);
int weights_attention_vectors(struct weights *w, int layer, struct err *e);
/* How many of ATTENTION_JOBS it needed, or -1. */
int weights_attention_jobs(struct weights *w, int layer, struct matrix_job *job, struct err *e);

int weights_ffn_open(struct weights *w, struct err *e);
void weights_ffn_close(struct weights *w);
/* Floats that the vectors take beside those of attention. */
size_t weights_ffn_size(const struct arch *a);
int weights_ffn_vectors(struct weights *w, int layer, struct err *e);
/* How many jobs there will be, for the layer at hand. */
int weights_ffn_count(const struct weights *w);
int weights_ffn_jobs(struct weights *w, int layer, struct matrix_job *job, struct err *e);

#endif
