/* bench_repair.c -- what the experts that a plan keeps are given to make up for those that it does not. */
#include "bench.h"
#include "judge/repair.h"

static const char *plan_path;
static struct opt_real ridge = {0.01, NULL};

static int repair(int n, char **argv);

static const struct opt opts[] = {
    OPT_TEXT("plan", 0, &plan_path, "PLAN", "which experts stay", .required = true),
    OPT_REAL("ridge", 0, &ridge, "X", "draws what is fitted to no change (0.01)", 0, 1000000), ENGINE_OPTS,
    TEXT_OPTS, OPT_END};
const struct cmd bench_repair = {
    .name = "moe-bench repair",
    .purpose = "fit what makes up for the experts that a plan drops, for moe-prune --repair",
    .usage = "moe-bench repair --plan PLAN [-o FILE] [options] REF DATA...",
    .opts = opts,
    .want = WANT_OUT | WANT_FORCE,
    .operands = "REF DATA...",
    .run = repair,
    .examples =
        "  moe-bench repair --plan plan.tsv -o plan.repair --samples-per-category 20 model/ calib.jsonl\n"
        "  moe-prune --repair plan.repair model/ plan.tsv pruned/\n"
        "  moe-bench compare pruned/ model/ eval.jsonl\n",
};

static void repair_say(const struct repair_report *r, bool bias)
{
    int l;

    for (l = 0; l < r->layers; l++) {
        const struct repair_layer *x = &r->layer[l];

        detail("layer %d: error %.4f -> %.4f%s", x->layer, x->before, x->held,
               x->repaired ? "" : ", left alone");
    }
    note(
        "%s of %d of %d layers: squared error %.4f -> %.4f of the output's, on the half that was not fitted; "
        "judge the pruned model on other text",
        bias ? "biases" : "factors", r->repaired, r->layers, r->before, r->after);
}

static int repair(int n, char **argv)
{
    const struct format *f;
    struct repair_report r;
    struct repair made;
    struct plan p = {0};
    struct bench b;
    struct err e = {0};

    check_output(common.out);
    open_model(&b.m, argv[0]);
    if (plan_read(&p, plan_path, &e))
        die(&e);
    f = model_expert_format(&b.m);
    if (!b.m.arch.family->expert_bias && f->scalable == STORED_PIECES)
        note("no factor can multiply %s weights: moe-prune --repair will need the model in BF16 "
             "(moe-quant -t bf16)",
             f->name);
    bench_open(&b, argv + 1, n - 1);
    if (judge_repair(&made, &r, b.en, &b.m, &p, &b.c, ridge.v, pass_display("fitting", b.c.tokens, NULL),
                     &e) ||
        repair_write(&made, common.out ? common.out : "-", common.force, &e))
        die(&e);
    repair_say(&r, made.bias);
    repair_report_free(&r);
    repair_free(&made);
    plan_free(&p);
    bench_close(&b);
    return EXIT_DONE;
}
