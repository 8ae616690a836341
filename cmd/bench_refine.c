/* bench_refine.c -- exchanges experts of a plan where masking shows that the model gets better. */
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "judge/refine.h"

static const char *plan_path;
static int64_t keep, rounds = 4, candidates = 16;
static bool resume;

static int refine(int n, char **argv);

static const struct opt opts[] = {
    OPT_TEXT("plan", 0, &plan_path, "PLAN", "the plan to begin with", .required = true),
    OPT_INT("keep", 'k', &keep, "K",
            "first remove what is missed least until K experts of each layer are left", 1, 65535),
    OPT_INT("rounds", 0, &rounds, "N", "rounds over all layers at most (4)", 1, 1000),
    OPT_INT("candidates", 0, &candidates, "N",
            "of a layer: N kept experts with the worst ranks and N dropped ones with the best; 0: all (16)",
            0, 65535),
    OPT_FLAG("resume", 0, &resume, "keep what was computed, and go on where a run was interrupted",
             .needs = "output, beside which it is kept"),
    ENGINE_OPTS,
    TEXT_OPTS,
    OPT_END};
const struct cmd bench_refine = {
    .name = "moe-bench refine",
    .purpose = "make a plan better: exchange experts, judged by masking",
    .usage = "moe-bench refine --plan PLAN [-o PLAN] [options] REF DATA...",
    .opts = opts,
    .want = WANT_OUT | WANT_FORCE,
    .operands = "REF DATA...",
    .run = refine,
    .examples = "  moe-score -c reap2_sum -r 0.5 -o start.plan run.stats\n"
                "  moe-bench refine --plan start.plan -o better.plan openai/gpt-oss-20b calib.jsonl\n"
                "  moe-bench compare --plan better.plan openai/gpt-oss-20b eval.jsonl\n",
};

/* Where it is kept what was computed; NULL: nowhere. */
static char *partial(void)
{
    struct err e = {0};
    char *name;

    if (!resume)
        return NULL;
    if (strcmp(common.out, "-") == 0)
        usage_error("--resume needs an output file, not standard output");
    name = mem_printf(&e, "%s.partial", common.out);
    if (!name)
        die(&e);
    return name;
}

static int refine(int n, char **argv)
{
    struct refine_options o = {0};
    struct refine_report r;
    struct plan p = {0};
    struct bench b;
    struct err e = {0};
    char *kept = partial();

    o.partial = kept;
    o.keep = (int)keep;
    o.rounds = (int)rounds;
    o.candidates = (int)candidates;
    check_output(common.out);
    open_model(&b.m, argv[0]);
    if (plan_read(&p, plan_path, &e))
        die(&e);
    bench_open(&b, argv + 1, n - 1);
    if (judge_refine(&r, &p, b.en, &b.m, &b.c, &o, pass_display("refining", 0, NULL), &e) ||
        plan_write(&p, common.out ? common.out : "-", common.force, &e))
        die(&e);
    if (kept)
        refine_done(kept);
    if (r.found)
        note("%lld masked models were computed before", (long long)r.found);
    if (keep)
        note("KL %.5f with %lld experts a layer", r.cut, (long long)keep);
    note("KL %.5f -> %.5f over %lld tokens: %d exchanges in %d rounds; judge it on other text",
         keep ? r.cut : r.before, r.after, (long long)r.tokens, r.exchanges, r.rounds);
    free(kept);
    plan_free(&p);
    bench_close(&b);
    return EXIT_DONE;
}
