/* score_print.c -- what moe-score prints on standard output. */
#include "score_print.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "common.h"

/* ---- --list ---- */

static void powers_json(struct json_out *j, const struct criterion *c)
{
    static const char *const name[] = {"b", "a", "c"};
    const int power[] = {c->b, c->a, c->c};
    int i;

    for (i = 0; i < 3; i++)
        if (c->kind == CRITERION_POWERS)
            jo_int(j, name[i], power[i]);
        else
            jo_null(j, name[i]);
}

static void criteria_json(const struct criterion *t, int n)
{
    struct json_out j = {0};
    int i, k;

    json_begin(&j);
    jo_open(&j, "criteria", '[');
    for (i = 0; i < n; i++) {
        jo_open(&j, NULL, '{');
        jo_string(&j, "name", t[i].name);
        jo_open(&j, "aliases", '[');
        for (k = 0; k < 3 && t[i].aliases[k]; k++)
            jo_string(&j, NULL, t[i].aliases[k]);
        jo_close(&j);
        powers_json(&j, &t[i]);
        jo_bool(&j, "default", i == 0);
        jo_bool(&j, "matrices", criterion_is_pair(&t[i]));
        jo_string(&j, "column", t[i].kind == CRITERION_COLUMN ? statistic_column(t[i].column)->name : NULL);
        jo_string(&j, "formula", t[i].formula);
        jo_string(&j, "source", t[i].source);
        jo_close(&j);
    }
    jo_close(&j);
    jo_close(&j);
    json_print(stdout, &j);
}

void print_criteria(void)
{
    int n, i, k;
    const struct criterion *t = criterion_table(&n);

    if (common.json) {
        criteria_json(t, n);
        return;
    }
    printf("%-30s %-9s %-26s %-56s %s\n", "criterion", "(b,a,c)", "also", "S = n^-b * sum of g^a f^c",
           "source");
    for (i = 0; i < n; i++) {
        char powers[48] = "-", also[64] = "", name[48];

        if (t[i].kind == CRITERION_POWERS)
            snprintf(powers, sizeof powers, "(%d,%d,%d)", t[i].b, t[i].a, t[i].c);
        for (k = 0; k < 3 && t[i].aliases[k]; k++)
            snprintf(also + strlen(also), sizeof also - strlen(also), "%s%s", k ? ", " : "", t[i].aliases[k]);
        snprintf(name, sizeof name, "%s%s", t[i].name, i == 0 ? " (default)" : "");
        printf("%-30s %-9s %-26s %-56s %s\n", name, powers, also, t[i].formula, t[i].source);
    }
}

/* ---- --diff ---- */

/* Of a layer, or of all. */
static void agreement_json(struct json_out *j, int kept_a, int kept_b, int both, double jaccard,
                           double removed, double spearman)
{
    jo_int(j, "kept_a", kept_a);
    jo_int(j, "kept_b", kept_b);
    jo_int(j, "both", both);
    jo_double(j, "jaccard", jaccard);
    jo_double(j, "removed", removed);
    jo_double(j, "spearman", spearman);
    jo_close(j);
}

static void diff_json(struct json_out *j, const struct plan_diff *d)
{
    int l;

    jo_open(j, "layer", '[');
    for (l = 0; l < d->n; l++) {
        const struct plan_diff_layer *x = &d->layer[l];

        jo_open(j, NULL, '{');
        jo_int(j, "layer", x->layer);
        agreement_json(j, x->kept_a, x->kept_b, x->both, x->jaccard, x->removed, x->spearman);
    }
    jo_close(j);
    jo_open(j, "total", '{');
    agreement_json(j, d->kept_a, d->kept_b, d->both, d->jaccard, d->removed, d->spearman);
}

static void diff_table(const struct plan_diff *d)
{
    int l;

    printf("%5s %6s %6s %6s %8s %8s %8s\n", "layer", "kept 1", "kept 2", "both", "jaccard", "removed",
           "spearman");
    for (l = 0; l < d->n; l++) {
        const struct plan_diff_layer *x = &d->layer[l];

        printf("%5d %6d %6d %6d %8.4f %8.4f %8.4f\n", x->layer, x->kept_a, x->kept_b, x->both, x->jaccard,
               x->removed, x->spearman);
    }
    printf("%5s %6d %6d %6d %8.4f %8.4f %8.4f\n", "total", d->kept_a, d->kept_b, d->both, d->jaccard,
           d->removed, d->spearman);
}

void print_diff(const struct plan_diff *d)
{
    struct json_out j = {0};

    if (!common.json) {
        diff_table(d);
        return;
    }
    json_begin(&j);
    diff_json(&j, d);
    jo_close(&j);
    json_print(stdout, &j);
}

/* ---- --stability ---- */

/* Two digits of an estimate. */
static int64_t roughly(double n)
{
    double unit = n < 100 ? 1 : pow(10, floor(log10(n)) - 1);

    return (int64_t)(ceil(n / unit) * unit);
}

static void stability_json(const struct stability *t, double wanted)
{
    struct json_out j = {0};

    json_begin(&j);
    diff_json(&j, &t->halves);
    jo_open(&j, "tokens", '[');
    jo_double(&j, NULL, t->tokens[0]);
    jo_double(&j, NULL, t->tokens[1]);
    jo_close(&j);
    jo_double(&j, "correlation", t->correlation);
    jo_double(&j, "whole", t->whole);
    jo_double(&j, "wanted", wanted);
    jo_double(&j, "needed", t->needed);
    jo_close(&j);
    json_print(stdout, &j);
}

void print_stability(const struct stability *t, double wanted)
{
    char half[2][32], needed[32];
    int i;

    if (common.json) {
        stability_json(t, wanted);
        return;
    }
    diff_table(&t->halves);
    for (i = 0; i < 2; i++)
        num_thousands(t->tokens[i] < 0x1p63 ? (int64_t)t->tokens[i] : INT64_MAX, half[i]);
    printf("halves: %s and %s tokens; correlation of their scores about %.3f\n", half[0], half[1],
           t->correlation);
    printf("two plans from as much data as both halves would agree to about %.3f\n", t->whole);
    if (t->needed < 1e15)
        printf("for %.3g about %s tokens each are needed\n", wanted,
               num_thousands(roughly(t->needed), needed));
    else
        printf("for %.3g no number of tokens can be told from this\n", wanted);
}

/* ---- --coverage ---- */

/* name NULL: a row of the array. */
static void coverage_row_json(struct json_out *j, const char *name, const struct coverage_row *r)
{
    jo_open(j, name, '{');
    if (r->category)
        jo_string(j, "name", r->category);
    jo_int(j, "experts", r->experts);
    jo_int(j, "none", r->none);
    jo_int(j, "few", r->few);
    jo_uint(j, "smallest", r->smallest);
    jo_double(j, "median", r->median);
    jo_double(j, "tokens", r->tokens);
    jo_close(j);
}

static void coverage_json(const struct coverage *c, uint64_t least)
{
    const struct coverage_row *total = &c->row[c->rows - 1];
    struct json_out j = {0};
    int i;

    json_begin(&j);
    jo_uint(&j, "min_tokens", least);
    jo_open(&j, "category", '[');
    for (i = 0; i < c->rows - 1; i++)
        coverage_row_json(&j, NULL, &c->row[i]);
    jo_close(&j);
    coverage_row_json(&j, "total", total);
    jo_open(&j, "few", '[');
    for (i = 0; i < total->few; i++) {
        jo_open(&j, NULL, '{');
        jo_int(&j, "layer", c->few[i].layer);
        jo_int(&j, "expert", c->few[i].expert);
        jo_uint(&j, "n", c->few[i].n);
        jo_close(&j);
    }
    jo_close(&j);
    jo_close(&j);
    json_print(stdout, &j);
}

void print_coverage(const struct coverage *c, uint64_t least)
{
    int width = 8, i;

    if (common.json) {
        coverage_json(c, least);
        return;
    }
    for (i = 0; i < c->rows - 1; i++)
        if (name_width(c->row[i].category) > width)
            width = name_width(c->row[i].category);
    put_name(stdout, width, "category");
    printf(" %12s %8s %8s %8s %8s %10s\n", "tokens", "experts", "none", "few", "smallest", "median");
    for (i = 0; i < c->rows; i++) {
        const struct coverage_row *r = &c->row[i];

        put_name(stdout, width, r->category ? r->category : "total");
        printf(" %12.0f %8d %8d %8d %8" PRIu64 " %10.1f\n", r->tokens, r->experts, r->none, r->few,
               r->smallest, r->median);
    }
}

/* ---- a plan ---- */

void print_plan_json(const struct plan *p, const struct score_options *o, const struct score_report *r,
                     const char *out)
{
    struct json_out j = {0};

    json_begin(&j);
    jo_string(&j, "plan", out);
    jo_string(&j, "criterion", o->criterion->name);
    jo_string(&j, "select", o->over == SELECT_WORST ? "worst" : "all");
    jo_string(&j, "budget", o->budget == BUDGET_GLOBAL ? "global" : "uniform");
    jo_int(&j, "layers", p->n_layers);
    jo_int(&j, "experts", p->model.experts);
    jo_int(&j, "topk", p->model.topk);
    jo_int(&j, "keep", o->keep);
    jo_int(&j, "keep_min", r->keep_min);
    jo_int(&j, "keep_max", r->keep_max);
    if (r->better_keep)
        jo_int(&j, "better_keep", r->better_keep);
    else
        jo_null(&j, "better_keep");
    jo_int(&j, "protected_super", r->protected_super);
    jo_int(&j, "protected_top", r->protected_top);
    jo_int(&j, "protected_turns", r->protected_turns);
    jo_int(&j, "unused", r->zero);
    jo_int(&j, "swaps", r->swaps);
    jo_double(&j, "gained", r->gained);
    jo_double(&j, "lost", r->lost);
    jo_string(&j, "worst", r->worst);
    jo_double(&j, "worst_lost", r->worst ? r->worst_lost : NAN);
    jo_string(&j, "twin", r->twin);
    jo_int(&j, "differ", r->differ);
    jo_double(&j, "overlap", r->overlap);
    jo_bool(&j, "disagree", r->disagree);
    jo_close(&j);
    json_print(stdout, &j);
}
