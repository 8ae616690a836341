/*
 * bench.h -- the subcommands of moe-bench, each in its own file, and what they share.
 */
#ifndef MOE_CMD_BENCH_H
#define MOE_CMD_BENCH_H

#include "common.h"
#include "engine_opts.h"
#include "judge/judge.h"
#include "text_opts.h"

/* The one list of them: X(NAME) is the cmd bench_NAME, of cmd/bench_NAME.c. Help, completion and tests follow
 * it. */
#define BENCH_SUBCOMMANDS(X) X(perplexity) X(compare) X(refine) X(repair) X(speed)
#define BENCH_DECLARE_(name) extern const struct cmd bench_##name;
BENCH_SUBCOMMANDS(BENCH_DECLARE_)

/* Where the result goes: standard output, or with -o a file that appears when it is complete.
 * result_open checks it. */
FILE *result_open(void);
void result_close(FILE *f);

/* "total":ROW,"category":{NAME:ROW,...}. row writes the members; category: one row of `size` bytes for each
 * of c's. */
void json_by_category(struct json_out *j, const struct corpus *c,
                      void (*row)(struct json_out *j, const void *row), const void *total,
                      const void *category, size_t size);

/* What compare says to people, in 100 columns: name[r->n] are the candidates' (bench_compare_print.c). */
void compare_print(FILE *f, const struct compare_report *r, const char *const *name, const struct corpus *c);

/* --dry-run: what judge_forecast says. */
struct bench;
void bench_forecast(struct bench *b, const struct candidate *candidate, int n);

/* What the subcommands on text run. */
struct bench {
    struct model m; /* open_model() first */
    struct engine *en;
    struct corpus c;
};
/* Opens the engine, and reads the TEXT options and DATA operands as a corpus of m's tokens; dies when there
 * is nothing to score. Says what was cut or left out. */
void bench_open(struct bench *b, char **data, int n_data);
void bench_close(struct bench *b);

#endif
