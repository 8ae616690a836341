/*
 * backend.h -- private to the CUDA backend: the device, packed matrices, tiles of products, and what kernels
 * share.
 *
 * Computing runs in order on the default stream, where every kernel goes that is launched without a stream.
 * Copies up and down and packing have streams of their own, which do not wait for it. No result depends on
 * neighbours: products are our own kernels, whose rows sum over `in` in one fixed order, and there are no
 * atomics on floating point.
 */
#ifndef MOE_KERNELS_BACKEND_H
#define MOE_KERNELS_BACKEND_H

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <math.h>
#include <pthread.h>
#include <stdint.h>

extern "C" {
#include "base/mem.h"
#include "base/thread.h"
#include "device/device.h"
}

enum { WARP = 32, MAX_EXPERTS = 1024 };

/* Device memory that grows and keeps nothing. */
struct room {
    void *p;
    size_t bytes;
};

/* A small host array and its copy on the device, sent again only when it changed. */
struct mirror {
    void *host;
    size_t bytes, cap;
    struct room dev;
};

/* What kernels found, on the device; all bits set: nothing. */
struct flags {
    unsigned long long matrix; /* first that is not finite, in packing */
    unsigned long long token;  /* lowest that is not finite, in combine */
};

struct allocation {
    void *p;
    size_t bytes;
};

/* Enough for copies of weights to run at full speed, little beside a layer. */
enum { PACK_BYTES = 128 << 20 };
enum { LANE_UP, LANE_DOWN, LANES, TICKETS = 64, STAGES_UP = 2, SMALL_SLOTS = 64, SMALL_BYTES = 16 << 10 };

/* Copies beside computing. Copy number n is marked by event n % TICKETS, and its ticket is n. */
struct lanes {
    cudaStream_t stream[LANES];
    cudaEvent_t computed, done[TICKETS];
    uint64_t last;
};

/* Small host arrays on their way up, in order with what is computed. */
struct small {
    uint8_t *pinned; /* [SMALL_SLOTS][SMALL_BYTES] */
    cudaEvent_t sent[SMALL_SLOTS];
    int next;
};

struct cuda {
    struct device dev;
    int index;
    pthread_mutex_t lock; /* for what any thread may do: failures, memory, copies */
    cudaError_t failed;   /* first failure of an operation that cannot report one */
    const char *failed_in;
    size_t shared_max; /* shared memory a block may have */
    int processors;
    bool wgmma;                 /* there is code for 9.0 itself */
    const struct maker *prefer; /* the maker that is asked first; NULL: in their order */
    char name[320];
    struct allocation *held; /* [held_n] */
    size_t held_n, held_cap;
    void **pinned; /* [pinned_n] host memory that is ours to free */
    size_t pinned_n, pinned_cap;
    struct device_memory memory;
    struct lanes lanes;
    struct small small;
    struct flags *flags;
    /* weights on their way up */
    cudaStream_t sending, packing;
    uint8_t *staged[STAGES_UP];
    cudaEvent_t sent, decoded[STAGES_UP];
    unsigned long long *bad_matrix; /* pinned */
    struct room act, part, lists, heads, logits, rows, scaled;
    struct mirror weights[2], mask, docs, rope, blocks, kept, key, past;
};

/*
 * W [rows][ld] in elements, ld a multiple of 64, zero past `in`. paired: eight rows of gate, then the same
 * eight of up, and so on; rows past the end are zero. f32 stands row by row. bf16 stands as tiles of it lie
 * in shared memory, so that one is a single piece: 64 columns of all rows, then the next 64; of each row's
 * eight 16-byte chunks, chunk c in place c ^ (row & 7).
 */
struct matrix {
    int out, in, ld, rows;
    bool paired, f32; /* f32: whatever the elements are */
    const struct maker *maker;
    void *w;
    struct slab *slab; /* the memory that w is in */
};

/* Columns of a product's result as it is computed. */
static inline int columns_of(const struct matrix *m)
{
    return m->paired ? m->rows : m->out;
}

static __host__ __device__ __forceinline__ size_t weight_at(int rows, int ld, int row, int k, bool bf16)
{
    if (!bf16)
        return (size_t)row * (size_t)ld + (size_t)k;
    return ((size_t)(k / 64) * (size_t)rows + (size_t)row) * 64 +
           (size_t)((k / 8 % 8 ^ (row & 7)) * 8 + k % 8);
}

static inline struct cuda *cuda_of(struct device *d)
{
    return (struct cuda *)d;
}

static inline int64_t ceil_div(int64_t n, int64_t by)
{
    return (n + by - 1) / by;
}

/* Remembers a failure; true if e is none. */
bool cuda_ok(struct cuda *c, cudaError_t e, const char *where);
/* After a launch. */
static inline void cuda_launched(struct cuda *c, const char *where)
{
    cuda_ok(c, cudaGetLastError(), where);
}
/* Reports what cuda_ok remembered. */
int cuda_report(struct cuda *c, struct err *e);
/* Device memory, counted. Any thread. */
void *cuda_new(struct cuda *c, size_t bytes, struct err *e);
void cuda_free(struct cuda *c, void *p);
int cuda_room(struct cuda *c, struct room *r, size_t bytes, struct err *e);
/* Parts of the device, opened and closed with it; -1: cuda_report knows why. */
int cuda_lanes_open(struct cuda *c);
void cuda_lanes_close(struct cuda *c);
int cuda_small_open(struct cuda *c);
void cuda_small_close(struct cuda *c);
extern const uint64_t cuda_codings; /* bits of enum coding that cuda_pack decodes */
int cuda_pack_open(struct cuda *c);
void cuda_pack_close(struct cuda *c);
void cuda_mirror_free(struct cuda *c, struct mirror *m);
/* The device's copy of host[0..bytes-1]; NULL when there is no memory (remembered). */
void *cuda_mirror(struct cuda *c, struct mirror *m, const void *host, size_t bytes);

/* ---- products ---- */

enum { TILE_M = 128, TILE_N = 128 };
enum gemm_mode {
    GEMM_STORE,   /* y [row][out] = acc + bias, f32 */
    GEMM_ADD,     /* y [row][out] += acc + bias, elements */
    GEMM_ACT,     /* y [sorted row][inter] = act(gate + bias, up + bias), elements */
    GEMM_SCATTER, /* y [slot][out] = acc + bias, elements; part: sum of squares and largest magnitude */
};

/* Row tiles of groups, in the order of `slot`. */
struct tiles {
    const int32_t *count; /* of tiles; NULL: one group of n rows, no slots */
    const int4 *tile;     /* [count] group, first row, rows */
    const int32_t *from;  /* [groups + 1] first row of each group */
    const int32_t *slot;  /* [rows] */
    int most;             /* upper bound of *count */
};

struct gemm {
    const void *x; /* elements [..][in] */
    int64_t n;
    int in, out, ld, w_rows; /* w_rows: as packed */
    const void *w;           /* of the only group, or */
    const void *const *each; /* device [groups] */
    struct tiles tiles;
    bool gather; /* x is read at slot / topk, else at the sorted row */
    int topk;
    const float *bias; /* [groups][bias_step] */
    int bias_step;
    enum gemm_mode mode;
    void *y;
    int inter;
    enum act_kind act;
    float limit;
    float2 *part; /* [rows][cuda_gemm_columns]; NULL: not wanted */
    bool bf16;    /* x, and y where it is elements */
    bool w_f32;
};

/* Names of the makers, best first, NULL-terminated. */
extern const char *const cuda_products[];
/* The one of that name is asked first; NULL: none. */
int cuda_products_prefer(struct cuda *c, const char *name, struct err *e);
/* The maker of a matrix, chosen when its shape is known. */
const struct maker *cuda_maker(const struct cuda *c, const struct matrix *m);
/* by: of the matrices whose weights g has. */
void cuda_gemm(struct cuda *c, const struct maker *by, const struct gemm *g);
/* Column tiles of a product. */
int cuda_gemm_columns(const struct maker *by, const struct gemm *g);
bool cuda_gemm_wgmma(void);

/* ---- operations ---- */

void *cuda_buf_new(struct device *d, size_t bytes, struct err *e);
void cuda_buf_free(struct device *d, void *p);
void *cuda_host_new(struct device *d, size_t bytes, struct err *e);
void cuda_host_free(struct device *d, void *p);
void cuda_to_device(struct device *d, void *dst, const void *src, size_t n);
void cuda_to_host(struct device *d, void *dst, const void *src, size_t n);
void cuda_copy(struct device *d, void *dst, const void *src, size_t n);
uint64_t cuda_copy_up(struct device *d, void *dst, const void *src, size_t n, uint64_t after);
uint64_t cuda_copy_down(struct device *d, void *dst, const void *src, size_t n);
void cuda_await_copy(struct device *d, uint64_t ticket);
void cuda_finish_copy(struct device *d, uint64_t ticket);
void cuda_memory(struct device *d, struct device_memory *out);

int cuda_pack(struct device *d, const struct matrix_job *job, int jobs, struct err *e);
void cuda_matrix_free(struct device *d, struct matrix *m);
void cuda_norm(struct device *d, const void *h, int64_t n, int width, const float *w, float eps, void *x);
void cuda_norm_rows(struct device *d, const float *y, size_t row, int64_t n, int width, const float *w,
                    float eps, void *x);
void cuda_linear(struct device *d, const struct matrix *m, const void *x, int64_t n, const float *bias,
                 float *y);
void cuda_linear_add(struct device *d, const struct matrix *m, const void *x, int64_t n, const float *bias,
                     void *h);
int cuda_attention(struct device *d, const struct attention_args *a, struct err *e);
void cuda_route(struct device *d, const struct route_args *a);
int cuda_experts(struct device *d, const struct experts_args *a, struct err *e);
/* Adds the slots of each expert to a->sums; act: elements [sorted row][inter]. */
void cuda_sums(struct cuda *c, const struct experts_args *a, const struct tiles *t, const void *act);
void cuda_view(struct device *d, const struct view_args *a);
void cuda_pairs(struct device *d, const struct pairs_args *a);
void cuda_combine(struct device *d, const struct combine_args *a);
int cuda_head(struct device *d, const struct head_args *a, struct err *e);

/* ---- in kernels ---- */

/* Two floats as bf16, the first one low. */
static __device__ __forceinline__ uint32_t pack2(float lo, float hi)
{
    __nv_bfloat162 v = __floats2bfloat162_rn(lo, hi);

    return *(uint32_t *)(void *)&v;
}

static __device__ __forceinline__ float elem_load(const void *p, size_t i, bool bf16)
{
    return bf16 ? __bfloat162float(((const __nv_bfloat16 *)p)[i]) : ((const float *)p)[i];
}

static __device__ __forceinline__ void elem_store(void *p, size_t i, float v, bool bf16)
{
    if (bf16)
        ((__nv_bfloat16 *)p)[i] = __float2bfloat16_rn(v);
    else
        ((float *)p)[i] = v;
}

enum { EIGHT = 8 };

/* N elements: one, or eight that begin at a multiple of eight. */
template <int N>
static __device__ __forceinline__ void elems_load(const void *p, size_t i, float (&v)[N], bool bf16)
{
    if (N == 1) {
        v[0] = elem_load(p, i, bf16);
    } else if (bf16) {
        uint4 raw = *(const uint4 *)((const __nv_bfloat16 *)p + i);
        const uint32_t two[] = {raw.x, raw.y, raw.z, raw.w};

#pragma unroll
        for (int j = 0; j < N; j++)
            v[j] = __uint_as_float(j % 2 ? two[j / 2] & 0xffff0000u : two[j / 2] << 16);
    } else {
#pragma unroll
        for (int j = 0; j < N; j += 4) {
            float4 raw = *(const float4 *)((const float *)p + i + j);

            v[j] = raw.x;
            v[j + 1] = raw.y;
            v[j + 2] = raw.z;
            v[j + 3] = raw.w;
        }
    }
}

template <int N>
static __device__ __forceinline__ void elems_store(void *p, size_t i, const float (&v)[N], bool bf16)
{
    if (N == 1) {
        elem_store(p, i, v[0], bf16);
    } else if (bf16) {
        __nv_bfloat162 two[N / 2 + 1];

#pragma unroll
        for (int j = 0; j < N / 2; j++)
            two[j] = __floats2bfloat162_rn(v[2 * j], v[2 * j + 1]);
        *(uint4 *)((__nv_bfloat16 *)p + i) = *(const uint4 *)(const void *)two;
    } else {
#pragma unroll
        for (int j = 0; j < N; j += 4)
            *(float4 *)((float *)p + i + j) = make_float4(v[j], v[j + 1], v[j + 2], v[j + 3]);
    }
}

/* Over a warp; every lane gets the result, and the order of the sum is always the same. */
static __device__ __forceinline__ float warp_sum(float v)
{
    for (int o = WARP / 2; o > 0; o /= 2)
        v += __shfl_xor_sync(0xffffffffu, v, o);
    return v;
}

static __device__ __forceinline__ float warp_max(float v)
{
    for (int o = WARP / 2; o > 0; o /= 2)
        v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, o));
    return v;
}

#endif
