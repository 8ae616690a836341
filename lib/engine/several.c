/*
 * several.c -- shares the documents of a pass out among several devices, and tells the observer what they
 * found in the order of one.
 */
#include "engine/several.h"

#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* A piece that a device has to tell the observer. */
struct told {
    struct told *next;
    int layer;
    int64_t first, n;
    int32_t *chosen; /* [n][topk], as are the next three; all in the same block of memory */
    float *gate, *norm, *max;
    struct residual_view *residual; /* [n] */
    float *pair;
};

struct share {
    struct crew *crew;
    struct pass p;
    struct batch b;
    int64_t *first; /* of b */
    struct observer ob;
    struct told *queue, **end; /* what was not handed over yet */
    struct told *open;         /* a piece whose pairs are still to come */
    int reached;               /* no piece of a layer below it will come any more */
    struct engine_cost cost;
    struct err err;
    int rc;
    pthread_t thread;
};

struct crew {
    const struct model *m;
    const struct observer *to;
    struct hidden **joint; /* [variants]; NULL: not wanted */
    int n, topk;
    struct share *share; /* [n] */
    pthread_mutex_t lock;
};

int several_cut(const struct batch *b, int most, int64_t *doc)
{
    int64_t all = b->docs ? b->first[b->docs] : 0, d = 0;
    int n = b->docs < most ? (int)b->docs : most, i;

    for (i = 0; i < n; i++) {
        doc[i] = d++;
        while (d < b->docs - (n - 1 - i) && b->first[d] < all / n * (i + 1))
            d++;
    }
    doc[n] = b->docs;
    return n;
}

/* ---- the observer: what is told, layer by layer, device by device ---- */

static int told_pairs(const struct crew *c)
{
    return c->to->pairs ? c->topk * (c->topk - 1) / 2 : 0;
}

static struct told *told_new(const struct crew *c, int64_t n, struct err *e)
{
    size_t rows = (size_t)n * (size_t)c->topk;
    struct told *t = mem_new(1,
                             sizeof *t + (4 * rows + (size_t)n * (size_t)told_pairs(c)) * sizeof(float) +
                                 (size_t)n * sizeof *t->residual,
                             e);

    if (!t)
        return NULL;
    t->gate = (float *)(void *)(t + 1);
    t->norm = t->gate + rows;
    t->max = t->norm + rows;
    t->chosen = (int32_t *)(void *)(t->max + rows);
    t->residual = (struct residual_view *)(void *)(t->chosen + rows);
    t->pair = (float *)(void *)(t->residual + n);
    t->n = n;
    return t;
}

/* The share whose piece comes next, if it is there and nothing before it can come any more; -1: none. */
static int next_share(const struct crew *c)
{
    int i, next = -1, layer = INT_MAX;

    for (i = 0; i < c->n; i++)
        if (c->share[i].queue && c->share[i].queue->layer < layer) {
            next = i;
            layer = c->share[i].queue->layer;
        }
    for (i = 0; next >= 0 && i < c->n; i++)
        if (i != next && c->share[i].reached < (i < next ? layer + 1 : layer))
            return -1;
    return next;
}

/* Hands over what is due. Under the lock. */
static int hand_over(struct crew *c, struct err *e)
{
    const struct observer *o = c->to;
    int i, rc = 0;

    while (rc == 0 && (i = next_share(c)) >= 0) {
        struct share *s = &c->share[i];
        struct told *t = s->queue;
        const struct choices chosen = {t->chosen, t->gate, t->norm, t->max, t->residual};

        rc = o->routed(o->ctx, t->layer, t->first, (int)t->n, &chosen, e);
        if (rc == 0 && o->pairs)
            rc = o->pairs(o->ctx, t->layer, t->first, (int)t->n, t->chosen, t->gate, t->norm, t->pair, e);
        s->queue = t->next;
        if (!s->queue)
            s->end = &s->queue;
        free(t);
    }
    return rc;
}

/* t: a new piece of this share; NULL: there will be no more. */
static int tell(struct share *s, struct told *t, struct err *e)
{
    struct crew *c = s->crew;
    int rc;

    pthread_mutex_lock(&c->lock);
    s->reached = t ? t->layer : INT_MAX;
    if (t) {
        *s->end = t;
        s->end = &t->next;
    }
    rc = c->to ? hand_over(c, e) : 0;
    pthread_mutex_unlock(&c->lock);
    return rc;
}

static int several_routed(void *ctx, int layer, int64_t first, int n, const struct choices *c, struct err *e)
{
    struct share *s = ctx;
    size_t bytes = (size_t)n * (size_t)s->crew->topk * sizeof(float);
    struct told *t = told_new(s->crew, n, e);

    if (!t)
        return -1;
    t->layer = layer;
    t->first = first;
    memcpy(t->chosen, c->expert, bytes);
    memcpy(t->gate, c->gate, bytes);
    memcpy(t->norm, c->norm, bytes);
    memcpy(t->max, c->max, bytes);
    memcpy(t->residual, c->residual, (size_t)n * sizeof *t->residual);
    s->open = t;
    return s->crew->to->pairs ? 0 : tell(s, t, e);
}

static int pairs(void *ctx, int layer, int64_t first, int n, const int32_t *chosen, const float *gate,
                 const float *norm, const float *inner, struct err *e)
{
    struct share *s = ctx;

    (void)layer, (void)first, (void)chosen, (void)gate, (void)norm;
    memcpy(s->open->pair, inner, (size_t)n * (size_t)told_pairs(s->crew) * sizeof *inner);
    return tell(s, s->open, e);
}

/* ---- shares ---- */

static int share_open(struct share *s, struct crew *c, const struct pass *like, struct device *d, int64_t doc,
                      int64_t end, struct err *e)
{
    const struct batch *b = like->b;
    int64_t i;
    int v;

    s->crew = c;
    s->end = &s->queue;
    s->reached = -1;
    s->first = mem_new((size_t)(end - doc) + 1, sizeof *s->first, e);
    s->p = *like;
    s->p.variant = mem_new((size_t)like->variants, sizeof *s->p.variant, e);
    if (!s->first || !s->p.variant)
        return -1;
    for (i = doc; i <= end; i++)
        s->first[i - doc] = b->first[i] - b->first[doc];
    for (v = 0; v < like->variants; v++)
        s->p.variant[v] = like->variant[v];
    s->b = (struct batch){b->ids + b->first[doc], s->first, end - doc};
    s->ob =
        (struct observer){.routed = several_routed, .ctx = s, .pairs = c->to && c->to->pairs ? pairs : NULL};
    s->p.d = d;
    s->p.op = d->ops;
    s->p.b = &s->b;
    s->p.observer = c->to ? &s->ob : NULL;
    s->p.doc_base = doc;
    s->p.token_base = b->first[doc];
    return 0;
}

static void share_close(struct share *s)
{
    while (s->queue) {
        struct told *t = s->queue;

        s->queue = t->next;
        free(t);
    }
    free(s->first);
    free(s->p.variant);
}

/* The states of all variants to their places among those of all documents. */
static int join_states(struct share *s, struct err *e)
{
    size_t row = s->p.states.row;
    int v;

    states_settle(&s->p.states);
    for (v = 0; v < s->p.variants; v++) {
        const struct hidden *h = s->p.states.h[v];
        uint8_t *to = (uint8_t *)s->crew->joint[v]->x + (size_t)s->p.token_base * row;

        if (h->on_host)
            memcpy(to, h->x, (size_t)h->tokens * row);
        else
            s->p.op->to_host(s->p.d, to, h->x, (size_t)h->tokens * row);
    }
    return s->p.op->check(s->p.d, e);
}

static void *share_run(void *arg)
{
    struct share *s = arg;
    const struct crew *c = s->crew;

    s->p.op->enter(s->p.d);
    s->rc = pass_run(&s->p, c->m, c->joint != NULL, &s->err);
    if (s->rc == 0)
        s->rc = tell(s, NULL, &s->err);
    if (s->rc == 0 && c->joint)
        s->rc = join_states(s, &s->err);
    if (s->rc)
        reader_stop(s->p.loading->reader, &s->err); /* and with it the others */
    if (s->p.weights)
        s->cost.wait_seconds += weights_waited(s->p.weights);
    pass_free(&s->p);
    return NULL;
}

/* ---- the pass ---- */

static int joint_new(struct crew *c, const struct pass *like, struct hidden **hidden, struct err *e)
{
    struct device *d = like->en->d;
    int64_t tokens = like->b->first[like->b->docs];
    int v;

    for (v = 0; v < like->variants; v++) {
        struct hidden *h = mem_new(1, sizeof *h, e);

        if (!h)
            return -1;
        *h = (struct hidden){d, true, NULL, tokens, like->a->hidden};
        hidden[v] = h;
        h->x = d->ops->host_new(d, ((size_t)tokens + TILE_ROWS) * (size_t)like->a->hidden * d->elem_bytes, e);
        if (!h->x)
            return -1;
    }
    c->joint = hidden;
    return 0;
}

/* All shares at once, the first in this thread. */
static int run_all(struct crew *c, struct err *e)
{
    int i, started = 1;

    for (; started < c->n; started++)
        if (pthread_create(&c->share[started].thread, NULL, share_run, &c->share[started])) {
            err_set(e, ERR_IO, "cannot start the thread of device %d of %d", started + 1, c->n);
            reader_stop(c->share[0].p.loading->reader, e);
            break;
        }
    if (started == c->n)
        share_run(&c->share[0]);
    for (i = 1; i < started; i++)
        pthread_join(c->share[i].thread, NULL);
    for (i = 0; i < c->n && !e->kind; i++)
        if (c->share[i].rc)
            err_set(e, c->share[i].err.kind, "%s", c->share[i].err.msg);
    return e->kind ? -1 : 0;
}

int several_forward(const struct pass *like, const struct model *m, int n, const int64_t *doc,
                    struct hidden **hidden, struct engine_cost *cost, struct err *e)
{
    struct crew c = {.m = m, .to = like->observer, .n = n, .topk = m->arch.topk};
    struct err why = {0};
    double wait = 0;
    int i, v, rc = 0;

    c.share = mem_new((size_t)n, sizeof *c.share, &why);
    pthread_mutex_init(&c.lock, NULL);
    rc = !c.share || (hidden && joint_new(&c, like, hidden, &why)) ? -1 : 0;
    for (i = 0; i < n && rc == 0; i++)
        rc = share_open(&c.share[i], &c, like, like->en->device[i], doc[i], doc[i + 1], &why);
    if (rc == 0)
        rc = run_all(&c, &why);
    for (i = 0; c.share && i < n; i++) {
        cost->flops += c.share[i].p.flops;
        wait = c.share[i].cost.wait_seconds > wait ? c.share[i].cost.wait_seconds : wait;
        share_close(&c.share[i]);
    }
    cost->wait_seconds += wait;
    for (v = 0; rc && hidden && v < like->variants; v++) {
        hidden_free(hidden[v]);
        hidden[v] = NULL;
    }
    pthread_mutex_destroy(&c.lock);
    free(c.share);
    return rc ? err_set(e, why.kind, "%s", why.msg) : 0;
}
