/* q and k before attention: norms, clip, rope, temperature. A warp to a head of a token. */
#include "backend.h"

enum { THREADS = 256 };

struct qk {
    struct heads x, v; /* q or k; v: clipped together with k */
    int64_t n;
    const int64_t *first; /* device [docs + 1] */
    const float *const *rope;
    int docs, heads, dim, at, rot, v_heads, v_dim; /* at: first element that is rotated */
    const float *w;
    enum qk_norm norm;
    enum rope_layout layout;
    bool rotates;
    float eps, clip, temp_floor, temp_scale; /* temp_floor 0: none */
};

/* w NULL: no weight. */
static __device__ void rms(float *x, int n, const float *w, float eps)
{
    int lane = (int)threadIdx.x % WARP;
    float sum = 0;

    for (int i = lane; i < n; i += WARP)
        sum += x[i] * x[i];
    sum = 1.0f / sqrtf(warp_sum(sum) / (float)n + eps);
    for (int i = lane; i < n; i += WARP)
        x[i] = x[i] * sum * (w ? w[i] : 1.0f);
    __syncwarp();
}

static __device__ void clamp(float *x, int n, float limit)
{
    for (int i = (int)threadIdx.x % WARP; i < n; i += WARP)
        x[i] = x[i] > limit ? limit : x[i] < -limit ? -limit : x[i];
    __syncwarp();
}

/* Pairs (p, p + half), or (2p, 2p + 1). */
static __device__ void rotate(float *x, const float *cs, int half, enum rope_layout layout)
{
    int a = layout == ROPE_PAIR ? 2 : 1, b = layout == ROPE_PAIR ? 1 : half;

    for (int p = (int)threadIdx.x % WARP; p < half; p += WARP) {
        float u = x[a * p], v = x[a * p + b], c = cs[p], s = cs[half + p];

        x[a * p] = u * c - v * s;
        x[a * p + b] = v * c + u * s;
    }
    __syncwarp();
}

/* Over the whole projection: before everything else, a warp to a token. */
__global__ void __launch_bounds__(THREADS) qk_whole(const struct qk a)
{
    int64_t t = (int64_t)blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP;

    if (t < a.n)
        rms(a.x.of + (size_t)t * a.x.row, a.heads * a.dim, a.w, a.eps);
}

__global__ void __launch_bounds__(THREADS) qk_heads(const struct qk a)
{
    int64_t task = (int64_t)blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP, t = task / a.heads, pos;
    int head = (int)(task % a.heads), doc;
    float *x = a.x.of + (size_t)t * a.x.row + (size_t)head * a.x.step;

    if (t >= a.n)
        return;
    doc = doc_of(a.first, a.docs, t);
    pos = t - a.first[doc];
    if (a.norm == QKN_HEAD_PRE)
        rms(x, a.dim, a.w, a.eps);
    if (a.clip > 0) {
        clamp(x, a.dim, a.clip);
        for (int h = head; h < a.v_heads; h += a.heads)
            clamp(a.v.of + (size_t)t * a.v.row + (size_t)h * a.v.step, a.v_dim, a.clip);
    }
    if (a.rotates) {
        rotate(x + a.at, a.rope[doc] + (size_t)pos * (size_t)a.rot, a.rot / 2, a.layout);
        if (a.norm == QKN_HEAD_POST)
            rms(x, a.dim, NULL, a.eps);
    } else if (a.temp_floor > 0) {
        float temp = 1 + a.temp_scale * logf(1 + floorf((float)(pos + 1) / a.temp_floor));

        for (int i = (int)threadIdx.x % WARP; i < a.dim; i += WARP)
            x[i] *= temp;
    }
}

static void run(struct cuda *c, const struct qk *q)
{
    if (q->norm == QKN_FULL_PRE)
        qk_whole<<<(unsigned)ceil_div(q->n, THREADS / WARP), THREADS>>>(*q);
    qk_heads<<<(unsigned)ceil_div(q->n * q->heads, THREADS / WARP), THREADS>>>(*q);
    cuda_launched(c, "rope");
}

void cuda_qk(struct cuda *c, const struct attention_args *a)
{
    size_t docs = (size_t)a->docs.n;
    struct qk q = {};

    q.x = a->q;
    q.n = a->docs.first[docs];
    if (!q.n)
        return;
    q.first = (const int64_t *)cuda_mirror(c, &c->docs, a->docs.first, (docs + 1) * sizeof(int64_t));
    if (a->rope)
        q.rope = (const float *const *)cuda_mirror(c, &c->rope, a->docs.rope, docs * sizeof(float *));
    if (!q.first || (a->rope && !q.rope))
        return;
    q.docs = a->docs.n;
    q.heads = a->heads;
    q.dim = a->head_dim;
    q.at = a->nope;
    q.rot = a->rot;
    q.w = a->q_norm;
    q.norm = a->norm;
    q.layout = a->layout;
    q.rotates = a->rope;
    q.eps = a->eps;
    q.clip = a->clip;
    q.temp_floor = a->temp_floor;
    q.temp_scale = a->temp_scale;
    run(c, &q);
    q.x = a->k;
    q.v = a->v;
    q.heads = a->k.step ? a->kv_heads : 1;
    q.v_heads = a->kv_heads;
    q.v_dim = a->v_dim;
    q.dim = a->head_dim - a->nope;
    q.at = 0;
    q.w = a->k_norm;
    q.temp_floor = 0;
    run(c, &q);
}
