/*
 * cpu.h -- private to the CPU backend: the device, packed matrices, and running tasks in the pool.
 *
 * A task runs whole row tiles of GEMM_ROWS rows through whole panels of a matrix, so what it computes
 * depends on its number only.
 */
#ifndef MOE_CPU_CPU_H
#define MOE_CPU_CPU_H

#include <stdatomic.h>

#include "base/mem.h"
#include "base/thread.h"
#include "cpu/gemm.h"
#include "device/device.h"

enum { HEAD_COLUMNS = 128 }; /* panel width of a head matrix */

struct cpu {
    struct device dev;
    struct pool *pool;
    struct gemm *gemm, *gemm_f32; /* the same if elements are f32 */
    void **scratch;               /* [threads] */
    size_t scratch_bytes;
    float *keys; /* K and V of a chunk as attention wants them */
    size_t keys_bytes;
    int32_t *lists; /* the tokens of each expert */
    size_t lists_bytes;
    uint8_t *acts; /* activations of all slots, by expert, for sums of them */
    size_t acts_bytes;
    atomic_int failed;    /* the library reported an error */
    _Atomic(int64_t) bad; /* lowest token that combine found not finite; INT64_MAX: none */
};

/* W [out][in] in panels of `width` rows (the last one may have fewer), each packed by itself: one panel
 * stays in the cache while row tiles pass through it. paired: a panel holds width/2 rows of gate, then
 * the same rows of up. f32: the product is one of f32 although elements are bf16. */
struct matrix {
    int out, in, width, panels;
    bool paired, f32;
    struct gemm_shape *full, *last;
    size_t panel_bytes; /* distance between panels */
    uint8_t *packed;
};

static inline struct cpu *cpu_of(struct device *d)
{
    return (struct cpu *)d;
}

static inline int panel_width(const struct matrix *m, int p)
{
    return p < m->panels - 1 ? m->width : m->out - p * m->width;
}

/* y [rows][panel_width] = x [rows][in] times panel p; both have GEMM_ROWS rows. */
static inline void panel_run(struct cpu *c, const struct matrix *m, int p, int worker, const void *x,
                             int rows, float *y)
{
    const struct gemm_part part = {rows, m->in, panel_width(m, p)};

    if (gemm_run(p < m->panels - 1 ? m->full : m->last, worker, x, m->packed + (size_t)p * m->panel_bytes,
                 part, y))
        atomic_store(&c->failed, 1);
}

/* What struct backend has, of this set of instructions (sets.c). */
int cpu_open(struct device **out, const struct device_options *o, struct err *e);
/* Every worker has `bytes` of scratch after this. */
int cpu_scratch(struct cpu *c, size_t bytes, struct err *e);
/* Grows a buffer that keeps nothing. */
int cpu_room(void *buf_ptr, size_t *have, size_t bytes, struct err *e);

static inline size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

int cpu_pack(struct device *d, const struct matrix_job *job, int jobs, struct err *e);
void cpu_matrix_free(struct device *d, struct matrix *m);
void cpu_norm(struct device *d, const void *h, int64_t n, int width, const float *w, float eps, void *x);
void cpu_norm_rows(struct device *d, const float *y, size_t row, int64_t n, int width, const float *w,
                   float eps, void *x);
void cpu_linear(struct device *d, const struct matrix *m, const void *x, int64_t n, const float *bias,
                float *y);
void cpu_linear_add(struct device *d, const struct matrix *m, const void *x, int64_t n, const float *bias,
                    void *h);
/* Norms, clip, rope and temperature of q and k, in place: the first step of attention. */
void cpu_qk(struct cpu *c, const struct attention_args *a);
int cpu_attention(struct device *d, const struct attention_args *a, struct err *e);
void cpu_route(struct device *d, const struct route_args *a);
int cpu_experts(struct device *d, const struct experts_args *a, struct err *e);
/* Adds the slots of each expert to a->sums: slot [from[experts]] by expert, act elements [..][inter] alike.
 */
void cpu_sums(struct cpu *c, const struct experts_args *a, const int32_t *slot, const int32_t *from,
              const void *act);
void cpu_view(struct device *d, const struct view_args *a);
void cpu_pairs(struct device *d, const struct pairs_args *a);
void cpu_combine(struct device *d, const struct combine_args *a);
int64_t cpu_bad_token(struct device *d);
int cpu_head(struct device *d, const struct head_args *a, struct err *e);

#endif
