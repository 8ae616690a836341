/* moe-bench speed -- how fast a model reads. */
#include <math.h>

#include "base/num.h"
#include "bench.h"

static int64_t docs = 16, tokens = 512, repeat = 3;

static const struct opt opts[] = {
    OPT_HEADING("What is run"),
    {"docs", 0, OPT_INT, &docs, "N", "made-up documents (16)", 1, 1000000},
    {"tokens", 0, OPT_INT, &tokens, "N", "tokens of each (512)", 1, 10000000},
    {"repeat", 0, OPT_INT, &repeat, "N", "runs, of which the fastest counts (3)", 1, 1000},
    ENGINE_OPTS,
    OPT_END,
};
static const struct cmd cmd = {
    .name = "moe-bench speed",
    .purpose = "prefill speed of a model, with and without observing",
    .usage = "moe-bench speed [options] MODEL",
    .opts = opts,
    .examples = "  moe-bench speed openai/gpt-oss-20b\n"
                "  moe-bench speed --docs 64 --tokens 2048 --precision bf16 --json pruned/\n",
};

static double rate(double amount, double seconds)
{
    return seconds > 0 ? amount / seconds : NAN;
}

static void print_json(FILE *f, const struct speed_report *r, const struct engine *en)
{
    const struct {
        const char *name;
        double v;
    } fields[] = {
        {"prefill_tokens_per_second", rate((double)r->tokens, r->plain.seconds)},
        {"observe_tokens_per_second", rate((double)r->tokens, r->observe.seconds)},
        {"first_run_seconds", r->first.seconds},
        {"seconds", r->plain.seconds},
        {"observe_seconds", r->observe.seconds},
        {"flops", r->plain.flops},
        {"flops_per_second", rate(r->plain.flops, r->plain.seconds)},
        {"peak_flops_per_second", r->peak_flops},
        {"read_seconds", r->plain.read_seconds},
        {"wait_seconds", r->plain.wait_seconds},
        {"first_run_read_seconds", r->first.read_seconds},
        {"read_bytes", (double)r->plain.bytes_read},
        {"peak_bytes", (double)r->observe.peak_bytes},
    };
    size_t i;

    fprintf(f, "{\"documents\":%lld,\"tokens\":%lld,\"device\":", (long long)docs, (long long)r->tokens);
    json_string(f, engine_device(en));
    fputs(",\"library\":", f);
    json_string(f, engine_library(en));
    fputs(",\"precision\":", f);
    json_string(f, engine_precision(en));
    fprintf(f, ",\"threads\":%d", engine_threads(en));
    for (i = 0; i < sizeof fields / sizeof *fields; i++) {
        fprintf(f, ",\"%s\":", fields[i].name);
        json_number(f, fields[i].v);
    }
    fputs("}\n", f);
}

static void print_table(FILE *f, const struct speed_report *r, const struct engine *en)
{
    double seconds = r->plain.seconds, flops = rate(r->plain.flops, seconds);
    char buf[32];

    fprintf(f, "engine       %s, %s, %s, %d threads\n", engine_device(en), engine_library(en),
            engine_precision(en), engine_threads(en));
    fprintf(f, "input        %lld documents of %lld made-up tokens\n", (long long)docs, (long long)tokens);
    fprintf(f, "prefill      %.0f tokens/s (%.3f s)\n", rate((double)r->tokens, seconds), seconds);
    fprintf(f, "observing    %.0f tokens/s (%.3f s, %+.1f%%)\n", rate((double)r->tokens, r->observe.seconds),
            r->observe.seconds, 100 * (r->observe.seconds / seconds - 1));
    fprintf(f, "arithmetic   %.1f GFLOP/s, %.0f%% of the %.1f that one large product reaches\n", flops * 1e-9,
            100 * flops / r->peak_flops, r->peak_flops * 1e-9);
    fprintf(f, "reading      %s in %.3f s, waited for %.3f s of them\n", num_bytes(r->plain.bytes_read, buf),
            r->plain.read_seconds, r->plain.wait_seconds);
    fprintf(f, "first run    %.3f s, reading %.3f s\n", r->first.seconds, r->first.read_seconds);
    fprintf(f, "peak memory  %s\n", num_bytes(r->observe.peak_bytes, buf));
}

void bench_speed(int argc, char **argv)
{
    int n = cmd_start(&cmd, WANT_OUT | WANT_FORCE | WANT_JSON, argc, argv);
    struct speed_options o;
    struct speed_report r;
    struct engine *en;
    struct model m;
    struct err e = {0};
    FILE *f;

    if (n != 1)
        usage_error(n ? "only one operand, MODEL" : "MODEL is missing");
    f = result_open();
    open_model(&m, argv[0]);
    en = open_engine();
    o = (struct speed_options){
        .docs = docs, .tokens = tokens, .repeat = (int)repeat, .begin = pass_display("running")->begin};
    if (judge_speed(&r, en, &m, &o, &e))
        die(&e);
    if (common.json)
        print_json(f, &r, en);
    else
        print_table(f, &r, en);
    result_close(f);
    engine_close(en);
    model_close(&m);
    cmd_exit(EXIT_DONE);
}
