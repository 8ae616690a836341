/*
 * head.cu -- the last step: logits of some rows at a time against the whole vocabulary, each row then reduced
 * by one block to what is asked for.
 */
#include "backend.h"

enum { THREADS = 512, LOGITS_BYTES = 256 << 20 };

struct best {
    float v;
    int which;
};

/* The larger; the lower token among equals. */
static __device__ __forceinline__ struct best better(struct best a, struct best b)
{
    return b.v > a.v || (b.v == a.v && b.which < a.which) ? b : a;
}

/* Over a block; every thread gets the result. */
static __device__ struct best block_best(struct best b)
{
    __shared__ struct best part[THREADS / WARP];

    for (int o = WARP / 2; o > 0; o /= 2) {
        struct best other = {__shfl_xor_sync(0xffffffffu, b.v, o), __shfl_xor_sync(0xffffffffu, b.which, o)};

        b = better(b, other);
    }
    __syncthreads();
    if (threadIdx.x % WARP == 0)
        part[threadIdx.x / WARP] = b;
    __syncthreads();
    b = part[0];
    for (int i = 1; i < THREADS / WARP; i++)
        b = better(b, part[i]);
    return b;
}

static __device__ double block_sum(double v)
{
    __shared__ double part[THREADS / WARP];

    for (int o = WARP / 2; o > 0; o /= 2)
        v += __shfl_xor_sync(0xffffffffu, v, o);
    __syncthreads();
    if (threadIdx.x % WARP == 0)
        part[threadIdx.x / WARP] = v;
    __syncthreads();
    v = 0;
    for (int i = 0; i < THREADS / WARP; i++)
        v += part[i];
    return v;
}

/* One row of z: log-sum-exp, target and top; of the row `ref` of the first side, if not NULL, sum of exp(ref
 * - its top) (ref - z) over its sum. */
static __device__ void reduce(const float *z, const float *ref, const struct head_row *ref_row, int vocab,
                              int target, struct head_row *out)
{
    struct best b = {-INFINITY, 0};
    float sum = 0, both = 0;
    double total, joint;

    for (int i = (int)threadIdx.x; i < vocab; i += THREADS)
        if (z[i] > b.v) {
            b.v = z[i];
            b.which = i;
        }
    b = block_best(b);
    for (int i = (int)threadIdx.x; i < vocab; i += THREADS) {
        sum += expf(z[i] - b.v);
        if (ref)
            both += expf(ref[i] - ref_row->top) * (ref[i] - z[i]);
    }
    total = block_sum((double)sum);
    joint = ref ? block_sum((double)both) : 0;
    if (threadIdx.x == 0) {
        out->lse = (double)b.v + log(total);
        out->cross = ref ? joint / exp(ref_row->lse - (double)ref_row->top) : 0;
        out->at = target >= 0 ? z[target] : 0;
        out->top = b.v;
        out->which = b.which;
    }
}

/* ref NULL: z is the first side. */
__global__ void __launch_bounds__(THREADS)
    reduce_rows(const float *z, const float *ref, const struct head_row *ref_row, int vocab,
                const int32_t *target, struct head_row *row)
{
    size_t r = blockIdx.x, at = r * (size_t)vocab;

    reduce(z + at, ref ? ref + at : NULL, ref_row + r, vocab, target[r], &row[r]);
}

__global__ void __launch_bounds__(THREADS)
    pick_logits(const float *z, int vocab, const int32_t *pick, int picks, float *picked)
{
    size_t r = blockIdx.x;

    for (int i = (int)threadIdx.x; i < picks; i += THREADS)
        picked[r * (size_t)picks + i] = z[r * (size_t)vocab + pick[r * (size_t)picks + i]];
}

/* Device memory of what goes in and of the results of all rows. */
struct results {
    struct head_row *row; /* [sides][n] */
    int32_t *target, *pick;
    float *picked; /* [sides][n][picks] */
};

static int make_room(struct cuda *c, struct results *out, const struct head_args *a, struct err *e)
{
    size_t n = (size_t)a->n, rows = n * (size_t)a->sides, picks = (size_t)a->picks;

    if (cuda_room(c, &c->rows,
                  rows * (sizeof *out->row + picks * sizeof *out->picked) +
                      n * (sizeof *out->target + picks * sizeof *out->pick),
                  e))
        return -1;
    out->row = (struct head_row *)c->rows.p;
    out->picked = (float *)(void *)(out->row + rows);
    out->target = (int32_t *)(void *)(out->picked + rows * picks);
    out->pick = out->target + n;
    return 0;
}

/* Rows r .. r+rows-1 of every side. z: logits of the first side and of the one at hand. */
static void piece(struct cuda *c, const struct head_args *a, const struct results *out, int64_t r,
                  int64_t rows, float *const z[2])
{
    struct device *d = &c->dev;

    for (int s = 0; s < a->sides; s++) {
        const struct head_side *side = &a->side[s];
        size_t at = (size_t)s * (size_t)a->n + (size_t)r;
        float *y = z[s > 0];

        cuda_linear(d, side->w, (const uint8_t *)side->x + (size_t)r * (size_t)side->hidden * d->elem_bytes,
                    rows, side->bias, y);
        reduce_rows<<<(unsigned)rows, THREADS>>>(y, s ? z[0] : NULL, out->row + r, a->vocab, out->target + r,
                                                 out->row + at);
        if (a->picks)
            pick_logits<<<(unsigned)rows, THREADS>>>(y, a->vocab, out->pick + r * a->picks, a->picks,
                                                     out->picked + at * (size_t)a->picks);
        cuda_launched(c, "head");
    }
}

int cuda_head(struct device *d, const struct head_args *a, struct err *e)
{
    struct cuda *c = cuda_of(d);
    size_t n = (size_t)a->n, picks = (size_t)a->picks;
    int both = a->sides > 1 ? 2 : 1;
    int64_t step = LOGITS_BYTES / ((int64_t)a->vocab * (int64_t)sizeof(float)) / both / TILE_M * TILE_M, r;
    struct results out;
    float *z[2];

    step = step < TILE_M ? TILE_M : step;
    step = step < a->n ? step : a->n;
    if (!n)
        return 0;
    if (make_room(c, &out, a, e) ||
        cuda_room(c, &c->logits, (size_t)both * (size_t)step * (size_t)a->vocab * sizeof(float), e))
        return -1;
    z[0] = (float *)c->logits.p;
    z[1] = z[0] + (size_t)(both - 1) * (size_t)step * (size_t)a->vocab;
    d->ops->to_device(d, out.target, a->target, n * sizeof *out.target);
    if (picks)
        d->ops->to_device(d, out.pick, a->pick, n * picks * sizeof *out.pick);
    for (r = 0; r < a->n; r += step)
        piece(c, a, &out, r, a->n - r < step ? a->n - r : step, z);
    d->ops->to_host(d, a->row, out.row, n * (size_t)a->sides * sizeof *out.row);
    if (picks)
        d->ops->to_host(d, a->picked, out.picked, n * (size_t)a->sides * picks * sizeof *out.picked);
    return cuda_report(c, e);
}
