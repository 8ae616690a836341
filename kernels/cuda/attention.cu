/*
 * attention.cu -- attention that streams over keys, in f32 on the plain units, for any head size, for keys
 * that are kept and keys that are selected: a block is one head and 32 queries, which go through the keys in
 * blocks of 32 (Milakov & Gimelshein 2018; Dao et al. 2022). attention_mma.cu and attention_wgmma.cu are the
 * fast ones.
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

static __device__ struct space plain_layout(float *p, int dim, int v_dim)
{
    float *k = p + BLOCK * (dim + 1), *v = k + BLOCK * (dim + 1), *o = v + BLOCK * (v_dim + 1);
    float *s = o + BLOCK * (v_dim + 1), *top = s + BLOCK * (BLOCK + 1);
    struct space r = {p, k, v, o, s, top, top + BLOCK, top + 2 * BLOCK};

    return r;
}

/* Where the keys of a block's document are: as in struct reach. */
struct kept {
    int64_t key;
    int keys, before;
};

/* What the plain kernel reads; a's own q, k and v are not used. */
struct plain {
    struct attend a;
    struct heads q, k, v, k_nope; /* ready */
    int nope;
    const struct kept *kept; /* [blocks]; NULL: the queries' own rows */
    const int32_t *select;   /* as in struct attention_args */
    int selects;
};

/* A block's queries and keys; row: of the first query among the keys. */
struct place {
    struct span at;
    struct kept keys;
    int row;
};

static __device__ __forceinline__ struct place place_of(const struct plain &p, int block)
{
    struct place x = {p.a.span[block], {0, 0, 0}, 0};

    x.keys = p.kept ? p.kept[block] : (struct kept){x.at.base, x.at.len, 0};
    x.row = x.keys.keys - x.at.len + x.at.from;
    return x;
}

/* Columns d0 .. d0+n-1 of rows at .. at+BLOCK-1 of a head to dst [BLOCK][width + 1]; zero where there are no
 * more rows than `rows`. */
static __device__ void plain_fetch(float *dst, int width, int d0, int n, const struct heads &x, int head,
                                   int64_t first, int at, int rows)
{
    const float *src = x.of + (size_t)(first + at) * x.row + (size_t)head * x.step;

    for (int i = (int)threadIdx.x; i < BLOCK * n; i += THREADS) {
        int r = i / n, d = i % n;

        dst[r * (width + 1) + d0 + d] = at + r < rows ? src[(size_t)r * x.row + (size_t)d] : 0;
    }
}

/* Whether a key is among the n selected. */
static __device__ bool selected(const int32_t *s, int n, int key)
{
    int lo = 0, hi = n;

    while (lo < hi) {
        int mid = (lo + hi) / 2;

        if (s[mid] >= 0 && s[mid] < key)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < n && s[lo] == key;
}

/* Keys of rows at .. at+BLOCK-1. */
static __device__ void plain_scores(const struct plain &p, const struct space &s, const struct place &x,
                                    int at)
{
    int j = (int)threadIdx.x % BLOCK;

    for (int i = (int)threadIdx.x / BLOCK; i < BLOCK; i += THREADS / BLOCK) {
        const float *q = s.q + i * (p.a.dim + 1), *k = s.k + j * (p.a.dim + 1);
        int query = x.keys.before + x.row + i, key = x.keys.before + at + j;
        float z = 0;

        for (int d = 0; d < p.a.dim; d++)
            z = fmaf(q[d], k[d], z);
        z *= p.a.scale;
        if (key > query || key < first_seen(p.a, query) ||
            (p.select && x.at.from + i < x.at.len &&
             !selected(p.select + (size_t)(x.at.base + x.at.from + i) * (size_t)p.selects, p.selects, key)))
            z = -INFINITY;
        s.s[i * (BLOCK + 1) + j] = z;
    }
}

/* Scores become exponentials; one warp to a row. */
static __device__ void plain_softmax(const struct space &s)
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

static __device__ void plain_add_values(const struct attend &a, const struct space &s)
{
    for (int i = (int)threadIdx.x; i < BLOCK * a.v_dim; i += THREADS) {
        int r = i / a.v_dim, d = i % a.v_dim;
        float v = s.o[r * (a.v_dim + 1) + d] * s.shrink[r];

        for (int j = 0; j < BLOCK; j++)
            v = fmaf(s.s[r * (BLOCK + 1) + j], s.v[j * (a.v_dim + 1) + d], v);
        s.o[r * (a.v_dim + 1) + d] = v;
    }
}

__global__ void __launch_bounds__(THREADS) attention_plain(const __grid_constant__ struct plain p, bool bf16)
{
    extern __shared__ float shared[];
    const struct attend &a = p.a;
    struct space s = plain_layout(shared, a.dim, a.v_dim);
    struct place x = place_of(p, (int)blockIdx.x);
    int head = (int)blockIdx.y, group = head / (a.heads / a.kv_heads);
    int n = x.at.len - x.at.from < BLOCK ? x.at.len - x.at.from : BLOCK;
    int at = first_seen(a, x.keys.before + x.row) - x.keys.before;

    plain_fetch(s.q, a.dim, 0, a.dim, p.q, head, x.at.base, x.at.from, x.at.len);
    for (int i = (int)threadIdx.x; i < BLOCK * (a.v_dim + 1); i += THREADS)
        s.o[i] = 0;
    for (int i = (int)threadIdx.x; i < BLOCK; i += THREADS) {
        s.top[i] = a.sinks ? a.sinks[head] : -INFINITY;
        s.sum[i] = a.sinks ? 1 : 0;
    }
    for (at = at > 0 ? at / BLOCK * BLOCK : 0; at < x.row + n; at += BLOCK) {
        if (p.nope)
            plain_fetch(s.k, a.dim, 0, p.nope, p.k_nope, group, x.keys.key, at, x.keys.keys);
        plain_fetch(s.k, a.dim, p.nope, a.dim - p.nope, p.k, group, x.keys.key, at, x.keys.keys);
        plain_fetch(s.v, a.v_dim, 0, a.v_dim, p.v, group, x.keys.key, at, x.keys.keys);
        __syncthreads();
        plain_scores(p, s, x, at);
        __syncthreads();
        plain_softmax(s);
        __syncthreads();
        plain_add_values(a, s);
        __syncthreads();
    }
    for (int i = (int)threadIdx.x; i < BLOCK * a.v_dim; i += THREADS) {
        int r = i / a.v_dim, d = i % a.v_dim;

        if (r < n)
            elem_store(a.out,
                       ((size_t)(x.at.base + x.at.from + r) * (size_t)a.heads + (size_t)head) *
                               (size_t)a.v_dim +
                           (size_t)d,
                       s.o[r * (a.v_dim + 1) + d] / s.sum[r], bf16);
    }
}

/* The documents cut into blocks of `step` queries, the late ones (which see most keys) first; kept: what they
 * see, or NULL. */
static int attention_cut(struct cuda *c, const struct docs *d, int step, struct attend *r,
                         const struct kept **kept, struct err *e)
{
    struct span *list;
    struct kept *keys;
    int n = 0;

    for (int i = 0; i < d->n; i++)
        n += (int)ceil_div(d->first[i + 1] - d->first[i], step);
    r->blocks = n;
    list = (struct span *)mem_new((size_t)n, sizeof *list, e);
    keys = (struct kept *)mem_new((size_t)n, sizeof *keys, e);
    n = 0;
    for (int i = 0; list && keys && i < d->n; i++) {
        struct reach x = docs_reach(d, i);

        for (int b = (int)ceil_div(x.queries, step); b-- > 0; n++) {
            list[n] = (struct span){x.first, (int)x.queries, b * step};
            keys[n] = (struct kept){x.key, (int)x.keys, (int)x.before};
        }
    }
    if (list && keys) {
        r->span = (const struct span *)cuda_mirror(c, &c->blocks, list, (size_t)n * sizeof *list);
        if (kept)
            *kept = (const struct kept *)cuda_mirror(c, &c->kept, keys, (size_t)n * sizeof *keys);
    }
    free(list);
    free(keys);
    if (r->span && (!kept || *kept))
        return 0;
    cuda_report(c, e); /* or mem_new has */
    return -1;
}

/* What is laid out for it, or, where keys are kept, the arrays themselves. */
static void plain_heads(struct plain *p, const struct attention_args *a)
{
    const struct attend *r = &p->a;
    size_t dim = (size_t)r->dim, v_dim = (size_t)r->v_dim;

    if (p->kept) {
        p->q = a->q;
        p->k = a->k;
        p->v = a->v;
        p->k_nope = a->k_nope;
        p->nope = a->nope;
        return;
    }
    p->q = {(float *)r->q, r->row, dim};
    p->k = {(float *)r->k, r->row, dim};
    p->v = {(float *)r->v, r->row, v_dim};
}

static int run_plain(struct cuda *c, const struct attention_args *a, struct plain *p, struct err *e)
{
    size_t bytes = space_floats(p->a.dim, p->a.v_dim) * sizeof(float);

    if (bytes > c->shared_max)
        return err_set(e, ERR_DEVICE, "%s: attention with heads of %d needs more shared memory than it has",
                       c->name, p->a.dim);
    plain_heads(p, a);
    p->select = a->select;
    p->selects = a->selects;
    cuda_ok(c, cudaFuncSetAttribute(attention_plain, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes),
            "attention");
    attention_plain<<<dim3((unsigned)p->a.blocks, (unsigned)p->a.heads), THREADS, bytes>>>(*p, c->dev.bf16);
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
    bool kept = a->docs.key || a->docs.past;
    struct plain p = {};
    struct attend *r = &p.a;
    int rows = BLOCK;

    if (a->docs.first[a->docs.n] == 0)
        return 0;
    r->heads = a->heads;
    r->kv_heads = a->kv_heads;
    r->dim = a->head_dim;
    r->v_dim = a->v_dim;
    r->mask = a->mask;
    r->window = a->window;
    r->scale = a->scale;
    r->sinks = a->sinks;
    r->out = a->out;
    if (!kept && !a->select)
        rows = queries_of(c, r);
    if (attention_cut(c, &a->docs, rows, r, kept ? &p.kept : NULL, e) ||
        (kept ? cuda_heads_in_place(c, a, e) : cuda_heads(c, a, rows != BLOCK, r, e)))
        return -1;
    if (rows == BLOCK)
        return run_plain(c, a, &p, e);
    (rows == MMA_BLOCK ? cuda_attention_mma : cuda_attention_wgmma)(c, r);
    return 0;
}
