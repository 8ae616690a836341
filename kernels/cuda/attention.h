/* attention.h -- private to the CUDA backend's attention: what its kernels work on. */
#ifndef MOE_KERNELS_ATTENTION_H
#define MOE_KERNELS_ATTENTION_H

#include "backend.h"

/* Queries from `from` on of a document of len tokens, the first of which is token `base` of all. */
struct span {
    int64_t base;
    int len, from;
};

/* Normed, clipped, rotated: what heads.cu makes of struct attention_args. */
struct attend {
    const void *q; /* elements [n][heads][dim] of rows of `row` elements */
    const void *k; /* [n][kv_heads][dim] of the same rows */
    const void *v; /* [n][kv_heads][v_dim] of the same rows */
    size_t row;
    int64_t n;
    const struct span *span; /* [blocks] */
    int blocks, heads, kv_heads, dim, v_dim, window;
    enum mask_kind mask;
    float scale;        /* of scores */
    const float *sinks; /* [heads], or NULL */
    void *out;          /* elements [n][heads][v_dim] */
    unsigned *taken;    /* tiles handed out beyond the first ones, 0 at the start */
};

/* Fills in q to v, row, n and taken. */
int cuda_heads(struct cuda *c, const struct attention_args *a, bool bf16, struct attend *r, struct err *e);
/* The same in place, where keys are kept: all queries, and their own keys and values. */
int cuda_heads_in_place(struct cuda *c, const struct attention_args *a, struct err *e);
/* Queries in a block of attention_wgmma, more than any other kernel's; 0: it has no code for this device or
 * such heads. */
int cuda_attention_wgmma_rows(const struct cuda *c, const struct attend *a);
void cuda_attention_wgmma(struct cuda *c, const struct attend *a);
/* On tensor cores of any kind, for heads of 32, 64 and 128. */
void cuda_attention_mma(struct cuda *c, const struct attend *a);

/* The position of the first key that a query sees. */
static __device__ __forceinline__ int first_seen(const struct attend &a, int query)
{
    return mask_first_key(a.mask, a.window, query);
}

#endif
