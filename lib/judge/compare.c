#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "judge/judge.h"
#include "observe/observe.h"
#include "stats/groups.h"

/* One comparison under way. other is ref itself with a mask. */
struct compare {
    struct engine *en;
    const struct model *ref, *other;
    const uint8_t *mask;
    const struct corpus *c;
    struct kl_row *row; /* [scored tokens so far], in document order */
    int *category;      /* parallel to row */
    size_t n;
    struct engine_cost cost;
};

static int check_plan(const struct plan *p, const struct model *m, struct err *e)
{
    const struct arch *a = &m->arch;
    int i;

    if (p->n_layers != a->moe_layers)
        return err_set(e, ERR_INPUT, "the plan has %d layers, but %s has experts in %d", p->n_layers, m->dir,
                       a->moe_layers);
    for (i = 0; i < p->n_layers; i++) {
        if (p->layer[i] < 0 || p->layer[i] >= a->layers || a->layer[p->layer[i]].ffn != FFN_MOE)
            return err_set(e, ERR_INPUT, "the plan names layer %d, which has no experts in %s", p->layer[i],
                           m->dir);
        if (plan_kept(p, i) < a->topk)
            return err_set(e, ERR_INPUT,
                           "the plan keeps %d experts of layer %d, but the router chooses %d; masking needs "
                           "at least as many",
                           plan_kept(p, i), p->layer[i], a->topk);
    }
    return 0;
}

uint8_t *plan_mask(const struct plan *p, const struct model *m, struct err *e)
{
    const struct arch *a = &m->arch;
    size_t experts = (size_t)a->experts, n = (size_t)a->layers * experts, j;
    uint8_t *mask;
    int i;

    if (check_plan(p, m, e) || !(mask = mem_new(n, 1, e)))
        return NULL;
    memset(mask, 1, n);
    for (i = 0; i < p->n_layers; i++)
        for (j = 0; j < experts; j++)
            mask[(size_t)p->layer[i] * experts + j] = plan_rows(p, i)[j].keep;
    return mask;
}

/* 1: digest filled; 0: there is no tokenizer.json. */
static int tokenizer_bytes(const struct model *m, char digest[HASH_HEX], struct err *e)
{
    char *path = path_join(m->dir, "tokenizer.json", e), *text = NULL;
    size_t n;
    int rc = -1;

    if (!path)
        return -1;
    if (!path_exists(path))
        rc = 0;
    else if (file_read(path, UINT64_C(1) << 30, &text, &n, e) == 0) {
        hash_once(text, n, digest);
        rc = 1;
    }
    free(text);
    free(path);
    return rc;
}

static int same_vocabulary(const struct model *ref, const struct model *other, struct err *e)
{
    char a[HASH_HEX], b[HASH_HEX];
    int has_a, has_b;

    if (ref->arch.vocab != other->arch.vocab)
        return err_set(e, ERR_INPUT,
                       "%s has a vocabulary of %d tokens and %s one of %d; their distributions cannot be "
                       "compared",
                       other->dir, other->arch.vocab, ref->dir, ref->arch.vocab);
    has_a = tokenizer_bytes(ref, a, e);
    has_b = has_a < 0 ? -1 : tokenizer_bytes(other, b, e);
    if (has_b < 0)
        return -1;
    if (has_a && has_b && strcmp(a, b) != 0)
        return err_set(e, ERR_INPUT,
                       "the tokenizer.json of %s differs from that of %s; their distributions cannot be "
                       "compared",
                       other->dir, ref->dir);
    return 0;
}

static int forward(struct compare *x, const struct model *m, const uint8_t *mask, const struct pass *p,
                   struct hidden **h, struct err *e)
{
    struct engine_cost cost = {0};
    int rc = engine_forward(x->en, m, &p->batch, mask, NULL, h, &cost, e);

    cost_add(&x->cost, &cost);
    return rc;
}

/* Keeps the scored positions of a pass. */
static int collect(struct compare *x, const struct kl_row *row, const struct pass *p, struct err *e)
{
    int64_t d;

    for (d = 0; d < p->batch.docs; d++) {
        const struct doc *doc = &x->c->doc[p->first_doc + d];
        const struct kl_row *r = row + p->first[d];
        int t;

        for (t = 0; t + 1 < doc->n; t++) {
            if (!isfinite(r[t].kl) || !isfinite(r[t].nll) || !isfinite(r[t].nll_ref))
                return err_set(e, ERR_INPUT,
                               "%s line %d: token %d has no finite likelihood; weights are damaged, or "
                               "--precision f32 is needed",
                               x->c->file[doc->file], doc->line + 1, t + 1);
            x->row[x->n] = r[t];
            x->category[x->n++] = doc->category;
        }
    }
    return 0;
}

static int compare_pass(struct compare *x, const struct passes *ps, int64_t i, const struct pass_options *po,
                        struct err *e)
{
    struct pass p = {0};
    struct hidden *h_ref = NULL, *h = NULL;
    struct kl_row *row = NULL;
    int rc = -1;

    if (pass_open(&p, x->c, ps->doc[i], ps->doc[i + 1], e))
        return -1;
    row = mem_new((size_t)p.tokens, sizeof *row, e);
    if (!row)
        goto out;
    if (po->begin)
        po->begin(po->ctx, 2 * i, 2 * ps->n);
    if (forward(x, x->ref, NULL, &p, &h_ref, e))
        goto out;
    if (po->begin)
        po->begin(po->ctx, 2 * i + 1, 2 * ps->n);
    if (forward(x, x->other, x->mask, &p, &h, e) ||
        engine_kl(x->en, (struct judged[]){{x->ref, h_ref}, {x->other, h}}, 2, &p.batch, &row, e))
        goto out;
    rc = collect(x, row, &p, e);
out:
    hidden_free(h);
    hidden_free(h_ref);
    free(row);
    pass_close(&p);
    return rc;
}

static int summarize(struct compare_report *r, const struct compare *x, struct err *e)
{
    struct kl_row *some = mem_new(x->n, sizeof *some, e);
    int k, rc = some ? compare_summarize(&r->total, x->row, x->n, e) : -1;

    for (k = 0; rc == 0 && k < x->c->categories; k++) {
        size_t i, n = 0;

        for (i = 0; i < x->n; i++)
            if (x->category[i] == k)
                some[n++] = x->row[i];
        rc = compare_summarize(&r->category[k], some, n, e);
    }
    free(some);
    return rc;
}

static int run(struct compare_report *r, struct compare *x, const struct pass_options *po, struct err *e)
{
    const char *precision = engine_precision(x->en);
    uint64_t held =
        pass_state_bytes(x->ref, precision) + pass_state_bytes(x->other, precision) + sizeof(struct kl_row);
    struct passes ps = {0};
    int64_t i;
    int rc = -1;

    x->row = mem_new((size_t)x->c->tokens, sizeof *x->row, e);
    x->category = mem_new((size_t)x->c->tokens, sizeof *x->category, e);
    r->category = mem_new((size_t)x->c->categories, sizeof *r->category, e);
    if (!x->row || !x->category || !r->category || passes_split(&ps, x->c, held, po->mem_max, e))
        goto out;
    for (i = 0; i < ps.n; i++)
        if (compare_pass(x, &ps, i, po, e))
            goto out;
    r->cost = x->cost;
    rc = summarize(r, x, e);
out:
    passes_free(&ps);
    free(x->row);
    free(x->category);
    return rc;
}

static uint8_t *checked_mask(const struct plan *plan, const struct model *ref, struct err *e)
{
    struct expert_groups groups;
    struct model_id id;

    if (observe_model_id(&id, ref, e) || model_id_check(&plan->model, "the plan", &id, ref->dir, e))
        return NULL;
    groups = groups_of(&id);
    if (groups.groups > 1 && groups_check_plan(&groups, plan, e))
        return NULL;
    return plan_mask(plan, ref, e);
}

int judge_compare(struct compare_report *r, struct engine *en, const struct model *ref,
                  const struct model *other, const struct plan *plan, const struct corpus *c,
                  const struct pass_options *po, struct err *e)
{
    struct compare x = {.en = en, .ref = ref, .other = other ? other : ref, .c = c};
    uint8_t *mask = NULL;
    int rc;

    memset(r, 0, sizeof *r);
    if (other) {
        if (same_vocabulary(ref, other, e))
            return -1;
    } else if (!(mask = checked_mask(plan, ref, e))) {
        return -1;
    }
    x.mask = mask;
    rc = run(r, &x, po, e);
    free(mask);
    if (rc)
        compare_report_free(r);
    return rc;
}

void compare_report_free(struct compare_report *r)
{
    free(r->category);
    memset(r, 0, sizeof *r);
}
