/* moe-bench compare -- how far a model, or a plan for one, is from the original. */
#include <math.h>

#include "base/num.h"
#include "bench.h"

static struct opt_list plans;
static const char *max_kl_text;

static const struct opt opts[] = {
    OPT_HEADING("Comparison"),
    {"plan", 0, OPT_LIST, &plans, "PLAN", "judge REF with the experts masked that PLAN drops", 0, 0},
    {"max-kl", 0, OPT_TEXT, &max_kl_text, "X", "exit 3 when the mean divergence is above X nats", 0, 0},
    ENGINE_OPTS,
    TEXT_OPTS,
    OPT_END,
};
static const struct cmd cmd = {
    .name = "moe-bench compare",
    .purpose = "divergence of a model, or of a plan, from the original on text",
    .usage = "moe-bench compare [options] MODEL REF DATA...\n"
             "moe-bench compare --plan PLAN [options] REF DATA...",
    .opts = opts,
    .examples = "  moe-bench compare pruned/ original/ eval.jsonl\n"
                "  moe-bench compare --plan plan.tsv original/ eval.jsonl\n"
                "  moe-bench compare --max-kl 0.1 pruned/ original/ eval.jsonl || echo too far\n",
};

static void print_json_row(FILE *f, const void *row)
{
    const struct compare_row *r = row;
    const double n = r->tokens ? (double)r->tokens : NAN;
    const struct {
        const char *name;
        double v;
    } fields[] = {
        {"kl_mean", r->kl_mean},
        {"kl_se", r->kl_se},
        {"kl_median", r->kl_median},
        {"kl_p90", r->kl_p90},
        {"kl_p99", r->kl_p99},
        {"kl_p999", r->kl_p999},
        {"kl_max", r->kl_max},
        {"same_top", r->same_top},
        {"nll_ref", r->nll_ref},
        {"nll", r->nll},
        {"ppl_ref", exp(r->nll_ref / n)},
        {"ppl", exp(r->nll / n)},
        {"ppl_ratio", r->ppl_ratio},
        {"ppl_ratio_se", r->ppl_ratio_se},
    };
    size_t i;

    fprintf(f, "{\"tokens\":%lld", (long long)r->tokens);
    for (i = 0; i < sizeof fields / sizeof *fields; i++) {
        fprintf(f, ",\"%s\":", fields[i].name);
        json_number(f, r->tokens ? fields[i].v : NAN);
    }
    fputc('}', f);
}

static void print_row(FILE *f, int width, const char *name, const struct compare_row *r)
{
    char buf[32];

    put_name(f, width, name);
    fprintf(f, " %11s", num_thousands(r->tokens, buf));
    if (r->tokens)
        fprintf(f, "  %8.5f ± %.5f  %8.5f %8.4f %8.4f %8.4f %8.4f  %7.2f%%  %8.4f ± %.4f\n", r->kl_mean,
                r->kl_se, r->kl_median, r->kl_p90, r->kl_p99, r->kl_p999, r->kl_max, 100 * r->same_top,
                r->ppl_ratio, r->ppl_ratio_se);
    else
        fputs("  no token to score\n", f);
}

static void print_table(FILE *f, const struct compare_report *r, const struct corpus *c)
{
    int k, width = category_width(c);

    fprintf(f, "%-*s %11s  %-18s  %8s %8s %8s %8s %8s  %8s  %-17s\n", width, "", "", "KL(ref||model)", "", "",
            "", "", "", "same", "perplexity");
    fprintf(f, "%-*s %11s  %-18s  %8s %8s %8s %8s %8s  %8s  %-17s\n", width, "category", "tokens",
            "    mean ± se", "median", "90%", "99%", "99.9%", "max", "top", "   ratio ± se");
    for (k = 0; k < c->categories; k++)
        print_row(f, width, c->category[k], &r->category[k]);
    print_row(f, width, "total", &r->total);
}

static void read_plan(struct plan *p, const struct model *ref)
{
    struct err e = {0};
    int i, least, most;

    if (plan_read(p, plans.v[0], &e))
        die(&e);
    least = most = p->n_layers ? plan_kept(p, 0) : 0;
    for (i = 1; i < p->n_layers; i++) {
        int kept = plan_kept(p, i);

        least = kept < least ? kept : least;
        most = kept > most ? kept : most;
    }
    if (least == most)
        detail("%s keeps %d of %d experts a layer", plans.v[0], most, ref->arch.experts);
    else
        detail("%s keeps %d to %d of %d experts a layer", plans.v[0], least, most, ref->arch.experts);
}

/* The answer to --max-kl; without it always yes. */
static int verdict(const struct compare_report *r, double max_kl)
{
    if (!max_kl_text || r->total.kl_mean <= max_kl)
        return EXIT_DONE;
    warn("mean divergence %.5f is above --max-kl %s", r->total.kl_mean, max_kl_text);
    return EXIT_NO;
}

/* Operands: [MODEL] REF DATA..., MODEL only without --plan. */
static void check_operands(int n, bool masked)
{
    if (plans.n > 1)
        usage_error("one --plan at a time; run once for each");
    if (n < (masked ? 2 : 3))
        usage_error(masked ? "with --plan the operands are REF DATA..."
                           : "the operands are MODEL REF DATA...");
}

void bench_compare(int argc, char **argv)
{
    int n = cmd_start(&cmd, WANT_OUT | WANT_FORCE | WANT_JSON, argc, argv), status, r0;
    bool masked = plans.n > 0;
    struct compare_report r;
    struct plan p = {0};
    struct corpus c;
    struct engine *en;
    struct model ref, other;
    struct err e = {0};
    double max_kl = 0;
    FILE *f;

    check_operands(n, masked);
    if (max_kl_text && num_double(max_kl_text, "--max-kl", 0, 1e9, &max_kl, &e))
        usage_error("%s", e.msg);
    f = result_open();
    r0 = masked ? 0 : 1; /* index of REF */
    open_model(&ref, argv[r0]);
    if (masked)
        read_plan(&p, &ref);
    else
        open_model(&other, argv[0]);
    en = open_engine();
    detail_engine(en);
    read_corpus(&c, &ref, argv + r0 + 1, n - r0 - 1);
    if (judge_compare(&r, en, &ref, masked ? NULL : &other, &p, &c, pass_display("comparing"), &e))
        die(&e);
    if (common.json)
        json_by_category(f, &c, print_json_row, &r.total, r.category, sizeof *r.category);
    else
        print_table(f, &r, &c);
    result_close(f);
    status = verdict(&r, max_kl);
    compare_report_free(&r);
    corpus_free(&c);
    engine_close(en);
    if (masked)
        plan_free(&p);
    else
        model_close(&other);
    model_close(&ref);
    cmd_exit(status);
}
