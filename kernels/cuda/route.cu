/*
 * route.cu -- the router: scores, groups, choice and gates, a warp to a token. As on the CPU, sums over
 * experts are made one by one, in order and leaving out those that are masked: a mask gives what a model
 * without the masked experts computes from the same logits.
 */
#include "backend.h"

enum { WARPS = 4 };

struct route {
    const float *logits, *corr; /* corr: device [experts], or NULL */
    const uint8_t *mask;        /* device, or NULL */
    int64_t n;
    struct router r;
    int32_t *chosen, *fresh;
    float *gate;
    const int32_t *known; /* fresh, known, known_gate: as in route_args */
    const float *known_gate;
};

/* Shared memory of a warp: [experts] three times, [groups], [topk], and what became of each expert. */
enum fate { FREE, MASKED, TAKEN };
struct space {
    float *z, *score, *rank, *group, *part;
    uint8_t *fate, *kept; /* [experts], [groups] */
};

static __host__ __device__ size_t space_bytes(const struct router *r)
{
    size_t floats = 3 * (size_t)r->experts + (size_t)r->groups + MAX_TOPK,
           bytes = (size_t)r->experts + (size_t)r->groups;

    return floats * sizeof(float) + (bytes + 15) / 16 * 16;
}

static __device__ struct space route_layout(const struct router *r, uint8_t *base)
{
    struct space p;

    p.z = (float *)(void *)base;
    p.score = p.z + r->experts;
    p.rank = p.score + r->experts;
    p.group = p.rank + r->experts;
    p.part = p.group + r->groups;
    p.fate = (uint8_t *)(void *)(p.part + MAX_TOPK);
    p.kept = p.fate + r->experts;
    return p;
}

static __device__ __forceinline__ float sigmoid(float z)
{
    return 1.0f / (1.0f + expf(-z));
}

/* The best of a warp's candidates: the largest, the lowest number among equals; -1 is none. */
static __device__ __forceinline__ int best_of_warp(float v, int which)
{
    for (int o = WARP / 2; o > 0; o /= 2) {
        float w = __shfl_xor_sync(0xffffffffu, v, o);
        int j = __shfl_xor_sync(0xffffffffu, which, o);

        if (j >= 0 && (which < 0 || w > v || (w == v && j < which))) {
            v = w;
            which = j;
        }
    }
    return __shfl_sync(0xffffffffu, which, 0); /* with NaN the lanes may disagree */
}

/* Marks the `most` largest of v [n] that are free. */
static __device__ void route_choose(const float *v, uint8_t *fate, int n, int most)
{
    int lane = (int)threadIdx.x % WARP;

    for (int k = 0; k < most; k++) {
        float top = 0;
        int which = -1;

        for (int i = lane; i < n; i += WARP)
            if (fate[i] == FREE && (which < 0 || v[i] > top)) {
                top = v[i];
                which = i;
            }
        which = best_of_warp(top, which);
        __syncwarp(); /* all have looked */
        if (which >= 0 && lane == 0)
            fate[which] = TAKEN;
        __syncwarp();
    }
}

/* Softmax or sigmoid of all experts; of masked ones the softmax is 0. */
static __device__ void route_scores(const struct router *r, const struct space *p)
{
    int lane = (int)threadIdx.x % WARP, n = r->experts;
    float top = -INFINITY;
    double sum = 0;

    if (r->score == SCORE_SOFTMAX) {
        for (int i = lane; i < n; i += WARP)
            top = p->fate[i] == FREE ? fmaxf(top, p->z[i]) : top;
        top = warp_max(top);
    }
    for (int i = lane; i < n; i += WARP) {
        float z = p->z[i];

        if (r->score == SCORE_SIGMOID)
            z = sigmoid(z);
        else if (r->score == SCORE_SOFTMAX)
            z = p->fate[i] == FREE ? expf(z - top) : 0;
        p->score[i] = z;
    }
    __syncwarp();
    if (r->score != SCORE_SOFTMAX)
        return;
    for (int i = 0; i < n; i++) /* every lane the same sum */
        sum += (double)p->score[i];
    __syncwarp();
    for (int i = lane; i < n; i += WARP)
        p->score[i] /= (float)sum;
    __syncwarp();
}

/* The largest rank of a group, or the sum of its two largest; -infinity if all of it is masked. */
static __device__ float group_score(const float *rank, const uint8_t *fate, int n, enum group_kind kind)
{
    float first = -INFINITY, second = -INFINITY;

    for (int i = 0; i < n; i++) {
        if (fate[i] != FREE)
            continue;
        if (rank[i] > first) {
            second = first;
            first = rank[i];
        } else if (rank[i] > second) {
            second = rank[i];
        }
    }
    return kind == GROUP_MAX || second == -INFINITY ? first : first + second;
}

/* Puts aside the experts of all but the best groups. By largest score (DeepSeek-V2) their scores become 0,
 * and these are the gates too, should such an expert be chosen. */
static __device__ void limit_groups(const struct router *r, const struct space *p)
{
    int lane = (int)threadIdx.x % WARP, size = r->experts / r->groups;

    for (int g = lane; g < r->groups; g += WARP) {
        p->group[g] = group_score(p->rank + g * size, p->fate + g * size, size, r->group);
        p->kept[g] = FREE;
    }
    __syncwarp();
    route_choose(p->group, p->kept, r->groups, r->topk_group);
    for (int i = lane; i < size * r->groups; i += WARP)
        if (p->kept[i / size] != TAKEN) {
            p->rank[i] = r->group == GROUP_MAX ? 0 : -INFINITY;
            if (r->group == GROUP_MAX)
                p->score[i] = 0;
        }
    __syncwarp();
}

/* The taken, ascending: numbers to chosen, places to part. */
static __device__ void collect(const struct space *p, int n, int32_t *chosen)
{
    int lane = (int)threadIdx.x % WARP, place = 0;

    for (int i0 = 0; i0 < n; i0 += WARP) {
        bool yes = i0 + lane < n && p->fate[i0 + lane] == TAKEN;
        unsigned all = __ballot_sync(0xffffffffu, yes);

        if (yes) {
            int at = place + __popc(all & ((1u << lane) - 1));

            chosen[at] = i0 + lane;
            p->part[at] = (float)(i0 + lane);
        }
        place += __popc(all);
    }
    __syncwarp();
}

static __device__ void gates(const struct router *r, const struct space *p, float *gate)
{
    int lane = (int)threadIdx.x % WARP, k = r->topk;
    float top = -INFINITY, sum = 0;

    for (int j = 0; j < k; j++)
        top = fmaxf(top, p->z[(int)p->part[j]]);
    __syncwarp();
    for (int j = lane; j < k; j += WARP) {
        int i = (int)p->part[j];

        p->part[j] = r->gate == GATE_SCORE              ? p->score[i]
                     : r->gate == GATE_SOFTMAX_SELECTED ? expf(p->z[i] - top)
                                                        : sigmoid(p->z[i]);
    }
    __syncwarp();
    for (int j = 0; j < k; j++)
        sum += p->part[j];
    if (r->gate != GATE_SOFTMAX_SELECTED)
        sum = r->renorm ? (sum < r->renorm_min ? r->renorm_min : sum) + r->renorm_eps : 1;
    for (int j = lane; j < k; j += WARP)
        gate[j] = p->part[j] / sum * r->scale;
}

/* What of a token's choice it had not been given before; at: of its first slot. */
static __device__ void mark_fresh(const struct route &a, size_t at)
{
    int k = a.r.topk;

    for (int i = (int)threadIdx.x % WARP; i < k; i += WARP) {
        int expert = a.chosen[at + (size_t)i];
        bool known = false;

        for (int j = 0; a.known && j < k; j++)
            known |= a.known[at + (size_t)j] == expert &&
                     (!a.known_gate || a.known_gate[at + (size_t)j] == a.gate[at + (size_t)i]);
        a.fresh[at + (size_t)i] = known ? -1 : expert;
    }
}

__global__ void __launch_bounds__(WARPS *WARP) route_tokens(const struct route a)
{
    extern __shared__ __align__(16) uint8_t shared[];
    int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP, n = a.r.experts;
    int64_t t = (int64_t)blockIdx.x * WARPS + warp;
    struct space p = route_layout(&a.r, shared + (size_t)warp * space_bytes(&a.r));
    bool ranks = a.corr || a.r.group != GROUP_NONE;

    if (t >= a.n)
        return;
    for (int i = lane; i < n; i += WARP) {
        p.z[i] = a.logits[(size_t)t * (size_t)n + (size_t)i];
        p.fate[i] = a.mask && !a.mask[i] ? MASKED : FREE;
    }
    __syncwarp();
    if (ranks || a.r.gate == GATE_SCORE)
        route_scores(&a.r, &p);
    if (ranks)
        for (int i = lane; i < n; i += WARP)
            p.rank[i] = p.score[i] + (a.corr ? a.corr[i] : 0);
    __syncwarp();
    if (a.r.group != GROUP_NONE)
        limit_groups(&a.r, &p);
    route_choose(ranks ? p.rank : p.z, p.fate, n, a.r.topk);
    collect(&p, n, a.chosen + (size_t)t * (size_t)a.r.topk);
    gates(&a.r, &p, a.gate + (size_t)t * (size_t)a.r.topk);
    __syncwarp();
    if (a.fresh)
        mark_fresh(a, (size_t)t * (size_t)a.r.topk);
}

void cuda_route(struct device *d, const struct route_args *a)
{
    struct cuda *c = cuda_of(d);
    struct route r = {};

    if (a->mask)
        r.mask = (const uint8_t *)cuda_mirror(c, &c->mask, a->mask, (size_t)a->router.experts);
    if (!a->n || (a->mask && !r.mask))
        return;
    if (a->router.experts > MAX_EXPERTS) {
        cuda_ok(c, cudaErrorInvalidValue, "more experts than the router provides for");
        return;
    }
    r.logits = a->logits;
    r.corr = a->corr;
    r.n = a->n;
    r.r = a->router;
    r.chosen = a->chosen;
    r.gate = a->gate;
    r.fresh = a->fresh;
    r.known = a->known;
    r.known_gate = a->known_gate;
    cuda_ok(c,
            cudaFuncSetAttribute(route_tokens, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 (int)(WARPS * space_bytes(&r.r))),
            "router");
    route_tokens<<<(unsigned)ceil_div(a->n, WARPS), WARPS * WARP, WARPS * space_bytes(&r.r)>>>(r);
    cuda_launched(c, "router");
}
