/*
 * The routed experts: slots (token * topk + rank) are sorted by expert on the device, then two launches go
 * over all experts: gate and up with the activation, and down, whose results go where their slots say. Norms
 * of results come from sums that the second leaves for every tile.
 */
#include "backend.h"

#include <stdlib.h>

enum { THREADS = 1024, NORM_THREADS = 256 };

/* One block to an expert: how many slots chose it. */
__global__ void __launch_bounds__(THREADS) count_slots(const int32_t *chosen, int slots, int32_t *count)
{
    __shared__ int part[THREADS / WARP];
    int n = 0;

    for (int i = (int)threadIdx.x; i < slots; i += THREADS)
        n += chosen[i] == (int)blockIdx.x;
    n = __reduce_add_sync(0xffffffffu, n);
    if (threadIdx.x % WARP == 0)
        part[threadIdx.x / WARP] = n;
    __syncthreads();
    if (threadIdx.x < WARP) {
        n = __reduce_add_sync(0xffffffffu, part[threadIdx.x]);
        if (threadIdx.x == 0)
            count[blockIdx.x] = n;
    }
}

/* Where each expert's rows begin, and the tiles that cover them. One block. */
__global__ void __launch_bounds__(MAX_EXPERTS) make_tiles(const int32_t *count, int experts, int32_t *from,
                                                          int32_t *tiles, int32_t *group, int32_t *first)
{
    __shared__ int rows[MAX_EXPERTS + 1], tile[MAX_EXPERTS + 1];
    int j = (int)threadIdx.x;

    if (j < experts)
        rows[j + 1] = count[j];
    __syncthreads();
    if (j == 0) {
        rows[0] = tile[0] = 0;
        for (int i = 0; i < experts; i++) {
            tile[i + 1] = tile[i] + (rows[i + 1] + TILE_M - 1) / TILE_M;
            rows[i + 1] += rows[i];
        }
        *tiles = tile[experts];
        from[experts] = rows[experts];
    }
    __syncthreads();
    if (j < experts) {
        from[j] = rows[j];
        for (int i = tile[j]; i < tile[j + 1]; i++) {
            group[i] = j;
            first[i] = rows[j] + (i - tile[j]) * TILE_M;
        }
    }
}

/* One block to an expert: its slots, ascending. */
__global__ void __launch_bounds__(THREADS)
    sort_slots(const int32_t *chosen, int slots, const int32_t *from, int32_t *slot)
{
    __shared__ int part[THREADS / WARP];
    int at = from[blockIdx.x], lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;

    for (int i0 = 0; i0 < slots; i0 += THREADS) {
        int i = i0 + (int)threadIdx.x;
        bool yes = i < slots && chosen[i] == (int)blockIdx.x;
        unsigned all = __ballot_sync(0xffffffffu, yes);
        int before = 0, total = 0;

        if (lane == 0)
            part[warp] = __popc(all);
        __syncthreads();
        for (int w = 0; w < THREADS / WARP; w++) {
            before += w < warp ? part[w] : 0;
            total += part[w];
        }
        if (yes)
            slot[at + before + __popc(all & ((1u << lane) - 1))] = i;
        at += total;
        __syncthreads();
    }
}

__global__ void __launch_bounds__(NORM_THREADS)
    finish_norms(const float2 *part, const int32_t *slot, int rows, int columns, const float *in_gate,
                 float *norm, float *max)
{
    int r = (int)(blockIdx.x * NORM_THREADS + threadIdx.x);
    float sum = 0, most = 0, g;
    int at;

    if (r >= rows)
        return;
    for (int i = 0; i < columns; i++) {
        float2 v = part[(size_t)r * (size_t)columns + (size_t)i];

        sum += v.x;
        most = fmaxf(most, v.y);
    }
    at = slot ? slot[r] : r;
    g = in_gate ? in_gate[at] : 1;
    norm[at] = g != 0 ? sqrtf(sum) / g : 0;
    max[at] = g != 0 ? most / g : 0;
}

/* One block to a slot: its token's x times its gate. */
__global__ void __launch_bounds__(NORM_THREADS)
    scale_slots(const void *x, const float *gate, int topk, int width, void *out, bool bf16)
{
    size_t slot = blockIdx.x, from = slot / (size_t)topk * (size_t)width, to = slot * (size_t)width;

    for (size_t i = threadIdx.x; i < (size_t)width; i += NORM_THREADS)
        elem_store(out, to + i, elem_load(x, from + i, bf16) * gate[slot], bf16);
}

/* Slots sorted by expert, in tiles. */
static int sort(struct cuda *c, const struct experts_args *a, int slots, struct tiles *t, struct err *e)
{
    int most = slots / TILE_M + a->experts;
    int32_t *mem;

    if (a->experts > MAX_EXPERTS)
        return err_set(e, ERR_UNKNOWN, "%d experts: more than %d are not provided for on CUDA", a->experts,
                       MAX_EXPERTS);
    if (cuda_room(c, &c->lists, ((size_t)slots + 2 * (size_t)a->experts + 2 + 2 * (size_t)most) * sizeof *mem,
                  e))
        return -1;
    mem = (int32_t *)c->lists.p;
    t->slot = mem;
    t->count = mem + slots;
    t->from = t->count + 1;
    t->group = t->from + a->experts + 1;
    t->first = t->group + most;
    t->most = most;
    mem = (int32_t *)(void *)(t->first + most); /* counts, [experts] */
    count_slots<<<(unsigned)a->experts, THREADS>>>(a->chosen, slots, mem);
    make_tiles<<<1, MAX_EXPERTS>>>(mem, a->experts, (int32_t *)t->from, (int32_t *)t->count,
                                   (int32_t *)t->group, (int32_t *)t->first);
    sort_slots<<<(unsigned)a->experts, THREADS>>>(a->chosen, slots, t->from, (int32_t *)t->slot);
    cuda_launched(c, "sorting by expert");
    return 0;
}

/* Where the weights of all experts are, on the device. */
static const void *const *weights(struct cuda *c, int which, struct matrix *const *m, int n, struct err *e)
{
    void **p = (void **)mem_new((size_t)n, sizeof *p, e);
    const void *const *dev;

    if (!p)
        return NULL;
    for (int j = 0; j < n; j++)
        p[j] = m[j]->w;
    dev = (const void *const *)cuda_mirror(c, &c->weights[which], p, (size_t)n * sizeof *p);
    free(p);
    if (!dev)
        cuda_report(c, e);
    return dev;
}

int cuda_experts(struct device *d, const struct experts_args *a, struct err *e)
{
    struct cuda *c = cuda_of(d);
    int slots = (int)(a->n * a->topk), columns = (int)ceil_div(a->hidden, TILE_N);
    const struct matrix *up = a->gate_up[0], *down = a->down[0];
    struct gemm g = {};

    if (slots == 0)
        return 0;
    if ((a->chosen && sort(c, a, slots, &g.tiles, e)) ||
        cuda_room(c, &c->act, (size_t)slots * (size_t)a->inter * d->elem_bytes, e) ||
        (a->norm && cuda_room(c, &c->part, (size_t)slots * (size_t)columns * sizeof(float2), e)))
        return -1;
    g.each = weights(c, 0, a->gate_up, a->experts, e);
    if (!g.each)
        return -1;
    g.x = a->x;
    g.topk = a->topk;
    if (a->in_gate) {
        if (cuda_room(c, &c->scaled, (size_t)slots * (size_t)a->hidden * d->elem_bytes, e))
            return -1;
        scale_slots<<<(unsigned)slots, NORM_THREADS>>>(a->x, a->in_gate, a->topk, a->hidden, c->scaled.p,
                                                       d->bf16);
        g.x = c->scaled.p;
        g.topk = 1;
    }
    g.n = slots;
    g.in = up->in;
    g.out = up->rows;
    g.ld = up->ld;
    g.gather = a->chosen != NULL;
    g.bias = a->b_gate_up;
    g.bias_step = 2 * a->inter;
    g.mode = GEMM_ACT;
    g.y = c->act.p;
    g.inter = a->inter;
    g.act = a->act;
    g.limit = a->limit;
    g.bf16 = d->bf16;
    cuda_gemm(c, &g);

    g.each = weights(c, 1, a->down, a->experts, e);
    if (!g.each)
        return -1;
    g.x = c->act.p;
    g.in = down->in;
    g.out = down->out;
    g.ld = down->ld;
    g.gather = false;
    g.bias = a->b_down;
    g.bias_step = a->hidden;
    g.mode = GEMM_SCATTER;
    g.y = a->y;
    g.part = a->norm ? (float2 *)c->part.p : NULL;
    cuda_gemm(c, &g);
    if (a->norm)
        finish_norms<<<(unsigned)ceil_div(slots, NORM_THREADS), NORM_THREADS>>>(
            g.part, g.tiles.slot, slots, columns, a->in_gate, a->norm, a->max);
    if (a->sums)
        cuda_sums(c, a, &g.tiles, c->act.p);
    cuda_launched(c, "experts");
    return 0;
}
