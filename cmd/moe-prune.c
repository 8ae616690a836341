/* moe-prune.c -- cuts the experts that a plan does not keep out of a model. */
#include <math.h>
#include <string.h>

#include "base/file.h"
#include "base/num.h"
#include "common.h"
#include "surgery/prune.h"

static bool want_verify;
static int mtp;
enum { MTP_DROP, MTP_REFUSE };
static const char *repair_path;
static struct opt_list ignore_keys, ignore_tensors;

static const struct opt options[] = {
    OPT_FLAG("verify", 0, &want_verify, "read the result back and compare every kept byte"),
    OPT_CHOICE("mtp", 0, &mtp, "drop|refuse", "what to do with multi-token-prediction layers (drop)"),
    OPT_TEXT("repair", 0, &repair_path, "FILE", "change the experts that stay as moe-bench repair says"),
    OPT_LIST("ignore-key", 0, &ignore_keys, "KEY", "a config.json key that changes nothing"),
    OPT_LIST("ignore-tensor", 0, &ignore_tensors, "NAME",
             "a tensor that changes nothing; * and ? as in file names"),
    OPT_END,
};

static int prune(int n, char **argv);
static const struct cmd cmd = {
    .name = "moe-prune",
    .purpose = "cut the experts that a plan does not keep out of a model",
    .usage = "moe-prune [--verify] [--mtp drop|refuse] [--repair FILE] MODEL PLAN OUT",
    .opts = options,
    .want = WANT_JSON | WANT_FORCE | WANT_DRY_RUN,
    .operands = "MODEL PLAN OUT",
    .run = prune,
    .examples = "  moe-prune openai/gpt-oss-20b plan.tsv gpt-oss-20b-24e\n"
                "  moe-prune --verify ./model plan.tsv ./pruned\n"
                "  moe-prune --dry-run --json ./model plan.tsv ./pruned\n",
};

static void print_change(struct json_out *j, const char *name, int before, int after)
{
    jo_open(j, name, '{');
    jo_int(j, "before", before);
    jo_int(j, "after", after);
    jo_close(j);
}

static void prune_json(const struct prune_report *r, const char *out)
{
    struct json_out j = {0};

    json_begin(&j);
    jo_string(&j, "out", out);
    jo_bool(&j, "written", !common.dry_run);
    print_change(&j, "experts", r->experts_before, r->experts_after);
    print_change(&j, "topk", r->topk_before, r->topk_after);
    jo_open(&j, "bytes", '{');
    jo_uint(&j, "before", r->bytes_before);
    jo_uint(&j, "after", r->bytes_after);
    jo_uint(&j, "tensors", r->tensor_bytes_after);
    jo_uint(&j, "verified", r->bytes_verified);
    jo_uint(&j, "needed", r->bytes_needed);
    jo_uint(&j, "free", r->bytes_free);
    jo_uint(&j, "read", r->bytes_read);
    jo_close(&j);
    jo_double(&j, "seconds", common.dry_run ? r->seconds : NAN);
    jo_double(&j, "read_bytes_per_second", common.dry_run ? r->read_rate : NAN);
    jo_int(&j, "files", r->files);
    jo_int(&j, "mtp_tensors", r->mtp_tensors);
    jo_bool(&j, "other_model", r->crossed);
    jo_close(&j);
    json_print(stdout, &j);
}

static void prune_text(const struct prune_report *r, const char *out)
{
    char a[32], b[32];

    printf("experts per layer  %d -> %d\n", r->experts_before, r->experts_after);
    printf("experts per token  %d -> %d\n", r->topk_before, r->topk_after);
    printf("%-18s %s -> %s (%llu bytes in %d file%s)\n", r->container, num_bytes(r->bytes_before, a),
           num_bytes(r->bytes_after, b), (unsigned long long)r->bytes_after, r->files,
           r->files == 1 ? "" : "s");
    if (common.dry_run)
        put_needed(out, r->bytes_needed, r->bytes_free, r->bytes_read, r->read_rate, r->seconds);
    else if (want_verify)
        printf("verified           %llu bytes, all as in the source%s\n",
               (unsigned long long)r->bytes_verified, repair_path ? ", but for the repair" : "");
}

/* The experts that stay count, not the wording of a plan. */
static bool is_repair_of(const struct repair *repair, const struct plan *p)
{
    char kept[HASH_HEX];
    struct err e = {0};

    if (!*repair->kept)
        return strcmp(repair->plan, p->criterion) == 0;
    if (plan_kept_digest(p, kept, &e))
        die(&e);
    return strcmp(repair->kept, kept) == 0;
}

/* What people should know of it. */
static void prune_notes(const struct prune_report *r, const struct repair *repair, const struct plan *p,
                        char **argv)
{
    if (r->crossed)
        note("'%s' was made from another model than '%s'; used all the same (--force)", argv[1], argv[0]);
    if (repair_path && !is_repair_of(repair, p))
        note("'%s' was made for other kept experts (by '%s') than those of '%s'; moe-bench repair makes one "
             "for it",
             repair_path, repair->plan, argv[1]);
    if (r->topk_after < r->topk_before)
        note("only %d experts are left: experts per token goes from %d to %d", r->experts_after,
             r->topk_before, r->topk_after);
    if (r->mtp_tensors)
        note("the layers that predict further tokens (MTP) are dropped: %d tensors", r->mtp_tensors);
    if (r->mtp_config)
        note("config.json announces no such layers any more");
    if (r->temperature)
        note("config.json: attn_temperature_tuning is true or false now; transformers 5 refuses a number");
}

static int prune(int n, char **argv)
{
    struct working working = {"writing", want_verify ? "verifying" : NULL};
    const char *model = argv[0], *plan_path = argv[1], *out = argv[2];
    struct model_options mo = {
        .arch.ignore_keys = ignore_keys.v, .ignore_tensors = ignore_tensors.v, .level = MODEL_CUT};
    struct prune_options o = {.force = common.force,
                              .cross_digest = common.force,
                              .dry_run = common.dry_run,
                              .refuse_mtp = mtp == MTP_REFUSE,
                              .verify = want_verify,
                              .command = command_line(),
                              .plan_name = path_base(plan_path),
                              .model = &mo,
                              .progress = working_bytes,
                              .progress_ctx = &working};
    struct repair repair = {0};
    struct prune_report r;
    struct model m;
    struct plan p;
    struct err e = {0};

    (void)n;
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
    if (m.cut_only)
        note("%s; the model can be cut, but not run", m.cut_only);
    prune_notes(&r, &repair, &p, argv);
    if (common.json)
        prune_json(&r, out);
    else if (common.verbose >= 0)
        prune_text(&r, out);
    model_close(&m);
    repair_free(&repair);
    plan_free(&p);
    return EXIT_DONE;
}

int main(int argc, char **argv)
{
    return cmd_main(&cmd, argc, argv);
}
