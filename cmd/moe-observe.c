/* moe-observe -- runs text through a model and counts what every expert does. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/num.h"
#include "engine_opts.h"
#include "observe/observe.h"
#include "text_opts.h"

static const char *matrices_path;
static bool pool_pairs;

static const struct opt opts[] = {
    {"matrices", 0, OPT_TEXT, &matrices_path, "FILE", "sums over pairs of experts, and by element, too", 0,
     0},
    {"pool-pairs", 0, OPT_FLAG, &pool_pairs, NULL, "do not tell pairs apart by category (smaller)", 0, 0},
    ENGINE_OPTS,
    TEXT_OPTS,
    OPT_END};
static const struct cmd cmd = {
    .name = "moe-observe",
    .purpose = "run text through a model and write what its experts do as statistics",
    .usage = "moe-observe [options] [--matrices FILE] -o STATS MODEL DATA...",
    .opts = opts,
    .examples =
        "  moe-observe -o run.stats openai/gpt-oss-20b calib.jsonl\n"
        "  moe-observe --matrices run.mat -o run.stats openai/gpt-oss-20b calib.jsonl\n"
        "  moe-observe --dry-run -o run.stats models/qwen3 texts/\n"
        "  moe-observe --mem-max 8GB --max-len 1024 -o run.stats models/qwen3 code.jsonl chat.jsonl\n",
};

/* Routed tokens that an expert should see of a category, on average, for its means to say something. */
enum { FEW = 100 };

struct category_count {
    int64_t documents, tokens;
};

static struct category_count *count_categories(const struct corpus *c)
{
    struct err e = {0};
    struct category_count *n = mem_new((size_t)c->categories, sizeof *n, &e);
    int64_t d;

    if (!n)
        die(&e);
    for (d = 0; d < c->docs; d++) {
        n[c->doc[d].category].documents++;
        n[c->doc[d].category].tokens += c->doc[d].n;
    }
    return n;
}

/* What an early look at the text says about the result. */
static void warn_about(const struct corpus *c, const struct category_count *n, const struct model *m)
{
    int64_t wanted = (int64_t)FEW * m->arch.experts / m->arch.topk;
    int k, few = 0, least = 0;
    char buf[32];

    for (k = 0; k < c->categories; k++) {
        few += n[k].tokens < wanted;
        if (n[k].tokens < n[least].tokens)
            least = k;
    }
    if (few)
        warn("%d of %d categories have fewer than %s tokens, %d routed tokens an expert (fewest: '%s', "
             "%lld); their scores will be noisy",
             few, c->categories, num_thousands(wanted, buf), FEW, c->category[least],
             (long long)n[least].tokens);
    if (c->truncated)
        warn("%lld of %lld documents were cut to %lld tokens (--max-len)", (long long)c->truncated,
             (long long)c->docs, (long long)text_opts.max_len);
    if (c->empty)
        warn("%lld documents had no token and were left out", (long long)c->empty);
}

static void print_categories_json(const struct corpus *c, const struct category_count *n)
{
    int k;

    printf("\"documents\":%lld,\"tokens\":%lld,\"empty\":%lld,\"truncated\":%lld,\"category\":{",
           (long long)c->docs, (long long)c->tokens, (long long)c->empty, (long long)c->truncated);
    for (k = 0; k < c->categories; k++) {
        printf("%s", k ? "," : "");
        json_string(stdout, c->category[k]);
        printf(":{\"documents\":%lld,\"tokens\":%lld}", (long long)n[k].documents, (long long)n[k].tokens);
    }
    printf("}");
}

/* Bytes of the matrices, in memory and in their file. */
static uint64_t matrices_size(const struct corpus *c, const struct model *m)
{
    if (!matrices_path)
        return 0;
    return matrices_bytes(m->arch.experts, m->arch.hidden, m->arch.inter, m->arch.moe_layers, c->categories,
                          pool_pairs);
}

static void print_plan(const struct corpus *c, const struct category_count *n, const struct engine *en,
                       const struct model *m)
{
    uint64_t matrices = matrices_size(c, m);
    struct observe_estimate x;
    struct err e = {0};
    char buf[32], mem[32];
    int k, width = category_width(c);

    if (observe_estimate(&x, engine_precision(en), m, c, engine_opts.mem_max, &e))
        die(&e);
    x.memory_bytes += matrices;
    if (common.json) {
        printf("{");
        print_categories_json(c, n);
        printf(",\"passes\":%lld,\"read_bytes\":%llu,\"memory_bytes\":%llu,\"matrices_bytes\":%llu}\n",
               (long long)x.passes, (unsigned long long)x.read_bytes, (unsigned long long)x.memory_bytes,
               (unsigned long long)matrices);
        return;
    }
    printf("%-*s  %10s  %14s\n", width, "category", "documents", "tokens");
    for (k = 0; k < c->categories; k++) {
        put_name(stdout, width, c->category[k]);
        printf("  %10lld  %14s\n", (long long)n[k].documents, num_thousands(n[k].tokens, buf));
    }
    printf("%-*s  %10lld  %14s\n", width, "total", (long long)c->docs, num_thousands(c->tokens, buf));
    printf("%lld pass%s, %s to read, about %s of memory\n", (long long)x.passes, x.passes == 1 ? "" : "es",
           num_bytes(x.read_bytes, buf), num_bytes(x.memory_bytes, mem));
    if (matrices)
        printf("matrices: %s, in memory and on disk\n", num_bytes(matrices, buf));
}

static void print_summary(const struct corpus *c, const struct category_count *n, const struct engine *en,
                          const struct observe_report *r)
{
    double rate = (double)c->tokens / (r->cost.seconds > 0 ? r->cost.seconds : 1e-9);
    bool device = r->cost.peak_device_bytes > 0;
    char tokens[32], docs[32], mem[32], own[32];

    note("%s documents, %s tokens in %.1f s: %.0f tokens/s, peak memory %s%s%s", num_thousands(c->docs, docs),
         num_thousands(c->tokens, tokens), r->cost.seconds, rate, num_bytes(r->cost.peak_bytes, mem),
         device ? ", of the device " : "", device ? num_bytes(r->cost.peak_device_bytes, own) : "");
    if (!common.json)
        return;
    printf("{\"stats\":");
    json_string(stdout, common.out);
    printf(",");
    print_categories_json(c, n);
    printf(",\"passes\":%lld,\"read_bytes\":%llu,\"peak_bytes\":%llu,\"peak_device_bytes\":%llu,\"seconds\":",
           (long long)r->passes, (unsigned long long)r->cost.bytes_read,
           (unsigned long long)r->cost.peak_bytes, (unsigned long long)r->cost.peak_device_bytes);
    json_number(stdout, r->cost.seconds);
    printf(",\"tokens_per_second\":");
    json_number(stdout, rate);
    printf(",\"device\":");
    json_string(stdout, engine_device(en));
    printf(",\"library\":");
    json_string(stdout, engine_library(en));
    printf(",\"precision\":");
    json_string(stdout, engine_precision(en));
    printf(",\"threads\":%d}\n", engine_threads(en));
}

/* What would only fail after hours of work fails now. */
static void check_operands(int n, char **argv)
{
    if (n < 2)
        usage_error(n ? "no DATA after MODEL" : "MODEL and DATA are missing");
    if (!common.out && !common.dry_run)
        usage_error("-o STATS is missing");
    if (common.json && common.out && strcmp(common.out, "-") == 0)
        usage_error("--json and -o - would both write to standard output");
    if (common.out && strcmp(common.out, argv[0]) == 0)
        usage_error("-o %s is the model itself", common.out);
    if (pool_pairs && !matrices_path)
        usage_error("--pool-pairs has no effect without --matrices");
    if (matrices_path && strcmp(matrices_path, "-") == 0)
        usage_error("--matrices - is not possible: give it a file of its own");
    if (matrices_path && common.out && strcmp(matrices_path, common.out) == 0)
        usage_error("-o and --matrices name the same file, %s", common.out);
}

static void check_output(const char *path)
{
    struct err e = {0};
    struct wfile w = {0};

    if (common.dry_run || !path || strcmp(path, "-") == 0)
        return;
    if (wfile_open(&w, path, common.force, &e))
        die(&e);
    wfile_close(&w);
}

static void check_room(const struct corpus *c, const struct model *m)
{
    uint64_t need = matrices_size(c, m), room;
    struct err e = {0};
    char buf[32], have[32];

    if (!need)
        return;
    if (disk_free(matrices_path, &room, &e))
        die(&e);
    if (room < need) {
        err_set(&e, ERR_IO, "%s: matrices take %s, but only %s is free there%s", matrices_path,
                num_bytes(need, buf), num_bytes(room, have),
                pool_pairs ? "" : "; --pool-pairs makes them smaller");
        die(&e);
    }
}

static void observe(struct engine *en, const struct model *m, const struct corpus *c, int max_len,
                    struct observe_report *r)
{
    struct matrices mat;
    const struct observe_more more = {matrices_path ? &mat : NULL, pool_pairs};
    struct stats s;
    struct err e = {0};

    check_room(c, m);
    if (observe_corpus(&s, &more, en, m, c, max_len, pass_display("observing"), r, &e) ||
        (matrices_path && matrices_write(&mat, matrices_path, common.force, &e)) ||
        stats_write(&s, common.out, common.force, &e))
        die(&e);
    stats_free(&s);
    if (matrices_path)
        matrices_free(&mat);
}

int main(int argc, char **argv)
{
    int n = cmd_start(&cmd, WANT_OUT | WANT_FORCE | WANT_DRY_RUN | WANT_JSON, argc, argv);
    struct corpus_options co;
    struct category_count *count;
    struct corpus c;
    struct model m;
    struct engine *en;
    struct observe_report r;
    struct err e = {0};

    check_operands(n, argv);
    text_options(&co);
    check_output(common.out);
    check_output(matrices_path);
    open_model(&m, argv[0]);
    en = open_engine();
    detail_engine(en);
    co.vocab = m.arch.vocab;
    if (corpus_read(&c, m.dir, (const char *const *)argv + 1, n - 1, &co, &e))
        die(&e);
    if (c.docs == 0)
        err_set(&e, ERR_INPUT, "DATA has no document with a token in it"), die(&e);
    count = count_categories(&c);
    warn_about(&c, count, &m);
    if (common.dry_run) {
        print_plan(&c, count, en, &m);
    } else {
        observe(en, &m, &c, co.max_len, &r);
        print_summary(&c, count, en, &r);
    }
    free(count);
    corpus_free(&c);
    engine_close(en);
    model_close(&m);
    cmd_exit(EXIT_DONE);
}
