/*
 * repair.c -- one pass that sees every layer whole and under the plan, then a least squares problem a
 * layer.
 */
#include "judge/repair.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "judge/candidate.h"
#include "judge/least_squares.h"
#include "judge/repair_sums.h"

struct work {
    struct engine *en;
    const struct model *m;
    const struct corpus *c;
    struct mask mask;          /* of the plan */
    int n_layers;              /* MoE layers */
    int *index;                /* [layers] of a MoE layer, -1 */
    int width;                 /* of what is fitted for an expert: hidden, or 1 */
    struct repair_sums *sum;   /* [n_layers][2] */
    struct repair_adder adder; /* for all of them */
    uint8_t *half;             /* [tokens] of the pass */
};

/* ---- observing ---- */

static void sampled(void *ctx, int layer, int64_t i, int n, const struct token_rows *whole,
                    const struct token_rows *planned)
{
    struct work *w = ctx;

    repair_add(&w->adder, &w->sum[2 * w->index[layer]], w->half + i, whole, planned, n);
}

/* One run of documents: each layer as it is and with the plan in force in it alone. */
static int run_pass(struct work *w, int64_t first_doc, int64_t end_doc, struct engine_cost *sum,
                    struct err *e)
{
    struct observer ob = {.ctx = w, .sampled = sampled, .apart = &w->mask};
    struct engine_cost cost = {0};
    struct corpus_pass p;
    int64_t d;
    int rc = -1;

    if (corpus_pass_open(&p, w->c, first_doc, end_doc, e))
        return -1;
    w->half = mem_new((size_t)p.tokens, 1, e);
    for (d = first_doc; w->half && d < end_doc; d++)
        memset(w->half + p.first[d - first_doc], w->c->doc[d].half, (size_t)w->c->doc[d].n);
    ob.samples = p.tokens;
    if (w->half)
        rc = engine_forward(w->en, w->m, &p.batch, NULL, &ob, NULL, &cost, e);
    cost_add(sum, &cost);
    free(w->half);
    corpus_pass_close(&p);
    return rc;
}

static int run_passes(struct work *w, const struct pass_options *po, struct engine_cost *cost, struct err *e)
{
    uint64_t bytes = pass_state_bytes(w->m, engine_precision(w->en)) + sizeof *w->half;
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

static int solve(const struct repair_sums *s, double *d, int experts, int width, double ridge, struct err *e)
{
    memcpy(d, s->v, (size_t)experts * (size_t)width * sizeof *d);
    return ridge_solve(s->m, experts, ridge, d, width, e);
}

/* s: of both halves; d: scratch, on return what both together give. */
static int fit_layer(struct repair_layer *r, struct repair_sums *s, double *d, int experts, int width,
                     double ridge, struct err *e)
{
    double all = s[0].yy + s[1].yy, before = s[0].rr + s[1].rr, held = 0;
    int h;

    for (h = 0; h < 2; h++) {
        if (solve(&s[1 - h], d, experts, width, ridge, e))
            return -1;
        held += repair_error(&s[h], d, experts, width);
    }
    r->before = all > 0 ? before / all : 0;
    r->held = all > 0 ? held / all : 0;
    r->repaired = held < before;
    repair_sums_join(&s[0], &s[1], experts, width);
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
    int i;

    w->sum = mem_new(2 * (size_t)w->n_layers, sizeof *w->sum, e);
    for (i = 0; w->sum && i < 2 * w->n_layers; i++)
        if (repair_sums_new(&w->sum[i], &w->adder, e))
            return -1;
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
    w->index = mem_new((size_t)a->layers, sizeof *w->index, e);
    if (!w->index || repair_adder_open(&w->adder, a, engine_precision(w->en)->bf16, engine_threads(w->en), e))
        return -1;
    w->width = w->adder.bias ? a->hidden : 1;
    for (l = 0; l < a->layers; l++)
        w->index[l] = a->layer[l].ffn == FFN_MOE ? w->n_layers++ : -1;
    return new_sums(w, e);
}

static void close_work(struct work *w)
{
    int i;

    for (i = 0; w->sum && i < 2 * w->n_layers; i++)
        repair_sums_free(&w->sum[i]);
    free(w->sum);
    mask_free(&w->mask);
    free(w->index);
    repair_adder_close(&w->adder);
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
                 repair_new(out, &p->model, p->criterion, p->layer, p->n_layers, w.adder.bias, e) ||
                 plan_kept_digest(p, out->kept, e) || fit(&w, out, r, ridge, e)
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
