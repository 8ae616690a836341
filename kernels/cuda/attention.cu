/*
 * Attention that streams over keys, in f32 on the plain units, for any head size: a block is one head and 32
 * queries, which go through the keys in blocks of 32 (Milakov & Gimelshein 2018; Dao et al. 2022).
 * attention_mma.cu is the fast one.
 */
#include "attention.h"

#include <stdlib.h>

enum { BLOCK = 32, THREADS = 128, MMA_BLOCK = 64 };

/* Shared memory of a block: rows of dim + 1 (q, k) and v_dim + 1 (v, o), then scores and the state's columns.
 */
struct space {
    float *q, *k, *v, *o, *s, *top, *sum, *shrink;
};

static __host__ __device__ size_t space_floats(int dim, int v_dim)
{
    return 2 * (size_t)BLOCK * (size_t)(dim + v_dim + 2) + BLOCK * (BLOCK + 1) + 3 * BLOCK;
}

static __device__ struct space layout(float *p, int dim, int v_dim)
{
    float *k = p + BLOCK * (dim + 1), *v = k + BLOCK * (dim + 1), *o = v + BLOCK * (v_dim + 1);
    float *s = o + BLOCK * (v_dim + 1), *top = s + BLOCK * (BLOCK + 1);
    struct space r = {p, k, v, o, s, top, top + BLOCK, top + 2 * BLOCK};

    return r;
}

/* Rows at .. at+BLOCK-1 of a document, n floats each, to dst [BLOCK][n + 1]; zero past its end. */
static __device__ void fetch(float *dst, const float *src, size_t row, int64_t at, int64_t len, int n)
{
    for (int i = (int)threadIdx.x; i < BLOCK * n; i += THREADS) {
        int r = i / n, d = i % n;

        dst[r * (n + 1) + d] = at + r < len ? src[(size_t)(at + r) * row + (size_t)d] : 0;
    }
}

static __device__ void scores(const struct attend &a, const struct space &s, int64_t from, int64_t at)
{
    int j = (int)threadIdx.x % BLOCK;

    for (int i = (int)threadIdx.x / BLOCK; i < BLOCK; i += THREADS / BLOCK) {
        const float *q = s.q + i * (a.dim + 1), *k = s.k + j * (a.dim + 1);
        int64_t query = from + i, key = at + j;
        float z = 0;

        for (int d = 0; d < a.dim; d++)
            z = fmaf(q[d], k[d], z);
        z *= a.scale;
        if (key > query || key < first_key(a.mask, a.window, query))
            z = -INFINITY;
        s.s[i * (BLOCK + 1) + j] = z;
    }
}

/* Scores become exponentials; one warp to a row. */
static __device__ void softmax(const struct space &s)
{
    int lane = (int)threadIdx.x % WARP;

    for (int i = (int)threadIdx.x / WARP; i < BLOCK; i += THREADS / WARP) {
        float z = s.s[i * (BLOCK + 1) + lane], old = s.top[i], top = fmaxf(old, warp_max(z)), sum;

        /* where nothing was seen yet, and there is no sink: any finite number will do */
        z = expf(z - (top == -INFINITY ? 0 : top));
        s.s[i * (BLOCK + 1) + lane] = z;
        sum = warp_sum(z);
        __syncwarp(); /* all have read the old state */
        if (lane == 0) {
            s.shrink[i] = old == -INFINITY ? 0 : expf(old - top);
            s.sum[i] = s.sum[i] * s.shrink[i] + sum;
            s.top[i] = top;
        }
    }
}

static __device__ void add_values(const struct attend &a, const struct space &s)
{
    for (int i = (int)threadIdx.x; i < BLOCK * a.v_dim; i += THREADS) {
        int r = i / a.v_dim, d = i % a.v_dim;
        float v = s.o[r * (a.v_dim + 1) + d] * s.shrink[r];

        for (int j = 0; j < BLOCK; j++)
            v = fmaf(s.s[r * (BLOCK + 1) + j], s.v[j * (a.v_dim + 1) + d], v);
        s.o[r * (a.v_dim + 1) + d] = v;
    }
}

__global__ void __launch_bounds__(THREADS) attention_plain(const struct attend a, bool bf16)
{
    extern __shared__ float shared[];
    struct space s = layout(shared, a.dim, a.v_dim);
    int head = (int)blockIdx.y, group = head / (a.heads / a.kv_heads);
    struct span b = a.span[blockIdx.x];
    int64_t base = b.base, len = b.len, from = b.from, end = from + BLOCK, at;
    const float *q = (const float *)a.q + (size_t)base * a.row + (size_t)head * (size_t)a.dim;
    const float *k = (const float *)a.k + (size_t)base * a.row + (size_t)group * (size_t)a.dim;
    const float *v = (const float *)a.v + (size_t)base * a.row + (size_t)group * (size_t)a.v_dim;

    end = end < len ? end : len;
    fetch(s.q, q, a.row, from, len, a.dim);
    for (int i = (int)threadIdx.x; i < BLOCK * (a.v_dim + 1); i += THREADS)
        s.o[i] = 0;
    for (int i = (int)threadIdx.x; i < BLOCK; i += THREADS) {
        s.top[i] = a.sinks ? a.sinks[head] : -INFINITY;
        s.sum[i] = a.sinks ? 1 : 0;
    }
    for (at = first_key(a.mask, a.window, from) / BLOCK * BLOCK; at < end; at += BLOCK) {
        fetch(s.k, k, a.row, at, len, a.dim);
        fetch(s.v, v, a.row, at, len, a.v_dim);
        __syncthreads();
        scores(a, s, from, at);
        __syncthreads();
        softmax(s);
        __syncthreads();
        add_values(a, s);
        __syncthreads();
    }
    for (int i = (int)threadIdx.x; i < BLOCK * a.v_dim; i += THREADS) {
        int r = i / a.v_dim, d = i % a.v_dim;

        if (from + r < len)
            elem_store(a.out,
                       ((size_t)(base + from + r) * (size_t)a.heads + (size_t)head) * (size_t)a.v_dim +
                           (size_t)d,
                       s.o[r * (a.v_dim + 1) + d] / s.sum[r], bf16);
    }
}

/* The documents cut into blocks of `step` queries, the late ones (which see most keys) first. */
static const struct span *cut(struct cuda *c, const struct docs *d, int step, int *blocks, struct err *e)
{
    const struct span *dev;
    struct span *list;
    int n = 0;

    for (int i = 0; i < d->n; i++)
        n += (int)ceil_div(d->first[i + 1] - d->first[i], step);
    *blocks = n;
    list = (struct span *)mem_new((size_t)n, sizeof *list, e);
    if (!list)
        return NULL;
    n = 0;
    for (int i = 0; i < d->n; i++) {
        int len = (int)(d->first[i + 1] - d->first[i]);

        for (int b = (int)ceil_div(len, step); b-- > 0;)
            list[n++] = (struct span){d->first[i], len, b * step};
    }
    dev = (const struct span *)cuda_mirror(c, &c->blocks, list, (size_t)n * sizeof *list);
    free(list);
    return dev;
}

static int run_plain(struct cuda *c, const struct attend *a, struct err *e)
{
    size_t bytes = space_floats(a->dim, a->v_dim) * sizeof(float);

    if (bytes > c->shared_max)
        return err_set(e, ERR_DEVICE, "%s: attention with heads of %d needs more shared memory than it has",
                       c->name, a->dim);
    cuda_ok(c, cudaFuncSetAttribute(attention_plain, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes),
            "attention");
    attention_plain<<<dim3((unsigned)a->blocks, (unsigned)a->heads), THREADS, bytes>>>(*a, c->dev.bf16);
    cuda_launched(c, "attention");
    return 0;
}

/* Which kernel, and how many queries its blocks have. */
static int queries_of(const struct cuda *c, const struct attend *a)
{
    int rows = c->dev.bf16 ? cuda_attention_wgmma_rows(c, a) : 0;
    bool mma = c->dev.bf16 && a->dim == a->v_dim && (a->dim == 32 || a->dim == 64 || a->dim == 128);

    return rows ? rows : mma ? MMA_BLOCK : BLOCK;
}

int cuda_attention(struct device *d, const struct attention_args *a, struct err *e)
{
    struct cuda *c = cuda_of(d);
    struct attend r = {};
    int rows;

    if (a->docs.first[a->docs.n] == 0)
        return 0;
    r.heads = a->heads;
    r.kv_heads = a->kv_heads;
    r.dim = a->head_dim;
    r.v_dim = a->v_dim;
    r.mask = a->mask;
    r.window = a->window;
    r.scale = a->scale;
    r.sinks = a->sinks;
    r.out = a->out;
    rows = queries_of(c, &r);
    r.span = cut(c, &a->docs, rows, &r.blocks, e);
    if (!r.span)
        return cuda_report(c, e);
    if (cuda_heads(c, a, rows != BLOCK, &r, e))
        return -1;
    if (rows == BLOCK)
        return run_plain(c, &r, e);
    (rows == MMA_BLOCK ? cuda_attention_mma : cuda_attention_wgmma)(c, &r);
    return 0;
}
