/*
 * moe-inspect -- what is in a model, what pruning would give, whether it is whole; and what it will see
 * of a text. Of the weights it reads the routers only, unless asked for more. Runs nothing.
 */
#include "common.h"
#include "inspect_aimer.h"
#include "inspect_print.h"
#include "inspect_tokenize.h"
#include "model/model.h"
#include "text_opts.h"

static bool want_tensors, want_experts, want_check, want_families, want_render, want_aimer;
static int64_t keep, context = -1;
static const char *plan, *tokenize;
static uint64_t fit;
static struct opt_list ignore_keys;

static const struct opt options[] = {
    OPT_HEADING("What to show (default: a summary)"),
    {"tensors", 0, OPT_FLAG, &want_tensors, NULL, "every tensor: dtype, shape, bytes", 0, 0},
    {"experts", 0, OPT_FLAG, &want_experts, NULL, "where every expert's bytes are", 0, 0},
    {"check", 0, OPT_FLAG, &want_check, NULL, "read everything; exit 3 if something is wrong", 0, 0},
    {"families", 0, OPT_FLAG, &want_families, NULL, "the model families that are understood", 0, 0},
    OPT_HEADING("What pruning would give"),
    {"keep", 'k', OPT_INT, &keep, "N", "size with N experts in every layer", 1, 65536},
    {"plan", 0, OPT_TEXT, &plan, "PLAN", "size with this plan", 0, 0},
    {"fit", 0, OPT_SIZE, &fit, "SIZE", "how many experts fit into SIZE (16GB); exit 3 if none", 0, 0},
    {"context", 0, OPT_INT, &context, "N", "with --fit: tokens in the key-value cache (8192)", 0, 1LL << 40},
    OPT_HEADING("What its experts are worth by their weights"),
    {"aimer", 0, OPT_FLAG, &want_aimer, NULL, "write a criterion file for moe-score -c file:FILE", 0, 0},
    OPT_HEADING("What the model will see"),
    {"tokenize", 0, OPT_TEXT, &tokenize, "DATA", "token ids of each document, one JSON object a line", 0, 0},
    {"render", 0, OPT_FLAG, &want_render, NULL, "with --tokenize: the text instead of its ids", 0, 0},
    TEXT_OPTS_RENDER,
    OPT_HEADING("Reading the model"),
    {"ignore-key", 0, OPT_LIST, &ignore_keys, "KEY", "a config.json key that changes nothing", 0, 0},
    OPT_END,
};

static const struct cmd cmd = {
    .name = "moe-inspect",
    .purpose = "what is in a model, and what pruning would give",
    .usage = "moe-inspect [--json] [--tensors | --experts | --check] MODEL\n"
             "moe-inspect [--json] --keep N | --plan PLAN | --fit SIZE [--context N] MODEL\n"
             "moe-inspect --aimer [-o FILE] MODEL\n"
             "moe-inspect --tokenize DATA [--render] [--chat NAME] [--date YYYY-MM-DD] [--no-special] MODEL\n"
             "moe-inspect --families [--json]",
    .opts = options,
    .examples = "  moe-inspect openai/gpt-oss-20b\n"
                "  moe-inspect --fit 16GB --context 32768 openai/gpt-oss-20b\n"
                "  moe-inspect --check ./pruned && echo it is whole\n"
                "  moe-inspect --tokenize chats.jsonl --render ./model | head -1\n",
};

static int show(const struct model *m)
{
    if (want_check)
        return print_check(m);
    if (want_aimer)
        inspect_aimer(m);
    else if (want_tensors)
        print_tensors(m);
    else if (want_experts)
        print_experts(m);
    else if (keep)
        print_keep(m, (int)keep);
    else if (plan)
        print_plan_size(m, plan);
    else if (fit)
        return print_fit(m, fit, context < 0 ? 8192 : context);
    else
        print_summary(m);
    return EXIT_DONE;
}

int main(int argc, char **argv)
{
    int n = cmd_start(&cmd, WANT_JSON | WANT_OUT | WANT_FORCE, argc, argv), status;
    int asked = want_tensors + want_experts + want_check + want_families + want_aimer + !!keep + !!plan +
                !!fit + !!tokenize;
    struct model_options o = {.arch.ignore_keys = ignore_keys.v};
    struct err e = {0};
    struct model m;

    if (asked > 1)
        usage_error("one question at a time: --tensors, --experts, --check, --aimer, --families, --keep, "
                    "--plan, --fit or --tokenize");
    if ((common.out || common.force) && !want_aimer)
        usage_error("--output and --force go with --aimer");
    if (common.json && want_aimer)
        usage_error("--aimer writes a criterion file, which has no JSON form");
    if (context >= 0 && !fit)
        usage_error("--context goes with --fit");
    if (!tokenize && (want_render || text_opts.chat || text_opts.date || text_opts.no_special))
        usage_error("--render, --chat, --date and --no-special go with --tokenize");
    if (want_families) {
        if (n)
            usage_error("--families takes no operand");
        print_families();
        cmd_exit(EXIT_DONE);
    }
    if (n != 1)
        usage_error(n ? "one MODEL, please" : "which MODEL?");
    if (tokenize) {
        inspect_tokenize(argv[0], tokenize, want_render);
        cmd_exit(EXIT_DONE);
    }
    if (model_open(&m, argv[0], &o, &e))
        die(&e);
    status = show(&m);
    model_close(&m);
    cmd_exit(status);
}
