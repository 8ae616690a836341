/* bench_perplexity.c -- how well a model predicts text, by category. */
#include "base/num.h"
#include "bench.h"

static int perplexity(int n, char **argv);

static const struct opt opts[] = {ENGINE_OPTS, TEXT_OPTS, OPT_END};
const struct cmd bench_perplexity = {
    .name = "moe-bench perplexity",
    .purpose = "perplexity of a model on text, by category",
    .usage = "moe-bench perplexity [options] MODEL DATA...",
    .opts = opts,
    .want = WANT_OUT | WANT_FORCE | WANT_JSON | WANT_DRY_RUN,
    .operands = "MODEL DATA...",
    .run = perplexity,
    .examples = "  moe-bench perplexity pruned/ eval.jsonl\n"
                "  moe-bench perplexity --json --max-len 512 --precision f32 pruned/ eval.jsonl\n",
};

static void row_json(struct json_out *j, const void *row)
{
    const struct ppl_row *r = row;

    jo_int(j, "tokens", r->tokens);
    jo_double(j, "nll", r->nll);
    jo_double(j, "ppl", judge_ppl(r->nll, r->tokens));
}

static void print_row(FILE *f, int width, const char *name, const struct ppl_row *r)
{
    char buf[32];

    put_name(f, width, name);
    fprintf(f, "  %12s", num_thousands(r->tokens, buf));
    if (r->tokens)
        fprintf(f, "  %10.5f  %12.4f\n", r->nll / (double)r->tokens, judge_ppl(r->nll, r->tokens));
    else
        fprintf(f, "  %10s  %12s\n", "-", "-");
}

static void print_table(FILE *f, const struct ppl_report *r, const struct corpus *c)
{
    int k, width = category_width(c);

    fprintf(f, "%-*s  %12s  %10s  %12s\n", width, "category", "tokens", "nll/token", "perplexity");
    for (k = 0; k < c->categories; k++)
        print_row(f, width, c->category[k], &r->category[k]);
    print_row(f, width, "total", &r->total);
}

static int perplexity(int n, char **argv)
{
    struct json_out j = {0};
    struct ppl_report r;
    struct bench b;
    struct err e = {0};
    FILE *f;

    f = result_open();
    open_model(&b.m, argv[0]);
    bench_open(&b, argv + 1, n - 1);
    if (common.dry_run) {
        bench_forecast(&b, NULL, 0);
        bench_close(&b);
        return EXIT_DONE;
    }
    if (judge_perplexity(&r, b.en, &b.m, &b.c, pass_display("scoring", b.c.tokens, &b.m), &e))
        die(&e);
    progress_done();
    if (common.json) {
        json_begin(&j);
        json_by_category(&j, &b.c, row_json, &r.total, r.category, sizeof *r.category);
        jo_close(&j);
        json_print(f, &j);
    } else {
        print_table(f, &r, &b.c);
    }
    result_close(f);
    detail("%lld tokens in %.1f s", (long long)b.c.tokens, r.cost.seconds);
    ppl_report_free(&r);
    bench_close(&b);
    return EXIT_DONE;
}
