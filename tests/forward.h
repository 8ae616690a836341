/*
 * forward.h -- for tests of the forward pass: a pass whose observations are kept, and that they are the same
 * bytes whatever the threads and chunks.
 */
#ifndef MOE_TESTS_FORWARD_H
#define MOE_TESTS_FORWARD_H

#include "check.h"

#include <stdint.h>

#include "engine/engine.h"

static struct err err;

struct run {
    struct engine *en;
    struct hidden *h;
    int layers, topk;
    int64_t tokens;
    int32_t *expert; /* [layers][tokens][topk] */
    float *gate, *norm, *max;
    struct residual_view *residual; /* [layers][tokens] */
    struct engine_cost cost;
};

static inline int keep(void *ctx, int layer, int64_t first, int n, const struct choices *c, struct err *e)
{
    struct run *r = ctx;
    size_t at = ((size_t)layer * (size_t)r->tokens + (size_t)first) * (size_t)r->topk;
    size_t bytes = (size_t)n * (size_t)r->topk * 4;

    (void)e;
    memcpy(r->expert + at, c->expert, bytes);
    memcpy(r->gate + at, c->gate, bytes);
    memcpy(r->norm + at, c->norm, bytes);
    memcpy(r->max + at, c->max, bytes);
    memcpy(r->residual + at / (size_t)r->topk, c->residual, (size_t)n * sizeof *r->residual);
    return 0;
}

/* How engines of run_open differ from others; set by tests that compare. */
static struct {
    bool states_on_host;
    int devices;
    uint64_t device_mem;
    void (*patch)(struct engine *en);
} run_way;

static inline int run_open(struct run *r, const struct model *m, const struct batch *b,
                           const struct mask *mask, enum precision p, int threads, int chunk)
{
    struct engine_options o = {.device = on_gpu() ? "cuda" : "cpu",
                               .precision = p,
                               .threads = threads,
                               .chunk_tokens = chunk,
                               .states_on_host = run_way.states_on_host,
                               .devices = run_way.devices,
                               .device_mem = run_way.device_mem};
    struct observer ob = {.routed = keep, .ctx = r};
    size_t n;

    *r = (struct run){.layers = m->arch.layers, .topk = m->arch.topk, .tokens = b->first[b->docs]};
    n = (size_t)r->layers * (size_t)r->tokens * (size_t)r->topk;
    r->expert = calloc(n, 4);
    r->gate = calloc(n, 4);
    r->norm = calloc(n, 4);
    r->max = calloc(n, 4);
    r->residual = calloc(n, sizeof *r->residual);
    if (engine_open(&r->en, &o, &err) == 0 && (!run_way.patch || (run_way.patch(r->en), true)) &&
        engine_forward(r->en, m, b, mask, &ob, &r->h, &r->cost, &err) == 0)
        return 0;
    CHECK_MSG(0, "forward: %s", err.msg);
    err_clear(&err);
    return -1;
}

static inline void run_close(struct run *r)
{
    hidden_free(r->h);
    engine_close(r->en);
    free(r->expert);
    free(r->gate);
    free(r->norm);
    free(r->max);
    free(r->residual);
}

static inline size_t run_count(const struct run *r)
{
    return (size_t)r->layers * (size_t)r->tokens * (size_t)r->topk;
}

static inline float *all_logits(struct run *r, const struct model *m)
{
    float *out = calloc((size_t)r->tokens * (size_t)m->arch.vocab, sizeof *out);

    CHECK_MSG(engine_logits(r->en, m, r->h, 0, (int)r->tokens, out, &err) == 0, "logits: %s", err.msg);
    return out;
}

enum { DOCS = 5 };
static const int64_t doc_first[DOCS + 1] = {0, 1, 130, 130, 197, 400};

static inline int32_t *some_ids(const struct model *m)
{
    int32_t *ids = calloc((size_t)doc_first[DOCS], sizeof *ids);
    uint32_t s = 12345;
    int64_t i;

    for (i = 0; i < doc_first[DOCS]; i++) {
        s = s * 1664525u + 1013904223u;
        ids[i] = (int32_t)((s >> 8) % (uint32_t)m->arch.vocab);
    }
    return ids;
}

static inline void same_bytes(struct run *a, struct run *b, const struct model *m, const char *what)
{
    size_t n = run_count(a) * 4;
    float *x = all_logits(a, m), *y = all_logits(b, m);

    CHECK_MSG(!memcmp(a->expert, b->expert, n), "%s: experts differ", what);
    CHECK_MSG(!memcmp(a->gate, b->gate, n), "%s: gates differ", what);
    CHECK_MSG(!memcmp(a->norm, b->norm, n), "%s: norms differ", what);
    CHECK_MSG(!memcmp(a->max, b->max, n), "%s: maxima differ", what);
    CHECK_MSG(!memcmp(a->residual, b->residual, run_count(a) / (size_t)a->topk * sizeof *a->residual),
              "%s: views of the residual stream differ", what);
    CHECK_MSG(!memcmp(x, y, (size_t)a->tokens * (size_t)m->arch.vocab * sizeof *x), "%s: logits differ",
              what);
    free(x);
    free(y);
}

static inline void check_invariance(const struct model *m, const struct batch *b, enum precision p)
{
    static const struct {
        int threads, chunk;
        const char *what;
    } way[] = {
        {2, 0, "2 threads"}, {3, 1, "a document at a time"}, {1, 140, "chunks of 140"}, {5, 64, "5 threads"}};
    struct run one, other;
    size_t i;

    if (run_open(&one, m, b, NULL, p, 1, 0) == 0)
        for (i = 0; i < sizeof way / sizeof *way; i++) {
            if (run_open(&other, m, b, NULL, p, way[i].threads, way[i].chunk) == 0)
                same_bytes(&one, &other, m, way[i].what);
            run_close(&other);
        }
    run_close(&one);
}

#endif
