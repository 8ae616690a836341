/* moe-observe.c -- runs text through a model and counts what every expert does. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/num.h"
#include "engine_opts.h"
#include "observe/categories.h"
#include "observe/observe.h"
#include "text_opts.h"

/* Files beside the statistics; NULL: not wanted. */
static const char *matrices_path, *reservoir_path;
static bool matrices_left; /* by the run that is resumed */
static bool pool_pairs, resume;
static const char *shard; /* I/N */
static int64_t shard_at = 1, shards = 1, reservoir_tokens = 4096;

static int run(int n, char **argv);

static const struct opt opts[] = {
    OPT_FILE("matrices", 0, &matrices_path, "FILE", "sums over pairs of experts, and by element, too"),
    OPT_FLAG("pool-pairs", 0, &pool_pairs, "do not tell pairs apart by category (smaller)",
             .needs = "matrices"),
    OPT_FILE("reservoir", 0, &reservoir_path, "FILE", "whole inputs and outputs of a sample of tokens, too"),
    OPT_INT("reservoir-tokens", 0, &reservoir_tokens, "N", "tokens of the sample (4096)", 1, INT64_MAX,
            .needs = "reservoir"),
    OPT_TEXT("shard", 0, &shard, "I/N", "only every N-th document, from the I-th on"),
    OPT_FLAG("resume", 0, &resume, "keep finished passes, and go on where a run was interrupted",
             .excludes = "reservoir, which is written at the end only"),
    ENGINE_OPTS,
    TEXT_OPTS,
    OPT_END};
static const struct cmd cmd = {
    .name = "moe-observe",
    .purpose = "run text through a model and write what its experts do as statistics",
    .usage = "moe-observe [options] [--matrices FILE] [--reservoir FILE] -o STATS MODEL DATA...",
    .opts = opts,
    .want = WANT_OUT | WANT_FORCE | WANT_DRY_RUN | WANT_JSON,
    .operands = "MODEL DATA...",
    .run = run,
    .examples =
        "  moe-observe -o run.stats openai/gpt-oss-20b calib.jsonl\n"
        "  moe-observe --matrices run.matrices -o run.stats openai/gpt-oss-20b calib.jsonl\n"
        "  moe-observe --dry-run -o run.stats models/qwen3 texts/\n"
        "  moe-observe --mem-max 8GB --max-len 1024 -o run.stats models/qwen3 code.jsonl chat.jsonl\n",
};

/* What an early look at the text says about the result. */
static void warn_about(const struct corpus *c, const struct category_count *n, const struct model *m)
{
    int64_t wanted;
    int least, few = categories_few(c, n, &m->arch, &wanted, &least);
    char buf[32];

    if (few && c->shards == 1)
        note("%d of %d categories have fewer than %s tokens, %d routed tokens an expert (fewest: '%s', "
             "%lld); their scores will be noisy",
             few, c->categories, num_thousands(wanted, buf), CATEGORY_ROUTED, c->category[least],
             (long long)n[least].tokens);
    note_cut(c);
}

static void categories_json(struct json_out *j, const struct corpus *c, const struct category_count *n)
{
    int k;

    jo_int(j, "documents", c->docs);
    jo_int(j, "tokens", c->tokens);
    jo_int(j, "empty", c->empty);
    jo_int(j, "truncated", c->truncated);
    jo_open(j, "category", '{');
    for (k = 0; k < c->categories; k++) {
        jo_open(j, c->category[k], '{');
        jo_int(j, "documents", n[k].documents);
        jo_int(j, "tokens", n[k].tokens);
        jo_close(j);
    }
    jo_close(j);
}

/* Bytes of the files, and of what they take in memory. */
static uint64_t matrices_size(const struct corpus *c, const struct model *m)
{
    const struct arch *a = &m->arch;
    const struct matrices_form f = observe_form(a, pool_pairs);

    return matrices_path ? matrices_bytes(a->experts, a->hidden, a->moe_layers, c->categories, &f) : 0;
}

static uint64_t reservoir_size(const struct corpus *c, const struct engine *en, const struct model *m)
{
    int64_t tokens = reservoir_tokens < c->tokens ? reservoir_tokens : c->tokens;

    return reservoir_path ? reservoir_bytes(&m->arch, engine_precision(en)->bf16, tokens) : 0;
}

static void plan_json(const struct corpus *c, const struct category_count *n, const struct forecast *x,
                      uint64_t mat, uint64_t rows)
{
    struct json_out j = {0};

    json_begin(&j);
    categories_json(&j, c, n);
    json_forecast(&j, x);
    jo_uint(&j, "matrices_bytes", mat);
    jo_uint(&j, "reservoir_bytes", rows);
    jo_close(&j);
    json_print(stdout, &j);
}

static void print_plan(const struct corpus *c, const struct category_count *n, struct engine *en,
                       const struct model *m)
{
    uint64_t mat = matrices_size(c, m), rows = reservoir_size(c, en, m);
    const struct observe_wanted wanted = {mat + rows, mat != 0, pool_pairs};
    struct forecast x;
    struct err e = {0};
    char buf[32];
    int k, width = category_width(c);

    if (observe_forecast(&x, &wanted, en, m, c, engine_opts.mem_max, &e))
        die(&e);
    if (common.json) {
        plan_json(c, n, &x, mat, rows);
        return;
    }
    printf("%-*s  %10s  %14s\n", width, "category", "documents", "tokens");
    for (k = 0; k < c->categories; k++) {
        put_name(stdout, width, c->category[k]);
        printf("  %10lld  %14s\n", (long long)n[k].documents, num_thousands(n[k].tokens, buf));
    }
    printf("%-*s  %10lld  %14s\n", width, "total", (long long)c->docs, num_thousands(c->tokens, buf));
    print_forecast(&x);
    if (mat)
        printf("matrices     %s, in memory and on disk\n", num_bytes(mat, buf));
    if (rows)
        printf("reservoir    %s, in memory and on disk\n", num_bytes(rows, buf));
}

static void summary_json(const struct corpus *c, const struct category_count *n, const struct engine *en,
                         const struct observe_report *r, double rate)
{
    struct json_out j = {0};

    json_begin(&j);
    jo_string(&j, "stats", common.out);
    categories_json(&j, c, n);
    jo_int(&j, "passes", r->passes);
    jo_uint(&j, "read_bytes", r->cost.bytes_read);
    jo_uint(&j, "peak_bytes", r->cost.peak_bytes);
    jo_uint(&j, "peak_device_bytes", r->cost.peak_device_bytes);
    jo_double(&j, "seconds", r->cost.seconds);
    jo_double(&j, "tokens_per_second", rate);
    json_engine(&j, en);
    jo_close(&j);
    json_print(stdout, &j);
}

static void say_summary(const struct corpus *c, const struct category_count *n, const struct engine *en,
                        const struct observe_report *r)
{
    int64_t done = c->doc[r->resumed].first; /* tokens of the documents that were finished before */
    double rate = (double)(c->tokens - done) / (r->cost.seconds > 0 ? r->cost.seconds : 1e-9);
    bool device = r->cost.peak_device_bytes > 0;
    char tokens[32], docs[32], mem[32], own[32];

    if (r->resumed)
        note("%lld documents, %s tokens were finished before", (long long)r->resumed,
             num_thousands(done, tokens));
    note("%s documents, %s tokens in %.1f s: %.0f tokens/s, peak memory %s%s%s",
         num_thousands(c->docs - r->resumed, docs), num_thousands(c->tokens - done, tokens), r->cost.seconds,
         rate, num_bytes(r->cost.peak_bytes, mem), device ? ", of the device " : "",
         device ? num_bytes(r->cost.peak_device_bytes, own) : "");
    if (common.json)
        summary_json(c, n, en, r, rate);
}

static void parse_shard(void)
{
    struct err e = {0};
    size_t digits = shard ? strcspn(shard, "/") : 0;
    char first[20];

    if (!shard)
        return;
    if (!shard[digits] || digits >= sizeof first)
        usage_error("--shard: '%s' is not I/N, such as 2/8", shard);
    snprintf(first, sizeof first, "%.*s", (int)digits, shard);
    if (num_i64(shard + digits + 1, "--shard: N", 1, INT32_MAX, &shards, &e) ||
        num_i64(first, "--shard: I", 1, shards, &shard_at, &e))
        usage_error("%s", e.msg);
}

/* What would only fail after hours of work fails now. */
static void check_operands(char **argv)
{
    bool to_stdout = common.out && strcmp(common.out, "-") == 0;

    if (!common.out && !common.dry_run)
        usage_error("-o STATS is missing");
    if (common.json && to_stdout)
        usage_error("--json and -o - would both write to standard output");
    if (common.out && strcmp(common.out, argv[0]) == 0)
        usage_error("-o %s is the model itself", common.out);
    if (resume && to_stdout)
        usage_error("--resume needs an output file, not standard output");
    parse_shard();
}

/* less: which option makes it smaller. */
static void check_room(const char *path, uint64_t need, const char *less)
{
    struct err e = {0};
    char buf[32], have[32];
    uint64_t room;

    if (!need)
        return;
    if (disk_free(path, &room, &e))
        die(&e);
    if (room < need) {
        err_set(&e, ERR_IO, "%s: it takes %s, but only %s is free there; %s", path, num_bytes(need, buf),
                num_bytes(room, have), less);
        die(&e);
    }
}

/* Where finished passes are kept: beside the outputs. The caller frees. */
static char *partial(const char *path)
{
    struct err e = {0};
    char *name = path ? mem_printf(&e, "%s.partial", path) : NULL;

    if (e.kind)
        die(&e);
    return name;
}

/* --resume, and the run was killed when the matrices had their name and the statistics, the last, had not:
 * what is kept of the run is older than they are, so it wrote them, and writes them again. */
static bool are_left(void)
{
    char *kept = resume && matrices_path ? partial(common.out) : NULL;
    bool left = kept && !path_exists(common.out) && path_is_newer(matrices_path, kept);

    free(kept);
    return left;
}

static void check_outputs(void)
{
    check_output(common.out);
    matrices_left = are_left();
    if (!matrices_left)
        check_output(matrices_path);
    check_output(reservoir_path);
}

static void observe(struct engine *en, const struct model *m, const struct corpus *c, int max_len,
                    struct observe_report *r)
{
    struct matrices mat = {0};
    struct reservoir rows = {0};
    char *kept = partial(common.out), *kept_matrices = partial(matrices_path);
    const struct observe_partial keep = {kept, kept_matrices};
    const struct observe_more more = {.matrices = matrices_path ? &mat : NULL,
                                      .pool_pairs = pool_pairs,
                                      .reservoir = reservoir_path ? &rows : NULL,
                                      .reservoir_tokens = reservoir_tokens,
                                      .partial = resume ? &keep : NULL};
    struct stats s;
    struct err e = {0};

    check_room(matrices_path, matrices_size(c, m), "--pool-pairs makes it smaller");
    check_room(reservoir_path, reservoir_size(c, en, m), "--reservoir-tokens sets its size");
    if (observe_corpus(&s, &more, en, m, c, max_len, pass_display("observing", c->tokens, NULL), r, &e) ||
        (matrices_path && matrices_write(&mat, matrices_path, common.force || matrices_left, &e)) ||
        (reservoir_path && reservoir_write(&rows, &s, c, reservoir_path, common.force, &e)) ||
        stats_write(&s, common.out, common.force, &e))
        die(&e);
    if (resume)
        observe_done(&keep);
    free(kept);
    free(kept_matrices);
    stats_free(&s);
    matrices_free(&mat);
    reservoir_free(&rows);
}

static int run(int n, char **argv)
{
    struct corpus_options co;
    struct category_count *count;
    struct corpus c;
    struct model m;
    struct engine *en;
    struct observe_report r;
    struct err e = {0};

    check_operands(argv);
    text_options(&co);
    check_outputs();
    open_model(&m, argv[0]);
    en = open_engine();
    detail_engine(en);
    co.vocab = m.arch.vocab;
    co.longest = m.arch.longest;
    doing("reading the text");
    if (corpus_read(&c, m.dir, (const char *const *)argv + 1, n - 1, &co, &e))
        die(&e);
    if (c.docs == 0)
        err_set(&e, ERR_INPUT, "DATA has no document with a token in it"), die(&e);
    if (corpus_shard(&c, (int)shard_at, (int)shards, &e) || !(count = category_counts(&c, &e)))
        die(&e);
    warn_about(&c, count, &m);
    if (common.dry_run) {
        print_plan(&c, count, en, &m);
    } else {
        observe(en, &m, &c, co.max_len, &r);
        say_summary(&c, count, en, &r);
    }
    free(count);
    corpus_free(&c);
    engine_close(en);
    model_close(&m);
    return EXIT_DONE;
}

int main(int argc, char **argv)
{
    return cmd_main(&cmd, argc, argv);
}
