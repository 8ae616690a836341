/* bench_compare_print.c -- the tables of moe-bench compare: at most 100 columns, whatever the names. */
#include <math.h>

#include "base/num.h"
#include "bench.h"

/* Columns of a category, of a candidate, and how many candidates stand beside each other. */
enum { CATEGORY = 20, CANDIDATE = 26, BESIDE = 8 };

static int at_most(int width, int most)
{
    return width < most ? width : most;
}

/* "0.12345 ± 0.00678", the second blank when there is none. */
static void print_with_error(FILE *f, int width, double v, double se)
{
    int digits = width > 8 ? 4 : 5;

    if (isnan(se))
        fprintf(f, "  %*.*f %*s", width, digits, v, digits + 4, "");
    else
        fprintf(f, "  %*.*f ± %.*f", width, digits, v, digits, se);
}

/* ---- one candidate ---- */

static void print_divergence(FILE *f, const struct compare_row *r)
{
    char buf[32];

    fprintf(f, " %11s", num_thousands(r->tokens, buf));
    if (!r->tokens) {
        fputs("  no token to score\n", f);
        return;
    }
    print_with_error(f, 8, r->kl_mean, r->kl_se);
    fprintf(f, "  %8.5f %8.4f %8.4f %8.4f %8.4f\n", r->kl_median, r->kl_p90, r->kl_p99, r->kl_p999,
            r->kl_max);
}

static void print_rest(FILE *f, const struct compare_row *r)
{
    if (!r->tokens) {
        fputs("         -        -          -\n", f);
        return;
    }
    fprintf(f, "  %7.2f%% %8.4f", 100 * r->same_top, r->rms_dp);
    print_with_error(f, 9, r->ppl_ratio, r->ppl_ratio_se);
    fputc('\n', f);
}

static void print_rows(FILE *f, int width, const struct compare_result *r, const struct corpus *c,
                       void (*rest)(FILE *f, const struct compare_row *r))
{
    int k;

    for (k = 0; k < c->categories; k++) {
        put_short(f, width, c->category[k]);
        rest(f, &r->category[k]);
    }
    put_name(f, width, "total");
    rest(f, &r->total);
}

/* By category: the divergence, then what else there is. */
static void print_one(FILE *f, const struct compare_result *r, const struct corpus *c)
{
    int width = at_most(category_width(c), CATEGORY);

    fprintf(f, "%-*s %11s  KL(ref||model)\n", width, "", "");
    fprintf(f, "%-*s %11s  %-18s  %8s %8s %8s %8s %8s\n", width, "category", "tokens", "    mean ± se",
            "median", "90%", "99%", "99.9%", "max");
    print_rows(f, width, r, c, print_divergence);
    fprintf(f, "\n%-*s  %8s %8s  perplexity\n", width, "", "same", "rms");
    fprintf(f, "%-*s  %8s %8s      ratio ± se\n", width, "category", "top", "dp");
    print_rows(f, width, r, c, print_rest);
    fprintf(f, "\nmean over categories %.5f, worst category ", r->category_mean);
    put_name(f, 0, c->category[r->worst]);
    fprintf(f, " (%.5f)\n", r->category[r->worst].kl_mean);
}

/* ---- several ---- */

static void print_candidates(FILE *f, int width, const struct compare_report *r, const char *const *name)
{
    int i;

    fprintf(f, "    %-*s  %-18s %8s %8s  %8s  perplexity\n", width, "", "KL(ref||model)", "mean of", "",
            "same");
    fprintf(f, "    %-*s  %-18s %8s %8s  %8s      ratio ± se\n", width, "candidate", "    mean ± se",
            "categ.", "99%", "top");
    for (i = 0; i < r->n; i++) {
        const struct compare_row *t = &r->of[i].total;

        fprintf(f, "%3d ", i + 1);
        put_short(f, width, name[i]);
        print_with_error(f, 8, t->kl_mean, t->kl_se);
        fprintf(f, " %8.5f %8.4f  %7.2f%%", r->of[i].category_mean, t->kl_p99, 100 * t->same_top);
        print_with_error(f, 9, t->ppl_ratio, t->ppl_ratio_se);
        fputc('\n', f);
    }
}

static void print_tails(FILE *f, int width, const struct compare_report *r, const char *const *name,
                        const struct corpus *c)
{
    int i;

    fprintf(f, "\n    %-*s  %8s %8s %8s %8s  worst\n", width, "", "KL", "", "", "rms");
    fprintf(f, "    %-*s  %8s %8s %8s %8s  category\n", width, "candidate", "median", "99.9%", "max", "dp");
    for (i = 0; i < r->n; i++) {
        const struct compare_result *x = &r->of[i];

        fprintf(f, "%3d ", i + 1);
        put_short(f, width, name[i]);
        fprintf(f, "  %8.5f %8.4f %8.4f %8.4f  ", x->total.kl_median, x->total.kl_p999, x->total.kl_max,
                x->total.rms_dp);
        put_short(f, at_most(name_width(c->category[x->worst]), CATEGORY), c->category[x->worst]);
        fprintf(f, " (%.5f)\n", x->category[x->worst].kl_mean);
    }
}

/* Mean divergences of candidates from .. to - 1. */
static void print_categories(FILE *f, const struct compare_report *r, int from, int to,
                             const struct corpus *c)
{
    int i, k, width = at_most(category_width(c), CATEGORY);

    fprintf(f, "\n%-*s", width, "mean KL");
    for (i = from; i < to; i++)
        fprintf(f, " %8d", i + 1);
    fputc('\n', f);
    for (k = 0; k < c->categories; k++) {
        put_short(f, width, c->category[k]);
        for (i = from; i < to; i++)
            fprintf(f, " %8.5f", r->of[i].category[k].kl_mean);
        fputc('\n', f);
    }
}

/* A row for each in two tables, then a column for each. */
static void print_many(FILE *f, const struct compare_report *r, const char *const *name,
                       const struct corpus *c)
{
    int i, width = 9; /* "candidate" */

    for (i = 0; i < r->n; i++)
        width = name_width(name[i]) > width ? name_width(name[i]) : width;
    width = at_most(width, CANDIDATE);
    print_candidates(f, width, r, name);
    print_tails(f, width, r, name, c);
    for (i = 0; i < r->n; i += BESIDE)
        print_categories(f, r, i, at_most(i + BESIDE, r->n), c);
}

void compare_print(FILE *f, const struct compare_report *r, const char *const *name, const struct corpus *c)
{
    if (r->n == 1)
        print_one(f, &r->of[0], c);
    else
        print_many(f, r, name, c);
}
