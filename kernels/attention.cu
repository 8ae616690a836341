/*
 * Attention that streams over keys, in f32 on the plain units, for any head size: a block is one head and 32
 * queries, which go through the keys in blocks of 32 (Milakov & Gimelshein 2018; Dao et al. 2022).
 * attention_mma.cu is the fast one.
 */
#include "backend.h"

#include <stdlib.h>

enum { BLOCK = 32, THREADS = 128, MMA_BLOCK = 64 };

struct plain {
    struct heads q, k, v, k_nope;
    const int64_t *first;
    const int2 *block; /* document, first query in it */
    int heads, kv_heads, dim, v_dim, nope, window;
    enum mask_kind mask;
    float scale;
    const float *sinks;
    void *out;
    bool bf16;
};

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

/* n elements of rows at .. at+BLOCK-1 of one head of a document to dst [BLOCK][ld]; zero past its end. */
static __device__ void fetch(float *dst, int ld, const struct heads &x, int head, int64_t base, int64_t at,
                             int64_t len, int n)
{
    const float *src = x.of + (size_t)base * x.row + (size_t)head * x.step;

    for (int i = (int)threadIdx.x; i < BLOCK * n; i += THREADS) {
        int r = i / n, d = i % n;

        dst[r * ld + d] = at + r < len ? src[(size_t)(at + r) * x.row + (size_t)d] : 0;
    }
}

static __device__ void scores(const struct plain &a, const struct space &s, int64_t from, int64_t at)
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

static __device__ void add_values(const struct plain &a, const struct space &s)
{
    for (int i = (int)threadIdx.x; i < BLOCK * a.v_dim; i += THREADS) {
        int r = i / a.v_dim, d = i % a.v_dim;
        float v = s.o[r * (a.v_dim + 1) + d] * s.shrink[r];

        for (int j = 0; j < BLOCK; j++)
            v = fmaf(s.s[r * (BLOCK + 1) + j], s.v[j * (a.v_dim + 1) + d], v);
        s.o[r * (a.v_dim + 1) + d] = v;
    }
}

__global__ void __launch_bounds__(THREADS) attention_plain(const struct plain a)
{
    extern __shared__ float shared[];
    struct space s = layout(shared, a.dim, a.v_dim);
    int2 b = a.block[blockIdx.x];
    int head = (int)blockIdx.y, group = head / (a.heads / a.kv_heads);
    int64_t base = a.first[b.x], len = a.first[b.x + 1] - base, from = b.y, end = from + BLOCK, at;

    end = end < len ? end : len;
    fetch(s.q, a.dim + 1, a.q, head, base, from, len, a.dim);
    for (int i = (int)threadIdx.x; i < BLOCK * (a.v_dim + 1); i += THREADS)
        s.o[i] = 0;
    for (int i = (int)threadIdx.x; i < BLOCK; i += THREADS) {
        s.top[i] = a.sinks ? a.sinks[head] : -INFINITY;
        s.sum[i] = a.sinks ? 1 : 0;
    }
    for (at = first_key(a.mask, a.window, from) / BLOCK * BLOCK; at < end; at += BLOCK) {
        if (a.nope)
            fetch(s.k, a.dim + 1, a.k_nope, group, base, at, len, a.nope);
        fetch(s.k + a.nope, a.dim + 1, a.k, group, base, at, len, a.dim - a.nope);
        fetch(s.v, a.v_dim + 1, a.v, group, base, at, len, a.v_dim);
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
                       s.o[r * (a.v_dim + 1) + d] / s.sum[r], a.bf16);
    }
}

/* The documents cut into blocks of `step` queries, the late ones (which see most keys) first. */
static const int2 *cut(struct cuda *c, const struct docs *d, int step, int *blocks, struct err *e)
{
    const int2 *dev;
    int2 *list;
    int n = 0;

    for (int i = 0; i < d->n; i++)
        n += (int)ceil_div(d->first[i + 1] - d->first[i], step);
    *blocks = n;
    list = (int2 *)mem_new((size_t)n, sizeof *list, e);
    if (!list)
        return NULL;
    n = 0;
    for (int i = 0; i < d->n; i++)
        for (int b = (int)ceil_div(d->first[i + 1] - d->first[i], step); b-- > 0;)
            list[n++] = make_int2(i, b * step);
    dev = (const int2 *)cuda_mirror(c, &c->blocks, list, (size_t)n * sizeof *list);
    free(list);
    return dev;
}

/* q, k and v side by side in one array, with heads that the fast kernel knows. */
static bool known(const struct attention_args *a)
{
    size_t dim = (size_t)a->head_dim, row = (size_t)(a->heads + 2 * a->kv_heads) * dim;

    return (dim == 32 || dim == 64 || dim == 128) && a->v_dim == a->head_dim && a->nope == 0 &&
           a->q.row == row && a->k.row == row && a->v.row == row && a->q.step == dim && a->k.step == dim &&
           a->v.step == dim && a->k.of == a->q.of + (size_t)a->heads * dim &&
           a->v.of == a->k.of + (size_t)a->kv_heads * dim;
}

static int run_plain(struct cuda *c, const struct attention_args *a, const int64_t *first, const int2 *block,
                     int blocks, struct err *e)
{
    size_t bytes = space_floats(a->head_dim, a->v_dim) * sizeof(float);
    struct plain p = {};

    if (bytes > c->shared_max)
        return err_set(e, ERR_DEVICE, "%s: attention with heads of %d needs more shared memory than it has",
                       c->name, a->head_dim);
    p.q = a->q;
    p.k = a->k;
    p.v = a->v;
    p.k_nope = a->k_nope;
    p.block = block;
    p.first = first;
    p.heads = a->heads;
    p.kv_heads = a->kv_heads;
    p.dim = a->head_dim;
    p.v_dim = a->v_dim;
    p.nope = a->nope;
    p.mask = a->mask;
    p.window = a->window;
    p.scale = a->scale;
    p.sinks = a->sinks;
    p.out = a->out;
    p.bf16 = c->dev.bf16;
    cuda_ok(c, cudaFuncSetAttribute(attention_plain, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes),
            "attention");
    attention_plain<<<dim3((unsigned)blocks, (unsigned)a->heads), THREADS, bytes>>>(p);
    cuda_launched(c, "attention");
    return 0;
}

int cuda_attention(struct device *d, const struct attention_args *a, struct err *e)
{
    struct cuda *c = cuda_of(d);
    bool fast = d->bf16 && known(a);
    const int64_t *first;
    const int2 *block;
    int blocks;

    if (a->docs.first[a->docs.n] == 0)
        return 0;
    cuda_qk(c, a);
    first = (const int64_t *)cuda_mirror(c, &c->docs, a->docs.first, ((size_t)a->docs.n + 1) * sizeof *first);
    block = cut(c, &a->docs, fast ? MMA_BLOCK : BLOCK, &blocks, e);
    if (!first || !block)
        return cuda_report(c, e);
    return (fast ? cuda_attention_mma : run_plain)(c, a, first, block, blocks, e);
}
