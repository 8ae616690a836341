/* What moe-score prints on standard output. */
#include "score_print.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "common.h"

/* ---- --list ---- */

static void criteria_json(const struct criterion *t, int n)
{
    int i, k;

    printf("[");
    for (i = 0; i < n; i++) {
        printf("%s{\"name\":", i ? ",\n" : "");
        json_string(stdout, t[i].name);
        printf(",\"aliases\":[");
        for (k = 0; k < 3 && t[i].aliases[k]; k++) {
            printf("%s", k ? "," : "");
            json_string(stdout, t[i].aliases[k]);
        }
        if (t[i].kind == CRITERION_POWERS)
            printf("],\"b\":%d,\"a\":%d,\"c\":%d", t[i].b, t[i].a, t[i].c);
        else
            printf("],\"b\":null,\"a\":null,\"c\":null");
        printf(",\"matrices\":%s", criterion_is_pair(&t[i]) ? "true" : "false");
        json_string_member(stdout, "formula", t[i].formula);
        json_string_member(stdout, "source", t[i].source);
        printf("}");
    }
    printf("]\n");
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
        char powers[48] = "-", also[64] = "";

        if (t[i].kind == CRITERION_POWERS)
            snprintf(powers, sizeof powers, "(%d,%d,%d)", t[i].b, t[i].a, t[i].c);
        for (k = 0; k < 3 && t[i].aliases[k]; k++)
            snprintf(also + strlen(also), sizeof also - strlen(also), "%s%s", k ? ", " : "", t[i].aliases[k]);
        printf("%-30s %-9s %-26s %-56s %s\n", t[i].name, powers, also, t[i].formula, t[i].source);
    }
}

/* ---- --diff ---- */

static void diff_json(const struct plan_diff *d)
{
    int l;

    printf("\"layer\":[");
    for (l = 0; l < d->n; l++) {
        const struct plan_diff_layer *x = &d->layer[l];

        printf("%s{\"layer\":%d,\"kept_a\":%d,\"kept_b\":%d,\"both\":%d", l ? ",\n" : "", x->layer, x->kept_a,
               x->kept_b, x->both);
        json_number_member(stdout, "jaccard", x->jaccard);
        json_number_member(stdout, "removed", x->removed);
        json_number_member(stdout, "spearman", x->spearman);
        printf("}");
    }
    printf("],\n\"total\":{\"kept_a\":%d,\"kept_b\":%d,\"both\":%d", d->kept_a, d->kept_b, d->both);
    json_number_member(stdout, "jaccard", d->jaccard);
    json_number_member(stdout, "removed", d->removed);
    json_number_member(stdout, "spearman", d->spearman);
    printf("}");
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
    if (!common.json) {
        diff_table(d);
        return;
    }
    printf("{");
    diff_json(d);
    printf("}\n");
}

/* ---- --stability ---- */

/* Two digits of an estimate. */
static int64_t roughly(double n)
{
    double unit = n < 100 ? 1 : pow(10, floor(log10(n)) - 1);

    return (int64_t)(ceil(n / unit) * unit);
}

void print_stability(const struct stability *t, double wanted)
{
    char half[2][32], needed[32];
    int i;

    if (common.json) {
        printf("{");
        diff_json(&t->halves);
        printf(",\n\"tokens\":[%.17g,%.17g]", t->tokens[0], t->tokens[1]);
        json_number_member(stdout, "correlation", t->correlation);
        json_number_member(stdout, "whole", t->whole);
        json_number_member(stdout, "wanted", wanted);
        json_number_member(stdout, "needed", t->needed);
        printf("}\n");
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

static void coverage_json(const struct coverage *c, uint64_t least)
{
    int i;

    printf("{\"min_tokens\":%" PRIu64 ",\"category\":[", least);
    for (i = 0; i < c->rows; i++) {
        const struct coverage_row *r = &c->row[i];

        if (r->category) {
            printf("%s{\"name\":", i ? ",\n" : "");
            json_string(stdout, r->category);
            printf(",");
        } else {
            printf("],\n\"total\":{");
        }
        printf("\"experts\":%d,\"none\":%d,\"few\":%d,\"smallest\":%" PRIu64, r->experts, r->none, r->few,
               r->smallest);
        json_number_member(stdout, "median", r->median);
        json_number_member(stdout, "tokens", r->tokens);
        printf("}");
    }
    printf(",\n\"few\":[");
    for (i = 0; i < c->row[c->rows - 1].few; i++)
        printf("%s{\"layer\":%d,\"expert\":%d,\"n\":%" PRIu64 "}", i ? "," : "", c->few[i].layer,
               c->few[i].expert, c->few[i].n);
    printf("]}\n");
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
    printf("{\"plan\":");
    json_string(stdout, out);
    json_string_member(stdout, "criterion", o->criterion->name);
    json_string_member(stdout, "select", o->over == SELECT_WORST ? "worst" : "all");
    json_string_member(stdout, "budget", o->budget == BUDGET_GLOBAL ? "global" : "uniform");
    printf(",\"layers\":%d,\"experts\":%d,\"topk\":%d,\"keep\":%d,\"keep_min\":%d,\"keep_max\":%d",
           p->n_layers, p->model.experts, p->model.topk, o->keep, r->keep_min, r->keep_max);
    printf(r->better_keep ? ",\"better_keep\":%d" : ",\"better_keep\":null", r->better_keep);
    printf(",\"protected_super\":%d,\"protected_top\":%d,\"protected_turns\":%d,\"unused\":%d,\"swaps\":%d",
           r->protected_super, r->protected_top, r->protected_turns, r->zero, r->swaps);
    json_number_member(stdout, "gained", r->gained);
    json_number_member(stdout, "lost", r->lost);
    json_string_member(stdout, "worst", r->worst);
    json_number_member(stdout, "worst_lost", r->worst ? r->worst_lost : NAN);
    json_string_member(stdout, "twin", r->twin);
    json_number_member(stdout, "overlap", r->overlap);
    printf(",\"disagree\":%s}\n", r->disagree ? "true" : "false");
}
