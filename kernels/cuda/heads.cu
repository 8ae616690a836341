/*
 * heads.cu -- from the rows of the projections to what attention reads, in one pass: norm, clip, rope,
 * temperature, and rows of q, k and v in elements. A warp works on one head of a token at a time.
 */
#include "attention.h"

enum { THREADS = 256, WARPS = THREADS / WARP, TOKENS = 4, ALIGN = 256 };

struct laying {
    struct attention_args a; /* docs and out are not used */
    int64_t n;
    const int64_t *first; /* device [docs + 1] */
    const float *const *rope;
    const int64_t *key, *past; /* device, as in struct docs; past may be NULL */
    int docs;
    void *to; /* rows of q, k, v, as in struct attend */
    size_t row;
    unsigned *taken;
    bool bf16;
};

/* Of a head a lane holds elements (32 j + lane) VEC .. + VEC - 1, j < MANY. */
template <int VEC, int MANY> struct share {
    float x[MANY][VEC];
};

template <int VEC> static __device__ __forceinline__ int element(int j)
{
    return (j * WARP + (int)threadIdx.x % WARP) * VEC;
}

/* How a lane's elements are rotated: x c + (element `other`) s. */
template <int VEC, int MANY> struct turn {
    float c[MANY][VEC], s[MANY][VEC];
    int other[MANY][VEC];
};

/* cs: cosines and sines of the token's position. */
template <int VEC, int MANY>
static __device__ __forceinline__ struct turn<VEC, MANY> turn_at(const struct attention_args &a,
                                                                 const float *cs) {
    struct turn<VEC, MANY> t;
    int half = a.rot / 2;

#pragma unroll
    for (int j = 0; j < MANY; j++)
#pragma unroll
        for (int e = 0; e < VEC; e++) {
            int i = element<VEC>(j) + e, r = i - a.nope, p = r;
            bool second;

            t.c[j][e] = 1;
            t.s[j][e] = 0;
            t.other[j][e] = i;
            if (r < 0 || r >= a.rot)
                continue;
            if (a.layout == ROPE_PAIR) {
                second = r & 1;
                p = r / 2;
                t.other[j][e] = second ? i - 1 : i + 1;
            } else {
                second = r >= half;
                p = second ? r - half : r;
                t.other[j][e] = second ? i - half : i + half;
            }
            t.c[j][e] = cs[p];
            t.s[j][e] = second ? cs[half + p] : -cs[half + p];
        }
    return t;
}

/* Elements before `cut` from low, the others from high; zero past n. */
template <int VEC, int MANY>
static __device__ __forceinline__ struct share<VEC, MANY> heads_fetch(const float *low, const float *high,
                                                                      int cut, int n) {
    struct share<VEC, MANY> r;

#pragma unroll
    for (int j = 0; j < MANY; j++) {
        int i = element<VEC>(j);
        const float *from = (i < cut ? low : high) + i;

        if (VEC == 2) {
            float2 v = i < n ? *(const float2 *)(const void *)from : make_float2(0, 0);

            r.x[j][0] = v.x;
            r.x[j][VEC - 1] = v.y;
        } else {
            r.x[j][0] = i < n ? *from : 0;
        }
    }
    return r;
}

/* Slot: head of q of token t, then of k, then of v, which are rows `row` of theirs. */
template <int VEC, int MANY>
static __device__ __forceinline__ struct share<VEC, MANY> fetch_slot(const struct attention_args &a,
                                                                     int64_t t, int64_t row, int slot) {
    const float *x, *nope;
    int h = slot - a.heads;

    if (h < 0) {
        x = a.q.of + (size_t)t * a.q.row + (size_t)slot * a.q.step;
        return heads_fetch<VEC, MANY>(x, x, 0, a.head_dim);
    }
    if (h >= a.kv_heads) {
        x = a.v.of + (size_t)row * a.v.row + (size_t)(h - a.kv_heads) * a.v.step;
        return heads_fetch<VEC, MANY>(x, x, 0, a.v_dim);
    }
    x = a.k.of + (size_t)row * a.k.row + (size_t)h * a.k.step;
    nope = a.nope ? a.k_nope.of + (size_t)row * a.k_nope.row + (size_t)h * a.k_nope.step : x;
    return heads_fetch<VEC, MANY>(nope, x - a.nope, a.nope, a.head_dim);
}

template <int VEC, int MANY>
static __device__ __forceinline__ float inverse_rms(const struct share<VEC, MANY> &h, int n, float eps)
{
    float sum = 0;

#pragma unroll
    for (int j = 0; j < MANY; j++)
#pragma unroll
        for (int e = 0; e < VEC; e++)
            sum = fmaf(h.x[j][e], h.x[j][e], sum);
    return 1.0f / sqrtf(warp_sum(sum) / (float)n + eps);
}

/* Of all heads of a token, side by side; every thread gets it. */
static __device__ float inverse_rms_of_all(const float *x, int n, float eps, float part[WARPS])
{
    float sum = 0;

    for (int i = (int)threadIdx.x; i < n; i += THREADS)
        sum = fmaf(x[i], x[i], sum);
    sum = warp_sum(sum);
    __syncthreads();
    part[threadIdx.x / WARP] = sum;
    __syncthreads();
    sum = 0;
    for (int i = 0; i < WARPS; i++)
        sum += part[i];
    return 1.0f / sqrtf(sum / (float)n + eps);
}

/* w NULL: no weight. */
template <int VEC, int MANY>
static __device__ __forceinline__ void scale(struct share<VEC, MANY> *h, float by, const float *w, int n)
{
#pragma unroll
    for (int j = 0; j < MANY; j++)
#pragma unroll
        for (int e = 0; e < VEC; e++) {
            int i = element<VEC>(j) + e;

            h->x[j][e] = h->x[j][e] * by * (w && i < n ? w[i] : 1.0f);
        }
}

template <int VEC, int MANY>
static __device__ __forceinline__ void clamp(struct share<VEC, MANY> *h, float limit)
{
#pragma unroll
    for (int j = 0; j < MANY; j++)
#pragma unroll
        for (int e = 0; e < VEC; e++) {
            float x = h->x[j][e];

            h->x[j][e] = x > limit ? limit : x < -limit ? -limit : x; /* not fminf: a NaN must stay one */
        }
}

/* row: the warp's own. */
template <int VEC, int MANY>
static __device__ __forceinline__ void rotate(struct share<VEC, MANY> *h, const struct turn<VEC, MANY> &t,
                                              float *row)
{
#pragma unroll
    for (int j = 0; j < MANY; j++)
#pragma unroll
        for (int e = 0; e < VEC; e++)
            row[element<VEC>(j) + e] = h->x[j][e];
    __syncwarp();
#pragma unroll
    for (int j = 0; j < MANY; j++)
#pragma unroll
        for (int e = 0; e < VEC; e++)
            h->x[j][e] = h->x[j][e] * t.c[j][e] + row[t.other[j][e]] * t.s[j][e];
    __syncwarp();
}

template <int VEC, int MANY>
static __device__ __forceinline__ void store(const struct share<VEC, MANY> &h, void *to, size_t at, int n,
                                             bool bf16)
{
#pragma unroll
    for (int j = 0; j < MANY; j++) {
        int i = element<VEC>(j);

        if (i >= n)
            continue;
        if (VEC == 1)
            elem_store(to, at + (size_t)i, h.x[j][0], bf16);
        else if (bf16)
            *(__nv_bfloat162 *)((__nv_bfloat16 *)to + at + i) =
                __floats2bfloat162_rn(h.x[j][0], h.x[j][VEC - 1]);
        else
            *(float2 *)(void *)((float *)to + at + i) = make_float2(h.x[j][0], h.x[j][VEC - 1]);
    }
}

/* What happens to a head of q or k between the projection and its product; all: its norm over all heads. */
template <int VEC, int MANY>
static __device__ __forceinline__ void ready(const struct attention_args &a, struct share<VEC, MANY> *h,
                                             int head, bool is_q, float all, const struct turn<VEC, MANY> &t,
                                             float temp, float *row)
{
    const float *w = is_q ? a.q_norm : a.k_norm;

    if (a.norm == QKN_HEAD_PRE)
        scale(h, inverse_rms(*h, a.head_dim, a.eps), w, a.head_dim);
    else if (a.norm == QKN_FULL_PRE)
        scale(h, all, w ? w + (size_t)head * (size_t)a.head_dim : NULL, a.head_dim);
    if (a.clip > 0)
        clamp(h, a.clip);
    if (a.rope) {
        rotate(h, t, row);
        if (a.norm == QKN_HEAD_POST)
            scale(h, inverse_rms(*h, a.head_dim, a.eps), NULL, 0);
    } else if (is_q && temp != 1) {
        scale(h, temp, NULL, 0);
    }
}

/* A block to TOKENS tokens; its warps share their heads. */
template <int VEC, int MANY>
__global__ void __launch_bounds__(THREADS) lay_heads(const __grid_constant__ laying l)
{
    __shared__ float rows[WARPS][MANY * VEC * WARP], sums[WARPS];
    const struct attention_args &a = l.a;
    int warp = (int)threadIdx.x / WARP, slots = a.heads + 2 * a.kv_heads;
    int64_t t = (int64_t)blockIdx.x * TOKENS, end = t + TOKENS < l.n ? t + TOKENS : l.n;
    int doc = docs_find(l.first, l.docs, t);

    if (blockIdx.x == 0 && threadIdx.x == 0)
        *l.taken = 0;
    for (; t < end; t++) {
        struct share<VEC, MANY> next = fetch_slot<VEC, MANY>(a, t, t, warp < slots ? warp : 0);
        struct turn<VEC, MANY> turn = {
        };
        float temp = 1, all_q = 0, all_k = 0;
        int64_t pos;

        while (t >= l.first[doc + 1])
            doc++;
        pos = t - l.first[doc];
        if (a.rope)
            turn = turn_at<VEC, MANY>(a, l.rope[doc] + (size_t)pos * (size_t)a.rot);
        else if (a.temp_floor > 0)
            temp = 1 + a.temp_scale * logf(1 + floorf((float)(pos + 1) / a.temp_floor));
        if (a.norm == QKN_FULL_PRE) {
            all_q = inverse_rms_of_all(a.q.of + (size_t)t * a.q.row, a.heads * a.head_dim, a.eps, sums);
            all_k = inverse_rms_of_all(a.k.of + (size_t)t * a.k.row, a.kv_heads * a.head_dim, a.eps, sums);
        }
        for (int s = warp; s < slots; s += WARPS) {
            struct share<VEC, MANY> h = next;
            int head = s < a.heads ? s : (s - a.heads) % a.kv_heads;
            size_t at = (size_t)t * l.row;

            if (s + WARPS < slots)
                next = fetch_slot<VEC, MANY>(a, t, t, s + WARPS);
            if (s >= a.heads + a.kv_heads) {
                if (a.clip > 0)
                    clamp(&h, a.clip);
                store(h, l.to, at + (size_t)((a.heads + a.kv_heads) * a.head_dim + head * a.v_dim), a.v_dim,
                      l.bf16);
                continue;
            }
            ready(a, &h, head, s < a.heads, s < a.heads ? all_q : all_k, turn, temp, rows[warp]);
            store(h, l.to, at + (size_t)(s * a.head_dim), a.head_dim, l.bf16);
        }
    }
}

/* The head of a slot to where it came from; of k its rotated part, whose other part stays as it is. */
template <int VEC, int MANY>
static __device__ __forceinline__ void
store_slot(const struct share<VEC, MANY> &h, const struct attention_args &a, int64_t t, int64_t row, int slot)
{
    int k = slot - a.heads, v = k - a.kv_heads, n = v < 0 ? a.head_dim : a.v_dim;
    float *to = k < 0   ? a.q.of + (size_t)t * a.q.row + (size_t)slot * a.q.step
                : v < 0 ? a.k.of + (size_t)row * a.k.row + (size_t)k * a.k.step - a.nope
                        : a.v.of + (size_t)row * a.v.row + (size_t)v * a.v.step;

#pragma unroll
    for (int j = 0; j < MANY; j++)
#pragma unroll
        for (int e = 0; e < VEC; e++) {
            int i = element<VEC>(j) + e;

            if (i < n && (k < 0 || v >= 0 || i >= a.nope))
                to[i] = h.x[j][e];
        }
}

/* As lay_heads, in place, where keys are kept: a block to a token. */
template <int VEC, int MANY>
__global__ void __launch_bounds__(THREADS) ready_heads(const __grid_constant__ laying l)
{
    __shared__ float rows[WARPS][MANY * VEC * WARP], sums[WARPS];
    const struct attention_args &a = l.a;
    int64_t t = (int64_t)blockIdx.x, queries, row, pos;
    int warp = (int)threadIdx.x / WARP, doc = docs_find(l.first, l.docs, t);
    int k_heads = a.k.step ? a.kv_heads : 1; /* one for all is made ready once */
    struct turn<VEC, MANY> turn = {
    };
    float temp = 1, all_q = 0, all_k = 0;

    queries = l.first[doc + 1] - l.first[doc];
    row = l.key[doc + 1] - l.first[doc + 1] + t;
    pos = (l.past ? l.past[doc] : l.key[doc + 1] - l.key[doc] - queries) + t - l.first[doc];
    if (a.rope)
        turn = turn_at<VEC, MANY>(a, l.rope[doc] + (size_t)pos * (size_t)a.rot);
    else if (a.temp_floor > 0)
        temp = 1 + a.temp_scale * logf(1 + floorf((float)(pos + 1) / a.temp_floor));
    if (a.norm == QKN_FULL_PRE) {
        all_q = inverse_rms_of_all(a.q.of + (size_t)t * a.q.row, a.heads * a.head_dim, a.eps, sums);
        all_k = inverse_rms_of_all(a.k.of + (size_t)row * a.k.row, a.kv_heads * a.head_dim, a.eps, sums);
    }
    for (int s = warp; s < a.heads + 2 * a.kv_heads; s += WARPS) {
        struct share<VEC, MANY> h = fetch_slot<VEC, MANY>(a, t, row, s);
        int k = s - a.heads;

        if (k >= k_heads && k < a.kv_heads)
            continue;
        if (k < a.kv_heads)
            ready(a, &h, k < 0 ? s : k, k < 0, k < 0 ? all_q : all_k, turn, temp, rows[warp]);
        else if (a.clip > 0)
            clamp(&h, a.clip);
        store_slot(h, a, t, row, s);
    }
}

/* All heads begin at even elements. */
static bool in_pairs(const struct attention_args *a)
{
    const struct heads *const x[] = {&a->q, &a->k, &a->v, &a->k_nope};
    size_t odd = (size_t)a->head_dim | (size_t)a->v_dim | (size_t)a->nope;

    for (const struct heads *h : x)
        odd |= (uintptr_t)h->of / sizeof(float) | h->row | h->step;
    return odd % 2 == 0;
}

static void heads_launch(const struct laying *l)
{
    int dim = l->a.head_dim > l->a.v_dim ? l->a.head_dim : l->a.v_dim;
    unsigned blocks = (unsigned)ceil_div(l->n, TOKENS);

    if (dim > 256 || !in_pairs(&l->a))
        lay_heads<1, 16><<<blocks, THREADS>>>(*l);
    else if (dim > 128)
        lay_heads<2, 4><<<blocks, THREADS>>>(*l);
    else if (dim > 64)
        lay_heads<2, 2><<<blocks, THREADS>>>(*l);
    else
        lay_heads<2, 1><<<blocks, THREADS>>>(*l);
}

/* The tables of documents. */
static int laying_docs(struct cuda *c, struct laying *l, const struct docs *d, struct err *e)
{
    size_t docs = (size_t)d->n;

    l->docs = d->n;
    l->first = (const int64_t *)cuda_mirror(c, &c->docs, d->first, (docs + 1) * sizeof *l->first);
    if (l->a.rope)
        l->rope = (const float *const *)cuda_mirror(c, &c->rope, d->rope, docs * sizeof *l->rope);
    return l->first && (!l->a.rope || l->rope) ? 0 : cuda_report(c, e);
}

int cuda_heads_in_place(struct cuda *c, const struct attention_args *a, struct err *e)
{
    const struct docs *d = &a->docs;
    size_t docs = (size_t)d->n;
    struct laying l = {*a};

    if (laying_docs(c, &l, d, e))
        return -1;
    l.key = l.first;
    if (d->key)
        l.key = (const int64_t *)cuda_mirror(c, &c->key, d->key, (docs + 1) * sizeof *l.key);
    if (d->past)
        l.past = (const int64_t *)cuda_mirror(c, &c->past, d->past, docs * sizeof *l.past);
    if (!l.key || (d->past && !l.past))
        return cuda_report(c, e);
    ready_heads<1, 16><<<(unsigned)d->first[docs], THREADS>>>(l);
    cuda_launched(c, "heads");
    return 0;
}

int cuda_heads(struct cuda *c, const struct attention_args *a, bool bf16, struct attend *r, struct err *e)
{
    size_t size = bf16 ? 2 : 4;
    size_t q = (size_t)a->heads * (size_t)a->head_dim, k = (size_t)a->kv_heads * (size_t)a->head_dim;
    struct laying l = {*a};

    l.n = r->n = a->docs.first[a->docs.n];
    l.row = r->row = q + k + (size_t)a->kv_heads * (size_t)a->v_dim;
    l.bf16 = bf16;
    if (cuda_room(c, &c->heads, ALIGN + (size_t)l.n * l.row * size, e))
        return -1;
    if (laying_docs(c, &l, &a->docs, e))
        return -1;
    r->taken = l.taken = (unsigned *)c->heads.p;
    r->q = l.to = (uint8_t *)c->heads.p + ALIGN;
    r->k = (const uint8_t *)r->q + q * size;
    r->v = (const uint8_t *)r->k + k * size;
    heads_launch(&l);
    cuda_launched(c, "heads");
    return 0;
}
