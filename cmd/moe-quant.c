/* moe-quant.c -- changes the number format of a model's weights. */
#include <math.h>

#include "base/num.h"
#include "common.h"
#include "stats/matrices.h"
#include "surgery/quantize.h"

static int to;
/* -t's words */
#define TARGETS "mxfp4|nvfp4|fp8|fp8-channel|int4|int4-32|bf16"
static const char *const targets[] = {"mxfp4", "nvfp4", "fp8", "fp8-channel", "int4", "int4-32", "bf16"};
static const char *matrices_file;
static int64_t threads;
static struct opt_list include, exclude, ignore_keys, ignore_tensors;

static const struct opt options[] = {
    OPT_CHOICE("to", 't', &to, TARGETS, "the number format to convert to", .required = true),
    OPT_LIST("include", 0, &include, "GLOB", "convert these tensors (default: the routed experts)"),
    OPT_LIST("exclude", 0, &exclude, "GLOB", "but not these"),
    OPT_FILE("matrices", 0, &matrices_file, "FILE", "weigh errors by the sizes of inputs (moe-observe)"),
    OPT_INT("threads", 0, &threads, "N", "threads (default: all processors)", 1, 4096),
    OPT_LIST("ignore-key", 0, &ignore_keys, "KEY", "a config.json key that changes nothing"),
    OPT_LIST("ignore-tensor", 0, &ignore_tensors, "NAME",
             "a tensor that changes nothing; * and ? as in file names"),
    OPT_END,
};

static int quantize(int n, char **argv);
static const struct cmd cmd = {
    .name = "moe-quant",
    .purpose = "change the number format of a model's weights",
    .usage = "moe-quant -t " TARGETS " [--include GLOB]... [--exclude GLOB]... [--matrices FILE] MODEL OUT",
    .opts = options,
    .want = WANT_JSON | WANT_FORCE | WANT_DRY_RUN,
    .operands = "MODEL OUT",
    .run = quantize,
    .examples = "  moe-quant -t mxfp4 ./qwen3-30b-96e ./qwen3-30b-96e-mxfp4\n"
                "  moe-quant -t bf16 openai/gpt-oss-20b ./gpt-oss-20b-bf16\n"
                "  moe-quant -t mxfp4 --json ./model ./out | jq '.tensors | max_by(.error)'\n",
};

/* What was said of the tensors, kept back until all went well: a failed run prints no table. */
static struct str rows;
static struct json_out json;

static void add_error(struct str *s, double err2, double sum2)
{
    if (err2 == 0)
        str_adds(s, "0          exact");
    else
        str_addf(s, "%-9.3g  %8.2f", err2 / sum2, 10 * log10(sum2 / err2));
}

static void json_error(struct json_out *j, double err2, double sum2)
{
    if (err2 == 0) {
        jo_int(j, "error", 0);
        jo_null(j, "sqnr_db");
    } else {
        jo_printf(j, "error", "%.9g", err2 / sum2);
        jo_printf(j, "sqnr_db", "%.4f", 10 * log10(sum2 / err2));
    }
}

static void on_tensor(void *ctx, const struct quant_tensor_report *r)
{
    (void)ctx;
    if (common.json) {
        jo_open(&json, NULL, '{');
        jo_string(&json, "name", r->name);
        jo_uint(&json, "elements", r->count);
        json_error(&json, r->err2, r->sum2);
        jo_close(&json);
        return;
    }
    if (common.verbose < 1)
        return;
    add_error(&rows, r->err2, r->sum2);
    str_addf(&rows, "  %11llu  %s\n", (unsigned long long)r->count, r->name);
}

/* Up to the tensors, and from there on. */
static void begin_json(const char *out)
{
    json_begin(&json);
    jo_string(&json, "out", out);
    jo_bool(&json, "written", !common.dry_run);
    jo_open(&json, "tensors", '[');
}

static void json_blocks(struct json_out *j, uint64_t blocks, uint64_t lossless)
{
    if (!blocks) {
        jo_null(j, "blocks");
        return;
    }
    jo_open(j, "blocks", '{');
    jo_uint(j, "all", blocks);
    jo_uint(j, "lossless", lossless);
    jo_close(j);
}

static void kind_json(const struct quant_kind *k)
{
    jo_open(&json, NULL, '{');
    jo_string(&json, "name", k->name);
    jo_string(&json, "from", k->from);
    jo_string(&json, "to", k->to);
    jo_uint(&json, "tensors", k->tensors);
    jo_uint(&json, "elements", k->elements);
    jo_open(&json, "bytes", '{');
    jo_uint(&json, "before", k->bytes_before);
    jo_uint(&json, "after", k->bytes_after);
    jo_close(&json);
    if (!common.dry_run)
        json_error(&json, k->err2, k->sum2);
    json_blocks(&json, k->blocks, k->lossless);
    jo_close(&json);
}

static void finish_json(const struct quantize_report *r)
{
    size_t i;

    jo_close(&json);
    jo_open(&json, "kinds", '[');
    for (i = 0; i < r->kinds; i++)
        kind_json(&r->kind[i]);
    jo_close(&json);
    jo_open(&json, "copied", '{');
    jo_uint(&json, "tensors", r->copied);
    jo_uint(&json, "bytes", r->copied_bytes);
    jo_close(&json);
    jo_open(&json, "total", '{');
    jo_uint(&json, "tensors", r->tensors);
    json_error(&json, r->err2, r->sum2);
    json_blocks(&json, r->blocks, r->lossless);
    jo_close(&json);
    jo_open(&json, "bytes", '{');
    jo_uint(&json, "before", r->bytes_before);
    jo_uint(&json, "after", r->bytes_after);
    jo_uint(&json, "needed", r->bytes_needed);
    jo_uint(&json, "free", r->bytes_free);
    jo_uint(&json, "read", r->bytes_read);
    jo_close(&json);
    jo_double(&json, "seconds", common.dry_run ? r->seconds : NAN);
    jo_double(&json, "read_bytes_per_second", common.dry_run ? r->read_rate : NAN);
    jo_int(&json, "files", r->files);
    jo_close(&json);
    json_print(stdout, &json);
}

static void print_kind(const struct quant_kind *k)
{
    struct str error = {0};
    char a[32], b[32];

    if (common.dry_run)
        str_adds(&error, "-                 -");
    else
        add_error(&error, k->err2, k->sum2);
    printf("%7llu  %-6s -> %-6s %10s -> %-10s %-19s  %s\n", (unsigned long long)k->tensors, k->from, k->to,
           num_bytes(k->bytes_before, a), num_bytes(k->bytes_after, b), error.p ? error.p : "", k->name);
    str_free(&error);
}

static void print_kinds(const struct quantize_report *r)
{
    struct quant_kind all = {.name = "all of these", .from = "", .to = "", .err2 = r->err2, .sum2 = r->sum2};
    char buf[32];
    size_t i;

    printf("tensors  from      to           bytes               error      SQNR (dB)  kind\n");
    for (i = 0; i < r->kinds; i++) {
        print_kind(&r->kind[i]);
        all.tensors += r->kind[i].tensors;
        all.bytes_before += r->kind[i].bytes_before;
        all.bytes_after += r->kind[i].bytes_after;
        all.from = r->kind[i].from;
        all.to = r->kind[i].to;
    }
    if (r->kinds > 1)
        print_kind(&all);
    printf("%7llu  copied %21s\n", (unsigned long long)r->copied, num_bytes(r->copied_bytes, buf));
}

static void quantize_text(const struct quantize_report *r, const char *out)
{
    char a[32], b[32];

    if (rows.n)
        printf("error      SQNR (dB)     elements  tensor\n%s\n", rows.p);
    print_kinds(r);
    printf("safetensors        %s -> %s (%llu bytes in %d file%s)\n", num_bytes(r->bytes_before, a),
           num_bytes(r->bytes_after, b), (unsigned long long)r->bytes_after, r->files,
           r->files == 1 ? "" : "s");
    if (r->blocks)
        printf("blocks             %llu, of which %llu have the values that they had\n",
               (unsigned long long)r->blocks, (unsigned long long)r->lossless);
    if (common.dry_run)
        put_needed(out, r->bytes_needed, r->bytes_free, r->bytes_read, r->read_rate, r->seconds);
}

static int quantize(int n, char **argv)
{
    struct working working = {"converting", NULL};
    const char *model = argv[0], *out = argv[1];
    struct model_options mo = {.arch.ignore_keys = ignore_keys.v, .ignore_tensors = ignore_tensors.v};
    struct quantize_options o = {.force = common.force,
                                 .dry_run = common.dry_run,
                                 .threads = (int)threads,
                                 .include = include.v,
                                 .exclude = exclude.v,
                                 .command = command_line(),
                                 .model = &mo,
                                 .tensor = on_tensor,
                                 .progress = working_bytes,
                                 .ctx = &working};
    struct quantize_report r;
    struct matrices matrices = {0};
    struct model m;
    struct err e = {0};

    (void)n;
    if (common.json)
        begin_json(out);
    if (matrices_file && matrices_read(&matrices, matrices_file, &e))
        die(&e);
    o.matrices = matrices_file ? &matrices : NULL;
    if (model_open(&m, model, &mo, &e) || quantize_model(&m, targets[to], out, &o, &r, &e) ||
        str_ok(&rows, &e))
        die(&e);
    progress_done();
    if (common.json)
        finish_json(&r);
    else if (common.verbose >= 0)
        quantize_text(&r, out);
    quantize_report_free(&r);
    str_free(&rows);
    model_close(&m);
    matrices_free(&matrices);
    return EXIT_DONE;
}

int main(int argc, char **argv)
{
    return cmd_main(&cmd, argc, argv);
}
