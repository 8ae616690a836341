/* moe-bench perplexity -- how well a model predicts text, by category. */
#include <math.h>

#include "base/num.h"
#include "bench.h"

static const struct opt opts[] = {ENGINE_OPTS, TEXT_OPTS, OPT_END};
static const struct cmd cmd = {
    .name = "moe-bench perplexity",
    .purpose = "perplexity of a model on text, by category",
    .usage = "moe-bench perplexity [options] MODEL DATA...",
    .opts = opts,
    .examples = "  moe-bench perplexity pruned/ eval.jsonl\n"
                "  moe-bench perplexity --json --max-len 512 --precision f32 pruned/ eval.jsonl\n",
};

static double ppl(const struct ppl_row *r)
{
    return r->tokens ? exp(r->nll / (double)r->tokens) : NAN;
}

static void print_json_row(FILE *f, const void *row)
{
    const struct ppl_row *r = row;

    fprintf(f, "{\"tokens\":%lld", (long long)r->tokens);
    json_number_member(f, "nll", r->nll);
    json_number_member(f, "ppl", ppl(r));
    fputc('}', f);
}

static void print_row(FILE *f, int width, const char *name, const struct ppl_row *r)
{
    char buf[32];

    put_name(f, width, name);
    fprintf(f, "  %12s", num_thousands(r->tokens, buf));
    if (r->tokens)
        fprintf(f, "  %10.5f  %12.4f\n", r->nll / (double)r->tokens, ppl(r));
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

void bench_perplexity(int argc, char **argv)
{
    int n = cmd_start(&cmd, WANT_OUT | WANT_FORCE | WANT_JSON, argc, argv);
    struct ppl_report r;
    struct bench b;
    struct err e = {0};
    FILE *f;

    if (n < 2)
        usage_error(n ? "no DATA after MODEL" : "MODEL and DATA are missing");
    f = result_open();
    open_model(&b.m, argv[0]);
    bench_open(&b, argv + 1, n - 1);
    if (judge_perplexity(&r, b.en, &b.m, &b.c, pass_display("scoring"), &e))
        die(&e);
    if (common.json) {
        fputc('{', f);
        json_by_category(f, &b.c, print_json_row, &r.total, r.category, sizeof *r.category);
        fputs("}\n", f);
    } else
        print_table(f, &r, &b.c);
    result_close(f);
    detail("%lld tokens in %.1f s", (long long)b.c.tokens, r.cost.seconds);
    ppl_report_free(&r);
    bench_close(&b);
    cmd_exit(EXIT_DONE);
}
