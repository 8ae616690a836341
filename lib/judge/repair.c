#include "judge/repair.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "judge/candidate.h"
#include "judge/least_squares.h"
#include "quant/bf16.h"

/* Sums of one layer over the documents of one half. */
struct sums {
    double *m;     /* [experts][experts] */
    double *v;     /* [experts][width] */
    double rr, yy; /* |r|^2, |y|^2 */
};

struct work {
    struct engine *en;
    const struct model *m;
    const struct corpus *c;
    uint8_t *mask; /* [layers][experts] of the plan, then of one layer at a time */
    int n_layers;  /* MoE layers */
    int *index;    /* [layers] of a MoE layer, -1 */
    bool bf16, gated;
    bool bias;        /* biases are fitted, not factors */
    int width;        /* of what is fitted for an expert: hidden, or 1 */
    struct sums *sum; /* [n_layers][2] */

    /* the pass */
    int64_t tokens;
    int *half;  /* [tokens] */
    float *y;   /* [n_layers][tokens][hidden] of the whole model */
    float *u;   /* [topk][hidden] */
    float *r;   /* [hidden] */
    int layer;  /* the one with the plan in force; -1: none */
    bool ended; /* the pass was stopped, since what follows is not needed */
};

/* ---- observing ---- */

static int routed(void *ctx, int layer, int64_t first_token, int n, const int32_t *expert, const float *gate,
                  const float *norm, const float *max, struct err *e)
{
    struct work *w = ctx;

    (void)first_token, (void)n, (void)expert, (void)gate, (void)norm, (void)max;
    if (w->layer < 0 || layer <= w->layer)
        return 0;
    w->ended = true;
    return err_set(e, ERR_CANCELLED, "the layers that follow are not needed");
}

/* What each expert adds, as f32. */
static void weigh(struct work *w, const void *y, const float *gate)
{
    int hidden = w->m->arch.hidden, topk = w->m->arch.topk, k, i;

    for (k = 0; k < topk; k++)
        for (i = 0; i < hidden; i++) {
            size_t at = (size_t)k * (size_t)hidden + (size_t)i;
            float v = w->bf16 ? bf16_to_f32(((const uint16_t *)y)[at]) : ((const float *)y)[at];

            w->u[at] = w->gated ? v : v * gate[k];
        }
}

static double inner(const float *a, const float *b, int n)
{
    double sum = 0;
    int i;

    for (i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

static void add_token(struct work *w, const float *y, struct sums *s, const int32_t *expert,
                      const float *gate)
{
    int hidden = w->m->arch.hidden, topk = w->m->arch.topk, experts = w->m->arch.experts, k, j, i;

    for (i = 0; i < hidden; i++)
        for (w->r[i] = y[i], k = 0; k < topk; k++)
            w->r[i] -= w->u[k * hidden + i];
    for (k = 0; k < topk; k++) {
        const float *u = w->u + (size_t)k * (size_t)hidden;
        double *v = s->v + (size_t)expert[k] * (size_t)w->width;

        for (i = 0; w->bias && i < hidden; i++)
            v[i] += (double)gate[k] * (double)w->r[i];
        if (!w->bias)
            *v += inner(u, w->r, hidden);
        for (j = 0; j < topk; j++)
            s->m[expert[k] * experts + expert[j]] +=
                w->bias ? (double)gate[k] * (double)gate[j]
                        : inner(u, w->u + (size_t)j * (size_t)hidden, hidden);
    }
    s->rr += inner(w->r, w->r, hidden);
    s->yy += inner(y, y, hidden);
}

static void sampled(void *ctx, int layer, int64_t i, const void *x, const void *out, const int32_t *expert,
                    const float *gate)
{
    struct work *w = ctx;
    int hidden = w->m->arch.hidden, topk = w->m->arch.topk, l = w->index[layer], k, j;
    float *y = w->y + ((size_t)l * (size_t)w->tokens + (size_t)i) * (size_t)hidden;

    (void)x;
    if (w->layer >= 0 && layer != w->layer)
        return;
    weigh(w, out, gate);
    if (w->layer >= 0) {
        add_token(w, y, &w->sum[2 * l + w->half[i]], expert, gate);
        return;
    }
    for (j = 0; j < hidden; j++)
        for (y[j] = 0, k = 0; k < topk; k++)
            y[j] += w->u[k * hidden + j];
}

static int forward(struct work *w, const struct pass *p, const uint8_t *mask, struct engine_cost *sum,
                   struct err *e)
{
    struct observer ob = {.routed = routed, .ctx = w, .sampled = sampled, .samples = w->tokens};
    int64_t *sample = mem_new((size_t)w->tokens, sizeof *sample, e), i;
    struct engine_cost cost = {0};
    struct err why = {0};
    int rc;

    if (!sample)
        return -1;
    for (i = 0; i < w->tokens; i++)
        sample[i] = i;
    ob.sample = sample;
    w->ended = false;
    rc = engine_forward(w->en, w->m, &p->batch, mask, &ob, NULL, &cost, &why);
    free(sample);
    cost_add(sum, &cost);
    if (!rc || w->ended)
        return 0;
    return err_set(e, why.kind, "%s", why.msg);
}

/* One run of documents: the whole model, then with the plan in force in each layer alone. */
static int run_pass(struct work *w, int64_t first_doc, int64_t end_doc, struct engine_cost *cost,
                    struct err *e)
{
    size_t experts = (size_t)w->m->arch.experts, hidden = (size_t)w->m->arch.hidden;
    uint8_t *one = mem_new((size_t)w->m->arch.layers * experts, 1, e);
    struct pass p;
    int64_t d, t;
    int l, rc = -1;

    if (!one || pass_open(&p, w->c, first_doc, end_doc, e)) {
        free(one);
        return -1;
    }
    w->tokens = p.tokens;
    w->half = mem_new((size_t)p.tokens, sizeof *w->half, e);
    w->y = mem_new_aligned((size_t)w->n_layers * (size_t)p.tokens, hidden * sizeof *w->y, e);
    if (!w->half || !w->y)
        goto out;
    for (d = first_doc; d < end_doc; d++)
        for (t = 0; t < w->c->doc[d].n; t++)
            w->half[p.first[d - first_doc] + t] = w->c->doc[d].half;
    w->layer = -1;
    rc = forward(w, &p, NULL, cost, e);
    for (l = 0; l < w->m->arch.layers && !rc; l++) {
        if (w->index[l] < 0)
            continue;
        memset(one, 1, (size_t)w->m->arch.layers * experts);
        memcpy(one + (size_t)l * experts, w->mask + (size_t)l * experts, experts);
        w->layer = l;
        rc = forward(w, &p, one, cost, e);
    }
out:
    free(w->half);
    free(w->y);
    free(one);
    pass_close(&p);
    return rc;
}

static int run_passes(struct work *w, const struct pass_options *po, struct engine_cost *cost, struct err *e)
{
    uint64_t bytes = pass_state_bytes(w->m, engine_precision(w->en)) +
                     (uint64_t)w->n_layers * (uint64_t)w->m->arch.hidden * sizeof(float);
    struct passes ps;
    int64_t i;
    int rc = 0;

    if (passes_split(&ps, w->c, bytes, po->mem_max, e))
        return -1;
    for (i = 0; i < ps.n && !rc; i++) {
        if (po->begin)
            po->begin(po->ctx, i, ps.n);
        rc = run_pass(w, ps.doc[i], ps.doc[i + 1], cost, e);
    }
    passes_free(&ps);
    return rc;
}

/* ---- fitting ---- */

/* |r|^2 over the tokens of s after a repair by d [experts][width]. */
static double error_of(const struct sums *s, const double *d, int experts, int width)
{
    double sum = s->rr;
    int i, j, k;

    for (i = 0; i < experts; i++) {
        const double *di = d + (size_t)i * (size_t)width, *v = s->v + (size_t)i * (size_t)width;

        for (k = 0; k < width; k++)
            sum -= 2 * di[k] * v[k];
        for (j = 0; j < experts; j++) {
            const double *dj = d + (size_t)j * (size_t)width;
            double m = s->m[i * experts + j], dot = 0;

            for (k = 0; m != 0 && k < width; k++)
                dot += di[k] * dj[k];
            sum += m * dot;
        }
    }
    return sum > 0 ? sum : 0;
}

static void add_sums(struct sums *to, const struct sums *from, int experts, int width)
{
    int i;

    for (i = 0; i < experts * experts; i++)
        to->m[i] += from->m[i];
    for (i = 0; i < experts * width; i++)
        to->v[i] += from->v[i];
}

static int solve(const struct sums *s, double *d, int experts, int width, double ridge, struct err *e)
{
    memcpy(d, s->v, (size_t)experts * (size_t)width * sizeof *d);
    return ridge_solve(s->m, experts, ridge, d, width, e);
}

/* s: of both halves; d: scratch, on return what both together give. */
static int fit_layer(struct repair_layer *r, struct sums *s, double *d, int experts, int width, double ridge,
                     struct err *e)
{
    double all = s[0].yy + s[1].yy, before = s[0].rr + s[1].rr, held = 0;
    int h;

    for (h = 0; h < 2; h++) {
        if (solve(&s[1 - h], d, experts, width, ridge, e))
            return -1;
        held += error_of(&s[h], d, experts, width);
    }
    r->before = all > 0 ? before / all : 0;
    r->held = all > 0 ? held / all : 0;
    r->repaired = held < before;
    add_sums(&s[0], &s[1], experts, width);
    return solve(&s[0], d, experts, width, ridge, e);
}

static int fit(struct work *w, struct repair *out, struct repair_report *r, double ridge, struct err *e)
{
    int experts = w->m->arch.experts, n = experts * w->width, l, i, rc = 0;
    double *d = mem_new((size_t)n, sizeof *d, e);

    r->layer = mem_new((size_t)w->n_layers, sizeof *r->layer, e);
    if (!r->layer || !d)
        rc = -1;
    r->layers = rc ? 0 : w->n_layers;
    for (l = 0; l < r->layers && !rc; l++) {
        struct repair_layer *x = &r->layer[l];
        float *value = repair_value(out, l, 0);

        x->layer = out->layer[l];
        rc = fit_layer(x, &w->sum[2 * l], d, experts, w->width, ridge, e);
        for (i = 0; i < n && x->repaired; i++)
            value[i] = (float)(value[i] + d[i]);
        r->repaired += x->repaired;
        r->before += x->before / r->layers;
        r->after += (x->repaired ? x->held : x->before) / r->layers;
    }
    free(d);
    return rc;
}

/* ---- all of it ---- */

static int new_sums(struct work *w, struct err *e)
{
    size_t experts = (size_t)w->m->arch.experts;
    int i;

    w->sum = mem_new(2 * (size_t)w->n_layers, sizeof *w->sum, e);
    for (i = 0; w->sum && i < 2 * w->n_layers; i++) {
        w->sum[i].m = mem_new(experts * experts, sizeof *w->sum[i].m, e);
        w->sum[i].v = mem_new(experts * (size_t)w->width, sizeof *w->sum[i].v, e);
        if (!w->sum[i].m || !w->sum[i].v)
            return -1;
    }
    return w->sum ? 0 : -1;
}

static int open_work(struct work *w, const struct plan *p, struct err *e)
{
    const struct arch *a = &w->m->arch;
    int64_t d, n[2] = {0};
    int l;

    for (d = 0; d < w->c->docs; d++)
        n[w->c->doc[d].half]++;
    if (!n[0] || !n[1])
        return err_set(e, ERR_INPUT, "two documents of a category are needed at least, one for each half");
    if (candidate_check(&(struct candidate){.plan = p}, w->m, &w->mask, e))
        return -1;
    w->bf16 = engine_precision(w->en)->bf16;
    w->gated = a->family->gate_site == GATE_INPUT;
    w->index = mem_new((size_t)a->layers, sizeof *w->index, e);
    w->u = mem_new((size_t)a->topk * (size_t)a->hidden, sizeof *w->u, e);
    w->r = mem_new((size_t)a->hidden, sizeof *w->r, e);
    w->bias = a->family->expert_bias;
    w->width = w->bias ? a->hidden : 1;
    if (!w->index || !w->u || !w->r)
        return -1;
    for (l = 0; l < a->layers; l++)
        w->index[l] = a->layer[l].ffn == FFN_MOE ? w->n_layers++ : -1;
    return new_sums(w, e);
}

static void close_work(struct work *w)
{
    int i;

    for (i = 0; w->sum && i < 2 * w->n_layers; i++) {
        free(w->sum[i].m);
        free(w->sum[i].v);
    }
    free(w->sum);
    free(w->mask);
    free(w->index);
    free(w->u);
    free(w->r);
}

int judge_repair(struct repair *out, struct repair_report *r, struct engine *en, const struct model *m,
                 const struct plan *p, const struct corpus *c, double ridge, const struct pass_options *po,
                 struct err *e)
{
    struct work w = {.en = en, .m = m, .c = c};
    int rc;

    *out = (struct repair){0};
    *r = (struct repair_report){0};
    rc = open_work(&w, p, e) || run_passes(&w, po, &r->cost, e) ||
                 repair_new(out, &p->model, p->criterion, p->layer, p->n_layers, w.bias, e) ||
                 fit(&w, out, r, ridge, e)
             ? -1
             : 0;
    close_work(&w);
    if (rc) {
        repair_free(out);
        repair_report_free(r);
    }
    return rc;
}

void repair_report_free(struct repair_report *r)
{
    free(r->layer);
    *r = (struct repair_report){0};
}
