/* bench_compare.c -- how far models, or plans for one, are from the original. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/num.h"
#include "bench.h"
#include "model/summary.h"
#include "stats/fields.h"
#include "surgery/prune.h"

static struct opt_list plans, models;
static const char *cache;
static bool tsv;
static struct opt_real max_kl = {INFINITY, NULL}, max_category = {INFINITY, NULL};

static int compare(int n, char **argv);

static const struct opt opts[] = {
    OPT_HEADING("Comparison"),
    OPT_LIST("plan", 0, &plans, "PLAN", "judge REF with the experts masked that PLAN drops; may be repeated"),
    OPT_LIST("model", 0, &models, "MODEL", "judge MODEL too; may be repeated"),
    OPT_FILE("cache", 0, &cache, "FILE", "keep what REF says in FILE; read it where it is there"),
    OPT_FLAG("tsv", 0, &tsv, "print a line for each candidate and category, for programs",
             .excludes = "json"),
    OPT_REAL("max-kl", 0, &max_kl, "X", "exit 3 when a mean divergence is above X nats", 0, 1000000000),
    OPT_REAL("max-kl-category", 0, &max_category, "X", "exit 3 when that of a category is", 0, 1000000000),
    ENGINE_OPTS,
    TEXT_OPTS,
    OPT_END,
};
const struct cmd bench_compare = {
    .name = "moe-bench compare",
    .purpose = "divergence of models, or of plans, from the original on text",
    .usage = "moe-bench compare [options] MODEL REF DATA...\n"
             "moe-bench compare (--plan PLAN | --model MODEL)... [options] REF DATA...",
    .opts = opts,
    .want = WANT_OUT | WANT_FORCE | WANT_JSON | WANT_DRY_RUN,
    .run = compare,
    .examples = "  moe-bench compare pruned/ original/ eval.jsonl\n"
                "  moe-bench compare --plan a.tsv --plan b.tsv original/ eval.jsonl\n"
                "  moe-bench compare --cache ref.logprobs --plan a.tsv original/ eval.jsonl\n"
                "  moe-bench compare --max-kl 0.1 pruned/ original/ eval.jsonl || echo too far\n",
};

/* What is compared: n names, each with a model or a plan. */
static struct {
    int n;
    const char **name;
    struct candidate *of;
    struct plan *plan;
    struct model *model;
} set;

static bool within(const struct compare_result *r)
{
    return r->total.kl_mean <= max_kl.v && (r->worst < 0 || r->category[r->worst].kl_mean <= max_category.v);
}

/* Bytes of the weights, cut as a plan says; 0: no runtime loads such a model, so there is no size. */
static uint64_t size_of(const struct model *ref, int i)
{
    struct model_summary s;
    struct err e = {0};
    uint64_t bytes;

    if (set.of[i].plan)
        return prune_plan_size(ref, set.of[i].plan, &bytes, &e) ? 0 : bytes;
    model_summarize(set.of[i].model, &s);
    return s.file_bytes;
}

/* ---- for programs ---- */

/* What JSON and --tsv have of a row. */
enum { N_FIELDS = 16 };
struct field {
    const char *name;
    double v;
};
static void row_fields(struct field field[N_FIELDS], const struct compare_row *r)
{
    const struct field all[N_FIELDS] = {
        {"kl_mean", r->kl_mean},
        {"kl_se", r->kl_se},
        {"kl_median", r->kl_median},
        {"kl_p90", r->kl_p90},
        {"kl_p99", r->kl_p99},
        {"kl_p999", r->kl_p999},
        {"kl_max", r->kl_max},
        {"same_top", r->same_top},
        {"same_top_se", r->same_top_se},
        {"rms_dp", r->rms_dp},
        {"nll_ref", r->nll_ref},
        {"nll", r->nll},
        {"ppl_ref", judge_ppl(r->nll_ref, r->tokens)},
        {"ppl", judge_ppl(r->nll, r->tokens)},
        {"ppl_ratio", r->ppl_ratio},
        {"ppl_ratio_se", r->ppl_ratio_se},
    };
    int i;

    for (i = 0; i < N_FIELDS; i++)
        field[i] = (struct field){all[i].name, r->tokens ? all[i].v : NAN};
}

static void row_json(struct json_out *j, const void *row)
{
    const struct compare_row *r = row;
    struct field field[N_FIELDS];
    int i;

    row_fields(field, r);
    jo_int(j, "tokens", r->tokens);
    jo_int(j, "documents", r->documents);
    for (i = 0; i < N_FIELDS; i++)
        jo_double(j, field[i].name, field[i].v);
}

static void candidate_json(struct json_out *j, const struct model *ref, int i, const struct compare_result *r,
                           const struct corpus *c)
{
    uint64_t bytes = size_of(ref, i);

    jo_open(j, NULL, '{');
    jo_string(j, "name", set.name[i]);
    jo_string(j, "kind", set.of[i].plan ? "plan" : "model");
    if (bytes)
        jo_uint(j, "bytes", bytes);
    else
        jo_null(j, "bytes");
    jo_bool(j, "within", within(r));
    jo_double(j, "category_mean", r->category_mean);
    jo_string(j, "worst", c->category[r->worst]);
    jo_double(j, "worst_kl", r->category[r->worst].kl_mean);
    json_by_category(j, c, row_json, &r->total, r->category, sizeof *r->category);
    jo_close(j);
}

/* A line for each candidate, so that line tools find their way too. */
static void compare_json(FILE *f, const char *ref, const struct model *m, const struct compare_report *r,
                         const struct corpus *c)
{
    struct model_summary s;
    struct json_out j = {0};
    struct model_id id;
    struct err e = {0};
    int i;

    if (model_id_of(&id, m, &e))
        die(&e);
    model_summarize(m, &s);
    json_begin(&j);
    jo_string(&j, "reference", ref);
    jo_string(&j, "reference_digest", id.digest);
    jo_uint(&j, "reference_bytes", s.file_bytes);
    jo_string(&j, "data_digest", c->digest);
    jo_bool(&j, "cached", r->cached);
    jo_double(&j, "rest", r->rest);
    jo_open(&j, "candidates", '[');
    for (i = 0; i < r->n; i++)
        candidate_json(&j, m, i, &r->of[i], c);
    jo_close(&j);
    jo_close(&j);
    json_print(f, &j);
}

/* Of candidate i: a category, or "*", all of them. */
static void row_tsv(struct str *s, int i, uint64_t bytes, const struct compare_result *r,
                    const char *category, const struct compare_row *row, double mean, const char *worst,
                    double worst_kl)
{
    struct field field[N_FIELDS];
    int k;

    name_escape(s, set.name[i]);
    str_addf(s, "\t%s\t", set.of[i].plan ? "plan" : "model");
    if (bytes)
        str_addf(s, "%llu", (unsigned long long)bytes);
    else
        str_addf(s, "nan");
    str_addf(s, "\t%d\t", within(r));
    name_escape(s, category);
    str_addf(s, "\t%.9g\t%.9g\t", mean, worst_kl);
    name_escape(s, worst);
    str_addf(s, "\t%lld\t%lld", (long long)row->tokens, (long long)row->documents);
    row_fields(field, row);
    for (k = 0; k < N_FIELDS; k++)
        str_addf(s, "\t%.9g", field[k].v);
    str_addc(s, '\n');
}

static void candidate_tsv(struct str *s, const struct model *ref, int i, const struct compare_result *r,
                          const struct corpus *c)
{
    uint64_t bytes = size_of(ref, i);
    int k;

    row_tsv(s, i, bytes, r, "*", &r->total, r->category_mean, c->category[r->worst],
            r->category[r->worst].kl_mean);
    for (k = 0; k < c->categories; k++) {
        const struct compare_row *row = &r->category[k];
        double kl = row->tokens ? row->kl_mean : NAN;

        row_tsv(s, i, bytes, r, c->category[k], row, kl, c->category[k], kl);
    }
}

static void compare_tsv(FILE *f, const char *ref, const struct model *m, const struct compare_report *r,
                        const struct corpus *c)
{
    struct field field[N_FIELDS];
    struct model_summary sum;
    struct model_id id;
    struct str s = {0};
    struct err e = {0};
    int i;

    if (model_id_of(&id, m, &e))
        die(&e);
    model_summarize(m, &sum);
    str_addf(&s, "#moe-compare 1\n#reference\tdigest=%s\tdata=%s\tbytes=%llu\tcached=%d\trest=%.9g\tname=",
             id.digest, c->digest, (unsigned long long)sum.file_bytes, r->cached, r->rest);
    name_escape(&s, ref);
    str_addf(&s,
             "\n#columns\tcandidate\tkind\tbytes\twithin\tcategory\tcategory_mean\tworst_kl\tworst\ttokens"
             "\tdocuments");
    row_fields(field, &r->of[0].total);
    for (i = 0; i < N_FIELDS; i++)
        str_addf(&s, "\t%s", field[i].name);
    str_addc(&s, '\n');
    for (i = 0; i < r->n; i++)
        candidate_tsv(&s, m, i, &r->of[i], c);
    str_addf(&s, "#end\trows=%d\n", r->n * (c->categories + 1));
    if (str_ok(&s, &e))
        die(&e);
    fputs(s.p, f);
    str_free(&s);
}

/* ---- candidates ---- */

static void read_plan(struct plan *p, const char *path, const struct model *ref)
{
    struct err e = {0};
    int i, least, most;

    if (plan_read(p, path, &e))
        die(&e);
    least = most = p->n_layers ? plan_kept(p, 0) : 0;
    for (i = 1; i < p->n_layers; i++) {
        int kept = plan_kept(p, i);

        least = kept < least ? kept : least;
        most = kept > most ? kept : most;
    }
    if (least == most)
        detail("%s keeps %d of %d experts a layer", path, most, ref->arch.experts);
    else
        detail("%s keeps %d to %d of %d experts a layer", path, least, most, ref->arch.experts);
}

static void add_model(const char *arg)
{
    open_model(&set.model[set.n], arg);
    set.name[set.n] = arg;
    set.of[set.n].model = &set.model[set.n];
    set.n++;
}

/* --plan and --model, or the first operand. */
static void read_candidates(const struct model *ref, const char *operand)
{
    size_t n = plans.n + models.n + 1, i;
    struct err e = {0};

    set.name = mem_new(n, sizeof *set.name, &e);
    set.of = mem_new(n, sizeof *set.of, &e);
    set.plan = mem_new(n, sizeof *set.plan, &e);
    set.model = mem_new(n, sizeof *set.model, &e);
    if (!set.name || !set.of || !set.plan || !set.model)
        die(&e);
    for (i = 0; i < plans.n; i++, set.n++) {
        read_plan(&set.plan[set.n], plans.v[i], ref);
        set.name[set.n] = plans.v[i];
        set.of[set.n].plan = &set.plan[set.n];
    }
    for (i = 0; i < models.n; i++)
        add_model(models.v[i]);
    if (operand)
        add_model(operand);
}

static void free_candidates(void)
{
    int i;

    for (i = 0; i < set.n; i++) {
        if (set.of[i].plan)
            plan_free(&set.plan[i]);
        else
            model_close(&set.model[i]);
    }
    free(set.name);
    free(set.of);
    free(set.plan);
    free(set.model);
}

/* ---- */

/* The answer to --max-kl and --max-kl-category; without them always yes. */
static int verdict(const struct compare_report *r, const struct corpus *c)
{
    int i, status = EXIT_DONE;

    for (i = 0; i < r->n; i++) {
        const struct compare_result *x = &r->of[i];
        double worst = x->category[x->worst].kl_mean;

        if (x->total.kl_mean > max_kl.v)
            note("%s: mean divergence %.5f is above --max-kl %s", set.name[i], x->total.kl_mean, max_kl.text);
        if (worst > max_category.v)
            note("%s: mean divergence %.5f on %s is above --max-kl-category %s", set.name[i], worst,
                 c->category[x->worst], max_category.text);
        if (!within(x))
            status = EXIT_NO;
    }
    return status;
}

static int compare(int n, char **argv)
{
    bool listed = plans.n + models.n > 0;
    struct compare_options o = {cache, common.force};
    int status, r0 = listed ? 0 : 1; /* index of REF */
    struct compare_report r;
    struct bench b; /* of REF */
    struct err e = {0};
    FILE *f;

    cmd_operands(listed ? "REF DATA..." : "MODEL REF DATA...", n, argv);
    f = result_open();
    open_model(&b.m, argv[r0]);
    read_candidates(&b.m, listed ? NULL : argv[0]);
    bench_open(&b, argv + r0 + 1, n - r0 - 1);
    if (common.dry_run) {
        bench_forecast(&b, set.of, set.n);
        bench_close(&b);
        free_candidates();
        return EXIT_DONE;
    }
    if (judge_compare(&r, b.en, &b.m, set.of, set.n, &b.c, &o, pass_display("comparing", b.c.tokens, &b.m),
                      &e))
        die(&e);
    detail("forward passes: %.1f s, %.1f s of it waiting for weights, %.3g operations", r.cost.seconds,
           r.cost.wait_seconds, r.cost.flops);
    if (r.cached)
        note("divergences are estimates: of %.2f%% of the probability, %s has only samples", 100 * r.rest,
             cache);
    progress_done();
    if (common.json)
        compare_json(f, argv[r0], &b.m, &r, &b.c);
    else if (tsv)
        compare_tsv(f, argv[r0], &b.m, &r, &b.c);
    else
        compare_print(f, &r, set.name, &b.c);
    result_close(f);
    status = verdict(&r, &b.c);
    compare_report_free(&r);
    bench_close(&b);
    free_candidates();
    return status;
}
