/*
 * test_stream.c -- what goes on beside computing: hidden states in host memory, packing in a thread of its
 * own, copies that are made at the last moment that the contract of device.h allows. All of it gives the
 * bytes of the plain way, and stops cleanly when a file is damaged or a signal comes.
 */
#include "forward.h"
#include "tmp.h"

#include <pthread.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>

#include "engine/engine_private.h"
#include "load/batches.h"

/* ---- a CPU that poses as a device ---- */

enum { COPIES = 100000 };

static struct ops plain, lazy;
static pthread_mutex_t computing = PTHREAD_MUTEX_INITIALIZER, copying = PTHREAD_MUTEX_INITIALIZER;
static struct copy {
    void *dst;
    const void *src;
    size_t n;
    uint64_t after;
    bool up, done;
} copies[COPIES];
static uint64_t asked;
static uint64_t device_bytes; /* free; 0: no end */

/* Copy t, and what must come before it. */
static void make_copy(struct device *d, uint64_t t)
{
    uint64_t i;

    if (t == 0 || copies[t].done)
        return;
    copies[t].done = true;
    for (i = t - 1; i > 0 && !(copies[i].up == copies[t].up && copies[i].done); i--)
        ;
    for (i++; i < t; i++)
        if (copies[i].up == copies[t].up)
            make_copy(d, i);
    make_copy(d, copies[t].after);
    plain.to_host(d, copies[t].dst, copies[t].src, copies[t].n);
}

static uint64_t ask(struct copy c)
{
    uint64_t t;

    pthread_mutex_lock(&copying);
    t = ++asked % COPIES;
    copies[t] = c;
    pthread_mutex_unlock(&copying);
    return t;
}

static uint64_t lazy_up(struct device *d, void *dst, const void *src, size_t n, uint64_t after)
{
    (void)d;
    return ask((struct copy){dst, src, n, after, true, false});
}

static uint64_t lazy_down(struct device *d, void *dst, const void *src, size_t n)
{
    (void)d;
    return ask((struct copy){dst, src, n, 0, false, false});
}

static void lazy_wait(struct device *d, uint64_t ticket)
{
    pthread_mutex_lock(&copying);
    make_copy(d, ticket);
    pthread_mutex_unlock(&copying);
}

static void *lazy_host_new(struct device *d, size_t bytes, struct err *e)
{
    void *p = plain.host_new(d, bytes, e);

    if (p)
        memset(p, 0xa5, bytes);
    return p;
}

static void lazy_memory(struct device *d, struct device_memory *out)
{
    plain.memory(d, out);
    if (device_bytes)
        out->free = device_bytes;
}

/* The pool of a CPU does one thing at a time. */
#define ALONE(name, result, parameters, arguments)                                                           \
    static result lazy_##name parameters                                                                     \
    {                                                                                                        \
        result rc;                                                                                           \
                                                                                                             \
        pthread_mutex_lock(&computing);                                                                      \
        rc = plain.name arguments;                                                                           \
        pthread_mutex_unlock(&computing);                                                                    \
        return rc;                                                                                           \
    }
#define ALONE_VOID(name, parameters, arguments)                                                              \
    static void lazy_##name parameters                                                                       \
    {                                                                                                        \
        pthread_mutex_lock(&computing);                                                                      \
        plain.name arguments;                                                                                \
        pthread_mutex_unlock(&computing);                                                                    \
    }
ALONE(pack, int, (struct device * d, const struct matrix_job *job, int jobs, struct err *e),
      (d, job, jobs, e))
ALONE(attention, int, (struct device * d, const struct attention_args *a, struct err *e), (d, a, e))
ALONE(experts, int, (struct device * d, const struct experts_args *a, struct err *e), (d, a, e))
ALONE(head, int, (struct device * d, const struct head_args *a, struct err *e), (d, a, e))
ALONE_VOID(norm, (struct device * d, const void *h, int64_t n, int width, const float *w, float eps, void *x),
           (d, h, n, width, w, eps, x))
ALONE_VOID(linear,
           (struct device * d, const struct matrix *m, const void *x, int64_t n, const float *bias, float *y),
           (d, m, x, n, bias, y))
ALONE_VOID(linear_add,
           (struct device * d, const struct matrix *m, const void *x, int64_t n, const float *bias, void *h),
           (d, m, x, n, bias, h))
ALONE_VOID(route, (struct device * d, const struct route_args *a), (d, a))
ALONE_VOID(combine, (struct device * d, const struct combine_args *a), (d, a))

static void pose(struct engine *en)
{
    int i;

    plain = lazy = *en->d->ops;
    asked = 0;
    lazy.copy_up = lazy_up;
    lazy.copy_down = lazy_down;
    lazy.await_copy = lazy.finish_copy = lazy_wait;
    lazy.host_new = lazy_host_new;
    lazy.memory = lazy_memory;
    lazy.pack = lazy_pack;
    lazy.attention = lazy_attention;
    lazy.experts = lazy_experts;
    lazy.head = lazy_head;
    lazy.norm = lazy_norm;
    lazy.linear = lazy_linear;
    lazy.linear_add = lazy_linear_add;
    lazy.route = lazy_route;
    lazy.combine = lazy_combine;
    for (i = 0; i < en->devices; i++) {
        en->device[i]->ops = &lazy;
        en->device[i]->can.beside = true;
        en->device[i]->can.unified = false;
        en->device[i]->pack_bytes = 30000;
    }
}

/* ---- the same bytes ---- */

static void compare_top(const struct model *m, const struct batch *b, struct run *x, struct run *y,
                        const char *what)
{
    enum { TOP = 8, SAMPLES = 4 };
    struct top_probs p, q;
    size_t bytes = (size_t)x->tokens * (TOP + SAMPLES) * sizeof(float);

    CHECK(top_probs_new(&p, x->tokens, TOP, SAMPLES, m->arch.vocab, &err) == 0);
    CHECK(top_probs_new(&q, x->tokens, TOP, SAMPLES, m->arch.vocab, &err) == 0);
    CHECK_MSG(engine_top(x->en, m, x->h, b, &p, &err) == 0 && engine_top(y->en, m, y->h, b, &q, &err) == 0,
              "%s: %s", what, err.msg);
    CHECK_MSG(!memcmp(p.logp, q.logp, bytes) && !memcmp(p.id, q.id, bytes), "%s: likely tokens differ", what);
    top_probs_free(&p);
    top_probs_free(&q);
}

static void compare_nll(const struct model *m, const struct batch *b, struct run *x, struct run *y,
                        const char *what)
{
    size_t n = (size_t)x->tokens;
    float *p = calloc(n, sizeof *p), *q = calloc(n, sizeof *q);

    CHECK_MSG(engine_nll(x->en, m, x->h, b, p, &err) == 0 && engine_nll(y->en, m, y->h, b, q, &err) == 0 &&
                  engine_nll(y->en, m, y->h, b, q, &err) == 0,
              "%s: nll: %s", what, err.msg);
    CHECK_MSG(!memcmp(p, q, n * sizeof *p), "%s: nll differs", what);
    compare_top(m, b, x, y, what);
    free(p);
    free(q);
}

static const struct way {
    bool on_host, pose;
    int chunk, devices;
    uint64_t bytes; /* of a device; 0: no end */
    const char *what;
} ways[] = {
    {true, false, 0, 0, 0, "in host memory"},
    {true, false, 1, 0, 0, "in host memory, a document at a time"},
    {true, false, 140, 0, 0, "in host memory, chunks of 140"},
    {false, true, 0, 0, 0, "packed beside"},
    {false, true, 70, 0, 0, "packed beside, chunks of 70"},
    {true, true, 0, 0, 0, "beside, in host memory"},
    {true, true, 1, 0, 0, "beside, in host memory, a document at a time"},
    {true, true, 140, 0, 0, "beside, in host memory, chunks of 140"},
    {true, true, 1, 0, UINT64_C(1) << 30, "beside, in host memory, of a gigabyte"},
    {false, false, 0, 2, 0, "two devices"},
    {true, false, 64, 3, 0, "three devices, in host memory"},
    {false, true, 1, 2, 0, "two devices, packed beside, a document at a time"},
    {true, true, 0, 16, 0, "more devices than documents, beside, in host memory"},
};

static void check_same(const struct model *m, const struct batch *b, enum precision p)
{
    struct run one, other;
    size_t i;

    if (run_open(&one, m, b, NULL, p, 1, 0) == 0)
        for (i = 0; i < sizeof ways / sizeof *ways; i++) {
            const struct way *w = &ways[i];

            if (w->pose && on_gpu())
                continue;
            run_way.states_on_host = w->on_host;
            run_way.patch = w->pose ? pose : NULL;
            run_way.devices = w->devices;
            device_bytes = w->bytes;
            if (run_open(&other, m, b, NULL, p, 2, w->chunk) == 0) {
                CHECK_MSG(other.h->on_host == (w->on_host || w->devices > 1), "%s", w->what);
                same_bytes(&one, &other, m, w->what);
                compare_nll(m, b, &one, &other, w->what);
            }
            run_close(&other);
        }
    run_close(&one);
    memset(&run_way, 0, sizeof run_way);
    device_bytes = 0;
}

/* Masks that agree at first, differ later, one that is twice there, and one of channels. */
static void check_masks(const struct model *m, const struct batch *b)
{
    enum { MASKS = 5 };
    size_t experts = (size_t)m->arch.experts, n = experts * (size_t)m->arch.layers, i;
    size_t wide = n * (size_t)m->arch.inter;
    uint8_t *mask = malloc(2 * n + wide);
    const struct mask given[MASKS] = {
        {NULL, NULL}, {mask, NULL}, {mask + n, NULL}, {mask, NULL}, {mask, mask + 2 * n}};
    struct hidden *h[MASKS] = {NULL}, *alone[MASKS] = {NULL};
    struct engine *en[2] = {NULL};
    struct engine_options o = {.device = "cpu", .precision = PREC_F32, .threads = 2, .chunk_tokens = 140};
    size_t bytes = (size_t)b->first[b->docs] * (size_t)m->arch.hidden * sizeof(float);
    int v;

    for (i = 0; i < 2 * n; i++)
        mask[i] = i % n < n / 2 || i % experts != (i < n ? 1 : 2);
    for (i = 0; i < wide; i++)
        mask[2 * n + i] = i % 3 != 1;
    CHECK(engine_open(&en[0], &o, &err) == 0);
    o.states_on_host = true;
    o.devices = 2;
    CHECK(engine_open(&en[1], &o, &err) == 0);
    pose(en[1]);
    CHECK_MSG(engine_forward_masks(en[0], m, b, given, MASKS, alone, NULL, &err) == 0, "%s", err.msg);
    CHECK_MSG(engine_forward_masks(en[1], m, b, given, MASKS, h, NULL, &err) == 0, "%s", err.msg);
    for (v = 0; v < MASKS; v++) {
        CHECK_MSG(h[v] && alone[v] && !memcmp(h[v]->x, alone[v]->x, bytes), "mask %d: states differ", v);
        if (v > 0)
            CHECK((memcmp(h[v]->x, h[1]->x, bytes) == 0) == (v % 2 == 1));
    }
    for (v = 0; v < MASKS; v++) {
        hidden_free(h[v]);
        hidden_free(alone[v]);
    }
    engine_close(en[0]);
    engine_close(en[1]);
    free(mask);
}

/* ---- samples ---- */

/* Rows of all layers, [layers][tokens]: x, the experts, the results under the mask that is only observed. */
struct rows {
    const struct model *m;
    const int64_t *token; /* of each sample; NULL: its number */
    int64_t tokens;
    uint8_t *of;
    size_t bytes; /* of a token */
};

static void keep_rows(void *ctx, int layer, int64_t i, int n, const struct token_rows *rows,
                      const struct token_rows *apart)
{
    struct rows *r = ctx;
    size_t k = (size_t)r->m->arch.topk, h = (size_t)r->m->arch.hidden * sizeof(float), j;
    int t;

    for (t = 0; t < n; t++) {
        int64_t token = r->token ? r->token[i + t] : i + t;
        uint8_t *to = r->of + (size_t)(layer * r->tokens + token) * r->bytes;
        size_t at = (size_t)t * k;

        memcpy(to, (const uint8_t *)rows->x + (size_t)t * h, h);
        memcpy(to + h, rows->expert + at, 4 * k);
        memcpy(to + h + 4 * k, rows->gate + at, 4 * k);
        memcpy(to + h + 8 * k, apart->gate + at, 4 * k);
        memcpy(to + h + 12 * k, (const uint8_t *)rows->y + at * h, k * h);
        for (j = 0; j < k; j++)
            if (apart->fresh[at + j] >= 0)
                memcpy(to + h + 12 * k + (k + j) * h, (const uint8_t *)apart->y + (at + j) * h, h);
    }
}

/* Of all tokens, and of some: the same of those, however chunks and copies go. */
static void check_samples(const struct model *m, const struct batch *b)
{
    static const int64_t some[] = {0, 3, 4, 5, 129, 130, 131, 196, 399};
    size_t experts = (size_t)m->arch.experts, n = experts * (size_t)m->arch.layers, i, l;
    struct mask mask = {.experts = malloc(n)};
    struct rows all = {.m = m, .tokens = b->first[b->docs]}, few;
    int way;

    all.bytes = (size_t)m->arch.hidden * 4 + (size_t)m->arch.topk * (12 + 8 * (size_t)m->arch.hidden);
    for (i = 0; i < n; i++)
        mask.experts[i] = i % experts % 2 == 0;
    all.of = calloc((size_t)m->arch.layers * (size_t)all.tokens, all.bytes);
    for (way = 0; way < 3; way++) {
        struct engine_options o = {
            .device = "cpu", .precision = PREC_F32, .threads = 2, .chunk_tokens = way ? 140 : 0};
        struct observer ob = {.ctx = way ? &few : &all,
                              .sampled = keep_rows,
                              .sample = way ? some : NULL,
                              .samples = way ? (int64_t)(sizeof some / sizeof *some) : all.tokens,
                              .apart = &mask};
        struct engine *en;

        few = all;
        few.token = some;
        few.of = calloc((size_t)m->arch.layers * (size_t)all.tokens, all.bytes);
        CHECK(engine_open(&en, &o, &err) == 0);
        if (way == 2)
            pose(en);
        CHECK_MSG(engine_forward(en, m, b, NULL, &ob, NULL, NULL, &err) == 0, "%s", err.msg);
        for (l = 0; way && l < (size_t)m->arch.layers; l++)
            for (i = 0; i < sizeof some / sizeof *some; i++) {
                size_t at = (l * (size_t)all.tokens + (size_t)some[i]) * all.bytes;

                CHECK_MSG(!memcmp(all.of + at, few.of + at, all.bytes), "way %d, layer %d, token %d", way,
                          (int)l, (int)some[i]);
            }
        free(few.of);
        engine_close(en);
    }
    free(all.of);
    mask_free(&mask);
}

/* ---- memory ---- */

static void check_budget(const struct model *m, const struct batch *b)
{
    struct run r;

    run_way.patch = pose;
    device_bytes = UINT64_C(1) << 40;
    if (run_open(&r, m, b, NULL, PREC_F32, 2, 0) == 0)
        CHECK(!r.h->on_host);
    run_close(&r);
    run_way.device_mem = 1 << 20;
    {
        struct engine_options o = {
            .device = "cpu", .precision = PREC_F32, .threads = 2, .device_mem = 1 << 20};
        struct engine *en;

        CHECK(engine_open(&en, &o, &err) == 0);
        pose(en);
        CHECK(engine_forward(en, m, b, NULL, NULL, NULL, NULL, &err) == -1);
        CHECK_MSG(strstr(err.msg, "device memory: ") && strstr(err.msg, "--gpu-mem"), "%s", err.msg);
        err_clear(&err);
        engine_close(en);
    }
    memset(&run_way, 0, sizeof run_way);
    device_bytes = 0;
}

/* Every byte of every tensor of the layers is in one batch. */
static void check_batches(const struct model *m)
{
    static const uint64_t bytes[] = {0, 1, 30000, UINT64_C(1) << 40};
    size_t i, g, k;

    for (i = 0; i < sizeof bytes / sizeof *bytes; i++) {
        struct batches gs;
        uint64_t all = 0, sum = 0;
        int rests = 0, lasts = 0, experts = 0;

        CHECK(batches_plan(&gs, m, bytes[i], &err) == 0);
        for (k = 0; k < m->ckpt.n; k++)
            all += m->role[k].layer >= 0 ? m->ckpt.tensor[k]->size : 0;
        for (g = 0; g < gs.n; g++) {
            rests += gs.batch[g].rest;
            lasts += gs.batch[g].last;
            experts += gs.batch[g].experts;
            for (k = 0; k < gs.batch[g].blob.n; k++)
                sum += gs.batch[g].blob.item[k].size;
        }
        CHECK_MSG(sum == all, "batches of %llu: %llu bytes of %llu", (unsigned long long)bytes[i],
                  (unsigned long long)sum, (unsigned long long)all);
        CHECK(rests == m->arch.layers && lasts == m->arch.layers);
        CHECK(experts == m->arch.layers * m->arch.experts);
        CHECK(bytes[i] != 1 || (int)gs.n >= experts);
        batches_free(&gs);
    }
}

/* ---- damage ---- */

static int copy_model(const char *from)
{
    char line[4096];

    tmp_open();
    snprintf(line, sizeof line, "cp -rL '%s/.' '%s' && chmod -R u+w '%s'", from, tmp_dir, tmp_dir);
    return system(line);
}

static const struct tensor *late_expert(const struct model *m)
{
    const struct tensor *t = NULL;
    size_t i;

    for (i = 0; i < m->ckpt.n; i++)
        if (m->role[i].layer == m->arch.layers - 1 && m->role[i].part == PART_DOWN &&
            m->role[i].use == (m->role[i].as ? coding_suspect(m->role[i].as->format->coding) : USE_OTHER))
            t = m->ckpt.tensor[i];
    return t;
}

/* way: bit 0, packed beside; bit 1, on two devices. */
enum { WAYS = 4 };

static void check_fails(const struct model *m, const struct batch *b, int way, const char *with,
                        const char *with_too, const struct observer *ob)
{
    struct engine_options o = {
        .device = "cpu", .precision = PREC_F32, .threads = 2, .devices = way & 2 ? 2 : 0, .chunk_tokens = 70};
    struct engine *en;

    CHECK(engine_open(&en, &o, &err) == 0);
    if (way & 1)
        pose(en);
    CHECK(engine_forward(en, m, b, NULL, ob, NULL, NULL, &err) == -1);
    CHECK_MSG(strstr(err.msg, with) && strstr(err.msg, with_too), "'%s' says nothing about '%s' and '%s'",
              err.msg, with, with_too);
    err_clear(&err);
    engine_close(en);
}

static int signal_comes(void *ctx, int layer, int64_t first, int n, const struct choices *c, struct err *e)
{
    (void)ctx, (void)first, (void)n, (void)c, (void)e;
    if (layer == 1)
        moe_signal = SIGINT;
    return 0;
}

static int refuses(void *ctx, int layer, int64_t first, int n, const struct choices *c, struct err *e)
{
    (void)ctx, (void)first, (void)n, (void)c;
    return layer == 1 ? err_set(e, ERR_INPUT, "enough of layer %d", layer) : 0;
}

static void check_damage(const char *from)
{
    static const uint8_t nans[64] = {[0 ... 63] = 0xff};
    const struct observer interrupted = {.routed = signal_comes}, refused = {.routed = refuses};
    struct model m;
    struct batch b;
    const struct tensor *t;
    int32_t *ids;
    int way, fd;

    if (copy_model(from) || model_open(&m, tmp_dir, NULL, &err)) {
        CHECK_MSG(0, "%s", err.msg);
        return;
    }
    ids = some_ids(&m);
    b = (struct batch){ids, doc_first, DOCS};
    t = late_expert(&m);
    for (way = 0; way < WAYS; way++) {
        check_fails(&m, &b, way, "enough of layer 1", "", &refused);
        check_fails(&m, &b, way, "signal", "", &interrupted);
        moe_signal = 0;
    }
    fd = open(m.ckpt.shard[t->shard].file->path, O_WRONLY);
    CHECK(fd >= 0 && pwrite(fd, nans, sizeof nans, (off_t)t->begin) == (ssize_t)sizeof nans);
    for (way = 0; way < WAYS; way++)
        check_fails(&m, &b, way, t->name, "not a finite number", NULL);
    CHECK(ftruncate(fd, (off_t)t->begin + 1) == 0);
    for (way = 0; way < WAYS; way++)
        check_fails(&m, &b, way, "truncated", m.ckpt.shard[t->shard].file->path, NULL);
    close(fd);
    free(ids);
    model_close(&m);
}

static void check_model(const char *name)
{
    struct model m;
    int32_t *ids;
    struct batch b;

    if (model_open(&m, name, NULL, &err)) {
        CHECK_MSG(0, "%s", err.msg);
        return;
    }
    ids = some_ids(&m);
    b = (struct batch){ids, doc_first, DOCS};
    check_batches(&m);
    check_same(&m, &b, PREC_F32);
    check_masks(&m, &b);
    check_samples(&m, &b);
    if (!on_gpu())
        check_budget(&m, &b);
    free(ids);
    model_close(&m);
}

int main(void)
{
    check_model("examples/tiny-qwen3");
    check_model("examples/tiny-gptoss");
    check_damage("examples/tiny-qwen3");
    CHECK_END();
}
