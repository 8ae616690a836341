/*
 * cpu_attention.c -- attention that streams over keys: a task is one head and BLOCK queries, which go through
 * the keys in blocks, keeping per query the largest score so far, the sum of exponentials and the weighted
 * sum of values (Milakov & Gimelshein 2018; Dao et al. 2022). Nothing of size tokens x tokens exists. A task
 * depends on its document only, so the threads change nothing. Long documents in bf16 go to
 * cpu_attention_packed.c.
 */
#include "cpu/cpu_attention.h"

#include <math.h>
#include <stdlib.h>

#include "cpu/simd.h"

enum { BLOCK = 64 };

struct attention {
    struct cpu *c;
    const struct attention_args *a;
    int dim, v_dim; /* head_dim and v_dim rounded up to LANES */
    struct attention_cut cut;
    float *keys; /* [blocks][kv_heads] of K^T [dim][BLOCK], then V [BLOCK][v_dim] */
};

/* Keys and values of one block and head. */
static inline size_t block_floats(const struct attention *s)
{
    return (size_t)(s->dim + s->v_dim) * BLOCK;
}

/* Copies a block's keys (turned over) and values together; past the document's end they are zero. */
static void gather_task(void *ctx, long task, int worker)
{
    const struct attention *s = ctx;
    const struct attention_args *a = s->a;
    int doc = docs_find(s->cut.block_at, a->docs.n, task), rest = a->head_dim - a->nope, g, i, d;
    struct reach x = docs_reach(&a->docs, doc);
    int64_t from = (task - s->cut.block_at[doc]) * BLOCK;
    int n = x.keys - from < BLOCK ? (int)(x.keys - from) : BLOCK;
    size_t one = block_floats(s), first = (size_t)(x.key + from);

    (void)worker;
    for (g = 0; g < a->kv_heads; g++) {
        float *kt = s->keys + ((size_t)task * (size_t)a->kv_heads + (size_t)g) * one;
        float *v = kt + (size_t)s->dim * BLOCK, *turned = kt + (size_t)a->nope * BLOCK;
        const float *k = head_at(&a->k, first, g), *from_v = head_at(&a->v, first, g);
        const float *k_nope = a->nope ? head_at(&a->k_nope, first, g) : NULL;

        memset(kt, 0, one * sizeof *kt);
        for (i = 0; i < n; i++, k += a->k.row, from_v += a->v.row) {
            for (d = 0; d < rest; d++)
                turned[d * BLOCK + i] = k[d];
            memcpy(v + (size_t)i * (size_t)s->v_dim, from_v, (size_t)a->v_dim * sizeof *v);
        }
        for (i = 0; k_nope && i < n; i++, k_nope += a->k_nope.row)
            for (d = 0; d < a->nope; d++)
                kt[d * BLOCK + i] = k_nope[d];
    }
}

struct state {
    float *q, *scores, *out;   /* [BLOCK][dim], [BLOCK][BLOCK], [BLOCK][v_dim] */
    float *top, *sum, *shrink; /* [BLOCK] */
    int64_t before;            /* as in struct reach */
    const int32_t *select;     /* of the first query, or NULL */
    int next[BLOCK];           /* of each query's selection: what is not below the keys at hand */
};

/* How many of BLOCK keys from `at` on the last of QUAD queries from `query` on can see. */
INLINE int keys_seen(int64_t at, int64_t query)
{
    int64_t n = query + QUAD - at;

    return n < BLOCK ? (int)n : BLOCK;
}

/* Scores of keys from `at` on that a query does not see become -infinity. */
INLINE void hide(float *p, int64_t at, int64_t query, int64_t lo)
{
    int j;

    if (lo > at || query < at + BLOCK - 1)
        for (j = 0; j < BLOCK; j++)
            if (at + j < lo || at + j > query)
                p[j] = -INFINITY;
}

/* Scores of keys from position `at` on that are not among the n selected become -infinity. */
static void keep_selected(float *p, const int32_t *select, int n, int *next, int64_t at)
{
    int i = *next, j;

    for (j = 0; j < BLOCK; j++) {
        while (i < n && select[i] >= 0 && select[i] < at + j)
            i++;
        if (i == n || select[i] != at + j)
            p[j] = -INFINITY;
    }
    *next = i;
}

/* Scores become exponentials, and what was summed before is scaled to the new largest score. */
INLINE void softmax(struct state *s, int rows, int v_dim)
{
    float old[BLOCK];
    int i, j;

    memcpy(old, s->top, sizeof old);
    for (i = 0; i < rows; i++) {
        const float *p = s->scores + i * BLOCK;
        v16 m = v16_load(p);

        for (j = LANES; j < BLOCK; j += LANES)
            m = v16_max(m, v16_load(p + j));
        s->top[i] = v16_highest(v16_max(m, v16_all(s->top[i])));
    }
    for (i = 0; i < rows; i += LANES) {
        v16 top = v16_load(s->top + i), none = v16_all(-INFINITY);

        /* where nothing was seen yet, and there is no sink: any finite number will do */
        v16_store(s->shrink + i, v16_exp(v16_load(old + i) - v16_select(top == none, v16_all(0), top)));
    }
    for (i = 0; i < rows; i++) {
        float *p = s->scores + i * BLOCK, *out = s->out + i * v_dim;
        float top = s->top[i] == -INFINITY ? 0 : s->top[i];
        v16 sum = v16_all(0);

        for (j = 0; j < BLOCK; j += LANES) {
            v16 v = v16_exp(v16_load(p + j) - top);

            sum += v;
            v16_store(p + j, v);
        }
        s->sum[i] = s->sum[i] * s->shrink[i] + v16_sum(sum);
        if (s->shrink[i] != 1)
            for (j = 0; j < v_dim; j += LANES)
                v16_store(out + j, v16_load(out + j) * s->shrink[i]);
    }
}

/* Scaled queries, and what the sink contributes: one more key with this score and no value. */
static void start(const struct attention *t, struct state *s, const float *q, int n, const float *sink)
{
    int i, d;

    for (i = 0; i < n; i++, q += t->a->q.row)
        for (d = 0; d < t->a->head_dim; d++)
            s->q[i * t->dim + d] = q[d] * t->a->scale;
    for (i = 0; i < BLOCK; i++) {
        s->top[i] = sink ? *sink : -INFINITY;
        s->sum[i] = sink ? 1 : 0;
    }
}

/* One block of queries, the first of which is row `from` of its document's keys, against all that it sees. */
static void queries(const struct attention *t, struct state *s, const float *keys, size_t step, int64_t from,
                    int n)
{
    int rows = (n + QUAD - 1) / QUAD * QUAD, i, r;
    size_t dim = (size_t)t->dim, v_dim = (size_t)t->v_dim;
    int64_t b;

    for (b = first_row(t->a, s->before, from) / BLOCK; b <= (from + n - 1) / BLOCK; b++) {
        const float *kt = keys + (size_t)b * step, *v = kt + dim * BLOCK;
        int64_t at = b * BLOCK;

        for (i = 0; i < rows; i += QUAD) {
            float *scores = s->scores + i * BLOCK;
            int seen = (int)round_up((size_t)keys_seen(at, from + i), LANES);

            outer_row(s->q + (size_t)i * dim, dim, kt, BLOCK, t->dim, scores, BLOCK, seen, false);
            for (r = 0; r < QUAD; r++)
                hide(scores + r * BLOCK, at, from + i + r, first_row(t->a, s->before, from + i + r));
            for (r = i; s->select && r < i + QUAD && r < n; r++)
                keep_selected(s->scores + r * BLOCK, s->select + (size_t)r * (size_t)t->a->selects,
                              t->a->selects, &s->next[r], s->before + at);
        }
        softmax(s, rows, t->v_dim);
        for (i = 0; i < rows; i += QUAD)
            outer_row(s->scores + i * BLOCK, BLOCK, v, v_dim, keys_seen(at, from + i),
                      s->out + (size_t)i * v_dim, v_dim, t->v_dim, true);
    }
}

/* Rows of s->out over their sums, to the output's elements. */
INLINE void finish(const struct attention *t, const struct state *s, int head, int64_t row, int n, bool bf16)
{
    const struct attention_args *a = t->a;
    int i, d;

    for (i = 0; i < n; i++) {
        size_t at = ((size_t)(row + i) * (size_t)a->heads + (size_t)head) * (size_t)a->v_dim;
        float inv = 1 / s->sum[i];

        for (d = 0; d < a->v_dim; d += LANES)
            elem_store(a->out, at + (size_t)d, v16_load(s->out + i * t->v_dim + d) * inv,
                       lanes_at(d, a->v_dim), bf16);
    }
}

static void finish_bf16(const struct attention *t, const struct state *s, int head, int64_t row, int n)
{
    finish(t, s, head, row, n, true);
}

static void finish_f32(const struct attention *t, const struct state *s, int head, int64_t row, int n)
{
    finish(t, s, head, row, n, false);
}

static void queries_task(void *ctx, long task, int worker)
{
    const struct attention *t = ctx;
    const struct attention_args *a = t->a;
    long block = task / a->heads;
    int head = (int)(task % a->heads), doc = docs_find(t->cut.tile_at, a->docs.n, block);
    int group = head / (a->heads / a->kv_heads);
    struct reach x = docs_reach(&a->docs, doc);
    int64_t from = (block - t->cut.tile_at[doc]) * BLOCK;
    int n = x.queries - from < BLOCK ? (int)(x.queries - from) : BLOCK;
    size_t step = block_floats(t); /* as much as q and out */
    float *mem = t->c->scratch[worker];
    float *rest = mem + step + BLOCK * BLOCK;
    struct state s = {.q = mem,
                      .scores = mem + step,
                      .out = mem + (size_t)BLOCK * (size_t)t->dim,
                      .top = rest,
                      .sum = rest + BLOCK,
                      .shrink = rest + 2 * BLOCK,
                      .before = x.before};
    const float *q = head_at(&a->q, (size_t)(x.first + from), head);

    if (a->select)
        s.select = a->select + (size_t)(x.first + from) * (size_t)a->selects;
    memset(s.q, 0, step * sizeof *s.q);
    start(t, &s, q, n, a->sinks ? &a->sinks[head] : NULL);
    queries(t, &s, t->keys + ((size_t)t->cut.block_at[doc] * (size_t)a->kv_heads + (size_t)group) * step,
            step * (size_t)a->kv_heads, x.keys - x.queries + from, n);
    (t->c->dev.bf16 ? finish_bf16 : finish_f32)(t, &s, head, x.first + from, n);
}

int cpu_attention_cut(struct attention_cut *cut, const struct cpu *c, const struct attention_args *a,
                      bool packed, int keys, int rows, struct err *e)
{
    int i;

    *cut = (struct attention_cut){mem_new((size_t)a->docs.n + 1, sizeof *cut->block_at, e),
                                  mem_new((size_t)a->docs.n + 1, sizeof *cut->tile_at, e), 0, 0};
    if (!cut->block_at || !cut->tile_at)
        return -1;
    for (i = 0; i <= a->docs.n; i++) {
        struct reach x;

        cut->block_at[i] = cut->blocks;
        cut->tile_at[i] = cut->tiles;
        if (i == a->docs.n || cpu_attention_is_packed(c, a, i) != packed)
            continue;
        x = docs_reach(&a->docs, i);
        cut->blocks += (x.keys + keys - 1) / keys;
        cut->tiles += (x.queries + rows - 1) / rows;
    }
    return 0;
}

void cpu_attention_cut_free(struct attention_cut *cut)
{
    free(cut->block_at);
    free(cut->tile_at);
}

static int streamed(struct cpu *c, const struct attention_args *a, struct err *e)
{
    struct attention s = {.c = c,
                          .a = a,
                          .dim = (int)round_up((size_t)a->head_dim, LANES),
                          .v_dim = (int)round_up((size_t)a->v_dim, LANES)};
    int rc = cpu_attention_cut(&s.cut, c, a, false, BLOCK, BLOCK, e);

    rc = rc ? rc
            : cpu_room(&c->keys, &c->keys_bytes,
                       (size_t)s.cut.blocks * (size_t)a->kv_heads * block_floats(&s) * sizeof *c->keys, e);
    rc = rc ? rc : cpu_scratch(c, (block_floats(&s) + BLOCK * BLOCK + 3 * BLOCK) * sizeof(float), e);
    if (rc == 0) {
        s.keys = c->keys;
        pool_run(c->pool, (long)s.cut.blocks, gather_task, &s);
        pool_run(c->pool, (long)(s.cut.tiles * a->heads), queries_task, &s);
    }
    cpu_attention_cut_free(&s.cut);
    return rc;
}

int cpu_attention(struct device *d, const struct attention_args *a, struct err *e)
{
    struct cpu *c = cpu_of(d);

    cpu_qk(c, a);
    return streamed(c, a, e) || cpu_attention_packed(c, a, e) ? -1 : 0;
}
