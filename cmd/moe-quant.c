/* moe-quant -- changes the number format of a model's weights. */
#include <math.h>
#include <string.h>

#include "base/json_out.h"
#include "base/num.h"
#include "common.h"
#include "surgery/quantize.h"

static const char *to_name;
static int64_t threads;
static struct opt_list include, exclude, ignore_keys;

static const struct opt options[] = {
    {"to", 't', OPT_TEXT, &to_name, "mxfp4|bf16", "the number format to convert to", 0, 0},
    {"include", 0, OPT_LIST, &include, "GLOB", "convert these tensors (default: the routed experts)", 0, 0},
    {"exclude", 0, OPT_LIST, &exclude, "GLOB", "but not these", 0, 0},
    {"threads", 0, OPT_INT, &threads, "N", "threads (default: all processors)", 1, 4096},
    {"ignore-key", 0, OPT_LIST, &ignore_keys, "KEY", "a config.json key that changes nothing", 0, 0},
    OPT_END,
};

static const struct cmd cmd = {
    .name = "moe-quant",
    .purpose = "change the number format of a model's weights",
    .usage = "moe-quant -t mxfp4|bf16 [--include GLOB]... [--exclude GLOB]... MODEL OUT",
    .opts = options,
    .examples = "  moe-quant -t mxfp4 ./qwen3-30b-96e ./qwen3-30b-96e-mxfp4\n"
                "  moe-quant -t bf16 openai/gpt-oss-20b ./gpt-oss-20b-bf16\n"
                "  moe-quant -t mxfp4 --json ./model ./out | jq '.tensors | max_by(.error)'\n",
};

/* One line for each tensor, kept back until all went well: a failed run prints no table. */
static struct str rows;

static void add_error(struct str *s, double err2, double sum2)
{
    bool exact = err2 == 0;

    if (common.json && exact)
        str_adds(s, "\"error\":0,\"sqnr_db\":null");
    else if (common.json)
        str_addf(s, "\"error\":%.9g,\"sqnr_db\":%.4f", err2 / sum2, 10 * log10(sum2 / err2));
    else if (exact)
        str_adds(s, "0          exact");
    else
        str_addf(s, "%-9.3g  %8.2f", err2 / sum2, 10 * log10(sum2 / err2));
}

static void on_tensor(void *ctx, const struct quant_tensor_report *r)
{
    (void)ctx;
    if (common.json) {
        str_adds(&rows, rows.n ? ",{\"name\":" : "{\"name\":");
        json_quote(&rows, r->name, strlen(r->name));
        str_addf(&rows, ",\"elements\":%llu,", (unsigned long long)r->count);
        add_error(&rows, r->err2, r->sum2);
        str_adds(&rows, "}");
        return;
    }
    add_error(&rows, r->err2, r->sum2);
    str_addf(&rows, "  %11llu  %s\n", (unsigned long long)r->count, r->name);
}

static void on_progress(void *ctx, uint64_t done, uint64_t total)
{
    (void)ctx;
    progress("converting", total ? (double)done / (double)total : 1);
}

static void print_json(const struct quantize_report *r, const char *out)
{
    struct str total = {0};

    add_error(&total, r->err2, r->sum2);
    printf("{\"out\":");
    json_string(stdout, out);
    printf(",\"written\":%s,\"tensors\":[%s]", common.dry_run ? "false" : "true", rows.p ? rows.p : "");
    printf(",\"total\":{\"tensors\":%llu,%s}", (unsigned long long)r->tensors, total.p);
    printf(",\"bytes\":{\"before\":%llu,\"after\":%llu,\"needed\":%llu,\"free\":%llu},\"files\":%d}\n",
           (unsigned long long)r->bytes_before, (unsigned long long)r->bytes_after,
           (unsigned long long)r->bytes_needed, (unsigned long long)r->bytes_free, r->files);
    str_free(&total);
}

static void print_text(const struct quantize_report *r, const char *out)
{
    struct str total = {0};
    char a[32], b[32];

    if (!common.dry_run) {
        add_error(&total, r->err2, r->sum2);
        printf("error      SQNR (dB)     elements  tensor\n%s%s  %11s  all %llu\n", rows.p, total.p, "",
               (unsigned long long)r->tensors);
    }
    printf("safetensors        %s -> %s (%llu bytes in %d file%s)\n", num_bytes(r->bytes_before, a),
           num_bytes(r->bytes_after, b), (unsigned long long)r->bytes_after, r->files,
           r->files == 1 ? "" : "s");
    if (common.dry_run)
        printf("tensors            %llu\n"
               "needed             %s, free %s: '%s' %s\n",
               (unsigned long long)r->tensors, num_bytes(r->bytes_needed, a), num_bytes(r->bytes_free, b),
               out, r->bytes_needed <= r->bytes_free ? "would be written" : "does not fit");
    str_free(&total);
}

static void quantize(const char *model, enum quant_format to, const char *out)
{
    struct model_options mo = {.arch.ignore_keys = ignore_keys.v};
    struct quantize_options o = {.force = common.force,
                                 .dry_run = common.dry_run,
                                 .threads = (int)threads,
                                 .include = include.v,
                                 .exclude = exclude.v,
                                 .command = command_line(),
                                 .model = &mo,
                                 .tensor = on_tensor,
                                 .progress = on_progress};
    struct quantize_report r;
    struct model m;
    struct err e = {0};

    if (model_open(&m, model, &mo, &e) || quantize_model(&m, to, out, &o, &r, &e) || str_ok(&rows, &e))
        die(&e);
    progress_done();
    if (common.json)
        print_json(&r, out);
    else if (common.verbose >= 0)
        print_text(&r, out);
    str_free(&rows);
    model_close(&m);
}

int main(int argc, char **argv)
{
    int n = cmd_start(&cmd, WANT_JSON | WANT_FORCE | WANT_DRY_RUN, argc, argv);

    if (!to_name)
        usage_error("convert to what? -t mxfp4 or -t bf16");
    if (strcmp(to_name, "mxfp4") != 0 && strcmp(to_name, "bf16") != 0)
        usage_error("-t takes mxfp4 or bf16, not '%s'", to_name);
    if (n != 2)
        usage_error(n < 2 ? "MODEL and OUT are needed" : "MODEL and OUT are all it takes");
    quantize(argv[0], strcmp(to_name, "mxfp4") == 0 ? QF_MXFP4 : QF_BF16, argv[1]);
    cmd_exit(EXIT_DONE);
}
