/*
 * watch.c -- what an observer is told. A piece's routing goes to the host beside computing, into one of two
 * sets of buffers, and is handed over when the next piece is under way: the device does not wait for the
 * observer.
 */
#include "engine/pass.h"

enum { SAMPLE_BYTES = 4 << 20 }; /* of results that an observer is shown at once */

static int pairs_of(const struct arch *a)
{
    return a->topk * (a->topk - 1) / 2; /* 0 of a token's only expert: buffers are never empty all the same */
}

static size_t sum_bytes(const struct arch *a, int v)
{
    return (size_t)a->experts * (size_t)expert_sum_width(v, a->hidden, a->inter) * sizeof(double);
}

static size_t shared_bytes(const struct arch *a)
{
    return (size_t)a->shared_inter * sizeof(double);
}

uint64_t watch_sum_bytes(const struct pass *p)
{
    uint64_t n = shared_bytes(p->a);
    int v;

    for (v = 0; v < EXPERT_SUMS; v++)
        n += sum_bytes(p->a, v);
    return p->observer && p->observer->sums ? n : 0;
}

static size_t of_pairs(const struct arch *a, int64_t n)
{
    return (size_t)n * (size_t)(pairs_of(a) + 1) * sizeof(float);
}

static size_t row_bytes(const struct pass *p)
{
    return (size_t)p->a->hidden * p->d->elem_bytes;
}

/* ---- buffers ---- */

int64_t watch_row(const struct pass *p)
{
    const struct arch *a = p->a;
    const struct observer *o = p->observer;
    int64_t n = 4 * a->topk + (o && o->pairs ? pairs_of(a) + 1 : 0) +
                (o && o->routed ? (int64_t)(sizeof(struct residual_view) / sizeof(float)) : 0) +
                (o && o->viewed ? (int64_t)(sizeof(struct router_view) / sizeof(float)) : 0);
    int64_t apart = watch_apart(p) ? a->topk * ((int64_t)row_bytes(p) + 3 * (int64_t)sizeof(float)) : 0;

    return (o ? WATCH_SETS : 1) * n * (int64_t)sizeof(float) + apart;
}

static int device_set(struct pass *p, struct routing *r, const struct observer *o, struct err *e)
{
    int k = p->a->topk;

    if (o && o->viewed && !(r->view = pass_rows(p, p->piece, 1, sizeof *r->view, e)))
        return -1;
    if (o && o->routed && !(r->residual = pass_rows(p, p->piece, 1, sizeof *r->residual, e)))
        return -1;

    r->chosen = pass_rows(p, p->piece, k, sizeof(int32_t), e);
    r->gate = pass_rows(p, p->piece, k, sizeof(float), e);
    r->norm = pass_rows(p, p->piece, k, sizeof(float), e);
    r->max = pass_rows(p, p->piece, k, sizeof(float), e);
    if (o && o->pairs && !(r->pair = pass_rows(p, p->piece, pairs_of(p->a) + 1, sizeof(float), e)))
        return -1;
    return r->chosen && r->gate && r->norm && r->max ? 0 : -1;
}

static int host_set(struct pass *p, struct routing *r, const struct observer *o, struct err *e)
{
    size_t bytes = (size_t)p->piece * (size_t)p->a->topk * sizeof(float);

    if (o->viewed && !(r->view = p->op->host_new(p->d, (size_t)p->piece * sizeof *r->view, e)))
        return -1;
    if (o->routed && !(r->residual = p->op->host_new(p->d, (size_t)p->piece * sizeof *r->residual, e)))
        return -1;

    r->chosen = p->op->host_new(p->d, bytes, e);
    r->gate = p->op->host_new(p->d, bytes, e);
    r->norm = p->op->host_new(p->d, bytes, e);
    r->max = p->op->host_new(p->d, bytes, e);
    if (o->pairs && !(r->pair = p->op->host_new(p->d, of_pairs(p->a, p->piece), e)))
        return -1;
    return r->chosen && r->gate && r->norm && r->max ? 0 : -1;
}

static void *sample_rows(const struct pass *p, size_t of_token, struct err *e)
{
    return p->op->host_new(p->d, (size_t)p->sample.room * of_token, e);
}

static int sample_new(struct pass *p, struct err *e)
{
    struct sample *s = &p->sample;
    size_t k = (size_t)p->a->topk, y = k * row_bytes(p);

    s->room = SAMPLE_BYTES / (int64_t)y + 1;
    s->room = s->room < p->piece ? s->room : p->piece;
    s->x = sample_rows(p, row_bytes(p), e);
    s->y = sample_rows(p, y, e);
    s->chosen = sample_rows(p, k * sizeof *s->chosen, e);
    s->gate = sample_rows(p, k * sizeof *s->gate, e);
    if (!s->x || !s->y || !s->chosen || !s->gate)
        return -1;
    if (p->observer->routed && !(s->residual = sample_rows(p, sizeof *s->residual, e)))
        return -1;
    if (!watch_apart(p))
        return 0;
    s->apart_y = sample_rows(p, y, e);
    s->apart_chosen = sample_rows(p, k * sizeof *s->apart_chosen, e);
    s->fresh = sample_rows(p, k * sizeof *s->fresh, e);
    s->apart_gate = sample_rows(p, k * sizeof *s->apart_gate, e);
    return s->apart_y && s->apart_chosen && s->fresh && s->apart_gate ? 0 : -1;
}

static void sample_free(struct pass *p)
{
    const struct sample *s = &p->sample;

    p->op->host_free(p->d, s->x);
    p->op->host_free(p->d, s->y);
    p->op->host_free(p->d, s->chosen);
    p->op->host_free(p->d, s->gate);
    p->op->host_free(p->d, s->residual);
    p->op->host_free(p->d, s->apart_y);
    p->op->host_free(p->d, s->apart_chosen);
    p->op->host_free(p->d, s->fresh);
    p->op->host_free(p->d, s->apart_gate);
}

int watch_buffers(struct pass *p, struct err *e)
{
    const struct observer *o = p->observer;
    int i, v;

    for (i = 0; i < (o ? WATCH_SETS : 1); i++)
        if (device_set(p, &p->watch[i].device, o, e) || (o && host_set(p, &p->watch[i].host, o, e)))
            return -1;
    if (o && o->sampled && sample_new(p, e))
        return -1;
    for (v = 0; o && o->sums && v < EXPERT_SUMS; v++) {
        p->sums.sum[v] = p->op->buf_new(p->d, sum_bytes(p->a, v), e);
        if (!p->sums.sum[v])
            return -1;
    }
    if (!o || !o->sums || !p->a->shared_inter)
        return 0;
    p->shared_sums.sum[SUM_INNER_SQUARE] = p->op->buf_new(p->d, shared_bytes(p->a), e);
    return p->shared_sums.sum[SUM_INNER_SQUARE] ? 0 : -1;
}

static void set_free(struct pass *p, struct routing *r, void (*release)(struct device *d, void *m))
{
    release(p->d, r->chosen);
    release(p->d, r->gate);
    release(p->d, r->norm);
    release(p->d, r->max);
    release(p->d, r->pair);
    release(p->d, r->residual);
    release(p->d, r->view);
}

void watch_free(struct pass *p)
{
    int i, v;

    for (i = 0; i < WATCH_SETS; i++) {
        p->op->finish_copy(p->d, p->watch[i].ticket);
        set_free(p, &p->watch[i].device, p->op->buf_free);
        set_free(p, &p->watch[i].host, p->op->host_free);
    }
    for (v = 0; v < EXPERT_SUMS; v++)
        p->op->buf_free(p->d, p->sums.sum[v]);
    p->op->buf_free(p->d, p->shared_sums.sum[SUM_INNER_SQUARE]);
    sample_free(p);
}

/* ---- sums by element ---- */

static bool sums_wanted(const struct pass *p, const struct layer_weights *w)
{
    return p->observer && p->observer->sums && w->kind == FFN_MOE;
}

void watch_begin(struct pass *p, const struct layer_weights *w, int layer)
{
    int v;

    if (!sums_wanted(p, w))
        return;
    p->observer->sums(p->observer->ctx, layer, &p->host);
    for (v = 0; v < EXPERT_SUMS; v++)
        p->op->to_device(p->d, p->sums.sum[v], p->host.sum[v], sum_bytes(p->a, v));
    if (w->shared)
        p->op->to_device(p->d, p->shared_sums.sum[SUM_INNER_SQUARE], p->host.shared, shared_bytes(p->a));
}

int watch_end(struct pass *p, const struct layer_weights *w, struct err *e)
{
    int v;

    if (!sums_wanted(p, w))
        return 0;
    for (v = 0; v < EXPERT_SUMS; v++)
        p->op->to_host(p->d, p->host.sum[v], p->sums.sum[v], sum_bytes(p->a, v));
    if (w->shared)
        p->op->to_host(p->d, p->host.shared, p->shared_sums.sum[SUM_INNER_SQUARE], shared_bytes(p->a));
    return watch_finish(p, e);
}

const struct expert_sums *watch_sums(struct pass *p, const struct layer_weights *w)
{
    if (!sums_wanted(p, w))
        return NULL;
    p->sums.gate = p->watch[p->turn].device.gate;
    return &p->sums;
}

const struct expert_sums *watch_shared(struct pass *p, const struct layer_weights *w)
{
    return sums_wanted(p, w) ? &p->shared_sums : NULL;
}

/* ---- samples ---- */

/* The first sample at or after token t. */
static int64_t sample_from(const struct observer *o, int64_t t)
{
    int64_t lo = 0, hi = o->sample ? o->samples : 0;

    if (!o->sample)
        return t;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;

        if (o->sample[mid] < t)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* Rows of the n samples from i on, of a piece that begins with token `first`, to the host: those of tokens
 * that follow each other in one copy. Returns the ticket of the last one. */
static uint64_t copy_samples(struct pass *p, void *to, const void *from, size_t row, int64_t first, int64_t i,
                             int64_t n)
{
    const int64_t *sample = p->observer->sample;
    uint64_t ticket = 0;
    int64_t at, run;

    for (at = 0; at < n; at += run) {
        int64_t t = (sample ? sample[i + at] : i + at) - first;

        for (run = 1; at + run < n && (!sample || sample[i + at + run] - first == t + run); run++)
            ;
        ticket = p->op->copy_down(p->d, (uint8_t *)to + (size_t)at * row,
                                  (const uint8_t *)from + (size_t)t * row, (size_t)run * row);
    }
    return ticket;
}

/* Experts whose results under the mask that is not followed were not there. */
static void count_fresh(struct pass *p, int64_t n)
{
    size_t i, fresh = 0;

    for (i = 0; i < (size_t)n * (size_t)p->a->topk; i++)
        fresh += p->sample.fresh[i] >= 0;
    p->flops += 6.0 * (double)fresh * p->a->hidden * p->a->inter;
}

/* n samples from i on, of a piece that begins with token `first`. */
static void show_some(struct pass *p, const struct routing *r, int64_t first, int64_t i, int64_t n)
{
    const struct sample *s = &p->sample;
    size_t k = (size_t)p->a->topk, row = row_bytes(p), small = k * sizeof(float);
    struct token_rows rows = {s->x, s->y, s->chosen, s->gate, NULL, s->residual};
    struct token_rows apart = {s->x, s->apart_y, s->apart_chosen, s->apart_gate, s->fresh, s->residual};
    uint64_t ticket;

    copy_samples(p, s->x, p->x, row, first, i, n);
    copy_samples(p, s->y, p->y, k * row, first, i, n);
    copy_samples(p, s->chosen, r->chosen, small, first, i, n);
    if (s->residual)
        copy_samples(p, s->residual, r->residual, sizeof *s->residual, first, i, n);
    ticket = copy_samples(p, s->gate, r->gate, small, first, i, n);
    if (watch_apart(p)) {
        copy_samples(p, s->apart_y, p->apart.y, k * row, first, i, n);
        copy_samples(p, s->apart_chosen, p->apart.chosen, small, first, i, n);
        copy_samples(p, s->fresh, p->apart.fresh, small, first, i, n);
        ticket = copy_samples(p, s->apart_gate, p->apart.gate, small, first, i, n);
    }
    p->op->finish_copy(p->d, ticket);
    if (watch_apart(p))
        count_fresh(p, n);
    p->observer->sampled(p->observer->ctx, p->layer, i, (int)n, &rows, watch_apart(p) ? &apart : NULL);
}

/* Shows those of a piece, whose rows the next one will overwrite. */
static void show_samples(struct pass *p, const struct routing *r, int64_t first, int64_t n)
{
    int64_t i = sample_from(p->observer, first), end = sample_from(p->observer, first + n), some;

    for (; i < end; i += some) {
        some = end - i < p->sample.room ? end - i : p->sample.room;
        show_some(p, r, first, i, some);
    }
}

/* ---- pieces ---- */

/* Hands over what is in a set; a state that was not finite is the better message. */
static int hand_over(struct pass *p, struct watched *x, struct err *e)
{
    const struct observer *o = p->observer;
    const struct routing *r = &x->host;
    const struct choices c = {r->chosen, r->gate, r->norm, r->max, r->residual};
    int64_t first = p->token_base + x->first, bad;
    struct err why = {0};

    if (!x->pending)
        return 0;
    x->pending = false;
    p->op->finish_copy(p->d, x->ticket);
    if (o->routed(o->ctx, x->layer, first, (int)x->n, &c, &why) == 0 &&
        (!o->pairs ||
         o->pairs(o->ctx, x->layer, first, (int)x->n, r->chosen, r->gate, r->norm, r->pair, &why) == 0)) {
        if (o->viewed)
            o->viewed(o->ctx, x->layer, first, (int)x->n, r->view);
        return 0;
    }
    bad = x->layer == p->layer ? p->op->bad_token(p->d) : -1;
    if (bad >= 0 && bad < x->first + x->n)
        return pass_not_finite(p, bad, e);
    return why.kind ? err_set(e, why.kind, "%s", why.msg)
                    : err_set(e, ERR_CANCELLED, "the observer stopped the pass");
}

const struct routing *watch_piece(struct pass *p)
{
    struct watched *x = &p->watch[p->turn];

    p->op->await_copy(p->d, x->ticket); /* of what its buffers held before */
    return &x->device;
}

int watch_routed(struct pass *p, int64_t first, int64_t n, struct err *e)
{
    const struct ops *op = p->op;
    struct watched *x = &p->watch[p->turn];
    size_t bytes = (size_t)n * (size_t)p->a->topk * sizeof(float);

    if (!p->observer)
        return 0;
    if (p->observer->sampled)
        show_samples(p, &x->device, first, n);
    if (!p->observer->routed)
        return 0;
    if (p->observer->pairs && p->a->topk > 1) {
        const struct pairs_args a = {.y = p->y,
                                     .gate = p->a->family->gate_site == GATE_INPUT ? NULL : x->device.gate,
                                     .n = n,
                                     .topk = p->a->topk,
                                     .width = p->a->hidden,
                                     .out = x->device.pair};

        op->pairs(p->d, &a);
        op->copy_down(p->d, x->host.pair, x->device.pair, (size_t)n * (size_t)pairs_of(p->a) * sizeof(float));
    }
    if (p->observer->viewed) {
        const struct view_args a = {p->logits,     x->device.chosen, n,
                                    p->a->experts, p->a->topk,       x->device.view};

        op->view(p->d, &a);
        op->copy_down(p->d, x->host.view, x->device.view, (size_t)n * sizeof *a.out);
    }
    op->copy_down(p->d, x->host.residual, x->device.residual, (size_t)n * sizeof *x->host.residual);
    op->copy_down(p->d, x->host.chosen, x->device.chosen, bytes);
    op->copy_down(p->d, x->host.gate, x->device.gate, bytes);
    op->copy_down(p->d, x->host.norm, x->device.norm, bytes);
    x->ticket = op->copy_down(p->d, x->host.max, x->device.max, bytes);
    x->layer = p->layer;
    x->first = first;
    x->n = n;
    x->pending = true;
    p->turn = (p->turn + 1) % WATCH_SETS;
    return hand_over(p, &p->watch[p->turn], e); /* the piece before, while this one is computed */
}

int watch_finish(struct pass *p, struct err *e)
{
    int i;

    for (i = 0; i < WATCH_SETS; i++)
        if (hand_over(p, &p->watch[(p->turn + i) % WATCH_SETS], e))
            return -1;
    return 0;
}
