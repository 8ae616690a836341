/* The layer loop: every layer's weights meet every chunk of the hidden states. */
#include "engine/pass.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/file.h"
#include "base/mem.h"

/* ---- what the caller gave ---- */

static int check_batch(const struct batch *b, const struct arch *a, struct err *e)
{
    int64_t i, n = b->docs ? b->first[b->docs] : 0;

    if (b->docs < 0 || (b->docs && b->first[0] != 0))
        return err_set(e, ERR_USAGE, "a batch must begin with token 0");
    for (i = 0; i < b->docs; i++)
        if (b->first[i + 1] < b->first[i])
            return err_set(e, ERR_USAGE, "document %lld of a batch ends before it begins", (long long)i);
    for (i = 0; i < n; i++)
        if (b->ids[i] < 0 || b->ids[i] >= a->vocab)
            return err_set(e, ERR_INPUT, "token id %ld is outside the model's vocabulary of %d",
                           (long)b->ids[i], a->vocab);
    return 0;
}

static int check_arch(const struct arch *a, struct err *e)
{
    if (a->topk > MAX_TOPK)
        return err_set(e, ERR_UNKNOWN, "%d experts a token: more than %d are not provided for", a->topk,
                       MAX_TOPK);
    if (a->topk_group > MAX_TOPK)
        return err_set(e, ERR_UNKNOWN, "%d groups a token: more than %d are not provided for", a->topk_group,
                       MAX_TOPK);
    return 0;
}

static int check_mask(const uint8_t *mask, const struct arch *a, struct err *e)
{
    int i, j, n;

    for (i = 0; mask && i < a->layers; i++) {
        for (n = 0, j = 0; j < a->experts; j++)
            n += mask[(size_t)i * (size_t)a->experts + (size_t)j] != 0;
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

static void pass_free(struct pass *p)
{
    weights_close(p->weights);
    reader_close(p->reader);
    groups_free(&p->groups);
    states_close(&p->states);
    attention_free(p);
    ffn_free(p);
    watch_free(p);
    free(p->chunk);
    free(p->token);
    free(p->first);
    free(p->before);
    if (p->rope.d)
        rope_tables_free(&p->rope);
}

/* ---- a layer ---- */

/* Experts that a layer's mask allows; NULL: all. */
static const uint8_t *layer_mask(const struct pass *p, int variant, int layer)
{
    const uint8_t *mask = p->variant[variant].mask;

    return mask ? mask + (size_t)layer * (size_t)p->a->experts : NULL;
}

static bool same_mask(const struct pass *p, int a, int b, int layer)
{
    const uint8_t *x = layer_mask(p, a, layer), *y = layer_mask(p, b, layer);
    int j;

    for (j = 0; x != y && j < p->a->experts; j++)
        if ((!x || x[j]) != (!y || y[j]))
            return false;
    return true;
}

/* Variants whose masks differ in this layer no longer share their states after it. */
static void part_ways(struct pass *p, int layer)
{
    int v, u;

    for (v = 0; v < p->variants; v++) {
        struct variant *x = &p->variant[v];

        x->before = x->after;
        if (p->a->layer[layer].ffn != FFN_MOE)
            continue;
        for (u = x->before; u < v; u++)
            if (p->variant[u].before == x->before && same_mask(p, u, v, layer))
                break;
        x->after = u;
    }
    for (v = 0; v < p->variants; v++) {
        p->before[v] = p->variant[v].before == v;
        p->after[v] = p->variant[v].after == v;
    }
}

static int layer_chunk(struct pass *p, const struct layer_weights *w, int64_t c, struct err *e)
{
    int64_t doc = p->chunk[c], from = p->token[c], to = p->token[c + 1], t;
    size_t bytes = (size_t)(to - from) * (size_t)p->a->hidden * p->d->elem_bytes;
    int v;

    if (to == from)
        return 0;
    for (v = 0; v < p->variants; v++)
        if (p->before[v] &&
            attention_block(p, w, p->layer, doc, p->chunk[c + 1] - doc, states_at(&p->states, v, from), e))
            return -1;
    for (v = 0; v < p->variants; v++)
        if (p->after[v] && !p->before[v])
            p->op->copy(p->d, states_at(&p->states, v, from),
                        states_at(&p->states, p->variant[v].before, from), bytes);
    for (v = 0; v < p->variants; v++)
        for (t = from; p->after[v] && t < to; t += p->piece)
            if (ffn_piece(p, w, layer_mask(p, v, p->layer), t, to - t < p->piece ? to - t : p->piece,
                          states_at(&p->states, v, t), e))
                return -1;
    return check_cancelled(e);
}

/* All chunks once. last: no other visit follows. */
static int visit(struct pass *p, int (*chunk)(struct pass *p, int64_t c, const void *with, struct err *e),
                 const void *with, bool last, struct err *e)
{
    struct states *s = &p->states;
    int64_t c;

    for (c = 0; c < p->chunks; c++) {
        bool next = c + 1 < p->chunks;

        states_begin(s, c);
        if (next) /* on its way while this one is computed */
            states_fetch(s, c + 1, p->before);
        else if (!last && c > 0)
            states_fetch(s, 0, p->after);
        if (chunk(p, c, with, e))
            return -1;
        states_end(s, p->after);
        if (!last && p->chunks == 1)
            states_fetch(s, 0, p->after);
    }
    return 0;
}

static int one_layer(struct pass *p, int64_t c, const void *with, struct err *e)
{
    const struct engine_options *o = &p->en->o;

    if (o->progress)
        o->progress(o->progress_ctx, p->layer, p->a->layers,
                    (p->layer + (double)c / (double)p->chunks) / p->a->layers);
    return layer_chunk(p, with, c, e);
}

/* Waits until a layer is computed, so that its weights can go. */
static int layer_over(struct pass *p, struct err *e)
{
    int64_t bad = p->op->bad_token(p->d);

    return bad >= 0 ? pass_not_finite(p, bad, e) : p->op->check(p->d, e);
}

/* norm: the states are needed after the last layer. */
static int run_layers(struct pass *p, bool norm, struct err *e)
{
    int v;

    for (v = 0; v < p->variants; v++)
        p->before[v] = v == 0;
    if (p->chunks)
        states_fetch(&p->states, 0, p->before);
    for (p->layer = 0; p->layer < p->a->layers; p->layer++) {
        const struct layer_weights *w;

        if (weights_layer(p->weights, p->layer, &w, e))
            return -1;
        part_ways(p, p->layer);
        watch_begin(p, w, p->layer);
        if (visit(p, one_layer, w, p->layer + 1 == p->a->layers && !norm, e) || layer_over(p, e) ||
            watch_end(p, w, e))
            return -1;
    }
    return watch_finish(p, e);
}

/* ---- the pass ---- */

static int norm_chunk(struct pass *p, int64_t c, const void *with, struct err *e)
{
    int64_t from = p->token[c], n = p->token[c + 1] - from;
    int v;

    for (v = 0; v < p->variants; v++)
        if (p->before[v])
            p->op->norm(p->d, states_at(&p->states, v, from), n, p->a->hidden, with, (float)p->a->eps,
                        states_at(&p->states, v, from));
    return check_cancelled(e);
}

/* The final norm of every variant; those that are the same to the end become copies. */
static int finish(struct pass *p, const struct model *m, struct err *e)
{
    float *w = NULL;
    int v, rc;

    if (weights_final_norm(p->d, m, &w, e))
        return -1;
    memcpy(p->before, p->after, (size_t)p->variants * sizeof *p->before);
    rc = visit(p, norm_chunk, w, true, e);
    for (v = 0; v < p->variants; v++)
        if (rc == 0 && !p->after[v])
            states_copy(&p->states, v, p->variant[v].after);
    if (rc == 0)
        rc = p->op->check(p->d, e);
    p->op->buf_free(p->d, w);
    return rc;
}

/* Starts to read the layers. */
static int load(struct pass *p, const struct model *m, struct err *e)
{
    int slots = weights_slots(p->d);
    uint64_t bytes;
    uint8_t *ring;

    if (weights_plan(&p->groups, p->d, m, e))
        return -1;
    if (!mul_u64(p->groups.largest, (uint64_t)slots, &bytes) || bytes > SIZE_MAX / 2)
        return err_set(e, ERR_NOMEM, "'%s': a layer is too large", m->dir);
    ring = engine_ring(p->en, (size_t)bytes, e);
    return !ring || reader_open(&p->reader, &p->groups, ring, slots, 1, e) ||
                   weights_open(&p->weights, p->d, m, p->reader, &p->groups, e)
               ? -1
               : 0;
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
static int embed(struct pass *p, const struct model *m, struct engine_cost *cost, struct err *e)
{
    int64_t most = EMBED_BYTES / (int64_t)p->states.row + 1;
    uint8_t *stage[2] = {NULL};
    struct embedding *table;
    double t0 = engine_now();
    int rc = embedding_open(&table, m, p->d->bf16, p->d->threads, e), i;

    cost->read_seconds += engine_now() - t0;
    cost->wait_seconds += engine_now() - t0;
    if (rc == 0 && p->on_host) {
        rc = embedding_rows(table, p->b->ids, p->states.h[0]->tokens, p->states.h[0]->x, e);
    } else if (rc == 0) {
        for (i = 0; i < 2; i++)
            if (!(stage[i] = p->op->host_new(p->d, (size_t)most * p->states.row, e)))
                rc = -1;
        rc = rc ? rc : embed_up(p, table, most, stage, e);
    }
    for (i = 0; i < 2; i++)
        p->op->host_free(p->d, stage[i]);
    cost->bytes_read += table ? embedding_bytes(table) : 0;
    embedding_close(table);
    return rc;
}

static int buffers(struct pass *p, struct err *e)
{
    p->before = mem_new((size_t)p->variants, 2 * sizeof *p->before, e);
    p->after = p->before + p->variants;
    return !p->before ||
                   states_open(&p->states, p->d, p->on_host, p->variants, p->a->hidden, p->token, p->chunks,
                               e) ||
                   attention_buffers(p, e) || ffn_buffers(p, e) || watch_buffers(p, e)
               ? -1
               : 0;
}

static int run_pass(struct pass *p, const struct model *m, struct engine_cost *cost, bool norm, struct err *e)
{
    if (pass_plan(p, m, e) || load(p, m, e) || buffers(p, e) || embed(p, m, cost, e) ||
        rope_tables_new(&p->rope, p->d, &p->a->rope, p->b, e) || run_layers(p, norm, e))
        return -1;
    reader_cost(p->reader, cost);
    weights_cost(p->weights, cost);
    return norm ? finish(p, m, e) : 0;
}

static uint64_t peak_bytes(void)
{
    struct rusage r;

    return getrusage(RUSAGE_SELF, &r) == 0 ? (uint64_t)r.ru_maxrss * 1024 : 0;
}

/* One pass for all variants; hidden: [variants], or NULL. */
static int forward(struct engine *en, const struct model *m, const struct batch *b, struct variant *variant,
                   int variants, const struct observer *observer, struct hidden **hidden,
                   struct engine_cost *cost, struct err *e)
{
    struct pass p = {.en = en,
                     .d = en->d,
                     .op = en->d->ops,
                     .a = &m->arch,
                     .b = b,
                     .variant = variant,
                     .variants = variants,
                     .observer = observer};
    struct engine_cost c = {0};
    struct device_memory memory;
    double t0 = engine_now();
    int v, rc = check_arch(&m->arch, e) || check_batch(b, &m->arch, e) ? -1 : 0;

    for (v = 0; rc == 0 && v < variants; v++)
        rc = check_mask(variant[v].mask, &m->arch, e);
    if (rc == 0) {
        rc = run_pass(&p, m, &c, hidden != NULL, e);
        if (rc == 0 && hidden)
            states_take(&p.states, hidden);
        pass_free(&p);
    }
    c.seconds = engine_now() - t0;
    c.flops = p.flops;
    c.peak_bytes = peak_bytes();
    en->d->ops->memory(en->d, &memory);
    c.peak_device_bytes = memory.most;
    if (cost)
        *cost = c;
    return rc;
}

int engine_forward(struct engine *en, const struct model *m, const struct batch *b, const uint8_t *mask,
                   const struct observer *observer, struct hidden **hidden, struct engine_cost *cost,
                   struct err *e)
{
    struct variant one = {.mask = mask};

    if (hidden)
        *hidden = NULL;
    return forward(en, m, b, &one, 1, observer, hidden, cost, e);
}

int engine_forward_masks(struct engine *en, const struct model *m, const struct batch *b,
                         const uint8_t *const *mask, int n, struct hidden **hidden, struct engine_cost *cost,
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

void hidden_free(struct hidden *h)
{
    if (!h)
        return;
    (h->on_host ? h->d->ops->host_free : h->d->ops->buf_free)(h->d, h->x);
    free(h);
}
