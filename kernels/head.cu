/*
 * The last step: logits of some rows at a time against the whole vocabulary, each row then reduced by one
 * block to what is asked for.
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

/* One row of z: log-sum-exp, target and top. cross, when other is given: of exp(z - top) (z - other). */
static __device__ void reduce(const float *z, const float *other, int vocab, int target, struct head_row *out,
                              double *cross)
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
        float v = expf(z[i] - b.v);

        sum += v;
        if (other)
            both += v * (z[i] - other[i]);
    }
    total = block_sum((double)sum);
    joint = other ? block_sum((double)both) : 0;
    if (threadIdx.x == 0) {
        out->lse = (double)b.v + log(total);
        out->at = target >= 0 ? z[target] : 0;
        out->top = b.v;
        out->which = b.which;
        if (other)
            *cross = joint / total;
    }
}

__global__ void __launch_bounds__(THREADS)
    reduce_rows(const float *z0, const float *z1, int vocab, const int32_t *target, struct head_row *row0,
                struct head_row *row1, double *cross)
{
    size_t r = blockIdx.x;
    const float *a = z0 + r * (size_t)vocab, *b = z1 ? z1 + r * (size_t)vocab : NULL;

    reduce(a, b, vocab, target[r], &row0[r], &cross[r]);
    if (b)
        reduce(b, NULL, vocab, target[r], &row1[r], NULL);
}

/* Device memory of the results of all rows. */
struct results {
    double *cross;
    struct head_row *row[2];
    int32_t *target;
};

int cuda_head(struct device *d, const struct head_args *a, struct err *e)
{
    struct cuda *c = cuda_of(d);
    size_t n = (size_t)a->n, one = sizeof(struct head_row);
    int64_t step = LOGITS_BYTES / ((int64_t)a->vocab * (int64_t)sizeof(float)) / a->sides / TILE_M * TILE_M,
            r;
    struct results out;
    float *z[2] = {NULL, NULL};

    step = step < TILE_M ? TILE_M : step;
    step = step < a->n ? step : a->n;
    if (!n)
        return 0;
    if (cuda_room(c, &c->rows, n * (sizeof(double) + 2 * one + sizeof(int32_t)), e) ||
        cuda_room(c, &c->logits, (size_t)a->sides * (size_t)step * (size_t)a->vocab * sizeof(float), e))
        return -1;
    out.cross = (double *)c->rows.p;
    out.row[0] = (struct head_row *)(void *)(out.cross + n);
    out.row[1] = out.row[0] + n;
    out.target = (int32_t *)(void *)(out.row[1] + n);
    d->ops->to_device(d, out.target, a->target, n * sizeof *out.target);
    for (r = 0; r < a->n; r += step) {
        int64_t rows = a->n - r < step ? a->n - r : step;

        for (int s = 0; s < a->sides; s++) {
            z[s] = (float *)c->logits.p + (size_t)s * (size_t)step * (size_t)a->vocab;
            cuda_linear(d, a->side[s].w,
                        (const uint8_t *)a->side[s].x + (size_t)r * (size_t)a->side[s].hidden * d->elem_bytes,
                        rows, a->side[s].bias, z[s]);
        }
        reduce_rows<<<(unsigned)rows, THREADS>>>(z[0], z[1], a->vocab, out.target + r, out.row[0] + r,
                                                 out.row[1] + r, out.cross + r);
        cuda_launched(c, "head");
    }
    for (int s = 0; s < a->sides; s++)
        d->ops->to_host(d, a->row[s], out.row[s], n * one);
    if (a->sides > 1)
        d->ops->to_host(d, a->cross, out.cross, n * sizeof *out.cross);
    return cuda_report(c, e);
}
