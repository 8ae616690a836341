/* bench_speed.c -- how fast a model reads. */
#include <math.h>

#include "base/num.h"
#include "bench.h"

static int64_t docs = 16, tokens = 512, repeat = 3, seed = 1;

static int speed(int n, char **argv);

static const struct opt opts[] = {
    OPT_HEADING("What is run"),
    OPT_INT("docs", 0, &docs, "N", "made-up documents (16)", 1, 1000000),
    OPT_INT("tokens", 0, &tokens, "N", "tokens of each (512)", 1, 10000000),
    OPT_INT("repeat", 0, &repeat, "N", "runs, of which the fastest counts (3)", 1, 1000),
    OPT_INT("seed", 0, &seed, "N", "of the made-up documents (1)", 0, INT64_MAX),
    ENGINE_OPTS,
    OPT_END,
};
const struct cmd bench_speed = {
    .name = "moe-bench speed",
    .purpose = "prefill speed of a model, with and without observing",
    .usage = "moe-bench speed [options] MODEL",
    .opts = opts,
    .want = WANT_OUT | WANT_FORCE | WANT_JSON,
    .operands = "MODEL",
    .run = speed,
    .examples = "  moe-bench speed openai/gpt-oss-20b\n"
                "  moe-bench speed --docs 64 --tokens 2048 --precision bf16 --json pruned/\n",
};

static double rate(double amount, double seconds)
{
    return seconds > 0 ? amount / seconds : NAN;
}

/* A run as if weights were always there when they are needed. */
static double computing(const struct engine_cost *c)
{
    return c->seconds - c->wait_seconds;
}

static double of_peak(const struct speed_report *r, double seconds)
{
    return rate(r->plain.flops, seconds) / r->peak_flops;
}

static void speed_json(FILE *f, const struct speed_report *r, const struct engine *en)
{
    const double n = (double)r->tokens;
    const struct {
        const char *name;
        double v;
    } fields[] = {
        {"prefill_tokens_per_second", rate(n, r->plain.seconds)},
        {"prefill_tokens_per_second_without_waiting", rate(n, computing(&r->plain))},
        {"observe_tokens_per_second", rate(n, r->observe.seconds)},
        {"observe_tokens_per_second_without_waiting", rate(n, computing(&r->observe))},
        {"first_run_seconds", r->first.seconds},
        {"seconds", r->plain.seconds},
        {"observe_seconds", r->observe.seconds},
        {"flops", r->plain.flops},
        {"flops_per_second", rate(r->plain.flops, r->plain.seconds)},
        {"peak_flops_per_second", r->peak_flops},
        {"fraction_of_peak", of_peak(r, r->plain.seconds)},
        {"fraction_of_peak_without_waiting", of_peak(r, computing(&r->plain))},
        {"read_seconds", r->plain.read_seconds},
        {"wait_seconds", r->plain.wait_seconds},
        {"observe_wait_seconds", r->observe.wait_seconds},
        {"first_run_read_seconds", r->first.read_seconds},
        {"read_bytes", (double)r->plain.bytes_read},
        {"read_bytes_per_second", rate((double)r->plain.bytes_read, r->plain.read_seconds)},
        {"peak_bytes", (double)r->observe.peak_bytes},
        {"peak_device_bytes", (double)r->observe.peak_device_bytes},
    };
    struct json_out j = {0};
    size_t i;

    json_begin(&j);
    jo_int(&j, "documents", docs);
    jo_int(&j, "tokens", r->tokens);
    jo_int(&j, "seed", seed);
    json_engine(&j, en);
    for (i = 0; i < sizeof fields / sizeof *fields; i++)
        jo_double(&j, fields[i].name, fields[i].v);
    jo_close(&j);
    json_print(f, &j);
}

/* "61234 tokens/s (0.535 s, +2.1%), 70123 without waiting for weights (+2.2%)"; no percentages without
 * `than`. */
static void print_run(FILE *f, const char *what, const struct speed_report *r, const struct engine_cost *c,
                      const struct engine_cost *than)
{
    fprintf(f, "%-12s %.0f tokens/s (%.3f s", what, rate((double)r->tokens, c->seconds), c->seconds);
    if (than)
        fprintf(f, ", %+.1f%%", 100 * (c->seconds / than->seconds - 1));
    fprintf(f, "), %.0f without waiting for weights", rate((double)r->tokens, computing(c)));
    if (than)
        fprintf(f, " (%+.1f%%)", 100 * (computing(c) / computing(than) - 1));
    fputc('\n', f);
}

static void speed_table(FILE *f, const struct speed_report *r, const struct engine *en)
{
    double seconds = r->plain.seconds, reading = r->plain.read_seconds,
           unit = r->peak_flops < 1e13 ? 1e9 : 1e12;
    char buf[32], each[32];

    fprintf(f, "engine       %s, %s, %s, %d threads\n", engine_device(en), engine_library(en),
            engine_precision(en)->name, engine_threads(en));
    fprintf(f, "input        %lld documents of %lld made-up tokens\n", (long long)docs, (long long)tokens);
    print_run(f, "prefill", r, &r->plain, NULL);
    print_run(f, "observing", r, &r->observe, &r->plain);
    fprintf(f,
            "arithmetic   %.1f %cFLOP/s, %.0f%% of the %.1f that one large product reaches; %.0f%% without "
            "waiting\n",
            rate(r->plain.flops, seconds) / unit, unit < 1e12 ? 'G' : 'T', 100 * of_peak(r, seconds),
            r->peak_flops / unit, 100 * of_peak(r, computing(&r->plain)));
    fprintf(f, "reading      %s in %.3f s, %s/s; waited for %.3f s of them\n",
            num_bytes(r->plain.bytes_read, buf), r->plain.read_seconds,
            num_bytes(reading > 0 ? (uint64_t)((double)r->plain.bytes_read / reading) : 0, each),
            r->plain.wait_seconds);
    fprintf(f, "first run    %.3f s, reading %.3f s\n", r->first.seconds, r->first.read_seconds);
    fprintf(f, "peak memory  %s", num_bytes(r->observe.peak_bytes, buf));
    if (r->observe.peak_device_bytes)
        fprintf(f, ", %s of the device", num_bytes(r->observe.peak_device_bytes, buf));
    fputc('\n', f);
}

static int speed(int n, char **argv)
{
    struct speed_options o;
    struct speed_report r;
    struct engine *en;
    struct model m;
    struct err e = {0};
    FILE *f;

    (void)n;
    f = result_open();
    open_model(&m, argv[0]);
    en = open_engine();
    o = (struct speed_options){.docs = docs,
                               .tokens = tokens,
                               .repeat = (int)repeat,
                               .seed = (uint64_t)seed,
                               .begin = pass_display("running", 0, NULL)->begin};
    if (judge_speed(&r, en, &m, &o, &e))
        die(&e);
    progress_done();
    if (common.json)
        speed_json(f, &r, en);
    else
        speed_table(f, &r, en);
    result_close(f);
    engine_close(en);
    model_close(&m);
    return EXIT_DONE;
}
