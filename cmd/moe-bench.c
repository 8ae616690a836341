/* moe-bench -- perplexity, divergence from the original, speed. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "bench.h"

static const struct cmd cmd = {
    .name = "moe-bench",
    .purpose = "judge a model: perplexity, divergence from the original, speed",
    .usage = "moe-bench perplexity [options] MODEL DATA...\n"
             "moe-bench compare [options] MODEL REF DATA...\n"
             "moe-bench compare --plan PLAN... [options] REF DATA...\n"
             "moe-bench refine --plan PLAN [-o PLAN] [options] REF DATA...\n"
             "moe-bench repair --plan PLAN [-o FILE] [options] REF DATA...\n"
             "moe-bench speed [options] MODEL\n"
             "moe-bench SUBCOMMAND --help",
    .examples = "  moe-bench perplexity pruned/ eval.jsonl\n"
                "  moe-bench compare pruned/ openai/gpt-oss-20b eval.jsonl\n"
                "  moe-bench compare --plan plan.tsv --max-kl 0.1 openai/gpt-oss-20b eval.jsonl\n"
                "  moe-bench speed pruned/\n",
};

static const struct {
    const char *name;
    void (*run)(int argc, char **argv);
} subcommands[] = {
    {"perplexity", bench_perplexity}, {"compare", bench_compare}, {"refine", bench_refine},
    {"repair", bench_repair},         {"speed", bench_speed},
};

static FILE *memory;
static char *memory_text;
static size_t memory_n;

FILE *result_open(void)
{
    struct err e = {0};

    if (!common.out || strcmp(common.out, "-") == 0)
        return stdout;
    check_output(common.out);
    memory = open_memstream(&memory_text, &memory_n);
    if (!memory)
        err_set(&e, ERR_NOMEM, "out of memory"), die(&e);
    return memory;
}

void result_close(FILE *f)
{
    struct err e = {0};

    if (f != memory)
        return;
    if (fclose(f))
        err_set(&e, ERR_NOMEM, "out of memory"), die(&e);
    if (file_write(common.out, memory_text, memory_n, common.force, &e))
        die(&e);
    free(memory_text);
}

void json_by_category(FILE *f, const struct corpus *c, void (*row)(FILE *f, const void *row),
                      const void *total, const void *category, size_t size)
{
    int k;

    fputs("\"total\":", f);
    row(f, total);
    fputs(",\"category\":{", f);
    for (k = 0; k < c->categories; k++) {
        if (k)
            fputc(',', f);
        json_string(f, c->category[k]);
        fputc(':', f);
        row(f, (const char *)category + (size_t)k * size);
    }
    fputc('}', f);
}

void bench_open(struct bench *b, char **data, int n_data)
{
    struct corpus *c = &b->c;
    struct corpus_options o;
    struct err e = {0};
    int i;

    for (i = 0; i < n_data; i++)
        check_input("-o", common.out, data[i]);
    b->en = open_engine();
    detail_engine(b->en);
    text_options(&o);
    o.vocab = b->m.arch.vocab;
    if (corpus_read(c, b->m.dir, (const char *const *)data, n_data, &o, &e))
        die(&e);
    if (c->tokens == c->docs)
        err_set(&e, ERR_INPUT, "DATA has no document of two tokens or more, so there is nothing to score"),
            die(&e);
    note_cut(c);
}

void bench_close(struct bench *b)
{
    corpus_free(&b->c);
    engine_close(b->en);
    model_close(&b->m);
}

/* Index of a subcommand, or -1. */
static int find(const char *name)
{
    int i;

    for (i = 0; i < (int)(sizeof subcommands / sizeof *subcommands); i++)
        if (strcmp(name, subcommands[i].name) == 0)
            return i;
    return -1;
}

int main(int argc, char **argv)
{
    int i = argc > 1 ? find(argv[1]) : -1;

    if (i >= 0)
        subcommands[i].run(argc - 1, argv + 1);
    if (cmd_start(&cmd, 0, argc, argv))
        usage_error(find(argv[0]) < 0 ? "unknown subcommand '%s'" : "options come after the subcommand '%s'",
                    argv[0]);
    usage_error("a subcommand is missing: perplexity, compare, refine, repair or speed");
}
