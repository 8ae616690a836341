/*
 * experts.cu -- the routed experts: slots (token * topk + rank) are sorted by expert on the device, then two
 * launches go over all experts: gate and up with the activation, and down, whose results go where their slots
 * say. Norms of results come from sums that the second leaves for every tile.
 */
#include "backend.h"

#include <stdlib.h>

enum { SPAN = 1024, NORM_THREADS = 256, AHEAD = 8 };

/*
 * Sorting, so that an expert's slots are ascending: a warp to SPAN slots counts how many chose each expert,
 * one block adds up over spans and experts, and each warp puts its slots from there.
 */
__global__ void __launch_bounds__(WARP)
    count_slots(const int32_t *chosen, int slots, int experts, int32_t *count)
{
    __shared__ int n[MAX_EXPERTS];
    int from = (int)blockIdx.x * SPAN, to = from + SPAN < slots ? from + SPAN : slots;

    for (int j = (int)threadIdx.x; j < experts; j += WARP)
        n[j] = 0;
    __syncwarp();
    for (int i = from + (int)threadIdx.x; i < to; i += WARP)
        if (chosen[i] >= 0)
            atomicAdd(&n[chosen[i]], 1);
    __syncwarp();
    for (int j = (int)threadIdx.x; j < experts; j += WARP)
        count[blockIdx.x * (unsigned)experts + (unsigned)j] = n[j];
}

/* Counts [spans] of expert j become the number of its slots in earlier spans; returns them all. */
static __device__ int add_up(int32_t *count, int spans, int experts, int j)
{
    int sum = 0;

    for (int s0 = 0; s0 < spans; s0 += AHEAD) {
        int n[AHEAD];

#pragma unroll
        for (int s = 0; s < AHEAD; s++)
            n[s] = s0 + s < spans ? count[(s0 + s) * experts + j] : 0;
#pragma unroll
        for (int s = 0; s < AHEAD; s++) {
            if (s0 + s < spans)
                count[(s0 + s) * experts + j] = sum;
            sum += n[s];
        }
    }
    return sum;
}

/* Where each expert's rows begin, and the tiles that cover them. One block. */
__global__ void __launch_bounds__(MAX_EXPERTS)
    make_tiles(int32_t *count, int spans, int experts, int32_t *from, int32_t *tiles, int4 *tile)
{
    __shared__ int rows[MAX_EXPERTS + 1], at[MAX_EXPERTS + 1];
    int j = (int)threadIdx.x;

    if (j < experts)
        rows[j + 1] = add_up(count, spans, experts, j);
    __syncthreads();
    if (j == 0) {
        rows[0] = at[0] = 0;
        for (int i = 0; i < experts; i++) {
            at[i + 1] = at[i] + (rows[i + 1] + TILE_M - 1) / TILE_M;
            rows[i + 1] += rows[i];
        }
        *tiles = at[experts];
        from[experts] = rows[experts];
    }
    __syncthreads();
    if (j < experts) {
        from[j] = rows[j];
        for (int i = at[j]; i < at[j + 1]; i++) {
            int first = rows[j] + (i - at[j]) * TILE_M;

            tile[i] = make_int4(j, first, min(TILE_M, rows[j + 1] - first), 0);
        }
    }
}

__global__ void __launch_bounds__(WARP) sort_slots(const int32_t *chosen, int slots, int experts,
                                                   const int32_t *count, const int32_t *from, int32_t *slot)
{
    __shared__ int next[MAX_EXPERTS];
    int first = (int)blockIdx.x * SPAN, lane = (int)threadIdx.x;

    for (int j = lane; j < experts; j += WARP)
        next[j] = from[j] + count[blockIdx.x * (unsigned)experts + (unsigned)j];
    for (int i = first + lane; i - lane < first + SPAN; i += WARP) {
        int expert = i < slots ? chosen[i] : -1, before = 0;
        unsigned same = __match_any_sync(0xffffffffu, expert);

        __syncwarp();
        if (expert >= 0) {
            before = __popc(same & ((1u << lane) - 1));
            slot[next[expert] + before] = i;
        }
        __syncwarp();
        if (expert >= 0 && before == 0)
            next[expert] += __popc(same);
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

/* Channels that are not there, of activations in the order of the sorted slots: a block to a row. */
__global__ void __launch_bounds__(NORM_THREADS)
    silence(const uint8_t *channels, const int32_t *from, int experts, int inter, void *act, bool bf16)
{
    int row = (int)blockIdx.x, lo = 0, hi = experts; /* from[lo] <= row < from[hi] */

    if (row >= from[experts])
        return;
    while (hi - lo > 1) {
        int mid = (lo + hi) / 2;

        if (from[mid] <= row)
            lo = mid;
        else
            hi = mid;
    }
    for (int i = (int)threadIdx.x; i < inter; i += NORM_THREADS)
        if (!channels[(size_t)lo * (size_t)inter + (size_t)i])
            elem_store(act, (size_t)row * (size_t)inter + (size_t)i, 0, bf16);
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
    int most = slots / TILE_M + a->experts, spans = (int)ceil_div(slots, SPAN);
    int32_t *slot, *from, *count, *tiles;
    int4 *tile;

    if (a->experts > MAX_EXPERTS)
        return err_set(e, ERR_UNKNOWN, "%d experts: more than %d are not provided for on CUDA", a->experts,
                       MAX_EXPERTS);
    if (cuda_room(c, &c->lists,
                  (size_t)most * sizeof *tile +
                      ((size_t)slots + ((size_t)spans + 1) * (size_t)a->experts + 2) * sizeof *slot,
                  e))
        return -1;
    tile = (int4 *)c->lists.p;
    slot = (int32_t *)(void *)(tile + most);
    from = slot + slots;
    count = from + a->experts + 1; /* [spans][experts] */
    tiles = count + (size_t)spans * (size_t)a->experts;
    count_slots<<<(unsigned)spans, WARP>>>(a->chosen, slots, a->experts, count);
    make_tiles<<<1, MAX_EXPERTS>>>(count, spans, a->experts, from, tiles, tile);
    sort_slots<<<(unsigned)spans, WARP>>>(a->chosen, slots, a->experts, count, from, slot);
    cuda_launched(c, "sorting by expert");
    *t = (struct tiles){tiles, tile, from, slot, most};
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

static struct gemm product(struct cuda *c, const struct experts_args *a, const struct matrix *m,
                           const struct tiles *t)
{
    struct gemm g = {};

    g.n = a->n * a->topk;
    g.topk = 1;
    g.in = m->in;
    g.out = columns_of(m);
    g.ld = m->ld;
    g.w_rows = m->rows;
    g.inter = a->inter;
    g.act = a->act;
    g.limit = a->limit;
    g.bf16 = c->dev.bf16;
    g.tiles = *t;
    return g;
}

/* act of gate and up, in the order of the sorted slots, to c->act. */
static int gate_up(struct cuda *c, const struct experts_args *a, const struct tiles *t, struct err *e)
{
    struct gemm g = product(c, a, a->gate_up[0], t);
    size_t elem = c->dev.elem_bytes;

    if (cuda_room(c, &c->act, (size_t)g.n * (size_t)a->inter * elem, e) ||
        (a->in_gate && cuda_room(c, &c->scaled, (size_t)g.n * (size_t)a->hidden * elem, e)))
        return -1;
    g.each = weights(c, 0, a->gate_up, a->experts, e);
    if (!g.each)
        return -1;
    g.x = a->x;
    g.gather = a->chosen != NULL;
    g.topk = a->topk;
    if (a->in_gate) {
        scale_slots<<<(unsigned)g.n, NORM_THREADS>>>(a->x, a->in_gate, a->topk, a->hidden, c->scaled.p,
                                                     c->dev.bf16);
        g.x = c->scaled.p;
        g.topk = 1;
    }
    g.bias = a->b_gate_up;
    g.bias_step = 2 * a->inter;
    g.mode = GEMM_ACT;
    g.y = c->act.p;
    cuda_gemm(c, a->gate_up[0]->maker, &g);
    if (a->channels)
        silence<<<(unsigned)g.n, NORM_THREADS>>>(a->channels, t->from, a->experts, a->inter, c->act.p,
                                                 c->dev.bf16);
    return 0;
}

static int down(struct cuda *c, const struct experts_args *a, const struct tiles *t, struct err *e)
{
    struct gemm g = product(c, a, a->down[0], t);
    int columns;

    g.mode = GEMM_SCATTER;
    columns = cuda_gemm_columns(a->down[0]->maker, &g);
    if (a->norm && cuda_room(c, &c->part, (size_t)g.n * (size_t)columns * sizeof *g.part, e))
        return -1;
    g.each = weights(c, 1, a->down, a->experts, e);
    if (!g.each)
        return -1;
    g.x = c->act.p;
    g.bias = a->b_down;
    g.bias_step = a->hidden;
    g.y = a->y;
    g.part = a->norm ? (float2 *)c->part.p : NULL;
    cuda_gemm(c, a->down[0]->maker, &g);
    if (a->norm)
        finish_norms<<<(unsigned)ceil_div(g.n, NORM_THREADS), NORM_THREADS>>>(
            g.part, t->slot, (int)g.n, columns, a->in_gate, a->norm, a->max);
    return 0;
}

int cuda_experts(struct device *d, const struct experts_args *a, struct err *e)
{
    struct cuda *c = cuda_of(d);
    struct tiles t = {};

    if (a->n == 0)
        return 0;
    if ((a->chosen && sort(c, a, (int)(a->n * a->topk), &t, e)) || gate_up(c, a, &t, e) || down(c, a, &t, e))
        return -1;
    if (a->sums)
        cuda_sums(c, a, &t, c->act.p);
    cuda_launched(c, "experts");
    return 0;
}
