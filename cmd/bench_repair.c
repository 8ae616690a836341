/* moe-bench repair -- what the experts that a plan keeps are given to make up for those that it does not. */
#include "base/num.h"
#include "bench.h"
#include "judge/repair.h"

static const char *plan_path, *ridge_text;

static const struct opt opts[] = {
    {"plan", 0, OPT_TEXT, &plan_path, "PLAN", "which experts stay", 0, 0},
    {"ridge", 0, OPT_TEXT, &ridge_text, "X", "draws what is fitted to no change (0.01)", 0, 0},
    ENGINE_OPTS,
    TEXT_OPTS,
    OPT_END};
static const struct cmd cmd = {
    .name = "moe-bench repair",
    .purpose = "fit what makes up for the experts that a plan drops, for moe-prune --repair",
    .usage = "moe-bench repair --plan PLAN [-o FILE] [options] REF DATA...",
    .opts = opts,
    .examples =
        "  moe-bench repair --plan plan.tsv -o plan.repair --samples-per-category 20 model/ calib.jsonl\n"
        "  moe-prune --repair plan.repair model/ plan.tsv pruned/\n"
        "  moe-bench compare pruned/ model/ eval.jsonl\n",
};

static void say(const struct repair_report *r, bool bias)
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

_Noreturn void bench_repair(int argc, char **argv)
{
    int n = cmd_start(&cmd, WANT_OUT | WANT_FORCE, argc, argv);
    double ridge = 0.01;
    struct repair_report r;
    struct repair repair;
    struct plan p = {0};
    struct bench b;
    struct err e = {0};

    if (!plan_path)
        usage_error("--plan is missing: which experts stay");
    if (n < 2)
        usage_error(n ? "no DATA after REF" : "REF and DATA are missing");
    if (ridge_text && num_double(ridge_text, "--ridge", 0, 1e6, &ridge, &e))
        usage_error("%s", e.msg);
    check_input("-o", common.out, plan_path);
    check_output(common.out);
    open_model(&b.m, argv[0]);
    if (plan_read(&p, plan_path, &e))
        die(&e);
    if (b.m.layout == EXPERTS_SPLIT_MXFP4)
        note("no factor can multiply MXFP4 weights: moe-prune --repair will need the model in BF16 "
             "(moe-quant -t bf16)");
    bench_open(&b, argv + 1, n - 1);
    if (judge_repair(&repair, &r, b.en, &b.m, &p, &b.c, ridge, pass_display("fitting"), &e) ||
        repair_write(&repair, common.out ? common.out : "-", common.force, &e))
        die(&e);
    say(&r, repair.bias);
    repair_report_free(&r);
    repair_free(&repair);
    plan_free(&p);
    bench_close(&b);
    cmd_exit(EXIT_DONE);
}
