/* moe-bench.c -- the subcommands of moe-bench, and what they share. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "bench.h"

#define ADDRESS_(name) &bench_##name,
static const struct cmd *const subcommands[] = {BENCH_SUBCOMMANDS(ADDRESS_) NULL};

static const struct cmd cmd = {
    .name = "moe-bench",
    .purpose = "judge a model: perplexity, divergence from the original, speed",
    .usage = "moe-bench SUBCOMMAND --help",
    .sub = subcommands,
    .examples = "  moe-bench perplexity pruned/ eval.jsonl\n"
                "  moe-bench compare pruned/ openai/gpt-oss-20b eval.jsonl\n"
                "  moe-bench compare --plan plan.tsv --max-kl 0.1 openai/gpt-oss-20b eval.jsonl\n"
                "  moe-bench speed pruned/\n",
};

static FILE *memory;
static char *memory_text;
static size_t memory_n;

FILE *result_open(void)
{
    struct err e = {0};

    check_output(common.out);
    if (!common.out || strcmp(common.out, "-") == 0 || common.dry_run)
        return stdout;
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

void json_by_category(struct json_out *j, const struct corpus *c,
                      void (*row)(struct json_out *j, const void *row), const void *total,
                      const void *category, size_t size)
{
    int k;

    jo_open(j, "total", '{');
    row(j, total);
    jo_close(j);
    jo_open(j, "category", '{');
    for (k = 0; k < c->categories; k++) {
        jo_open(j, c->category[k], '{');
        row(j, (const char *)category + (size_t)k * size);
        jo_close(j);
    }
    jo_close(j);
}

void bench_open(struct bench *b, char **data, int n_data)
{
    struct corpus *c = &b->c;
    struct corpus_options o;
    struct err e = {0};

    b->en = open_engine();
    detail_engine(b->en);
    text_options(&o);
    o.vocab = b->m.arch.vocab;
    o.longest = b->m.arch.longest;
    doing("reading the text");
    if (corpus_read(c, b->m.dir, (const char *const *)data, n_data, &o, &e))
        die(&e);
    if (c->tokens == c->docs)
        err_set(&e, ERR_INPUT, "DATA has no document of two tokens or more, so there is nothing to score"),
            die(&e);
    note_cut(c);
}

void bench_forecast(struct bench *b, const struct candidate *candidate, int n)
{
    struct json_out j = {0};
    struct forecast f;
    struct err e = {0};

    if (judge_forecast(&f, b->en, &b->m, candidate, n, &b->c, engine_opts.mem_max, &e))
        die(&e);
    if (!common.json) {
        print_forecast(&f);
        return;
    }
    json_begin(&j);
    jo_int(&j, "documents", b->c.docs);
    jo_int(&j, "tokens", b->c.tokens);
    json_forecast(&j, &f);
    jo_close(&j);
    json_print(stdout, &j);
}

void bench_close(struct bench *b)
{
    corpus_free(&b->c);
    engine_close(b->en);
    model_close(&b->m);
}

int main(int argc, char **argv)
{
    return cmd_main(&cmd, argc, argv);
}
