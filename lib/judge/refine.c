/* refine.c -- candidates of each layer, their exchanges, and what of them is kept. */
#include "judge/refine.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "judge/candidate.h"
#include "judge/plan_ranks.h"
#include "judge/refine_kept.h"
#include "stats/groups.h"

enum { MASKS = 32, TOGETHER = 8, APART = 8, STAGES = 4 };

/* Of one mask: summed over the scored positions of each document. */
struct verdict {
    struct mask mask; /* of experts */
    double *doc;      /* [docs] */
};

struct refine {
    struct engine *en;
    const struct model *m;
    const struct corpus *c;
    const struct refine_options *o;
    const struct pass_options *po;
    struct plan *p;
    struct expert_groups groups;
    struct passes passes;
    struct hidden *whole; /* of the only pass; NULL: there are several */
    size_t mask_bytes;
    int batch;             /* masks that are computed at once */
    struct verdict now;    /* of the plan as it is */
    struct verdict *trial; /* [trials] */
    int trials;
    struct kl_row **row; /* [batch][tokens of a pass] */
    int64_t step, steps; /* batches of masks begun; about as many as there will be */
    int exchanges;
    struct kept_sums *kept; /* of this run and the one that it resumes; NULL: nothing is kept */
    int64_t found;          /* masks that did not have to be computed */
    struct engine_cost cost;
};

/* An expert that could go or come back, and what that does to the sum of the divergences. */
struct move {
    int expert, group;
    double change;
};
struct exchange {
    int out, in;
    double change; /* predicted: of both moves */
};

/* ---- judging masks ---- */

static int whole_model(struct refine *x, const struct corpus_pass *p, struct hidden **h, struct err *e)
{
    struct engine_cost cost = {0};

    if (engine_forward(x->en, x->m, &p->batch, NULL, NULL, h, &cost, e))
        return -1;
    cost_add(&x->cost, &cost);
    return 0;
}

static int sum_up(struct refine *x, const struct corpus_pass *p, struct verdict *v, int n, struct err *e)
{
    int64_t d, t;
    int i;

    for (i = 0; i < n; i++)
        for (d = 0; d < p->batch.docs; d++) {
            double sum = 0;

            for (t = p->first[d]; t + 1 < p->first[d + 1]; t++)
                sum += (double)x->row[i][t].kl;
            if (!isfinite(sum))
                return err_set(e, ERR_INPUT,
                               "document %lld has no finite likelihood; weights are damaged, or --precision "
                               "f32 is needed",
                               (long long)(p->first_doc + d));
            v[i].doc[p->first_doc + d] = sum;
        }
    return 0;
}

/* n masks, at most a batch, on one pass. */
static int judge_pass(struct refine *x, int64_t pass, struct verdict *v, int n, struct err *e)
{
    struct hidden *h[MASKS] = {0}, *whole = x->whole;
    struct judged side[MASKS + 1];
    struct mask mask[MASKS];
    struct engine_cost cost = {0};
    struct corpus_pass p;
    int i, rc = -1;

    if (corpus_pass_open(&p, x->c, x->passes.doc[pass], x->passes.doc[pass + 1], e))
        return -1;
    for (i = 0; i < n; i++)
        mask[i] = v[i].mask;
    if ((!whole && whole_model(x, &p, &whole, e)) ||
        engine_forward_masks(x->en, x->m, &p.batch, mask, n, h, &cost, e))
        goto out;
    cost_add(&x->cost, &cost);
    side[0] = (struct judged){x->m, whole};
    for (i = 0; i < n; i++)
        side[i + 1] = (struct judged){x->m, h[i]};
    if (engine_kl(x->en, side, n + 1, &p.batch, x->row, e) == 0)
        rc = sum_up(x, &p, v, n, e);
    if (x->passes.n == 1) {
        x->whole = whole;
        whole = NULL;
    }
out:
    if (whole != x->whole)
        hidden_free(whole);
    for (i = 0; i < n; i++)
        hidden_free(h[i]);
    corpus_pass_close(&p);
    return rc;
}

/* Whether all n were kept by the run that is resumed; -1: failed. */
static int find_kept(struct refine *x, struct verdict *v, int n, struct err *e)
{
    int i, found = x->kept ? 1 : 0;

    for (i = 0; i < n && found == 1; i++)
        found = kept_find(x->kept, v[i].mask.experts, x->mask_bytes, v[i].doc, e);
    x->found += found == 1 ? n : 0;
    return found;
}

/* n masks, at most a batch, on the whole text. */
static int judge_batch(struct refine *x, struct verdict *v, int n, struct err *e)
{
    int64_t pass;
    int i, found = find_kept(x, v, n, e);

    if (found)
        return found > 0 ? 0 : -1;
    for (pass = 0; pass < x->passes.n; pass++)
        if (judge_pass(x, pass, v, n, e))
            return -1;
    for (i = 0; i < n && x->kept; i++)
        if (kept_add(x->kept, v[i].mask.experts, x->mask_bytes, v[i].doc, e))
            return -1;
    return 0;
}

static int judge(struct refine *x, struct verdict *v, int n, struct err *e)
{
    int i, some;

    for (i = 0; i < n; i += some) {
        some = n - i < x->batch ? n - i : x->batch;
        if (x->po->begin)
            x->po->begin(x->po->ctx, x->step < x->steps ? x->step : x->steps - 1, x->steps);
        x->step++;
        if (judge_batch(x, v + i, some, e))
            return -1;
    }
    return 0;
}

static double total(const struct refine *x, const struct verdict *v)
{
    double sum = 0;
    int64_t d;

    for (d = 0; d < x->c->docs; d++)
        sum += v->doc[d];
    return sum;
}

/* Whether v is better than the plan as it is by more than the difference's standard error, documents being
 * independent. */
static bool clearly_better(const struct refine *x, const struct verdict *v)
{
    double sum = 0, squares = 0;
    int64_t d;

    for (d = 0; d < x->c->docs; d++) {
        double diff = v->doc[d] - x->now.doc[d];

        sum += diff;
        squares += diff * diff;
    }
    return sum < 0 && sum * sum > squares;
}

/* ---- moves ---- */

/* Predicted gains first; of equal ones the lower numbers. */
static int by_change(const void *a, const void *b)
{
    const struct exchange *x = a, *y = b;

    if (x->change != y->change)
        return x->change < y->change ? -1 : 1;
    return x->out != y->out ? x->out - y->out : x->in - y->in;
}

/* Candidates of a layer: kept ones with the worst ranks to out, dropped ones with the best to in; at most
 * `most` of either, 0: all. */
static int candidates(const struct refine *x, int layer, int most, struct move *out, int *outs,
                      struct move *in, int *ins, struct err *e)
{
    int experts = x->m->arch.experts, size = x->groups.experts / x->groups.groups, j;
    struct plan_row **order = plan_by_rank(x->p, layer, e);

    if (!order)
        return -1;
    most = most ? most : experts;
    *outs = *ins = 0;
    for (j = 0; j < experts; j++)
        if (!order[j]->keep && *ins < most)
            in[(*ins)++] = (struct move){order[j]->expert, order[j]->expert / size, 0};
    for (j = experts - 1; j >= 0; j--)
        if (order[j]->keep && *outs < most)
            out[(*outs)++] = (struct move){order[j]->expert, order[j]->expert / size, 0};
    free(order);
    return 0;
}

static uint8_t *place(const struct refine *x, const struct verdict *v, int layer, int expert)
{
    return &v->mask.experts[(size_t)x->p->layer[layer] * (size_t)x->m->arch.experts + (size_t)expert];
}

static void begin_trial(const struct refine *x, int i)
{
    memcpy(x->trial[i].mask.experts, x->now.mask.experts, x->mask_bytes);
}

static int refine_measure(struct refine *x, int layer, struct move *out, int outs, struct move *in, int ins,
                          struct err *e)
{
    double now = total(x, &x->now);
    int i;

    for (i = 0; i < outs + ins; i++) {
        begin_trial(x, i);
        *place(x, &x->trial[i], layer, i < outs ? out[i].expert : in[i - outs].expert) = i >= outs;
    }
    if (judge(x, x->trial, outs + ins, e))
        return -1;
    for (i = 0; i < outs; i++)
        out[i].change = total(x, &x->trial[i]) - now;
    for (i = 0; i < ins; i++)
        in[i].change = total(x, &x->trial[outs + i]) - now;
    return 0;
}

/* All exchanges within groups, the most promising first. */
static int exchanges(const struct move *out, int outs, const struct move *in, int ins,
                     struct exchange *exchange)
{
    int i, j, n = 0;

    for (i = 0; i < outs; i++)
        for (j = 0; j < ins; j++)
            if (out[i].group == in[j].group)
                exchange[n++] = (struct exchange){out[i].expert, in[j].expert, out[i].change + in[j].change};
    qsort(exchange, (size_t)n, sizeof *exchange, by_change);
    return n;
}

static void apply(const struct refine *x, struct verdict *v, int layer, const struct exchange *s)
{
    *place(x, v, layer, s->out) = 0;
    *place(x, v, layer, s->in) = 1;
}

static bool untouched(const struct refine *x, const struct verdict *v, int layer, const struct exchange *s)
{
    return *place(x, v, layer, s->out) && !*place(x, v, layer, s->in);
}

/* Trials: the best exchange, the best two that do not touch each other, and so on; then the next best alone,
 * since predictions err. */
static int set_up(const struct refine *x, int layer, const struct exchange *s, int n)
{
    int i, trials = 0;

    for (i = 0; i < n && trials < TOGETHER && s[i].change < 0; i++) {
        if (trials > 0 && !untouched(x, &x->trial[trials - 1], layer, &s[i]))
            continue;
        if (trials > 0)
            memcpy(x->trial[trials].mask.experts, x->trial[trials - 1].mask.experts, x->mask_bytes);
        else
            begin_trial(x, 0);
        apply(x, &x->trial[trials++], layer, &s[i]);
    }
    for (i = 1; i < n && i <= APART && s[i].change < 0; i++, trials++) {
        begin_trial(x, trials);
        apply(x, &x->trial[trials], layer, &s[i]);
    }
    return trials;
}

/* The best of the trials becomes the plan's mask, if it is clearly better. */
static void adopt(struct refine *x, int trials, int layer)
{
    struct verdict *best = NULL, v;
    int i, j, moved = 0;

    for (i = 0; i < trials; i++)
        if (clearly_better(x, &x->trial[i]) && (!best || total(x, &x->trial[i]) < total(x, best)))
            best = &x->trial[i];
    if (!best)
        return;
    for (j = 0; j < x->m->arch.experts; j++) {
        uint8_t keep = *place(x, best, layer, j);

        moved += keep != *place(x, &x->now, layer, j);
        plan_rows(x->p, layer)[j].keep = keep;
    }
    x->exchanges += moved / 2;
    v = x->now;
    x->now = *best;
    *best = v;
}

static int refine_layer(struct refine *x, int layer, struct err *e)
{
    int experts = x->m->arch.experts, outs, ins, n, rc = -1;
    struct move *out = mem_new((size_t)experts, sizeof *out, e);
    struct move *in = mem_new((size_t)experts, sizeof *in, e);
    struct exchange *s = mem_new((size_t)experts * (size_t)experts, sizeof *s, e);

    if (!out || !in || !s || candidates(x, layer, x->o->candidates, out, &outs, in, &ins, e) ||
        refine_measure(x, layer, out, outs, in, ins, e))
        goto done;
    n = set_up(x, layer, s, exchanges(out, outs, in, ins, s));
    rc = judge(x, x->trial, n, e);
    if (rc == 0)
        adopt(x, n, layer);
done:
    free(out);
    free(in);
    free(s);
    return rc;
}

/* ---- cutting down ---- */

static int by_cost(const void *a, const void *b)
{
    const struct move *x = a, *y = b;

    if (x->change != y->change)
        return x->change < y->change ? -1 : 1;
    return x->expert - y->expert;
}

/* The n experts that are missed least go; of every group as many. */
static void remove_least(struct refine *x, int layer, const struct move *out, int outs, int n)
{
    int groups = x->groups.groups, g, i, left;

    for (g = 0; g < groups; g++)
        for (i = 0, left = n / groups; i < outs && left > 0; i++)
            if (out[i].group == g) {
                *place(x, &x->now, layer, out[i].expert) = 0;
                plan_rows(x->p, layer)[out[i].expert].keep = false;
                left--;
            }
}

static int cut_layer(struct refine *x, int layer, int n, struct err *e)
{
    int experts = x->m->arch.experts, most = x->o->candidates, outs, ins, rc = -1;
    struct move *out = mem_new((size_t)experts, sizeof *out, e);
    struct move *in = mem_new((size_t)experts, sizeof *in, e);

    if (most && most < 2 * n)
        most = 2 * n;
    if (x->groups.groups > 1) /* the worst ranks may all be of one group */
        most = 0;
    if (out && in && candidates(x, layer, most, out, &outs, in, &ins, e) == 0 &&
        refine_measure(x, layer, out, outs, in, 0, e) == 0) {
        qsort(out, (size_t)outs, sizeof *out, by_cost);
        remove_least(x, layer, out, outs, n);
        rc = judge(x, &x->now, 1, e);
    }
    free(out);
    free(in);
    return rc;
}

/* To o->keep in every layer. */
static int cut_down(struct refine *x, struct err *e)
{
    int groups = x->groups.groups, stage, i;

    for (stage = STAGES; stage > 0; stage--)
        for (i = 0; i < x->p->n_layers; i++) {
            int n = (plan_kept(x->p, i) - x->o->keep + stage - 1) / stage;

            n = (n + groups - 1) / groups * groups;
            if (n > 0 && cut_layer(x, i, n, e))
                return -1;
        }
    return 0;
}

static int check_keep(const struct refine *x, struct err *e)
{
    int i;

    if (x->o->keep < x->m->arch.topk)
        return err_set(e, ERR_USAGE, "cannot keep %d experts: the router chooses %d", x->o->keep,
                       x->m->arch.topk);
    if (x->groups.groups > 1 && groups_check(&x->groups, x->o->keep, ERR_USAGE, e))
        return -1;
    for (i = 0; i < x->p->n_layers; i++)
        if (plan_kept(x->p, i) < x->o->keep)
            return err_set(e, ERR_USAGE, "the plan keeps only %d experts of layer %d, not %d",
                           plan_kept(x->p, i), x->p->layer[i], x->o->keep);
    return 0;
}

/* ---- opening and closing ---- */

static int verdict_new(const struct refine *x, struct verdict *v, struct err *e)
{
    v->mask.experts = mem_new(x->mask_bytes, 1, e);
    v->doc = mem_new((size_t)x->c->docs, sizeof *v->doc, e);
    return v->mask.experts && v->doc ? 0 : -1;
}

static void verdict_free(struct verdict *v)
{
    mask_free(&v->mask);
    free(v->doc);
}

/* As many masks at once as memory allows, then as few passes. */
static int split_corpus(struct refine *x, struct err *e)
{
    uint64_t state = pass_state_bytes(x->m, engine_precision(x->en)), one = state + sizeof(struct kl_row);
    uint64_t room = x->po->mem_max - x->po->mem_max / 4, all;

    x->batch = MASKS < x->trials ? MASKS : x->trials;
    if (x->po->mem_max && mul_u64((uint64_t)x->c->tokens, one, &all) && all > 0)
        while (x->batch > 1 && (uint64_t)x->batch * all + (uint64_t)x->c->tokens * state > room)
            x->batch--;
    return passes_split(&x->passes, x->c, (uint64_t)x->batch * one + state, x->po->mem_max, e);
}

static int rows_new(struct refine *x, struct err *e)
{
    size_t most = (size_t)passes_largest(&x->passes, x->c);
    int k;

    x->row = mem_new((size_t)x->batch, sizeof *x->row, e);
    for (k = 0; x->row && k < x->batch; k++) {
        x->row[k] = mem_new(most, sizeof **x->row, e);
        if (!x->row[k])
            return -1;
    }
    return x->row ? 0 : -1;
}

/* What the numbers depend on: model, text, and arithmetic to the last bit. */
static int open_kept(struct refine *x, struct err *e)
{
    const char *path = x->o->partial;
    char *of;
    int rc;

    if (!path)
        return 0;
    of = mem_printf(e, "model=%s\tdata=%s\tengine=%s, %s, %s", x->p->model.digest, x->c->digest,
                    engine_device(x->en), engine_library(x->en), engine_precision(x->en)->name);
    rc = !of || output_check(path, true, e) ? -1 : kept_open(&x->kept, path, of, x->c->docs, e);
    free(of);
    return rc;
}

static int refine_open(struct refine *x, struct err *e)
{
    int experts = x->m->arch.experts, i;

    x->mask_bytes = (size_t)x->m->arch.layers * (size_t)experts;
    x->trials = experts > TOGETHER + APART + 1 ? experts : TOGETHER + APART + 1;
    x->now.doc = mem_new((size_t)x->c->docs, sizeof *x->now.doc, e);
    x->trial = mem_new((size_t)x->trials, sizeof *x->trial, e);
    if (!x->now.doc || !x->trial)
        return -1;
    for (i = 0; i < x->trials; i++)
        if (verdict_new(x, &x->trial[i], e))
            return -1;
    return split_corpus(x, e) || rows_new(x, e) || open_kept(x, e) ? -1 : 0;
}

static void refine_close(struct refine *x)
{
    int i;

    verdict_free(&x->now);
    for (i = 0; x->trial && i < x->trials; i++)
        verdict_free(&x->trial[i]);
    free(x->trial);
    for (i = 0; x->row && i < x->batch; i++)
        free(x->row[i]);
    free(x->row);
    passes_free(&x->passes);
    hidden_free(x->whole);
    kept_close(x->kept);
}

/* ---- the plan ---- */

static int refine_describe(struct refine *x, struct err *e)
{
    size_t n = strlen(x->p->criterion) + 64;
    char *text = mem_new(n, 1, e);
    int i;

    if (!text)
        return -1;
    if (x->o->keep)
        snprintf(text, n, "%s\tcut=%d\trefine=%d", x->p->criterion, x->o->keep, x->exchanges);
    else
        snprintf(text, n, "%s\trefine=%d", x->p->criterion, x->exchanges);
    free(x->p->criterion);
    x->p->criterion = text;
    for (i = 0; i < x->p->n_layers; i++)
        if (plan_rank_kept(x->p, i, e))
            return -1;
    return 0;
}

static int run_rounds(struct refine *x, struct refine_report *r, struct err *e)
{
    int i, before;

    if (judge(x, &x->now, 1, e))
        return -1;
    r->tokens = x->c->tokens - x->c->docs;
    r->before = total(x, &x->now) / (double)r->tokens;
    if (x->o->keep && cut_down(x, e))
        return -1;
    r->cut = total(x, &x->now) / (double)r->tokens;
    do {
        before = x->exchanges;
        for (i = 0; i < x->p->n_layers; i++)
            if (refine_layer(x, i, e))
                return -1;
        r->rounds++;
    } while (r->rounds < x->o->rounds && x->exchanges > before);
    r->after = total(x, &x->now) / (double)r->tokens;
    r->exchanges = x->exchanges;
    return refine_describe(x, e);
}

int judge_refine(struct refine_report *r, struct plan *p, struct engine *en, const struct model *m,
                 const struct corpus *c, const struct refine_options *o, const struct pass_options *po,
                 struct err *e)
{
    struct refine x = {.en = en, .m = m, .c = c, .o = o, .po = po, .p = p};
    int per_layer = 2 * (o->candidates ? o->candidates : m->arch.experts), rc = -1;

    memset(r, 0, sizeof *r);
    if (candidate_check(&(struct candidate){.plan = p}, m, &x.now.mask, e))
        return -1;
    x.groups = groups_of(&p->model);
    if ((o->keep == 0 || check_keep(&x, e) == 0) && refine_open(&x, e) == 0) {
        per_layer = per_layer < m->arch.experts ? per_layer : m->arch.experts;
        x.steps = 1 + (int64_t)o->rounds * p->n_layers * ((per_layer + x.batch - 1) / x.batch + 1);
        rc = run_rounds(&x, r, e);
    }
    r->cost = x.cost;
    r->found = x.found;
    refine_close(&x);
    return rc;
}

void refine_done(const char *partial)
{
    unlink(partial);
}
