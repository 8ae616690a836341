/* moe-prune -- cuts the experts that a plan does not keep out of a model. */
#include <string.h>

#include "base/file.h"
#include "base/num.h"
#include "common.h"
#include "surgery/prune.h"

static bool want_verify;
static const char *mtp = "drop", *repair_path;
static struct opt_list ignore_keys;

static const struct opt options[] = {
    {"verify", 0, OPT_FLAG, &want_verify, NULL, "read the result back and compare every kept byte", 0, 0},
    {"mtp", 0, OPT_TEXT, &mtp, "drop|refuse", "what to do with multi-token-prediction layers (drop)", 0, 0},
    {"repair", 0, OPT_TEXT, &repair_path, "FILE", "change the experts that stay as moe-bench repair says", 0,
     0},
    {"ignore-key", 0, OPT_LIST, &ignore_keys, "KEY", "a config.json key that changes nothing", 0, 0},
    OPT_END,
};

static const struct cmd cmd = {
    .name = "moe-prune",
    .purpose = "cut the experts that a plan does not keep out of a model",
    .usage = "moe-prune [--verify] [--mtp drop|refuse] [--repair FILE] MODEL PLAN OUT",
    .opts = options,
    .examples = "  moe-prune openai/gpt-oss-20b plan.tsv gpt-oss-20b-24e\n"
                "  moe-prune --verify ./model plan.tsv ./pruned\n"
                "  moe-prune --dry-run --json ./model plan.tsv ./pruned\n",
};

static void on_progress(void *ctx, uint64_t done, uint64_t total)
{
    (void)ctx;
    progress(want_verify && done > total / 2 ? "verifying" : "writing",
             total ? (double)done / (double)total : 1);
}

static void print_json(const struct prune_report *r, const char *out)
{
    printf("{\"out\":");
    json_string(stdout, out);
    printf(",\"written\":%s", common.dry_run ? "false" : "true");
    printf(",\"experts\":{\"before\":%d,\"after\":%d}", r->experts_before, r->experts_after);
    printf(",\"topk\":{\"before\":%d,\"after\":%d}", r->topk_before, r->topk_after);
    printf(",\"bytes\":{\"before\":%llu,\"after\":%llu,\"tensors\":%llu,\"verified\":%llu,\"needed\":%llu,"
           "\"free\":%llu}",
           (unsigned long long)r->bytes_before, (unsigned long long)r->bytes_after,
           (unsigned long long)r->tensor_bytes_after, (unsigned long long)r->bytes_verified,
           (unsigned long long)r->bytes_needed, (unsigned long long)r->bytes_free);
    printf(",\"files\":%d,\"mtp_tensors\":%d,\"other_model\":%s}\n", r->files, r->mtp_tensors,
           r->crossed ? "true" : "false");
}

static void print_text(const struct prune_report *r, const char *out)
{
    char a[32], b[32];

    printf("experts per layer  %d -> %d\n", r->experts_before, r->experts_after);
    printf("experts per token  %d -> %d\n", r->topk_before, r->topk_after);
    printf("safetensors        %s -> %s (%llu bytes in %d file%s)\n", num_bytes(r->bytes_before, a),
           num_bytes(r->bytes_after, b), (unsigned long long)r->bytes_after, r->files,
           r->files == 1 ? "" : "s");
    if (common.dry_run)
        printf("needed             %s, free %s: '%s' %s\n", num_bytes(r->bytes_needed, a),
               num_bytes(r->bytes_free, b), out,
               r->bytes_needed <= r->bytes_free ? "would be written" : "does not fit");
    else if (want_verify)
        printf("verified           %llu bytes, all as in the source%s\n",
               (unsigned long long)r->bytes_verified, repair_path ? ", but for the repair" : "");
}

static void prune(const char *model, const char *plan_path, const char *out)
{
    struct model_options mo = {.arch.ignore_keys = ignore_keys.v};
    struct prune_options o = {.force = common.force,
                              .cross_digest = common.force,
                              .dry_run = common.dry_run,
                              .refuse_mtp = strcmp(mtp, "refuse") == 0,
                              .verify = want_verify,
                              .command = command_line(),
                              .plan_name = path_base(plan_path),
                              .model = &mo,
                              .progress = on_progress};
    struct repair repair = {0};
    struct prune_report r;
    struct model m;
    struct plan p;
    struct err e = {0};

    if (repair_path) {
        if (repair_read(&repair, repair_path, &e))
            die(&e);
        o.repair = &repair;
        o.repair_name = path_base(repair_path);
    }
    if (plan_read(&p, plan_path, &e) || model_open(&m, model, &mo, &e) ||
        prune_model(&m, &p, out, &o, &r, &e))
        die(&e);
    progress_done();
    if (r.crossed)
        note("'%s' was made from another model than '%s'; used all the same (--force)", plan_path, model);
    if (repair_path && strcmp(repair.plan, p.criterion) != 0)
        note("'%s' was made for a plan by '%s', not for '%s'; moe-bench repair makes one for it", repair_path,
             repair.plan, plan_path);
    if (r.topk_after < r.topk_before)
        note("only %d experts are left: experts per token goes from %d to %d", r.experts_after, r.topk_before,
             r.topk_after);
    if (r.mtp_tensors)
        note("the layers that predict further tokens (MTP) are dropped: %d tensors", r.mtp_tensors);
    if (r.mtp_config)
        note("config.json announces no such layers any more");
    if (r.temperature)
        note("config.json: attn_temperature_tuning is true or false now; transformers 5 refuses a number");
    if (common.json)
        print_json(&r, out);
    else if (common.verbose >= 0)
        print_text(&r, out);
    model_close(&m);
    repair_free(&repair);
    plan_free(&p);
}

int main(int argc, char **argv)
{
    int n = cmd_start(&cmd, WANT_JSON | WANT_FORCE | WANT_DRY_RUN, argc, argv);

    if (n != 3)
        usage_error(n < 3 ? "MODEL, PLAN and OUT are needed" : "MODEL, PLAN and OUT are all it takes");
    if (strcmp(mtp, "drop") != 0 && strcmp(mtp, "refuse") != 0)
        usage_error("--mtp takes drop or refuse, not '%s'", mtp);
    prune(argv[0], argv[1], argv[2]);
    cmd_exit(EXIT_DONE);
}
