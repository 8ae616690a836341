/* moe-bench refine -- exchanges experts of a plan where masking shows that the model gets better. */
#include "bench.h"
#include "judge/refine.h"

static const char *plan_path;
static int64_t keep, rounds = 4, candidates = 16;

static const struct opt opts[] = {
    {"plan", 0, OPT_TEXT, &plan_path, "PLAN", "the plan to begin with", 0, 0},
    {"keep", 'k', OPT_INT, &keep, "K",
     "first remove what is missed least until K experts of each layer are left", 1, 65535},
    {"rounds", 0, OPT_INT, &rounds, "N", "rounds over all layers at most (4)", 1, 1000},
    {"candidates", 0, OPT_INT, &candidates, "N",
     "of a layer: N kept experts with the worst ranks and N dropped ones with the best; 0: all (16)", 0,
     65535},
    ENGINE_OPTS,
    TEXT_OPTS,
    OPT_END};
static const struct cmd cmd = {
    .name = "moe-bench refine",
    .purpose = "make a plan better: exchange experts, judged by masking",
    .usage = "moe-bench refine --plan PLAN [-o PLAN] [options] REF DATA...",
    .opts = opts,
    .examples = "  moe-score -c reap2_sum -r 0.5 -o start.plan run.stats\n"
                "  moe-bench refine --plan start.plan -o better.plan openai/gpt-oss-20b calib.jsonl\n"
                "  moe-bench compare --plan better.plan openai/gpt-oss-20b eval.jsonl\n",
};

_Noreturn void bench_refine(int argc, char **argv)
{
    int n = cmd_start(&cmd, WANT_OUT | WANT_FORCE, argc, argv);
    struct refine_options o = {0};
    struct refine_report r;
    struct plan p = {0};
    struct bench b;
    struct err e = {0};

    if (!plan_path)
        usage_error("--plan is missing: the plan to begin with");
    if (n < 2)
        usage_error(n ? "no DATA after REF" : "REF and DATA are missing");
    o.keep = (int)keep;
    o.rounds = (int)rounds;
    o.candidates = (int)candidates;
    check_output(common.out);
    open_model(&b.m, argv[0]);
    if (plan_read(&p, plan_path, &e))
        die(&e);
    bench_open(&b, argv + 1, n - 1);
    if (judge_refine(&r, &p, b.en, &b.m, &b.c, &o, pass_display("refining"), &e) ||
        plan_write(&p, common.out ? common.out : "-", common.force, &e))
        die(&e);
    if (keep)
        note("KL %.5f with %lld experts a layer", r.cut, (long long)keep);
    note("KL %.5f -> %.5f over %lld tokens: %d exchanges in %d rounds; judge it on other text",
         keep ? r.cut : r.before, r.after, (long long)r.tokens, r.exchanges, r.rounds);
    plan_free(&p);
    bench_close(&b);
    cmd_exit(EXIT_DONE);
}
