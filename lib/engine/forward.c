/*
 * The layer loop. Documents are cut into chunks of whole documents for attention; within a chunk the experts
 * take pieces of tokens, so that no buffer grows with the length of a document but those of attention.
 */
#include "engine/pass.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/file.h"
#include "base/mem.h"

enum { CHUNK_MIN = 256, CACHE_BYTES = 2 << 20, BUFFER_BYTES = 768 << 20 };

/* Bytes of buffers for a token that is under way. */
static int64_t chunk_row(const struct engine *en, const struct arch *a)
{
    return (int64_t)sizeof(float) * a->topk * a->hidden + attention_row(a, en->d->elem_bytes);
}

int64_t chunk_default(const struct engine *en, const struct model *m)
{
    const struct arch *a = &m->arch;
    int64_t result =
        (int64_t)a->topk * a->hidden * (int64_t)sizeof(float); /* of the experts, the largest part */
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

/* What config.json may ask for and the pass does not do yet. */
static int check_arch(const struct model *m, struct err *e)
{
    const struct arch *a = &m->arch;
    const struct family *f = a->family;
    const struct {
        bool asked;
        const char *what;
    } missing[] = {
        {f->score == SCORE_SIGMOID || f->gate == GATE_SIGMOID_SELECTED, "a sigmoid router"},
        {f->corr_name || a->group != GROUP_NONE, "a router with groups or correction bias"},
        {a->gate_scale != 1, "routed_scaling_factor"},
        {f->gate_site == GATE_INPUT, "gates on the experts' input"},
        {a->shared_inter > 0, "a shared expert"},
        {a->bias_mlp, "MLP biases"},
        {a->fp8_config, "FP8 weights"},
        {strcmp(m->ffn_module, f->ffn_module) != 0, "this spelling of the experts' tensors"},
    };
    size_t i;

    for (i = 0; i < sizeof missing / sizeof *missing; i++)
        if (missing[i].asked)
            return err_set(e, ERR_UNKNOWN, "'%s': the forward pass of %s needs %s, which is not provided for",
                           m->dir, f->name, missing[i].what);
    return a->topk > MAX_TOPK
               ? err_set(e, ERR_UNKNOWN, "%d experts a token: more than %d are not provided for", a->topk,
                         MAX_TOPK)
               : 0;
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

static int buffers(struct pass *p, struct err *e)
{
    const struct arch *a = p->a;
    int k = a->topk;
    size_t host = (size_t)p->piece * (size_t)k;

    p->logits = pass_rows(p, p->piece, a->experts, sizeof(float), e);
    p->y = pass_rows(p, p->piece * k, a->hidden, sizeof(float), e);
    p->gate = pass_rows(p, p->piece, k, sizeof(float), e);
    p->norm = pass_rows(p, p->piece, k, sizeof(float), e);
    p->max = pass_rows(p, p->piece, k, sizeof(float), e);
    p->chosen = pass_rows(p, p->piece, k, sizeof(int32_t), e);
    p->host_gate = mem_new(host, sizeof(float), e);
    p->host_norm = mem_new(host, sizeof(float), e);
    p->host_max = mem_new(host, sizeof(float), e);
    p->host_chosen = mem_new(host, sizeof(int32_t), e);
    return p->logits && p->y && p->gate && p->norm && p->max && p->chosen && p->host_gate && p->host_norm &&
                   p->host_max && p->host_chosen
               ? 0
               : -1;
}

static void pass_free(struct pass *p)
{
    void *const device[] = {p->logits, p->y, p->gate, p->norm, p->max, p->chosen};
    size_t i;

    for (i = 0; i < sizeof device / sizeof *device; i++)
        p->op->buf_free(p->d, device[i]);
    attention_free(p);
    free(p->host_gate);
    free(p->host_norm);
    free(p->host_max);
    free(p->host_chosen);
    free(p->chunk);
    free(p->first);
    if (p->rope.d)
        rope_tables_free(&p->rope);
    weights_close(p->weights);
}

/* ---- a layer ---- */

static int observe(struct pass *p, int layer, int64_t first, int64_t n, struct err *e)
{
    size_t bytes = (size_t)n * (size_t)p->a->topk * sizeof(float);

    if (!p->observer)
        return 0;
    p->op->to_host(p->d, p->host_chosen, p->chosen, bytes);
    p->op->to_host(p->d, p->host_gate, p->gate, bytes);
    p->op->to_host(p->d, p->host_norm, p->norm, bytes);
    p->op->to_host(p->d, p->host_max, p->max, bytes);
    if (p->observer->routed(p->observer->ctx, layer, first, (int)n, p->host_chosen, p->host_gate,
                            p->host_norm, p->host_max, e))
        return err_set(e, ERR_CANCELLED, "the observer stopped the pass");
    return 0;
}

static int not_finite(const struct pass *p, int layer, int64_t token, struct err *e)
{
    int64_t d = 0;

    while (p->b->first[d + 1] <= token)
        d++;
    return err_set(e, ERR_INPUT, "layer %d: the hidden state of token %lld of document %lld is not finite%s",
                   layer, (long long)(token - p->b->first[d]), (long long)d,
                   p->d->bf16 ? ": are the weights damaged, or does the model need --precision f32?"
                              : ": are the weights damaged?");
}

/* Router, experts (or the dense MLP) and residual of tokens first .. first+n-1. */
static int ffn_piece(struct pass *p, const struct layer_weights *w, int layer, int64_t first, int64_t n,
                     uint8_t *h, struct err *e)
{
    const struct arch *a = p->a;
    bool moe = w->kind == FFN_MOE;
    int k = moe ? a->topk : 1;
    int64_t bad;
    struct route_args r = {.logits = p->logits,
                           .mask = p->mask ? p->mask + (size_t)layer * (size_t)a->experts : NULL,
                           .n = n,
                           .experts = a->experts,
                           .topk = k,
                           .whole = a->family->gate == GATE_SCORE && !a->renorm,
                           .chosen = p->chosen,
                           .gate = p->gate};
    struct experts_args x = {.x = p->x,
                             .chosen = moe ? p->chosen : NULL,
                             .n = n,
                             .topk = k,
                             .experts = w->ffn->n,
                             .hidden = a->hidden,
                             .inter = w->ffn->inter,
                             .gate_up = w->ffn->gate_up,
                             .down = w->ffn->down,
                             .b_gate_up = w->ffn->b_gate_up,
                             .b_down = w->ffn->b_down,
                             .act = a->family->act,
                             .limit = (float)a->act_limit,
                             .y = p->y,
                             .norm = moe && p->observer ? p->norm : NULL,
                             .max = p->max};

    p->op->norm(p->d, h, n, a->hidden, w->post_norm, (float)a->eps, p->x);
    if (moe) {
        p->op->linear(p->d, w->router, p->x, n, w->b_router, p->logits);
        p->op->route(p->d, &r);
        p->flops += 2.0 * (double)n * a->hidden * a->experts;
    }
    p->flops += 6.0 * (double)n * k * a->hidden * w->ffn->inter;
    if (p->op->experts(p->d, &x, e))
        return -1;
    bad = p->op->combine(p->d, p->y, moe ? p->gate : NULL, n, k, a->hidden, h);
    if (bad >= 0)
        return not_finite(p, layer, first + bad, e);
    return moe ? observe(p, layer, first, n, e) : 0;
}

static int layer_chunk(struct pass *p, const struct layer_weights *w, int layer, int64_t c, struct err *e)
{
    int64_t doc = p->chunk[c], from = p->b->first[doc], to = p->b->first[p->chunk[c + 1]], t;
    size_t row = (size_t)p->a->hidden * p->d->elem_bytes;

    if (to == from)
        return 0;
    if (attention_block(p, w, layer, doc, p->chunk[c + 1] - doc, (uint8_t *)p->h->x + (size_t)from * row, e))
        return -1;
    for (t = from; t < to; t += p->piece)
        if (ffn_piece(p, w, layer, t, to - t < p->piece ? to - t : p->piece,
                      (uint8_t *)p->h->x + (size_t)t * row, e))
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
        for (c = 0; c < p->chunks; c++) {
            if (o->progress)
                o->progress(o->progress_ctx, layer, p->a->layers,
                            (layer + (double)c / (double)p->chunks) / p->a->layers);
            if (layer_chunk(p, w, layer, c, e))
                return -1;
        }
    }
    return 0;
}

/* ---- the pass ---- */

static int hidden_new(struct pass *p, struct err *e)
{
    int64_t n = p->b->docs ? p->b->first[p->b->docs] : 0;
    uint64_t bytes = (uint64_t)n * (uint64_t)p->a->hidden * p->d->elem_bytes;

    if (p->en->o.mem_max && bytes > p->en->o.mem_max)
        return err_set(e, ERR_USAGE,
                       "%lld tokens need %.3g GB for their hidden states, more than --mem-max allows",
                       (long long)n, (double)bytes * 1e-9);
    p->h = mem_new(1, sizeof *p->h, e);
    if (!p->h)
        return -1;
    p->h->d = p->d;
    p->h->tokens = n;
    p->h->hidden = p->a->hidden;
    p->h->x = pass_rows(p, n, p->a->hidden, p->d->elem_bytes, e);
    return p->h->x ? 0 : -1;
}

static int run_pass(struct pass *p, const struct model *m, struct engine_cost *cost, bool norm, struct err *e)
{
    float *w = NULL;

    if (hidden_new(p, e) || cut_chunks(p, e) || attention_buffers(p, e) || buffers(p, e) ||
        weights_embed(p->d, m, p->b->ids, p->h->tokens, p->h->x, &cost->bytes_read, e) ||
        rope_tables_new(&p->rope, p->d, &p->a->rope, p->b, e) || weights_open(&p->weights, p->d, m, e) ||
        run_layers(p, e))
        return -1;
    weights_cost(p->weights, cost);
    if (norm) {
        if (weights_final_norm(p->d, m, &w, e))
            return -1;
        p->op->norm(p->d, p->h->x, p->h->tokens, p->a->hidden, w, (float)p->a->eps, p->h->x);
        p->op->buf_free(p->d, w);
    }
    return 0;
}

static uint64_t peak_bytes(void)
{
    struct rusage r;

    return getrusage(RUSAGE_SELF, &r) == 0 ? (uint64_t)r.ru_maxrss * 1024 : 0;
}

int engine_forward(struct engine *en, const struct model *m, const struct batch *b, const uint8_t *mask,
                   const struct observer *observer, struct hidden **hidden, struct engine_cost *cost,
                   struct err *e)
{
    struct pass p = {.en = en,
                     .d = en->d,
                     .op = en->d->ops,
                     .a = &m->arch,
                     .b = b,
                     .mask = mask,
                     .observer = observer,
                     .piece = chunk_default(en, m)};
    struct engine_cost c = {0};
    double t0 = engine_now();
    int rc;

    if (hidden)
        *hidden = NULL;
    if (check_arch(m, e) || check_batch(b, &m->arch, e) || check_mask(mask, &m->arch, e))
        return -1;
    rc = run_pass(&p, m, &c, hidden != NULL, e);
    pass_free(&p);
    if (rc == 0 && hidden)
        *hidden = p.h;
    else
        hidden_free(p.h);
    c.seconds = engine_now() - t0;
    c.flops = p.flops;
    c.peak_bytes = peak_bytes();
    if (cost)
        *cost = c;
    return rc;
}

void hidden_free(struct hidden *h)
{
    if (!h)
        return;
    h->d->ops->buf_free(h->d, h->x);
    free(h);
}
