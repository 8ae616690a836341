/*
 * moe-inspect.c -- what is in a model, what pruning would give, whether it is whole; and what it will see
 * of a text. Of the weights it reads the routers only, unless asked for more. Runs nothing.
 */
#include "common.h"
#include "inspect_aimer.h"
#include "inspect_print.h"
#include "inspect_tokenize.h"
#include "model/model.h"
#include "text_opts.h"

static bool want_tensors, want_experts, want_check, want_families, want_render, want_aimer, want_digest;
static int64_t keep, context = 8192;
static const char *plan, *tokenize;
static uint64_t fit;
static struct opt_list ignore_keys, ignore_tensors;

static int inspect(int n, char **argv);

static const struct opt options[] = {
    OPT_HEADING("What to show (default: a summary)"),
    OPT_FLAG("tensors", 0, &want_tensors, "every tensor: dtype, shape, bytes", .mode = "MODEL",
             .want = WANT_JSON),
    OPT_FLAG("experts", 0, &want_experts, "where every expert's bytes are", .mode = "MODEL",
             .want = WANT_JSON),
    OPT_FLAG("check", 0, &want_check, "read everything; exit 3 if something is wrong; which servers take it",
             .mode = "MODEL", .want = WANT_JSON),
    OPT_FLAG("digest", 0, &want_digest, "what statistics and plans of it carry; its routers are enough",
             .mode = "MODEL", .want = WANT_JSON),
    OPT_FLAG("families", 0, &want_families, "the model families that are understood", .mode = "",
             .want = WANT_JSON),
    OPT_HEADING("What pruning would give"),
    OPT_INT("keep", 'k', &keep, "N", "size with N experts in every layer, and what servers say of it", 1,
            65536, .mode = "MODEL", .want = WANT_JSON),
    OPT_TEXT("plan", 0, &plan, "PLAN", "size with this plan", .mode = "MODEL", .want = WANT_JSON),
    OPT_SIZE("fit", 0, &fit, "SIZE", "how many experts fit into SIZE (16GB); exit 3 if none", .mode = "MODEL",
             .want = WANT_JSON),
    OPT_INT("context", 0, &context, "N", "tokens in the key-value cache (8192)", 0, 1LL << 40,
            .needs = "fit|keep|plan|check"),
    OPT_HEADING("What its experts are worth by their weights"),
    OPT_FLAG("aimer", 0, &want_aimer, "write a criterion file for moe-score -c file:FILE", .mode = "MODEL",
             .want = WANT_OUT | WANT_FORCE),
    OPT_HEADING("What the model will see"),
    OPT_TEXT("tokenize", 0, &tokenize, "DATA", "token ids of each document, one JSON object a line",
             .mode = "MODEL", .want = WANT_JSON),
    OPT_FLAG("render", 0, &want_render, "with --tokenize: the text instead of its ids", .needs = "tokenize"),
    TEXT_OPTS_RENDER(.needs = "tokenize"),
    OPT_HEADING("Reading the model"),
    OPT_LIST("ignore-key", 0, &ignore_keys, "KEY", "a config.json key that changes nothing"),
    OPT_LIST("ignore-tensor", 0, &ignore_tensors, "NAME",
             "a tensor that changes nothing; * and ? as in file names"),
    OPT_END,
};

static const struct cmd cmd = {
    .name = "moe-inspect",
    .purpose = "what is in a model, and what pruning would give",
    .usage = "moe-inspect [--json] [--tensors | --experts | --digest] MODEL\n"
             "moe-inspect [--json] --check | --keep N | --plan PLAN | --fit SIZE [--context N] MODEL\n"
             "moe-inspect --aimer [-o FILE] MODEL\n"
             "moe-inspect --tokenize DATA [--render] [--chat FILE] [--date YYYY-MM-DD] [--no-special]\n"
             "            [--ignore-add-bos] MODEL\n"
             "moe-inspect --families [--json]",
    .opts = options,
    .want = WANT_JSON,
    .operands = "MODEL",
    .run = inspect,
    .examples = "  moe-inspect openai/gpt-oss-20b\n"
                "  moe-inspect --fit 16GB --context 32768 openai/gpt-oss-20b\n"
                "  moe-inspect --check ./pruned && echo it is whole\n"
                "  moe-inspect --tokenize chats.jsonl --render ./model | head -1\n",
};

static int show(const struct model *m)
{
    if (want_check)
        return print_check(m, context);
    if (want_digest)
        print_digest(m);
    else if (want_aimer)
        inspect_aimer(m);
    else if (want_tensors)
        print_tensors(m);
    else if (want_experts)
        print_experts(m);
    else if (keep)
        print_keep(m, (int)keep, context);
    else if (plan)
        print_plan_size(m, plan, context);
    else if (fit)
        return print_fit(m, fit, context);
    else
        print_summary(m);
    return EXIT_DONE;
}

static int inspect(int n, char **argv)
{
    struct model_options o = {.arch.ignore_keys = ignore_keys.v,
                              .ignore_tensors = ignore_tensors.v,
                              .level = want_aimer    ? MODEL_RUN
                                       : want_digest ? MODEL_DIGEST
                                                     : MODEL_CUT};
    struct err e = {0};
    struct model m;
    int status;

    (void)n;
    if (want_families) {
        print_families();
        return EXIT_DONE;
    }
    if (tokenize) {
        inspect_tokenize(argv[0], tokenize, want_render);
        return EXIT_DONE;
    }
    if (model_open(&m, argv[0], &o, &e))
        die(&e);
    if (m.cut_only && !want_digest)
        note("%s; the model can be cut, but not run", m.cut_only);
    status = show(&m);
    model_close(&m);
    return status;
}

int main(int argc, char **argv)
{
    return cmd_main(&cmd, argc, argv);
}
