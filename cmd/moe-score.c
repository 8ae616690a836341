/*
 * moe-score.c -- from statistics to a plan: which experts stay. Reads no model and computes no activations;
 * judging a plan is moe-bench's work.
 */
#include <float.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/words.h"
#include "common.h"
#include "score_print.h"

static struct {
    const char *criterion, *ratio, *weights, *protect;
    struct opt_list matrices;
    int64_t keep, min_keep, min_tokens; /* 0: not said */
    struct opt_real min_jaccard;
    int select, budget; /* indices of their words */
    bool list, diff, stability, coverage;
} opt = {.criterion = CRITERION_DEFAULT, .min_jaccard = {0.95, NULL}};

static void criterion_names(void);

/* What goes with a question that is not for a plan: the last two change nothing. */
enum { WANT_ANSWER = WANT_JSON | WANT_FORCE | WANT_DRY_RUN };

static const struct opt options[] = {
    OPT_HEADING("Selection"),
    OPT_TEXT("criterion", 'c', &opt.criterion, "NAME",
             "what an expert is worth (default: " CRITERION_DEFAULT "; see --list), or file:FILE",
             .values = criterion_names),
    OPT_LIST("matrices", 0, &opt.matrices, "FILE", "sums over pairs, for criteria of pairs"),
    OPT_TEXT("ratio", 'r', &opt.ratio, "RATIO", "remove this share of each layer: 0.25 (default), 25%",
             .excludes = "keep"),
    OPT_INT("keep", 'k', &opt.keep, "KEEP", "keep this many experts in each layer", 1, INT_MAX),
    OPT_TEXT("weights", 0, &opt.weights, "CAT=W,...", "how much each category counts; others do not, or *=W"),
    OPT_CHOICE("select", 0, &opt.select, "all|worst", "what all categories lose (default), or the worst one"),
    OPT_TEXT("protect", 0, &opt.protect, "super,N,turns=N",
             "super experts; each category's N most frequent; N chosen in turns"),
    OPT_CHOICE("budget", 0, &opt.budget, "uniform|global",
               "as many in each layer (default), or on average: to judge only"),
    OPT_INT("min-keep", 0, &opt.min_keep, "N", "with --budget global: as many at least (top-k)", 1, INT_MAX,
            .needs = "budget=global"),
    OPT_HEADING("Other questions"),
    OPT_FLAG("list", 0, &opt.list, "print the criteria", .mode = "", .want = WANT_ANSWER),
    OPT_FLAG("diff", 0, &opt.diff, "compare two plans", .mode = "PLAN OTHER-PLAN", .want = WANT_ANSWER),
    OPT_FLAG("stability", 0, &opt.stability, "compare the plans of the two halves of the data",
             .mode = "[STATS...]", .want = WANT_ANSWER),
    OPT_REAL("min-jaccard", 0, &opt.min_jaccard, "X",
             "with --stability: agreement wanted (0.95); exit 3 if it is less", 0, 1, .needs = "stability"),
    OPT_FLAG("coverage", 0, &opt.coverage, "print how many tokens the experts have", .mode = "STATS...",
             .want = WANT_ANSWER),
    OPT_INT("min-tokens", 0, &opt.min_tokens, "N", "with --coverage: few (100); exit 3 if one has less", 1,
            INT64_MAX, .needs = "coverage"),
    OPT_END,
};

static int answer(int n, char **argv);
static const struct cmd command = {
    .name = "moe-score",
    .purpose = "choose the experts that stay",
    .usage = "moe-score [-c CRITERION] [-r RATIO | -k KEEP] [options] [-o PLAN] STATS...\n"
             "moe-score -c CRITERION --matrices FILE [...] [-o PLAN] [STATS...]\n"
             "moe-score -c file:FILE [...] [-o PLAN] [STATS...]\n"
             "moe-score --stability [--min-jaccard X] [-c ...] [--json] STATS...\n"
             "moe-score --coverage [--min-tokens N] [--json] STATS...\n"
             "moe-score --diff [--json] PLAN PLAN\n"
             "moe-score --list [--json]",
    .opts = options,
    .want = WANT_JSON | WANT_FORCE | WANT_DRY_RUN | WANT_OUT,
    .operands = "[STATS...]",
    .run = answer,
    .examples = "  moe-score -r 25% -o plan.tsv run.stats\n"
                "  moe-score -c frequency -k 24 --protect super run.stats > plan.tsv\n"
                "  moe-score -c gram --matrices run.matrices -o plan.tsv run.stats\n"
                "  moe-score --weights code=3,chat=1 -o plan.tsv code.stats chat.stats\n"
                "  moe-score --stability -c reap_sum -r 50% run.stats\n"
                "  moe-score --diff plan.tsv other.tsv\n",
};

/* ---- options that are lists ---- */

/* The next part of a list at commas, NUL-terminated in place; NULL after the last. */
static char *next_part(char **p)
{
    char *part = *p, *comma;

    if (!part)
        return NULL;
    comma = strchr(part, ',');
    if (comma)
        *comma++ = 0;
    *p = comma;
    return part;
}

/* Cuts "CATEGORY=WEIGHT" after the category and returns the weight. */
static double cut_weight(char *part)
{
    char *eq = strrchr(part, '=');
    struct err e = {0};
    double w = 0;

    if (eq && eq > part) {
        *eq = 0;
        if (num_double(eq + 1, "--weights", 0, DBL_MAX, &w, &e))
            usage_error("%s", e.msg);
    } else {
        usage_error("--weights: '%s' is not CATEGORY=WEIGHT", part);
    }
    return w;
}

/* --weights: text is cut up and must live as long as o. */
static void read_weights(struct score_options *o, char *text)
{
    struct weight *w = NULL;
    struct err e = {0};
    size_t cap = 0;
    char *part;
    int i;

    o->default_weight = 0;
    while ((part = next_part(&text))) {
        double value = cut_weight(part);

        for (i = 0; i < o->weights; i++)
            if (strcmp(w[i].category, part) == 0)
                usage_error("--weights: category '%s' stands twice", part);
        if (strcmp(part, "*") == 0) {
            o->default_weight = value;
            continue;
        }
        if (mem_grow(&w, &cap, (size_t)o->weights + 1, sizeof *w, &e))
            die(&e);
        w[o->weights++] = (struct weight){part, value};
    }
    if (o->weights == 0)
        usage_error("--weights: no category is named");
    o->weight = w;
}

static void read_protect(struct score_options *o, char *text)
{
    struct err e = {0};
    char *part;
    int64_t n;

    while ((part = next_part(&text))) {
        if (strcmp(part, "super") == 0) {
            o->protect_super = true;
            continue;
        }
        bool turns = strncmp(part, "turns=", 6) == 0;

        if (num_i64(turns ? part + 6 : part, "--protect", 1, INT_MAX, &n, &e))
            usage_error("--protect: '%s' is neither 'super', nor a number of experts per category, nor "
                        "turns=N",
                        part);
        *(turns ? &o->protect_turns : &o->protect_top) = (int)n;
    }
}

/* ---- files ---- */

/* Of several files, the earliest edition and the latest. */
static void say_editions(int least, int most, bool tensors)
{
    char all[STATISTIC_NAMES], some[STATISTIC_NAMES];

    statistics_after(all, most, tensors);
    statistics_after(some, least, tensors);
    if (strlen(some) > strlen(all))
        note("not all of these files have %s: an earlier version made some; it is left out of the sum", some);
}

static void say_data_twice(const struct stats *s)
{
    const struct stats_part *two[2];

    if (stats_data_twice(s, two))
        note("the same data was observed twice with other options, and what both observations have of it "
             "counts "
             "twice (parts %s of %lld documents and %s of %lld)",
             two[0]->digest, (long long)two[0]->documents, two[1]->digest, (long long)two[1]->documents);
}

static void read_stats(struct stats *s, char **path, int n)
{
    struct err e = {0};
    struct stats more;
    int i, most;

    if (stats_read(s, path[0], &e))
        die(&e);
    for (i = 1, most = s->edition; i < n; i++) {
        if (stats_read(&more, path[i], &e))
            die(&e);
        most = more.edition > most ? more.edition : most;
        if (stats_merge(s, &more, &e)) {
            err_prefix(&e, "%s", path[i]);
            die(&e);
        }
        stats_free(&more);
    }
    say_editions(s->edition, most, false);
    say_data_twice(s);
    for (i = 0; i < s->parts; i++)
        detail("data %s, shard %d/%d: %lld documents, %lld tokens", s->part[i].digest, s->part[i].shard,
               s->part[i].shards, (long long)s->part[i].documents, (long long)s->part[i].tokens);
}

static void read_matrices(struct matrices *m)
{
    struct matrices more;
    struct err e = {0};
    size_t i;
    int most;

    if (matrices_read(m, opt.matrices.v[0], &e))
        die(&e);
    for (i = 1, most = m->head.edition; i < opt.matrices.n; i++) {
        if (matrices_read(&more, opt.matrices.v[i], &e))
            die(&e);
        most = more.head.edition > most ? more.head.edition : most;
        if (matrices_merge(m, &more, &e)) {
            err_prefix(&e, "%s", opt.matrices.v[i]);
            die(&e);
        }
        matrices_free(&more);
    }
    say_editions(m->head.edition, most, true);
}

static bool same_data(const struct stats *a, const struct stats *b)
{
    int i;

    for (i = 0; i < a->parts && i < b->parts; i++)
        if (strcmp(a->part[i].digest, b->part[i].digest) != 0 || a->part[i].shard != b->part[i].shard)
            return false;
    return a->parts == b->parts;
}

/* What a plan is made from. */
struct sources {
    struct stats stats; /* without STATS: of the model alone, no categories */
    struct matrices matrices;
    struct scores scores;
};

/* Every name of every criterion of the table. */
static void each_criterion(void (*fn)(void *ctx, const char *name), void *ctx)
{
    int n, i, k;
    const struct criterion *t = criterion_table(&n);

    for (i = 0; i < n; i++) {
        fn(ctx, t[i].name);
        for (k = 0; k < 3 && t[i].aliases[k]; k++)
            fn(ctx, t[i].aliases[k]);
    }
}

static void print_name(void *ctx, const char *name)
{
    (void)ctx;
    printf("%s\n", name);
}

/* For completion. */
static void criterion_names(void)
{
    each_criterion(print_name, NULL);
}

static void try_name(void *nearest, const char *name)
{
    nearest_try(nearest, name);
}

static _Noreturn void unknown_criterion(void)
{
    struct nearest x = {.typed = opt.criterion};

    each_criterion(try_name, &x);
    if (x.word)
        usage_error("unknown criterion '%s' (did you mean %s?): moe-score --list prints them", opt.criterion,
                    x.word);
    usage_error("unknown criterion '%s': moe-score --list prints them", opt.criterion);
}

/* The criterion, and the files that it is computed from. */
static void open_sources(struct sources *in, struct score_options *o, char **path, int n)
{
    bool file = strncmp(opt.criterion, "file:", 5) == 0;
    const struct model_id *id = NULL;
    const int *layer = NULL;
    struct err e = {0};
    int layers = 0;

    *in = (struct sources){0};
    o->criterion = criterion_find(file ? "file" : opt.criterion);
    if (!o->criterion || (!file && o->criterion->kind == CRITERION_FILE))
        unknown_criterion();
    if (criterion_is_pair(o->criterion) != (opt.matrices.n > 0))
        usage_error(opt.matrices.n ? "--matrices goes with a criterion of pairs, which '%s' is not"
                                   : "'%s' is a criterion of pairs: add --matrices FILE (see moe-observe)",
                    opt.criterion);
    if (opt.matrices.n) {
        read_matrices(&in->matrices);
        o->matrices = &in->matrices;
        id = &in->matrices.head.model;
        layer = in->matrices.head.layer;
        layers = in->matrices.head.n_layers;
    }
    if (file) {
        if (scores_read(&in->scores, opt.criterion + 5, &e))
            die(&e);
        o->scores = &in->scores;
        id = &in->scores.model;
        layer = in->scores.layer;
        layers = in->scores.n_layers;
    }
    if (n)
        read_stats(&in->stats, path, n);
    else if (!id)
        usage_error("which statistics? STATS is missing");
    else if (stats_new(&in->stats, id, "", layer, layers, NULL, 0, &e))
        die(&e);
    if (n == 0 && (o->protect_super || o->protect_top))
        usage_error("--protect super and --protect N need STATS");
    if (n && o->matrices && !same_data(&in->stats, &in->matrices.head))
        note("the statistics and the matrices were made of different data");
}

static void close_sources(struct sources *in)
{
    stats_free(&in->stats);
    matrices_free(&in->matrices);
    scores_free(&in->scores);
}

/* ---- a plan ---- */

static void choose_keep(struct score_options *o, const struct model_id *m, char *note, size_t n)
{
    const char *ratio = opt.ratio ? opt.ratio : "0.25";
    struct err e = {0};
    int64_t removed;

    if (opt.keep) {
        if (opt.keep > m->experts)
            usage_error("--keep: cannot keep %lld of %d experts", (long long)opt.keep, m->experts);
        o->keep = (int)opt.keep;
        return;
    }
    if (num_ratio(ratio, "--ratio", m->experts, &removed, &e))
        usage_error("%s", e.msg);
    o->keep = m->experts - (int)removed;
    snprintf(note, n, "ratio=%s", ratio);
}

static void say_limits(const struct plan *p, const struct score_options *o, const struct score_report *r)
{
    if (o->protect_super)
        note("experts that stay only because they are super experts: %d", r->protected_super);
    if (o->protect_top)
        note("experts that stay only because they are among the %d most frequent of a category: %d",
             o->protect_top, r->protected_top);
    if (o->protect_turns)
        note("experts that stay only because a category chose them in its turn: %d", r->protected_turns);
    if (r->zero)
        note("experts that no token was routed to: %d of %ld; they score 0", r->zero,
             (long)p->n_layers * p->model.experts);
    if (p->model.groups > 1 && o->budget == BUDGET_UNIFORM)
        note("the router has %d groups: %d of %d experts stay in each", p->model.groups,
             o->keep / p->model.groups, p->model.experts / p->model.groups);
    if (r->better_keep)
        note("-k %d would serve better: MXFP4 kernels want a multiple of 4, tensor and expert parallelism of "
             "8",
             r->better_keep);
    if (o->keep < p->model.topk)
        note("KEEP is %d, less than the model's top-k: the pruned model will use %d per token, not %d",
             o->keep, o->keep, p->model.topk);
}

static void say(const struct plan *p, const struct score_options *o, const struct score_report *r)
{
    int experts = p->model.experts;

    if (o->budget == BUDGET_UNIFORM) {
        note("%s: %d of %d experts stay in each of %d layers", o->criterion->name, o->keep, experts,
             p->n_layers);
    } else {
        note("%s: %d of %d experts stay on average, %d to %d in each of %d layers", o->criterion->name,
             o->keep, experts, r->keep_min, r->keep_max, p->n_layers);
        if (r->keep_min != r->keep_max)
            note(
                "no runtime loads this family with different numbers of experts in its layers, and moe-prune "
                "refuses to cut it so: the plan is for moe-bench compare --plan");
    }
    detail("what is removed has %.2f%% of the cost of removing everything", 100 * r->lost);
    if (r->worst)
        note("category '%s' loses most: %.2f%% of its own; all together lose %.2f%%", r->worst,
             100 * r->worst_lost, 100 * r->lost);
    if (r->swaps)
        note("exchanges after greedy removal: %d; they took %.2g%% off the cost", r->swaps, 100 * r->gained);
    say_limits(p, o, r);
    if (r->disagree)
        note("by %s %ld of the %ld experts that stay would be others; both agree on only %.0f%% (chance: "
             "%.0f%%): judge a plan of each with moe-bench compare --plan",
             r->twin, r->differ, (long)o->keep * p->n_layers, 100 * r->overlap, 100.0 * o->keep / experts);
}

static void make_plan(const struct stats *s, const struct score_options *o)
{
    const char *out = common.out ? common.out : "-";
    struct score_report r;
    struct err e = {0};
    struct plan p;

    if (score_plan(&p, s, o, &r, &e))
        die(&e);
    if (!common.dry_run && plan_write(&p, out, common.force, &e))
        die(&e);
    say(&p, o, &r);
    if (common.json)
        print_plan_json(&p, o, &r, out);
    else if (common.dry_run && r.keep_min == r.keep_max)
        printf("would write %s: %d rows, %d of %d experts kept in each of %d layers\n",
               strcmp(out, "-") == 0 ? "to standard output" : out, p.n_layers * p.model.experts, r.keep_min,
               p.model.experts, p.n_layers);
    else if (common.dry_run)
        printf("would write %s: %d rows, %d to %d of %d experts kept in each of %d layers\n",
               strcmp(out, "-") == 0 ? "to standard output" : out, p.n_layers * p.model.experts, r.keep_min,
               r.keep_max, p.model.experts, p.n_layers);
    plan_free(&p);
}

static int halves(const struct stats *s, const struct score_options *o)
{
    double wanted = opt.min_jaccard.v;
    struct stability t;
    struct err e = {0};
    bool below;

    if (stability(&t, s, o, wanted, &e))
        die(&e);
    print_stability(&t, wanted);
    below = opt.min_jaccard.text && t.halves.jaccard < wanted;
    stability_free(&t);
    return below ? EXIT_NO : EXIT_DONE;
}

/* A plan, or what its choice depends on. */
static int score(char **path, int n)
{
    struct score_options o = {.default_weight = 1,
                              .min_keep = (int)opt.min_keep,
                              .over = opt.select ? SELECT_WORST : SELECT_ALL,
                              .budget = opt.budget ? BUDGET_GLOBAL : BUDGET_UNIFORM};
    char *weights = NULL, *protect = NULL, ratio[64] = "";
    struct sources in;
    struct err e = {0};
    int status = EXIT_DONE;

    if ((opt.weights && !(weights = mem_strdup(opt.weights, &e))) ||
        (opt.protect && !(protect = mem_strdup(opt.protect, &e))))
        die(&e);
    if (weights)
        read_weights(&o, weights);
    if (protect)
        read_protect(&o, protect);
    check_output(common.out);
    open_sources(&in, &o, path, n);
    choose_keep(&o, &in.stats.model, ratio, sizeof ratio);
    o.note = ratio;
    if (opt.stability)
        status = halves(&in.stats, &o);
    else
        make_plan(&in.stats, &o);
    close_sources(&in);
    free((void *)o.weight);
    free(weights);
    free(protect);
    return status;
}

/* ---- other questions ---- */

static void diff(const char *path_a, const char *path_b)
{
    struct plan a, b;
    struct plan_diff d;
    struct err e = {0};

    if (plan_read(&a, path_a, &e) || plan_read(&b, path_b, &e) || plan_diff(&d, &a, &b, &e))
        die(&e);
    print_diff(&d);
    plan_diff_free(&d);
    plan_free(&a);
    plan_free(&b);
}

static int cover(char **path, int n)
{
    uint64_t least = opt.min_tokens ? (uint64_t)opt.min_tokens : 100;
    struct coverage c;
    struct stats s;
    struct err e = {0};
    bool few;

    read_stats(&s, path, n);
    if (coverage(&c, &s, least, &e))
        die(&e);
    print_coverage(&c, least);
    few = opt.min_tokens && c.row[c.rows - 1].few;
    coverage_free(&c);
    stats_free(&s);
    return few ? EXIT_NO : EXIT_DONE;
}

static int answer(int n, char **argv)
{
    bool to_stdout = !common.out || strcmp(common.out, "-") == 0;

    if (opt.list)
        print_criteria();
    else if (opt.diff)
        diff(argv[0], argv[1]);
    else if (opt.coverage)
        return cover(argv, n);
    else if (common.json && to_stdout && !common.dry_run && !opt.stability)
        usage_error("--json prints a summary where the plan goes: add -o PLAN or --dry-run");
    else
        return score(argv, n);
    return EXIT_DONE;
}

int main(int argc, char **argv)
{
    return cmd_main(&command, argc, argv);
}
