/*
 * cpu_attention_packed.c -- attention of long documents by packed products of bf16: keys and values of each
 * block of keys are packed once for each head of keys and serve all queries and all heads of queries that
 * share it. A task is one head and GEMM_ROWS queries; the softmax runs along as in cpu_attention.c, in f32.
 * Queries, keys, values and probabilities are rounded to bf16, sums are f32.
 */
#include "cpu/cpu_attention.h"

#include <math.h>

#include "cpu/simd.h"

/* LONG: tokens of a document from which on this pays. The products leave out keys that are not seen, in steps
 * of KEY_STEP, so that large blocks waste nothing. */
enum { LONG = 64, KEYS = 256, KEY_STEP = 32, ROWS = GEMM_ROWS };

struct packed {
    struct cpu *c;
    const struct attention_args *a;
    int keys;       /* of a block */
    int dim, v_dim; /* head_dim and v_dim rounded up to LANES */
    struct gemm_shape *scores, *values;
    size_t keys_bytes, block_bytes; /* packed keys of one block and head; with the values */
    struct attention_cut cut;
    uint8_t *blocks; /* [blocks][kv_heads] of packed K, then V */
};

bool cpu_attention_is_packed(const struct cpu *c, const struct attention_args *a, int doc)
{
    return c->dev.bf16 && !a->select && docs_reach(&a->docs, doc).keys >= LONG;
}

/* ---- packing ---- */

INLINE void to_bf16(const float *x, int n, uint16_t *out)
{
    int i;

    for (i = 0; i < n; i += LANES)
        elem_store(out, (size_t)i, elem_load(x, (size_t)i, lanes_at(i, n), F32), lanes_at(i, n), BF16);
}

/* n keys of a head as rows [keys][ld]; what is not there is zero. */
static void key_rows(const struct packed *s, size_t first, int n, int head, uint16_t *rows, size_t ld)
{
    const struct attention_args *a = s->a;
    int i;

    memset(rows, 0, (size_t)s->keys * ld * sizeof *rows);
    for (i = 0; i < n; i++, rows += ld) {
        if (a->nope)
            to_bf16(head_at(&a->k_nope, first + (size_t)i, head), a->nope, rows);
        to_bf16(head_at(&a->k, first + (size_t)i, head), a->head_dim - a->nope, rows + a->nope);
    }
}

/* n values of a head turned over, [v_dim][ld]. */
static void value_rows(const struct packed *s, size_t first, int n, int head, uint16_t *rows, size_t ld)
{
    const struct attention_args *a = s->a;
    uint16_t h[LANES][LANES];
    int i, j, d, k;

    memset(rows, 0, (size_t)s->v_dim * ld * sizeof *rows);
    for (i = 0; i < n; i += LANES)
        for (d = 0; d < a->v_dim; d += LANES) {
            memset(h, 0, sizeof h);
            for (j = 0; j < lanes_at(i, n); j++)
                to_bf16(head_at(&a->v, first + (size_t)(i + j), head) + d, lanes_at(d, a->v_dim), h[j]);
            for (k = 0; k < LANES; k++)
                for (j = 0; j < LANES; j++)
                    rows[(size_t)(d + k) * ld + (size_t)(i + j)] = h[j][k];
        }
}

static void pack_task(void *ctx, long task, int worker)
{
    const struct packed *s = ctx;
    long block = task / s->a->kv_heads;
    int head = (int)(task % s->a->kv_heads), doc = docs_find(s->cut.block_at, s->a->docs.n, block);
    struct reach x = docs_reach(&s->a->docs, doc);
    int64_t from = (block - s->cut.block_at[doc]) * s->keys;
    int n = x.keys - from < s->keys ? (int)(x.keys - from) : s->keys;
    size_t first = (size_t)(x.key + from);
    uint8_t *to = s->blocks + (size_t)task * s->block_bytes;
    uint16_t *rows = s->c->scratch[worker];

    key_rows(s, first, n, head, rows, gemm_ld(s->dim));
    if (gemm_pack(s->scores, worker, rows, 0, s->keys, to))
        atomic_store(&s->c->failed, 1);
    value_rows(s, first, n, head, rows, gemm_ld(s->keys));
    if (gemm_pack(s->values, worker, rows, 0, s->v_dim, to + s->keys_bytes))
        atomic_store(&s->c->failed, 1);
}

/* ---- a tile of queries ---- */

struct tile {
    int64_t from, before; /* row of the first query among its document's keys; as in struct reach */
    int n;
    uint16_t *q, *p;           /* [ROWS][dim], [ROWS][keys] probabilities */
    float *scores, *y, *out;   /* [ROWS][keys], [ROWS][v_dim] twice */
    float *top, *sum, *shrink; /* [ROWS]; top: of the scores times ln2's inverse */
    size_t bytes;
};

static struct tile tile_layout(const struct packed *s, uint8_t *base)
{
    size_t q = (size_t)s->dim * ROWS * sizeof(uint16_t), p = (size_t)s->keys * ROWS * sizeof(uint16_t);
    size_t scores = (size_t)s->keys * ROWS * sizeof(float), y = (size_t)s->v_dim * ROWS * sizeof(float);
    struct tile t = {.bytes = q + p + scores + 2 * y + 3 * ROWS * sizeof(float)};

    if (base) {
        t.q = (uint16_t *)(void *)base;
        t.p = (uint16_t *)(void *)(base + q);
        t.scores = (float *)(void *)(base + q + p);
        t.y = (float *)(void *)(base + q + p + scores);
        t.out = t.y + (size_t)s->v_dim * ROWS;
        t.top = t.out + (size_t)s->v_dim * ROWS;
        t.sum = t.top + ROWS;
        t.shrink = t.sum + ROWS;
    }
    return t;
}

static const float log2_e = 1.44269504088896341f;

/* Queries, and what the sink contributes: one more key with this score and no value. */
static void start(const struct packed *s, const struct tile *t, const float *q, const float *sink)
{
    int dim = s->a->head_dim, i, d;

    for (i = 0; i < t->n; i++, q += s->a->q.row) {
        uint16_t *row = t->q + (size_t)i * (size_t)s->dim;

        for (d = 0; d < dim; d += LANES) /* with zeros up to s->dim */
            elem_store(row, (size_t)d, elem_load(q, (size_t)d, lanes_at(d, dim), F32), LANES, HALF);
    }
    for (i = 0; i < ROWS; i++) {
        t->top[i] = sink ? *sink * log2_e : -INFINITY;
        t->sum[i] = sink ? 1 : 0;
    }
}

/* 2^x for x <= 0, to about 4e-5 of itself, a fiftieth of a bf16's rounding; 0 below -126; NaN stays. Taylor's
 * polynomial around the next integer. */
INLINE v16 exp2_below(v16 x)
{
    const float magic = 0x1.8p23f; /* as in v16_exp */
    v16i tiny = x < -126.0f;
    v16 t, r, p;

    x = v16_select(tiny, v16_all(-126.0f), x);
    t = x + magic;
    r = x - (t - magic);
    p = v16_all(9.6181291e-3f);
    p = p * r + 5.5504109e-2f;
    p = p * r + 2.4022651e-1f;
    p = p * r + 6.9314718e-1f;
    p = p * r + 1.0f;
    p = (v16)((v16i)p + (v16i)((v16u)t << 23));
    return v16_select(tiny, v16_all(0), p);
}

/* The largest of n scores, a multiple of LANES. */
static float highest(const float *x, int n)
{
    v16 m = v16_all(-INFINITY);
    int j;

    for (j = 0; j < n; j += LANES)
        m = v16_max(m, v16_load(x + j));
    return v16_highest(m);
}

/* Probabilities of n scores, a multiple of LANES, not yet divided by their sum, which is returned. */
static float exps(const float *x, int n, float scale, float top, uint16_t *p)
{
    v16 sum = v16_all(0);
    int j;

    for (j = 0; j < n; j += LANES) {
        v16 v = exp2_below(v16_load(x + j) * scale - top);
        v16u b = (v16u)v;

        sum += v;
        /* as v16_store_bf16; if it is not a number then its row's sum is not one either */
        *(v16h_mem *)(p + j) = __builtin_convertvector((b + 0x7fff + (b >> 16 & 1)) >> 16, v16h_mem);
    }
    return v16_sum(sum);
}

static float highest_fast(const float *x, int n)
{
    v16 m = v16_all(-INFINITY);
    int j;

    for (j = 0; j < n; j += LANES)
        m = fast_max(v16_load(x + j), m);
    m = fast_max(m, V16_MOVED(m, 8));
    m = fast_max(m, V16_MOVED(m, 4));
    m = fast_max(m, V16_MOVED(m, 2));
    return m[0] > m[1] ? m[0] : m[1];
}

static float exps_fast(const float *x, int n, float scale, float top, uint16_t *p)
{
    v16 sum = v16_all(0);
    int j;

    for (j = 0; j < n; j += LANES) {
        v16 v = fast_exp2(v16_load(x + j) * scale - top);

        sum += v;
        fast_store_bf16(p + j, v);
    }
    return v16_sum(sum);
}

/* Which of a block's keys from `at` on a query sees: [from, to), and the same in whole vectors. */
struct span {
    int from, to, low, high;
};

INLINE struct span seen(const struct attention_args *a, int keys, int64_t before, int64_t at, int64_t query)
{
    int64_t from = first_row(a, before, query) - at, to = query + 1 - at;
    struct span s;

    s.from = from < 0 ? 0 : from > keys ? keys : (int)from;
    s.to = to < s.from ? s.from : to > keys ? keys : (int)to;
    s.low = s.from / LANES * LANES;
    s.high = s.to > s.from ? (s.to + LANES - 1) / LANES * LANES : s.low;
    return s;
}

/* Scores of LANES rows from row i on become probabilities, not yet divided by their sum, and tell how to
 * scale what was there before. `end`: what goes into the next product. */
static void packed_softmax(const struct packed *s, const struct tile *t, int i, int64_t at, int end)
{
    int rows = lanes_at(i, t->n), r, j;
    float scale = s->a->scale * log2_e, *shrink = t->shrink + i;
    v16 old = v16_load(t->top + i), top, none = v16_all(-INFINITY);
    struct span k[LANES];

    for (r = 0; r < rows; r++) {
        float *x = t->scores + (i + r) * s->keys, m;

        k[r] = seen(s->a, s->keys, t->before, at, t->from + i + r);
        for (j = k[r].low; j < k[r].from; j++)
            x[j] = -INFINITY;
        for (j = k[r].to; j < k[r].high; j++)
            x[j] = -INFINITY;
        m = (FAST_CPU ? highest_fast : highest)(x + k[r].low, k[r].high - k[r].low) * scale;
        t->top[i + r] = m > t->top[i + r] ? m : t->top[i + r];
    }
    top = v16_load(t->top + i);
    /* where nothing was seen yet, and there is no sink: any finite number will do */
    v16_store(shrink, exp2_below(old - v16_select(top == none, v16_all(0), top)));
    for (r = 0; r < rows; r++) {
        uint16_t *p = t->p + (i + r) * s->keys;
        float sum;

        for (j = 0; j < k[r].low; j += LANES)
            elem_store(p, (size_t)j, v16_all(0), LANES, BF16);
        sum = (FAST_CPU ? exps_fast : exps)(t->scores + (i + r) * s->keys + j, k[r].high - j, scale,
                                            t->top[i + r], p + j);
        for (j = k[r].high; j < end; j += LANES)
            elem_store(p, (size_t)j, v16_all(0), LANES, BF16);
        t->sum[i + r] = t->sum[i + r] * shrink[r] + sum;
    }
}

/* out = out * shrink + y; at first there is nothing in out */
static void packed_add_values(const struct packed *s, const struct tile *t, bool first)
{
    int i, j;

    for (i = 0; i < t->n; i++) {
        const float *y = t->y + (size_t)i * (size_t)s->v_dim;
        float *out = t->out + (size_t)i * (size_t)s->v_dim, shrink = t->shrink[i];

        for (j = 0; j < s->v_dim && first; j += LANES)
            v16_store(out + j, v16_load(y + j));
        for (j = 0; j < s->v_dim && !first; j += LANES)
            v16_store(out + j, v16_load(out + j) * shrink + v16_load(y + j));
    }
}

static void packed_finish(const struct packed *s, const struct tile *t, int head, size_t row)
{
    const struct attention_args *a = s->a;
    int i, d;

    for (i = 0; i < t->n; i++) {
        size_t at = ((row + (size_t)i) * (size_t)a->heads + (size_t)head) * (size_t)a->v_dim;
        const float *out = t->out + (size_t)i * (size_t)s->v_dim;
        float inv = 1 / t->sum[i];

        for (d = 0; d < a->v_dim; d += LANES)
            elem_store(a->out, at + (size_t)d, v16_load(out + d) * inv, lanes_at(d, a->v_dim), HALF);
    }
}

static void tile_task(void *ctx, long task, int worker)
{
    const struct packed *s = ctx;
    const struct attention_args *a = s->a;
    long tile = task / a->heads;
    int head = (int)(task % a->heads), group = head / (a->heads / a->kv_heads);
    int doc = docs_find(s->cut.tile_at, a->docs.n, tile);
    struct tile t = tile_layout(s, s->c->scratch[worker]);
    struct reach x = docs_reach(&a->docs, doc);
    int64_t query = (tile - s->cut.tile_at[doc]) * ROWS, first, b, at;
    size_t row = (size_t)(x.first + query);
    int i;

    t.from = x.keys - x.queries + query;
    t.before = x.before;
    t.n = x.queries - query < ROWS ? (int)(x.queries - query) : ROWS;
    first = first_row(a, t.before, t.from) / s->keys;
    start(s, &t, head_at(&a->q, row, head), a->sinks ? &a->sinks[head] : NULL);
    for (b = first, at = b * s->keys; at < t.from + t.n; b++, at += s->keys) {
        size_t place = (size_t)(s->cut.block_at[doc] + b) * (size_t)a->kv_heads + (size_t)group;
        const uint8_t *keys = s->blocks + place * s->block_bytes;
        int end = t.from + t.n - at < s->keys ? (int)(t.from + t.n - at) : s->keys;

        end = (int)round_up((size_t)end, KEY_STEP);
        if (gemm_run(s->scores, worker, t.q, keys, (struct gemm_part){t.n, s->dim, end}, t.scores))
            atomic_store(&s->c->failed, 1);
        for (i = 0; i < t.n; i += LANES)
            packed_softmax(s, &t, i, at, end);
        if (gemm_run(s->values, worker, t.p, keys + s->keys_bytes, (struct gemm_part){t.n, end, s->v_dim},
                     t.y))
            atomic_store(&s->c->failed, 1);
        packed_add_values(s, &t, b == first);
    }
    packed_finish(s, &t, head, row);
}

/* ---- the chunk ---- */

static size_t scratch_bytes(const struct packed *s)
{
    size_t keys = (size_t)s->keys * gemm_ld(s->dim) * sizeof(uint16_t);
    size_t values = (size_t)s->v_dim * gemm_ld(s->keys) * sizeof(uint16_t), tile = tile_layout(s, NULL).bytes;
    size_t rows = keys > values ? keys : values;

    return rows > tile ? rows : tile;
}

static int packed_run(struct packed *s, struct err *e)
{
    struct cpu *c = s->c;

    if (gemm_shape(c->gemm, s->dim, s->keys, &s->scores, e) ||
        gemm_shape(c->gemm, s->keys, s->v_dim, &s->values, e))
        return -1;
    s->keys_bytes = round_up(gemm_packed_bytes(s->scores), 64);
    s->block_bytes = s->keys_bytes + round_up(gemm_packed_bytes(s->values), 64);
    if (cpu_room(&c->keys, &c->keys_bytes, (size_t)(s->cut.blocks * s->a->kv_heads) * s->block_bytes, e) ||
        cpu_scratch(c, scratch_bytes(s), e))
        return -1;
    s->blocks = (uint8_t *)c->keys;
    pool_run(c->pool, (long)(s->cut.blocks * s->a->kv_heads), pack_task, s);
    pool_run(c->pool, (long)(s->cut.tiles * s->a->heads), tile_task, s);
    return 0;
}

int cpu_attention_packed(struct cpu *c, const struct attention_args *a, struct err *e)
{
    struct packed s = {.c = c,
                       .a = a,
                       .keys = KEYS,
                       .dim = (int)round_up((size_t)a->head_dim, LANES),
                       .v_dim = (int)round_up((size_t)a->v_dim, LANES)};
    int rc = cpu_attention_cut(&s.cut, c, a, true, KEYS, ROWS, e);

    if (rc == 0 && s.cut.tiles)
        rc = packed_run(&s, e);
    cpu_attention_cut_free(&s.cut);
    return rc;
}
