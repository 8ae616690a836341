/*
 * The layer loop. Documents are cut into chunks of whole documents for attention; within a chunk the experts
 * take pieces of tokens, so that no buffer grows with the length of a document but those of attention.
 */
#include "engine/pass.h"

#include <stdlib.h>
#include <sys/resource.h>

#include "base/file.h"
#include "base/mem.h"

enum { CHUNK_MIN = 256, CACHE_BYTES = 2 << 20, BUFFER_BYTES = 768 << 20 };

/* Bytes of buffers for a token that is under way. */
static int64_t chunk_row(const struct engine *en, const struct arch *a)
{
    return ffn_row(a, en->d->elem_bytes) + attention_row(a, en->d->elem_bytes);
}

int64_t chunk_default(const struct engine *en, const struct model *m)
{
    const struct arch *a = &m->arch;
    int64_t result =
        (int64_t)a->topk * a->hidden * (int64_t)en->d->elem_bytes; /* of the experts, the largest part */
    int64_t cache = (en->d->threads > 2 ? en->d->threads : 2) * (int64_t)CACHE_BYTES / result;
    int64_t tile = TILE_ROWS * (int64_t)a->experts / a->topk, most = BUFFER_BYTES, n;

    if (en->o.chunk_tokens) /* results are numbered with 31 bits */
        return en->o.chunk_tokens < INT32_MAX / a->topk ? en->o.chunk_tokens : INT32_MAX / a->topk;
    if (en->o.mem_max && en->o.mem_max / 4 < (uint64_t)most)
        most = (int64_t)(en->o.mem_max / 4);
    /* what stays in the caches, if that gives every expert two tiles; else eight, so that the last one, which
     * is half empty on average, weighs little */
    n = cache >= 2 * tile ? cache : 8 * tile;
    most /= chunk_row(en, a);
    n = n < most ? n : most;
    return n < CHUNK_MIN ? CHUNK_MIN : n;
}

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

static int cut_chunks(struct pass *p, struct err *e)
{
    const struct batch *b = p->b;
    int64_t i, docs = 0, most = 0;

    p->chunk = mem_new((size_t)b->docs + 1, sizeof *p->chunk, e);
    if (!p->chunk)
        return -1;
    for (i = 0; i < b->docs; i++, docs++) {
        int64_t from = b->first[p->chunk[p->chunks]];

        if (docs > 0 && b->first[i + 1] - from > p->piece) {
            p->chunk[++p->chunks] = i;
            docs = 0;
            from = b->first[i];
        }
        if (b->first[i + 1] - from > p->widest)
            p->widest = b->first[i + 1] - from;
        if (docs + 1 > most)
            most = docs + 1;
    }
    if (b->docs)
        p->chunk[++p->chunks] = b->docs;
    if (p->piece > p->widest)
        p->piece = p->widest;
    p->first = mem_new((size_t)most + 1, sizeof *p->first, e);
    return p->first ? 0 : -1;
}

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
    attention_free(p);
    ffn_free(p);
    watch_free(p);
    free(p->chunk);
    free(p->first);
    if (p->rope.d)
        rope_tables_free(&p->rope);
    weights_close(p->weights);
    reader_close(p->reader);
    groups_free(&p->groups);
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
}

static uint8_t *state(const struct pass *p, int variant, int64_t token)
{
    return (uint8_t *)p->variant[variant].h->x + (size_t)token * (size_t)p->a->hidden * p->d->elem_bytes;
}

static int layer_chunk(struct pass *p, const struct layer_weights *w, int layer, int64_t c, struct err *e)
{
    int64_t doc = p->chunk[c], from = p->b->first[doc], to = p->b->first[p->chunk[c + 1]], t;
    size_t bytes = (size_t)(to - from) * (size_t)p->a->hidden * p->d->elem_bytes;
    int v;

    if (to == from)
        return 0;
    for (v = 0; v < p->variants; v++)
        if (p->variant[v].before == v &&
            attention_block(p, w, layer, doc, p->chunk[c + 1] - doc, state(p, v, from), e))
            return -1;
    for (v = 0; v < p->variants; v++)
        if (p->variant[v].after == v && p->variant[v].before != v)
            p->op->copy(p->d, state(p, v, from), state(p, p->variant[v].before, from), bytes);
    for (v = 0; v < p->variants; v++)
        for (t = from; p->variant[v].after == v && t < to; t += p->piece)
            if (ffn_piece(p, w, layer, layer_mask(p, v, layer), t, to - t < p->piece ? to - t : p->piece,
                          state(p, v, t), e))
                return -1;
    return p->op->check(p->d, e) || check_cancelled(e) ? -1 : 0;
}

static int run_layers(struct pass *p, struct err *e)
{
    const struct engine_options *o = &p->en->o;
    int64_t c;
    int layer;

    for (layer = 0; layer < p->a->layers; layer++) {
        const struct layer_weights *w;

        if (weights_layer(p->weights, layer, &w, e))
            return -1;
        part_ways(p, layer);
        watch_begin(p, w, layer);
        for (c = 0; c < p->chunks; c++) {
            if (o->progress)
                o->progress(o->progress_ctx, layer, p->a->layers,
                            (layer + (double)c / (double)p->chunks) / p->a->layers);
            if (layer_chunk(p, w, layer, c, e))
                return -1;
        }
        watch_end(p, w);
    }
    return 0;
}

/* ---- the pass ---- */

static int hidden_new(struct pass *p, struct err *e)
{
    int64_t n = p->b->docs ? p->b->first[p->b->docs] : 0;
    uint64_t bytes = (uint64_t)n * (uint64_t)p->a->hidden * p->d->elem_bytes * (uint64_t)p->variants;
    int v;

    if (p->en->o.mem_max && bytes > p->en->o.mem_max)
        return err_set(e, ERR_USAGE,
                       "%lld tokens need %.3g GB for their hidden states, more than --mem-max allows",
                       (long long)n, (double)bytes * 1e-9);
    for (v = 0; v < p->variants; v++) {
        struct hidden *h = p->variant[v].h = mem_new(1, sizeof *h, e);

        if (!h)
            return -1;
        *h = (struct hidden){p->d, NULL, n, p->a->hidden};
        if (!(h->x = pass_rows(p, n, p->a->hidden, p->d->elem_bytes, e)))
            return -1;
    }
    return 0;
}

/* The final norm of every variant; those that are the same to the end become copies. */
static int finish(struct pass *p, const struct model *m, struct err *e)
{
    int64_t n = p->variant[0].h->tokens;
    float *w = NULL;
    int v;

    if (weights_final_norm(p->d, m, &w, e))
        return -1;
    for (v = 0; v < p->variants; v++) {
        const struct variant *x = &p->variant[v];

        if (x->after == v)
            p->op->norm(p->d, x->h->x, n, p->a->hidden, w, (float)p->a->eps, x->h->x);
        else
            p->op->copy(p->d, x->h->x, p->variant[x->after].h->x,
                        (size_t)n * (size_t)p->a->hidden * p->d->elem_bytes);
    }
    p->op->buf_free(p->d, w);
    return 0;
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

/* The first hidden states. */
static int embed(struct pass *p, const struct model *m, struct engine_cost *cost, struct err *e)
{
    const struct hidden *h = p->variant[0].h;
    size_t row = (size_t)p->a->hidden * p->d->elem_bytes;
    int64_t most = EMBED_BYTES / (int64_t)row, t, n;
    uint64_t sent[2] = {0};
    uint8_t *stage[2] = {NULL};
    struct embedding *table;
    int rc, i;

    most = most < 1 ? 1 : most;
    rc = embedding_open(&table, m, p->d->bf16, p->d->threads, e);
    for (i = 0; i < 2 && rc == 0; i++)
        if (!(stage[i] = p->op->host_new(p->d, (size_t)most * row, e)))
            rc = -1;
    for (t = 0, i = 0; rc == 0 && t < h->tokens; t += n, i ^= 1) {
        n = h->tokens - t < most ? h->tokens - t : most;
        p->op->finish_copy(p->d, sent[i]);
        rc = embedding_rows(table, p->b->ids + t, n, stage[i], e);
        sent[i] = p->op->copy_up(p->d, (uint8_t *)h->x + (size_t)t * row, stage[i], (size_t)n * row, 0);
    }
    for (i = 0; i < 2; i++) {
        p->op->finish_copy(p->d, sent[i]);
        p->op->host_free(p->d, stage[i]);
    }
    cost->bytes_read += table ? embedding_bytes(table) : 0;
    embedding_close(table);
    return rc;
}

static int run_pass(struct pass *p, const struct model *m, struct engine_cost *cost, bool norm, struct err *e)
{
    if (hidden_new(p, e) || cut_chunks(p, e) || attention_buffers(p, e) || ffn_buffers(p, e) ||
        watch_buffers(p, e))
        return -1;
    if (load(p, m, e) || embed(p, m, cost, e) || rope_tables_new(&p->rope, p->d, &p->a->rope, p->b, e) ||
        run_layers(p, e))
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
                     .observer = observer,
                     .piece = chunk_default(en, m)};
    struct engine_cost c = {0};
    double t0 = engine_now();
    int v, rc = check_arch(&m->arch, e) || check_batch(b, &m->arch, e) ? -1 : 0;

    for (v = 0; rc == 0 && v < variants; v++)
        rc = check_mask(variant[v].mask, &m->arch, e);
    if (rc == 0) {
        rc = run_pass(&p, m, &c, hidden != NULL, e);
        pass_free(&p);
    }
    for (v = 0; v < variants; v++)
        if (rc == 0 && hidden)
            hidden[v] = variant[v].h;
        else
            hidden_free(variant[v].h);
    c.seconds = engine_now() - t0;
    c.flops = p.flops;
    c.peak_bytes = peak_bytes();
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
    h->d->ops->buf_free(h->d, h->x);
    free(h);
}
