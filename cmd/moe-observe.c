/* moe-observe -- runs text through a model and counts what every expert does. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/num.h"
#include "engine_opts.h"
#include "observe/observe.h"
#include "text_opts.h"

/* Files beside the statistics. */
static struct more {
    const char *const option;
    const char *path; /* NULL: not wanted */
} matrices = {"--matrices", NULL}, reservoir = {"--reservoir", NULL};
static bool pool_pairs, resume;
static const char *shard; /* I/N */
static int64_t shard_at = 1, shards = 1;
static int64_t reservoir_tokens = -1; /* -1: not given */
enum { RESERVOIR_TOKENS = 4096 };

static const struct opt opts[] = {
    {"matrices", 0, OPT_TEXT, &matrices.path, "FILE", "sums over pairs of experts, and by element, too", 0,
     0},
    {"pool-pairs", 0, OPT_FLAG, &pool_pairs, NULL, "do not tell pairs apart by category (smaller)", 0, 0},
    {"reservoir", 0, OPT_TEXT, &reservoir.path, "FILE", "whole inputs and outputs of a sample of tokens, too",
     0, 0},
    {"reservoir-tokens", 0, OPT_INT, &reservoir_tokens, "N", "tokens of the sample (4096)", 1, INT64_MAX},
    {"shard", 0, OPT_TEXT, &shard, "I/N", "only every N-th document, from the I-th on", 0, 0},
    {"resume", 0, OPT_FLAG, &resume, NULL, "keep finished passes, and go on where a run was interrupted", 0,
     0},
    ENGINE_OPTS,
    TEXT_OPTS,
    OPT_END};
static const struct cmd cmd = {
    .name = "moe-observe",
    .purpose = "run text through a model and write what its experts do as statistics",
    .usage = "moe-observe [options] [--matrices FILE] [--reservoir FILE] -o STATS MODEL DATA...",
    .opts = opts,
    .examples =
        "  moe-observe -o run.stats openai/gpt-oss-20b calib.jsonl\n"
        "  moe-observe --matrices run.matrices -o run.stats openai/gpt-oss-20b calib.jsonl\n"
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
    if (few && c->shards == 1)
        note("%d of %d categories have fewer than %s tokens, %d routed tokens an expert (fewest: '%s', "
             "%lld); their scores will be noisy",
             few, c->categories, num_thousands(wanted, buf), FEW, c->category[least],
             (long long)n[least].tokens);
    note_cut(c);
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

/* Bytes of such a file, and of what it takes in memory. */
static uint64_t size_of(const struct more *x, const struct corpus *c, const struct engine *en,
                        const struct model *m)
{
    int64_t tokens = reservoir_tokens < c->tokens ? reservoir_tokens : c->tokens;

    if (!x->path)
        return 0;
    if (x == &matrices)
        return matrices_bytes(m->arch.experts, m->arch.hidden, m->arch.inter, m->arch.moe_layers,
                              c->categories, pool_pairs);
    return reservoir_bytes(&m->arch, engine_precision(en)->bf16, tokens);
}

static void print_plan(const struct corpus *c, const struct category_count *n, const struct engine *en,
                       const struct model *m)
{
    uint64_t mat = size_of(&matrices, c, en, m), rows = size_of(&reservoir, c, en, m);
    struct observe_estimate x;
    struct err e = {0};
    char buf[32], mem[32];
    int k, width = category_width(c);

    if (observe_estimate(&x, engine_precision(en), m, c, engine_opts.mem_max, &e))
        die(&e);
    x.memory_bytes += mat + rows;
    if (common.json) {
        printf("{");
        print_categories_json(c, n);
        printf(",\"passes\":%lld,\"read_bytes\":%llu,\"memory_bytes\":%llu,\"matrices_bytes\":%llu,"
               "\"reservoir_bytes\":%llu}\n",
               (long long)x.passes, (unsigned long long)x.read_bytes, (unsigned long long)x.memory_bytes,
               (unsigned long long)mat, (unsigned long long)rows);
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
    if (mat)
        printf("matrices: %s, in memory and on disk\n", num_bytes(mat, buf));
    if (rows)
        printf("reservoir: %s, in memory and on disk\n", num_bytes(rows, buf));
}

static void print_summary(const struct corpus *c, const struct category_count *n, const struct engine *en,
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
    if (!common.json)
        return;
    printf("{\"stats\":");
    json_string(stdout, common.out);
    printf(",");
    print_categories_json(c, n);
    printf(",\"passes\":%lld,\"read_bytes\":%llu,\"peak_bytes\":%llu,\"peak_device_bytes\":%llu",
           (long long)r->passes, (unsigned long long)r->cost.bytes_read,
           (unsigned long long)r->cost.peak_bytes, (unsigned long long)r->cost.peak_device_bytes);
    json_number_member(stdout, "seconds", r->cost.seconds);
    json_number_member(stdout, "tokens_per_second", rate);
    json_engine_members(stdout, en);
    printf("}\n");
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

static void check_more(const struct more *x)
{
    if (x->path && strcmp(x->path, "-") == 0)
        usage_error("%s - is not possible: give it a file of its own", x->option);
    if (x->path && common.out && path_same(x->path, common.out))
        usage_error("-o and %s name the same file, %s", x->option, common.out);
}

/* What would only fail after hours of work fails now. */
static void check_operands(int n, char **argv)
{
    int i;

    if (n < 2)
        usage_error(n ? "no DATA after MODEL" : "MODEL and DATA are missing");
    if (!common.out && !common.dry_run)
        usage_error("-o STATS is missing");
    if (common.json && common.out && strcmp(common.out, "-") == 0)
        usage_error("--json and -o - would both write to standard output");
    if (common.out && strcmp(common.out, argv[0]) == 0)
        usage_error("-o %s is the model itself", common.out);
    if (pool_pairs && !matrices.path)
        usage_error("--pool-pairs has no effect without --matrices");
    if (reservoir_tokens >= 0 && !reservoir.path)
        usage_error("--reservoir-tokens has no effect without --reservoir");
    if (reservoir_tokens < 0)
        reservoir_tokens = RESERVOIR_TOKENS;
    if (resume && reservoir.path)
        usage_error("--resume does not go with --reservoir, which is written at the end only");
    if (resume && common.out && strcmp(common.out, "-") == 0)
        usage_error("--resume needs an output file, not standard output");
    parse_shard();
    check_more(&matrices);
    check_more(&reservoir);
    if (matrices.path && reservoir.path && path_same(matrices.path, reservoir.path))
        usage_error("--matrices and --reservoir name the same file, %s", matrices.path);
    for (i = 1; i < n; i++) {
        check_input("-o", common.out, argv[i]);
        check_input(matrices.option, matrices.path, argv[i]);
        check_input(reservoir.option, reservoir.path, argv[i]);
    }
}

static void check_room(const struct more *x, const struct corpus *c, const struct engine *en,
                       const struct model *m)
{
    uint64_t need = size_of(x, c, en, m), room;
    struct err e = {0};
    char buf[32], have[32];

    if (!need)
        return;
    if (disk_free(x->path, &room, &e))
        die(&e);
    if (room < need) {
        err_set(&e, ERR_IO, "%s: it takes %s, but only %s is free there; %s", x->path, num_bytes(need, buf),
                num_bytes(room, have),
                x == &matrices ? "--pool-pairs makes it smaller" : "--reservoir-tokens sets its size");
        die(&e);
    }
}

/* Where finished passes are kept: beside the outputs. Freed by the end of the program. */
static const char *partial(const char *path)
{
    struct err e = {0};
    char *name = path ? mem_printf(&e, "%s.partial", path) : NULL;

    if (e.kind)
        die(&e);
    return name;
}

static void observe(struct engine *en, const struct model *m, const struct corpus *c, int max_len,
                    struct observe_report *r)
{
    struct matrices mat = {0};
    struct reservoir rows = {0};
    const struct observe_partial keep = {partial(common.out), partial(matrices.path)};
    const struct observe_more more = {.matrices = matrices.path ? &mat : NULL,
                                      .pool_pairs = pool_pairs,
                                      .reservoir = reservoir.path ? &rows : NULL,
                                      .reservoir_tokens = reservoir_tokens,
                                      .partial = resume ? &keep : NULL};
    struct stats s;
    struct err e = {0};

    check_room(&matrices, c, en, m);
    check_room(&reservoir, c, en, m);
    if (observe_corpus(&s, &more, en, m, c, max_len, pass_display("observing"), r, &e) ||
        (matrices.path && matrices_write(&mat, matrices.path, common.force, &e)) ||
        (reservoir.path && reservoir_write(&rows, &s, c, reservoir.path, common.force, &e)) ||
        stats_write(&s, common.out, common.force, &e))
        die(&e);
    if (resume)
        observe_done(&keep);
    stats_free(&s);
    matrices_free(&mat);
    reservoir_free(&rows);
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
    check_output(matrices.path);
    check_output(reservoir.path);
    open_model(&m, argv[0]);
    en = open_engine();
    detail_engine(en);
    co.vocab = m.arch.vocab;
    if (corpus_read(&c, m.dir, (const char *const *)argv + 1, n - 1, &co, &e))
        die(&e);
    if (c.docs == 0)
        err_set(&e, ERR_INPUT, "DATA has no document with a token in it"), die(&e);
    if (corpus_shard(&c, (int)shard_at, (int)shards, &e))
        die(&e);
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
