/*
 * pack.cu -- weights: stored bytes go to the device as they are and are decoded there, on a stream of their
 * own beside what is computed. Parts of a matrix that share their storage (gate and up interleaved) go up
 * once. Where the device's memory is the host's, they are decoded from where they were read.
 */
#include "backend.h"
#include "codings.h"

#include <stdlib.h>
#include <string.h>

#include "quant/ggml.h"
#include "quant/mxfp4.h"

enum { STAGE = 32 << 20, LD = 64, PAIR = 8, SIDE = 32, THREADS = 256, SLAB_ALIGN = 512, ALIGN = 256 };

/* Rows of a part, on the device: its pieces begin with stored row s.row0. */
struct decode {
    struct stored s;
    int rows;
    void *dst; /* of the matrix, as are the next two */
    int ld, all_rows, row, which;
    bool paired, bf16;
    unsigned long long id, *bad;
};

/* What this file decodes; cuda_pack refuses other codings. */
const uint64_t cuda_codings = 1ull << CODING_FLOAT | 1ull << CODING_E4M3 | 1ull << CODING_MXFP4 |
                              1ull << CODING_NVFP4 | 1ull << CODING_MXFP8 | 1ull << CODING_INT8 |
                              1ull << CODING_PACKED | 1ull << CODING_GGML;

/* Sixteen elements of stored row s.row0 + row, from col on, of blocks of ggml. */
static __device__ __forceinline__ void take_sixteen(const struct decode &d, int row, int col,
                                                    struct sixteen *s)
{
    const uint8_t *p = row_of(d.s, USE_WEIGHT, row);

    switch (d.s.piece[USE_WEIGHT].dtype) {
#define TAKE(name, id, elements, bytes)                                                                      \
    case DT_##name:                                                                                          \
        take_##name(p + (int64_t)(col / (elements)) * (bytes), col % (elements) / SIXTEEN, s);               \
        break;
        GGML_BLOCKS(TAKE)
#undef TAKE
    default: /* CODING_GGML has no other */
        s->d = NAN;
    }
}

/* Element `col` of stored row s.row0 + row. */
static __device__ __forceinline__ float stored(const struct decode &d, int row, int col)
{
    const uint8_t *p = row_of(d.s, USE_WEIGHT, row);

    switch (d.s.coding) {
    case CODING_FLOAT:
        return plain(d.s.piece[USE_WEIGHT].dtype, p, col);
    case CODING_E4M3:
        return e4m3(p[col]) * scale_of(d.s, row, col);
    case CODING_MXFP4:
        return mxfp4(p[col / 2] >> 4 * (col & 1) & 15, row_of(d.s, USE_SCALE, row)[col / MXFP4_BLOCK]);
    case CODING_NVFP4:
        return mxfp4(nibble(d.s, row, col), 127) * nvfp4_scale(d.s, row, col);
    case CODING_MXFP8:
        return e4m3(p[col]) * power(row_of(d.s, USE_SCALE, row)[col / d.s.block]);
    case CODING_INT8:
        return int8(d.s, row, col);
    case CODING_PACKED:
        return packed(d.s, row, col);
    default: /* cuda_codings has no other than GGML, which decode_sixteens does */
        break;
    }
    return NAN;
}

/* Where row n of the part goes. */
static __device__ __forceinline__ int place(const struct decode &d, int n)
{
    return d.paired ? n / PAIR * 2 * PAIR + d.which * PAIR + n % PAIR : d.row + n;
}

/* Element (n, k) of the part to its place. */
static __device__ __forceinline__ void put(const struct decode &d, int n, int k, float v)
{
    if (d.bf16)
        v = __bfloat162float(__float2bfloat16_rn(v));
    if (!isfinite(v))
        atomicMin(d.bad, d.id);
    elem_store(d.dst, weight_at(d.all_rows, d.ld, place(d, n), k, d.bf16), v, d.bf16);
}

__global__ void decode_rows(const struct decode d, int n0)
{
    int n = n0 + (int)blockIdx.x, row = d.s.first + n * d.s.step - d.s.row0;

    for (int k = (int)threadIdx.x; k < d.s.in; k += (int)blockDim.x)
        put(d, n, k, stored(d, row, k));
}

/* ---- eight elements at a time, to bf16: all but F16, F32, INT8 and odd integers; sixteen of blocks of ggml
 * ---- */

static __device__ __forceinline__ void load_eight(const struct decode &d, int row, int col, float v[EIGHT])
{
    const uint8_t *p = row_of(d.s, USE_WEIGHT, row);

    if (d.s.coding == CODING_FLOAT) {
        uint4 raw = *(const uint4 *)(const void *)(p + (int64_t)col * 2);
        const uint32_t two[4] = {raw.x, raw.y, raw.z, raw.w};

#pragma unroll
        for (int i = 0; i < EIGHT; i++)
            v[i] = __uint_as_float(i % 2 ? two[i / 2] & 0xffff0000u : two[i / 2] << 16);
    } else if (d.s.coding == CODING_MXFP4 || d.s.coding == CODING_NVFP4) {
        uint32_t codes = *(const uint32_t *)(const void *)(p + col / 2);
        float scale = d.s.coding == CODING_NVFP4 ? nvfp4_scale(d.s, row, col)
                                                 : power(row_of(d.s, USE_SCALE, row)[col / MXFP4_BLOCK]);

#pragma unroll
        for (int i = 0; i < EIGHT; i++) {
            uint32_t code = codes >> 4 * i, m = code & 7;
            float one = m < 2 ? .5f * (float)m : __uint_as_float(((m >> 1) + 126) << 23 | (m & 1) << 22);

            v[i] = (code & 8 ? -one : one) * scale;
        }
    } else if (d.s.coding == CODING_PACKED) { /* of 4 bits, in runs of groups: fits_eights */
        uint32_t codes = *(const uint32_t *)(const void *)(p + col / 2);
        int zero = packed_zero(d.s, row, col / d.s.block);
        float scale = scale_of(d.s, row, col);

#pragma unroll
        for (int i = 0; i < EIGHT; i++)
            v[i] = (float)((int)(codes >> 4 * i & 15) - zero) * scale;
    } else { /* CODING_E4M3, CODING_MXFP8 */
        uint2 raw = *(const uint2 *)(const void *)(p + col);
        float scale = d.s.coding == CODING_E4M3 ? scale_of(d.s, row, col)
                                                : power(row_of(d.s, USE_SCALE, row)[col / d.s.block]);

#pragma unroll
        for (int i = 0; i < EIGHT; i++)
            v[i] = e4m3((uint8_t)((i < 4 ? raw.x : raw.y) >> 8 * (i % 4))) * scale;
    }
}

/* Eight elements of row n of the part, from k on, as bf16. */
static __device__ __forceinline__ void put_eight(const struct decode &d, int n, int k, const float v[EIGHT])
{
    __nv_bfloat162 out[EIGHT / 2];
    bool odd = false;

#pragma unroll
    for (int j = 0; j < EIGHT / 2; j++) {
        float2 back;

        out[j] = __floats2bfloat162_rn(v[2 * j], v[2 * j + 1]);
        back = __bfloat1622float2(out[j]);
        odd |= !isfinite(back.x) || !isfinite(back.y);
    }
    if (odd)
        atomicMin(d.bad, d.id);
    *(uint4 *)((__nv_bfloat16 *)d.dst + weight_at(d.all_rows, d.ld, place(d, n), k, true)) =
        *(const uint4 *)(const void *)out;
}

/* A thread to eight elements of rows n0 .. n0+n-1 of the part. */
__global__ void __launch_bounds__(THREADS) decode_eights(const struct decode d, int n0, int n)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x, columns = d.s.in / EIGHT;
    int row = (int)(i / columns), col = (int)(i % columns) * EIGHT;
    float v[EIGHT];

    if (row >= n)
        return;
    row += n0;
    load_eight(d, d.s.first + row * d.s.step - d.s.row0, col, v);
    put_eight(d, row, col, v);
}

/* A thread to sixteen, of blocks of ggml. */
__global__ void __launch_bounds__(THREADS) decode_sixteens(const struct decode d, int n0, int n)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x, columns = d.s.in / SIXTEEN;
    int row = (int)(i / columns), col = (int)(i % columns) * SIXTEEN;
    float factor = factor_of(d.s), v[SIXTEEN];
    struct sixteen all;

    if (row >= n)
        return;
    row += n0;
    take_sixteen(d, d.s.first + row * d.s.step - d.s.row0, col, &all);
#pragma unroll
    for (int k = 0; k < SIXTEEN; k++)
        v[k] = sixteen_at(&all, k) * factor;
    if (d.bf16) {
        put_eight(d, row, col, v);
        put_eight(d, row, col + EIGHT, v + EIGHT);
    } else {
#pragma unroll
        for (int k = 0; k < SIXTEEN; k++)
            put(d, row, col + k, v[k]);
    }
}

static bool fits_eights(const struct decode *d)
{
    const struct stored *s = &d->s;
    const struct stored_piece *p = &s->piece[USE_WEIGHT];
    bool type = s->coding == CODING_FLOAT    ? p->dtype == DT_BF16
                : s->coding == CODING_PACKED ? s->bits == 4 && !s->piece[USE_ORDER].at
                                             : s->coding != CODING_INT8 && s->coding != CODING_GGML;
    int by = s->coding == CODING_MXFP4 ? (int)MXFP4_BLOCK : (int)EIGHT;

    return type && d->bf16 && !s->in_out && s->in % EIGHT == 0 && s->stride % by == 0 &&
           (s->block % EIGHT == 0 || s->block >= s->in) && (uintptr_t)p->at % 16 == 0;
}

/* Stored transposed: blocks of 32 x 32 turn over in shared memory. */
__global__ void decode_turned(const struct decode d)
{
    __shared__ float t[SIDE][SIDE + 1];
    int n0 = (int)blockIdx.x * SIDE, k0 = (int)blockIdx.y * SIDE, x = (int)threadIdx.x;

    for (int y = (int)threadIdx.y; y < SIDE; y += (int)blockDim.y)
        if (k0 + y < d.rows && n0 + x < d.s.out)
            t[y][x] = stored(d, k0 + y, d.s.first + (n0 + x) * d.s.step);
    __syncthreads();
    for (int y = (int)threadIdx.y; y < SIDE; y += (int)blockDim.y)
        if (n0 + y < d.s.out && k0 + x < d.rows)
            put(d, n0 + y, d.s.row0 + k0 + x, t[x][y]);
}

static void decode(struct cuda *c, const struct decode *d)
{
    const struct stored *s = &d->s;

    if (s->in_out) {
        dim3 grid((unsigned)ceil_div(s->out, SIDE), (unsigned)ceil_div(d->rows, SIDE));

        decode_turned<<<grid, dim3(SIDE, 8), 0, c->packing>>>(*d);
    } else {
        int end = s->row0 + d->rows;
        int64_t from = ceil_div(s->row0 > s->first ? s->row0 - s->first : 0, s->step);
        int64_t to = end > s->first ? ceil_div(end - s->first, s->step) : 0;

        to = to < s->out ? to : s->out;
        if (to > from && s->coding == CODING_GGML)
            decode_sixteens<<<(unsigned)ceil_div((to - from) * (s->in / SIXTEEN), THREADS), THREADS, 0,
                              c->packing>>>(*d, (int)from, (int)(to - from));
        else if (to > from && fits_eights(d))
            decode_eights<<<(unsigned)ceil_div((to - from) * (s->in / EIGHT), THREADS), THREADS, 0,
                            c->packing>>>(*d, (int)from, (int)(to - from));
        else if (to > from)
            decode_rows<<<(unsigned)(to - from), 256, 0, c->packing>>>(*d, (int)from);
    }
    cuda_launched(c, "decoding weights");
}

/* ---- up ---- */

/* Before what is computed: packing is little work for the device, and the next layer waits for it. */
int cuda_pack_open(struct cuda *c)
{
    int low, high;

    cuda_ok(c, cudaDeviceGetStreamPriorityRange(&low, &high), "a stream");
    cuda_ok(c, cudaStreamCreateWithPriority(&c->packing, cudaStreamNonBlocking, high), "a stream");
    cuda_ok(c, cudaStreamCreateWithFlags(&c->sending, cudaStreamNonBlocking), "a stream");
    cuda_ok(c, cudaEventCreateWithFlags(&c->sent, cudaEventDisableTiming), "an event");
    for (cudaEvent_t &decoded : c->decoded)
        cuda_ok(c, cudaEventCreateWithFlags(&decoded, cudaEventDisableTiming), "an event");
    cuda_ok(c, cudaMallocHost((void **)&c->bad_matrix, sizeof *c->bad_matrix), "pinned memory");
    return c->failed == cudaSuccess ? 0 : -1;
}

void cuda_pack_close(struct cuda *c)
{
    for (uint8_t *staged : c->staged)
        cuda_free(c, staged);
    cudaFreeHost(c->bad_matrix);
    for (cudaEvent_t decoded : c->decoded)
        if (decoded)
            cudaEventDestroy(decoded);
    if (c->sent)
        cudaEventDestroy(c->sent);
    for (cudaStream_t stream : {c->packing, c->sending})
        if (stream)
            cudaStreamDestroy(stream);
}

/* Whether kernels can read where p points: memory of host_new, where the device's memory is the host's. */
static bool reaches(struct cuda *c, const void *p)
{
    struct cudaPointerAttributes a;

    return c->dev.can.unified && cuda_ok(c, cudaPointerGetAttributes(&a, p), "weights") &&
           a.type == cudaMemoryTypeHost && a.devicePointer == p;
}

static int stages(struct cuda *c, struct err *e)
{
    for (uint8_t *&staged : c->staged) {
        staged = staged ? staged : (uint8_t *)cuda_new(c, STAGE, e);
        if (!staged)
            return -1;
    }
    return 0;
}

/* Bytes of a piece that rows r0 .. r0+rows-1 need. */
static size_t piece_bytes(const struct stored_piece *p, int r0, int rows)
{
    return p->at ? (size_t)((r0 + rows - 1) / p->per - r0 / p->per + 1) * p->row : 0;
}

static size_t staged_bytes(const struct stored *s, int r0, int rows)
{
    size_t bytes = 0;

    for (const struct stored_piece &p : s->piece)
        bytes += (piece_bytes(&p, r0, rows) + ALIGN - 1) / ALIGN * ALIGN;
    return bytes;
}

/* Rows from r0 on that fit into a stage; 0: not even one. */
static int rows_at_once(const struct stored *s, int r0, int rows)
{
    while (rows && staged_bytes(s, r0, rows) > STAGE)
        rows = rows > 1 ? rows - rows / 8 - 1 : 0;
    return rows;
}

/* Stored rows that a part touches: [from, to). */
static void touched(const struct stored *s, int *from, int *to)
{
    *from = s->in_out ? 0 : s->first;
    *to = s->in_out ? s->in : s->first + (s->out - 1) * s->step + 1;
}

static bool together(const struct stored *a, const struct stored *b)
{
    return a->piece[USE_WEIGHT].at == b->piece[USE_WEIGHT].at && a->coding == b->coding &&
           a->in_out == b->in_out && a->stride == b->stride;
}

/* Stored bytes of d->rows rows from r0 on where kernels of the packing stream can read them: where they are,
 * if the device reaches that and numbers are aligned there. */
static void send_rows(struct cuda *c, const struct stored *s, int r0, struct decode *d, int stage,
                      struct stored_piece to[STORED_PIECES])
{
    bool here = reaches(c, s->piece[USE_WEIGHT].at);
    uint8_t *staged = c->staged[stage];

    for (int i = 0; i < STORED_PIECES; i++) {
        to[i] = s->piece[i];
        to[i].at += to[i].at ? (size_t)(r0 / to[i].per) * to[i].row : 0;
        here = here && (uintptr_t)to[i].at % sizeof(float) == 0;
    }
    if (here)
        return;
    cuda_ok(c, cudaStreamWaitEvent(c->sending, c->decoded[stage], 0), "copying weights");
    for (int i = 0; i < STORED_PIECES; i++) {
        const struct stored_piece *p = &s->piece[i];
        size_t bytes = piece_bytes(p, r0, d->rows),
               left = p->size - (size_t)(p->per ? r0 / p->per : 0) * p->row;

        if (!bytes)
            continue;
        bytes = p->size && left < bytes ? left : bytes;
        cuda_ok(c, cudaMemcpyAsync(staged, to[i].at, bytes, cudaMemcpyHostToDevice, c->sending),
                "copying weights");
        to[i].at = staged;
        staged += (bytes + ALIGN - 1) / ALIGN * ALIGN;
    }
    cuda_ok(c, cudaEventRecord(c->sent, c->sending), "copying weights");
    cuda_ok(c, cudaStreamWaitEvent(c->packing, c->sent, 0), "copying weights");
}

/* Part p of a job and those after it that share its storage; *used counts them. */
static int send_part(struct cuda *c, const struct matrix_job *j, int job, int p, int *used, int *stage,
                     struct err *e)
{
    const struct stored *s = &j->part[p];
    const struct matrix *m = *j->m;
    struct stored_piece piece[STORED_PIECES];
    int from, to, r0, i, first[3] = {0, j->part[0].out, j->part[0].out + j->part[1].out};
    struct decode d = {.ld = m->ld,
                       .all_rows = m->rows,
                       .paired = m->paired,
                       .bf16 = c->dev.bf16 && !m->f32,
                       .bad = &c->flags->matrix};

    if (!(cuda_codings >> s->coding & 1))
        return err_set(e, ERR_UNKNOWN, "tensor '%s' is in a coding that is not decoded here", s->name);
    touched(s, &from, &to);
    for (*used = 1; p + *used < j->parts && together(s, &j->part[p + *used]); ++*used) {
        int lo, hi;

        touched(&j->part[p + *used], &lo, &hi);
        from = lo < from ? lo : from;
        to = hi > to ? hi : to;
    }
    for (r0 = from; r0 < to; r0 += d.rows, *stage = (*stage + 1) % STAGES_UP) {
        d.rows = rows_at_once(s, r0, to - r0);
        if (d.rows == 0)
            return err_set(e, ERR_UNKNOWN, "tensor '%s': a row of %zu bytes is more than is provided for",
                           s->name, s->piece[USE_WEIGHT].row);
        send_rows(c, s, r0, &d, *stage, piece);
        d.dst = m->w;
        for (i = p; i < p + *used; i++) {
            d.s = j->part[i];
            memcpy(d.s.piece, piece, sizeof piece);
            d.s.row0 = r0;
            d.row = first[i];
            d.which = i;
            d.id = (unsigned long long)job * 3 + (unsigned)i;
            decode(c, &d);
        }
        cuda_ok(c, cudaEventRecord(c->decoded[*stage], c->packing), "decoding weights");
    }
    return 0;
}

/* ---- matrices ---- */

/* Matrices that were first packed together are one piece of memory, as asking for it and giving it back takes
 * time. */
struct slab {
    void *p;
    int users; /* matrices in it */
};

void cuda_matrix_free(struct device *d, struct matrix *m)
{
    if (m && m->slab && --m->slab->users == 0) {
        cuda_buf_free(d, m->slab->p);
        free(m->slab);
    }
    free(m);
}

/* The shape that a job gives its matrix. */
static struct matrix shape_of(struct device *d, const struct matrix_job *j)
{
    struct matrix m = {};

    for (int i = 0; i < j->parts; i++)
        m.out += j->part[i].out;
    m.in = j->part[0].in;
    m.ld = (m.in + LD - 1) / LD * LD;
    m.paired = j->paired;
    m.f32 = j->f32 || !d->bf16;
    m.rows = j->paired ? (m.out / 2 + PAIR - 1) / PAIR * 2 * PAIR : m.out;
    m.maker = cuda_maker(cuda_of(d), &m);
    return m;
}

static size_t matrix_bytes(const struct device *d, const struct matrix *m)
{
    size_t n = (size_t)m->rows * (size_t)m->ld * (m->f32 ? sizeof(float) : d->elem_bytes);

    return (n + SLAB_ALIGN - 1) / SLAB_ALIGN * SLAB_ALIGN;
}

/* Makes the matrices that are not there or have another shape, all but their memory: returns the bytes of
 * that, and what no memory is there for has no slab. */
static int make_shapes(struct device *d, const struct matrix_job *job, int jobs, size_t *bytes, struct err *e)
{
    *bytes = 0;
    for (int i = 0; i < jobs; i++) {
        struct matrix *m = *job[i].m, want = shape_of(d, &job[i]);

        if (m && m->out == want.out && m->in == want.in && m->paired == want.paired && m->f32 == want.f32)
            continue;
        cuda_matrix_free(d, m);
        m = *job[i].m = (struct matrix *)mem_new(1, sizeof *m, e);
        if (!m)
            return -1;
        *m = want;
        *bytes += matrix_bytes(d, m);
    }
    return 0;
}

/* Memory for the new ones, zeroed. */
static int fill_slab(struct device *d, const struct matrix_job *job, int jobs, size_t bytes, struct err *e)
{
    struct cuda *c = cuda_of(d);
    struct slab *slab = (struct slab *)mem_new(1, sizeof *slab, e);
    uint8_t *at = slab ? (uint8_t *)cuda_new(c, bytes, e) : NULL;

    if (!at) {
        free(slab);
        return -1;
    }
    slab->p = at;
    cuda_ok(c, cudaMemsetAsync(at, 0, bytes, c->packing), "weights");
    for (int i = 0; i < jobs; i++) {
        struct matrix *m = *job[i].m;

        if (m->slab)
            continue;
        m->slab = slab;
        slab->users++;
        m->w = at;
        at += matrix_bytes(d, m);
    }
    return 0;
}

static int matrices_fit(struct device *d, const struct matrix_job *job, int jobs, struct err *e)
{
    size_t bytes;
    int rc = make_shapes(d, job, jobs, &bytes, e);

    if (rc == 0 && bytes)
        rc = fill_slab(d, job, jobs, bytes, e);
    for (int i = 0; rc && i < jobs; i++) /* none without memory stays */
        if (*job[i].m && !(*job[i].m)->slab) {
            free(*job[i].m);
            *job[i].m = NULL;
        }
    return rc;
}

int cuda_pack(struct device *d, const struct matrix_job *job, int jobs, struct err *e)
{
    struct cuda *c = cuda_of(d);
    int stage = 0, used, rc = 0;

    if (stages(c, e) || matrices_fit(d, job, jobs, e))
        return -1;
    cuda_ok(c, cudaMemsetAsync(&c->flags->matrix, 0xff, sizeof c->flags->matrix, c->packing), "weights");
    for (int i = 0; i < jobs && rc == 0; i++)
        for (int p = 0; p < job[i].parts && rc == 0; p += used)
            rc = send_part(c, &job[i], i, p, &used, &stage, e);
    cuda_ok(c,
            cudaMemcpyAsync(c->bad_matrix, &c->flags->matrix, sizeof *c->bad_matrix, cudaMemcpyDeviceToHost,
                            c->packing),
            "weights");
    /* whatever happened, nobody reads the sources any more; what is sent is waited for by what is decoded */
    cuda_ok(c, cudaStreamSynchronize(c->packing), "decoding weights");
    cuda_ok(c, cudaStreamSynchronize(c->sending), "copying weights");
    if (rc || cuda_report(c, e))
        return -1;
    if (*c->bad_matrix != ~0ull)
        return err_set(e, ERR_INPUT, "tensor '%s' holds a value that is not a finite number",
                       job[*c->bad_matrix / 3].part[*c->bad_matrix % 3].name);
    return 0;
}
