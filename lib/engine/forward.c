/* forward.c -- a pass over a batch: checks, loading, buffers, the first hidden states. */
#include "engine/mixing.h"
#include "engine/several.h"
#include "stats/statistic.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/resident.h"
#include "base/thread.h"

/* ---- what the caller gave ---- */

static int check_batch(const struct batch *b, const struct arch *a, struct err *e)
{
    int64_t i, n = b->docs ? b->first[b->docs] : 0;

    if (b->docs < 0 || (b->docs && b->first[0] != 0))
        return err_set(e, ERR_USAGE, "a batch must begin with token 0");
    for (i = 0; i < b->docs; i++)
        if (b->first[i + 1] < b->first[i])
            return err_set(e, ERR_USAGE, "document %lld of a batch ends before it begins", (long long)i);
    for (i = 0; a->longest && i < b->docs; i++)
        if (b->first[i + 1] - b->first[i] > a->longest)
            return err_set(e, ERR_UNKNOWN,
                           "a document of %lld tokens: of more than %d %s sees only some, and which is not "
                           "computed",
                           (long long)(b->first[i + 1] - b->first[i]), a->longest, a->family->title);
    for (i = 0; i < n; i++)
        if (b->ids[i] < 0 || b->ids[i] >= a->vocab)
            return err_set(e, ERR_INPUT, "token id %ld is outside the model's vocabulary of %d",
                           (long)b->ids[i], a->vocab);
    return 0;
}

static int check_arch(const struct device *d, const struct arch *a, struct err *e)
{
    if (a->topk > MAX_TOPK)
        return err_set(e, ERR_UNKNOWN, "%d experts a token: more than %d are not provided for", a->topk,
                       MAX_TOPK);
    if (a->topk_group > MAX_TOPK)
        return err_set(e, ERR_UNKNOWN, "%d groups a token: more than %d are not provided for", a->topk_group,
                       MAX_TOPK);
    return mixing_check(d, a, e);
}

/* What is observed beyond the layers themselves. */
static int check_observer(const struct device *d, const struct observer *o, struct err *e)
{
    const bool wanted[] = {
        [PER_EXPERT] = o->routed != NULL, [PER_PAIR] = o->pairs != NULL, [PER_ELEMENT] = o->sums != NULL,
        [PER_ROUTER] = o->viewed != NULL, [PER_NORM] = o->pairs != NULL, [PER_SHARED] = o->sums != NULL};
    int i;

    for (i = 0; i < STATISTICS; i++) {
        const struct statistic *x = &statistic[i];
        const char *op = wanted[x->per] ? device_lacks(d, UINT32_C(1) << x->op) : NULL;

        if (op)
            return err_set(e, ERR_UNKNOWN,
                           "what is observed ('%s') needs the operation '%s', which the device '%s' does not "
                           "have: --device chooses another",
                           x->name, op, d->kind);
        if (wanted[x->per] && x->per == PER_ELEMENT && !d->can.f64)
            return err_set(
                e, ERR_UNKNOWN,
                "sums by element ('%s') need arithmetic in f64, which the device '%s' does not have: "
                "--device chooses another",
                x->name, d->kind);
    }
    return 0;
}

static int check_mask(const struct mask *m, const struct arch *a, struct err *e)
{
    int i, j, n;

    for (i = 0; m->experts && i < a->layers; i++) {
        for (n = 0, j = 0; j < a->experts; j++)
            n += m->experts[(size_t)i * (size_t)a->experts + (size_t)j] != 0;
        if (a->layer[i].ffn == FFN_MOE && n < a->topk)
            return err_set(e, ERR_USAGE, "layer %d: the mask leaves %d experts, the model needs %d", i, n,
                           a->topk);
    }
    return 0;
}

/* ---- buffers ---- */

void *pass_rows(struct pass *p, int64_t rows, int width, size_t size, struct err *e)
{
    uint64_t n;

    if (!mul_u64((uint64_t)rows + TILE_ROWS, (uint64_t)width * size, &n) || n > SIZE_MAX / 2) {
        err_set(e, ERR_NOMEM, "out of memory: %lld rows of %d", (long long)rows, width);
        return NULL;
    }
    return p->op->buf_new(p->d, (size_t)n, e);
}

/* Cosines and sines of every rope. */
static int ropes(struct pass *p, struct err *e)
{
    int i;

    p->rope = mem_new((size_t)p->a->ropes, sizeof *p->rope, e);
    for (i = 0; p->rope && i < p->a->ropes; i++)
        if (rope_tables_new(&p->rope[i], p->d, &p->a->rope[i], p->b, e))
            return -1;
    return p->rope ? 0 : -1;
}

void pass_free(struct pass *p)
{
    int i;

    weights_close(p->weights);
    states_close(&p->states);
    mixing_free(p);
    ffn_free(p);
    watch_free(p);
    free(p->chunk);
    free(p->token);
    free(p->first);
    free(p->before);
    for (i = 0; p->rope && i < p->a->ropes; i++)
        rope_tables_free(&p->rope[i]);
    free(p->rope);
}

/* ---- the pass ---- */

/* Starts to read the layers, and reads the embedding. */
static int loading_open(struct loading *l, struct engine *en, const struct model *m, int users,
                        struct engine_cost *cost, struct err *e)
{
    int slots = weights_ring(en->d);
    uint64_t bytes;
    uint8_t *ring;
    double t0;

    if (weights_plan(&l->batches, en->d, m, e))
        return -1;
    if (!mul_u64(l->batches.largest, (uint64_t)slots, &bytes) || bytes > SIZE_MAX / 2)
        return err_set(e, ERR_NOMEM, "'%s': a layer is too large", m->dir);
    ring = engine_ring(en, (size_t)bytes, e);
    if (!ring || reader_open(&l->reader, &l->batches, ring, slots, users, e))
        return -1;
    t0 = seconds_now();
    if (embedding_open(&l->table, m, en->d->bf16, en->d->threads, users, e))
        return -1;
    cost->wait_seconds += seconds_now() - t0;
    cost->bytes_read += embedding_bytes(l->table);
    return 0;
}

static void loading_close(struct loading *l)
{
    reader_close(l->reader);
    batches_free(&l->batches);
    embedding_close(l->table);
}

enum { EMBED_BYTES = 16 << 20 };

/* Rows to the device, `most` at a time by two buffers. */
static int embed_up(struct pass *p, struct embedding *table, int64_t most, uint8_t *stage[2], struct err *e)
{
    const struct hidden *h = p->states.h[0];
    size_t row = p->states.row;
    uint64_t sent[2] = {0};
    int64_t t, n;
    int rc = 0, i = 0;

    for (t = 0; rc == 0 && t < h->tokens; t += n, i ^= 1) {
        n = h->tokens - t < most ? h->tokens - t : most;
        p->op->finish_copy(p->d, sent[i]);
        rc = embedding_rows(table, p->b->ids + t, n, stage[i], e);
        sent[i] = p->op->copy_up(p->d, (uint8_t *)h->x + (size_t)t * row, stage[i], (size_t)n * row, 0);
        rc = rc ? rc : check_cancelled(e);
    }
    p->op->finish_copy(p->d, sent[0]);
    p->op->finish_copy(p->d, sent[1]);
    return rc;
}

/* The first hidden states. */
static int embed(struct pass *p, struct err *e)
{
    int64_t most = EMBED_BYTES / (int64_t)p->states.row + 1;
    uint8_t *stage[2] = {NULL};
    int rc = 0, i;

    if (p->on_host)
        return embedding_rows(p->loading->table, p->b->ids, p->states.h[0]->tokens, p->states.h[0]->x, e);
    for (i = 0; i < 2; i++)
        if (!(stage[i] = p->op->host_new(p->d, (size_t)most * p->states.row, e)))
            rc = -1;
    rc = rc ? rc : embed_up(p, p->loading->table, most, stage, e);
    for (i = 0; i < 2; i++)
        p->op->host_free(p->d, stage[i]);
    return rc;
}

static int buffers(struct pass *p, struct err *e)
{
    p->before = mem_new((size_t)p->variants, 2 * sizeof *p->before, e);
    p->after = p->before + p->variants;
    return !p->before ||
                   states_open(&p->states, p->d, p->on_host, p->variants, p->a->hidden, p->token, p->chunks,
                               e) ||
                   mixing_buffers(p, e) || ffn_buffers(p, e) || watch_buffers(p, e)
               ? -1
               : 0;
}

int pass_run(struct pass *p, const struct model *m, bool norm, struct err *e)
{
    if (pass_plan(p, m, e) ||
        weights_open(&p->weights, p->d, m, p->loading->reader, &p->loading->batches, e) || buffers(p, e) ||
        embed(p, e))
        return -1;
    embedding_done(p->loading->table);
    if (ropes(p, e))
        return -1;
    return pass_layers(p, norm, e) || (norm && pass_norm(p, m, e)) ? -1 : 0;
}

static void add_cost(struct engine_cost *c, const struct engine *en, const struct loading *l)
{
    struct device_memory memory;
    int i;

    if (l->reader)
        reader_cost(l->reader, &c->read_seconds, &c->bytes_read);
    c->peak_bytes = resident_most();
    for (i = 0; i < en->devices; i++) {
        en->device[i]->ops->memory(en->device[i], &memory);
        if (memory.most > c->peak_device_bytes)
            c->peak_device_bytes = memory.most;
    }
}

/* One pass for all variants; hidden: [variants], or NULL. */
static int forward(struct engine *en, const struct model *m, const struct batch *b, struct variant *variant,
                   int variants, const struct observer *observer, struct hidden **hidden,
                   struct engine_cost *cost, struct err *e)
{
    struct pass p = pass_of(en, m, b, variant, variants, observer);
    struct loading loading = {0};
    struct engine_cost c = {0};
    int64_t doc[ENGINE_DEVICES + 1];
    double t0 = seconds_now();
    int v, n = 1,
           rc = check_arch(en->d, &m->arch, e) || check_batch(b, &m->arch, e) ||
                        (observer && check_observer(en->d, observer, e))
                    ? -1
                    : 0;

    for (v = 0; rc == 0 && v < variants; v++)
        rc = check_mask(&variant[v].mask, &m->arch, e);
    if (rc == 0 && watch_apart(&p)) {
        p.apart.with.mask = *observer->apart;
        rc = check_mask(observer->apart, &m->arch, e);
    }
    if (rc == 0 && !(observer && (observer->sums || observer->sampled ||
                                  observer->viewed))) /* these go from token to token */
        n = several_cut(b, en->devices, doc);
    p.loading = &loading;
    rc = rc ? rc : loading_open(&loading, en, m, n > 1 ? n : 1, &c, e);
    if (rc == 0 && n > 1) {
        rc = several_forward(&p, m, n, doc, hidden, &c, e);
    } else if (rc == 0) {
        rc = pass_run(&p, m, hidden != NULL, e);
        if (rc == 0 && hidden)
            states_take(&p.states, hidden);
    }
    if (p.weights)
        c.wait_seconds += weights_waited(p.weights);
    pass_free(&p);
    add_cost(&c, en, &loading);
    loading_close(&loading);
    c.seconds = seconds_now() - t0;
    c.flops += p.flops;
    if (cost)
        *cost = c;
    return rc;
}

int engine_forward(struct engine *en, const struct model *m, const struct batch *b, const struct mask *mask,
                   const struct observer *observer, struct hidden **hidden, struct engine_cost *cost,
                   struct err *e)
{
    struct variant one = {.mask = mask ? *mask : (struct mask){0}};

    if (hidden)
        *hidden = NULL;
    return forward(en, m, b, &one, 1, observer, hidden, cost, e);
}

int engine_forward_masks(struct engine *en, const struct model *m, const struct batch *b,
                         const struct mask *mask, int n, struct hidden **hidden, struct engine_cost *cost,
                         struct err *e)
{
    struct variant *variant = mem_new((size_t)n, sizeof *variant, e);
    int v, rc;

    for (v = 0; v < n; v++)
        hidden[v] = NULL;
    if (!variant)
        return -1;
    for (v = 0; v < n; v++)
        variant[v].mask = mask[v];
    rc = forward(en, m, b, variant, n, NULL, hidden, cost, e);
    free(variant);
    return rc;
}

void mask_free(struct mask *m)
{
    free(m->experts);
    free(m->channels);
    *m = (struct mask){0};
}

void hidden_free(struct hidden *h)
{
    if (!h)
        return;
    (h->on_host ? h->d->ops->host_free : h->d->ops->buf_free)(h->d, h->x);
    free(h);
}
