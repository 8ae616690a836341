/*
 * moe-score -- from statistics to a plan: which experts stay. Reads no model and computes no activations;
 * judging a plan is moe-bench's work.
 */
#include <float.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/num.h"
#include "common.h"
#include "score/score.h"

static struct {
    const char *criterion, *ratio, *weights, *protect;
    int64_t keep; /* 0: not said */
    bool list, diff;
} opt = {.criterion = "reap"};

static const struct opt options[] = {
    OPT_HEADING("Selection"),
    {"criterion", 'c', OPT_TEXT, &opt.criterion, "NAME",
     "what an expert is worth (default: reap; see --list)", 0, 0},
    {"ratio", 'r', OPT_TEXT, &opt.ratio, "RATIO", "remove this share of each layer: 0.25 (default), 25%", 0,
     0},
    {"keep", 'k', OPT_INT, &opt.keep, "KEEP", "keep this many experts in each layer", 1, INT_MAX},
    {"weights", 0, OPT_TEXT, &opt.weights, "CAT=W,...",
     "how much each category counts; others do not, or *=W", 0, 0},
    {"protect", 0, OPT_TEXT, &opt.protect, "super,N", "keep super experts; each category's N most frequent",
     0, 0},
    OPT_HEADING("Other questions"),
    {"list", 0, OPT_FLAG, &opt.list, NULL, "print the criteria", 0, 0},
    {"diff", 0, OPT_FLAG, &opt.diff, NULL, "compare two plans", 0, 0},
    OPT_END,
};

static const struct cmd command = {
    "moe-score",
    "choose the experts that stay",
    "moe-score [-c CRITERION] [-r RATIO | -k KEEP] [--weights CAT=W,...] [--protect super,N] [-o PLAN] "
    "STATS...\n"
    "moe-score --diff [--json] PLAN PLAN\n"
    "moe-score --list [--json]",
    options,
    "  moe-score -r 25% -o plan.tsv run.stats\n"
    "  moe-score -c frequency -k 24 --protect super run.stats > plan.tsv\n"
    "  moe-score --weights code=3,chat=1 -o plan.tsv code.stats chat.stats\n"
    "  moe-score --diff plan.tsv other.tsv\n",
};

/* ---- --list ---- */

static void list_json(const struct criterion *t, int n)
{
    int i, k;

    printf("[");
    for (i = 0; i < n; i++) {
        printf("%s{\"name\":", i ? ",\n" : "");
        json_string(stdout, t[i].name);
        printf(",\"aliases\":[");
        for (k = 0; k < 3 && t[i].aliases[k]; k++) {
            printf("%s", k ? "," : "");
            json_string(stdout, t[i].aliases[k]);
        }
        if (t[i].c < 0)
            printf("],\"b\":null,\"a\":null,\"c\":null");
        else
            printf("],\"b\":%d,\"a\":%d,\"c\":%d", t[i].b, t[i].a, t[i].c);
        printf(",\"about\":");
        json_string(stdout, t[i].about);
        printf("}");
    }
    printf("]\n");
}

static void list(void)
{
    int n, i, k;
    const struct criterion *t = criterion_table(&n);

    if (common.json) {
        list_json(t, n);
        return;
    }
    printf("%-30s %-9s %-26s %s\n", "criterion", "(b,a,c)", "also", "S = n^-b * sum of g^a f^c");
    for (i = 0; i < n; i++) {
        char powers[48] = "-", also[64] = "";

        if (t[i].c >= 0)
            snprintf(powers, sizeof powers, "(%d,%d,%d)", t[i].b, t[i].a, t[i].c);
        for (k = 0; k < 3 && t[i].aliases[k]; k++)
            snprintf(also + strlen(also), sizeof also - strlen(also), "%s%s", k ? ", " : "", t[i].aliases[k]);
        printf("%-30s %-9s %-26s %s\n", t[i].name, powers, also, t[i].about);
    }
}

/* ---- --diff ---- */

static void diff_json(const struct plan_diff *d)
{
    int l;

    printf("{\"layer\":[");
    for (l = 0; l < d->n; l++) {
        const struct plan_diff_layer *x = &d->layer[l];

        printf("%s{\"layer\":%d,\"kept_a\":%d,\"kept_b\":%d,\"both\":%d,\"jaccard\":", l ? ",\n" : "",
               x->layer, x->kept_a, x->kept_b, x->both);
        json_number(stdout, x->jaccard);
        printf(",\"spearman\":");
        json_number(stdout, x->spearman);
        printf("}");
    }
    printf("],\n\"total\":{\"kept_a\":%d,\"kept_b\":%d,\"both\":%d,\"jaccard\":", d->kept_a, d->kept_b,
           d->both);
    json_number(stdout, d->jaccard);
    printf(",\"spearman\":");
    json_number(stdout, d->spearman);
    printf("}}\n");
}

static void diff(const char *path_a, const char *path_b)
{
    struct plan a, b;
    struct plan_diff d;
    struct err e = {0};
    int l;

    if (plan_read(&a, path_a, &e) || plan_read(&b, path_b, &e) || plan_diff(&d, &a, &b, &e))
        die(&e);
    if (common.json) {
        diff_json(&d);
    } else {
        printf("%5s %6s %6s %6s %8s %8s\n", "layer", "kept 1", "kept 2", "both", "jaccard", "spearman");
        for (l = 0; l < d.n; l++)
            printf("%5d %6d %6d %6d %8.4f %8.4f\n", d.layer[l].layer, d.layer[l].kept_a, d.layer[l].kept_b,
                   d.layer[l].both, d.layer[l].jaccard, d.layer[l].spearman);
        printf("%5s %6d %6d %6d %8.4f %8.4f\n", "total", d.kept_a, d.kept_b, d.both, d.jaccard, d.spearman);
    }
    plan_diff_free(&d);
    plan_free(&a);
    plan_free(&b);
}

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
        if (num_i64(part, "--protect", 1, INT_MAX, &n, &e))
            usage_error("--protect: '%s' is neither 'super' nor a number of experts per category", part);
        o->protect_top = (int)n;
    }
}

/* ---- statistics to a plan ---- */

static void read_stats(struct stats *s, char **path, int n)
{
    struct err e = {0};
    struct stats more;
    int i;

    if (stats_read(s, path[0], &e))
        die(&e);
    for (i = 1; i < n; i++) {
        if (stats_read(&more, path[i], &e))
            die(&e);
        if (stats_merge(s, &more, &e)) {
            err_prefix(&e, "%s", path[i]);
            die(&e);
        }
        stats_free(&more);
    }
    for (i = 0; i < s->parts; i++)
        detail("data %s, shard %d/%d: %lld documents, %lld tokens", s->part[i].digest, s->part[i].shard,
               s->part[i].shards, (long long)s->part[i].documents, (long long)s->part[i].tokens);
}

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

static void print_json(const struct plan *p, const struct score_options *o, const struct score_report *r,
                       const char *out)
{
    printf("{\"plan\":");
    json_string(stdout, out);
    printf(",\"criterion\":");
    json_string(stdout, o->criterion->name);
    printf(",\"layers\":%d,\"experts\":%d,\"topk\":%d,\"keep\":%d,\"better_keep\":", p->n_layers,
           p->model.experts, p->model.topk, o->keep);
    printf(r->better_keep ? "%d" : "null", r->better_keep);
    printf(",\"protected_super\":%d,\"protected_top\":%d,\"unused\":%d,\"twin\":", r->protected_super,
           r->protected_top, r->zero);
    if (r->twin)
        json_string(stdout, r->twin);
    else
        printf("null");
    printf(",\"overlap\":");
    json_number(stdout, r->overlap);
    printf(",\"disagree\":%s}\n", r->disagree ? "true" : "false");
}

static void say(const struct plan *p, const struct score_options *o, const struct score_report *r)
{
    int experts = p->model.experts;
    long all = (long)p->n_layers * experts;

    note("%s: %d of %d experts stay in each of %d layers", o->criterion->name, o->keep, experts, p->n_layers);
    if (o->protect_super)
        note("experts that stay only because they are super experts: %d", r->protected_super);
    if (o->protect_top)
        note("experts that stay only because they are among the %d most frequent of a category: %d",
             o->protect_top, r->protected_top);
    if (r->zero)
        note("experts that no token was routed to: %d of %ld; they score 0", r->zero, all);
    if (p->model.groups > 1)
        note("the router has %d groups: %d of %d experts stay in each", p->model.groups,
             o->keep / p->model.groups, experts / p->model.groups);
    if (r->better_keep)
        note("-k %d would serve better: MXFP4 kernels want a multiple of 4, tensor and expert parallelism of "
             "8",
             r->better_keep);
    if (o->keep < p->model.topk)
        warn("KEEP is %d, less than the model's top-k: the pruned model will use %d experts per token "
             "instead of %d",
             o->keep, o->keep, p->model.topk);
    if (r->disagree)
        warn("%s and %s agree on only %.0f%% of the experts that stay (chance: %.0f%%): judge a plan of each "
             "with "
             "moe-bench compare --plan",
             o->criterion->name, r->twin, 100 * r->overlap, 100.0 * o->keep / experts);
}

static void score(char **path, int n)
{
    const char *out = common.out ? common.out : "-";
    struct score_options o = {.criterion = criterion_find(opt.criterion), .default_weight = 1};
    char *weights = NULL, *protect = NULL, ratio[64] = "";
    struct score_report r;
    struct err e = {0};
    struct stats s;
    struct plan p;

    if (!o.criterion)
        usage_error("unknown criterion '%s': moe-score --list prints them", opt.criterion);
    if ((opt.weights && !(weights = mem_strdup(opt.weights, &e))) ||
        (opt.protect && !(protect = mem_strdup(opt.protect, &e))))
        die(&e);
    if (weights)
        read_weights(&o, weights);
    if (protect)
        read_protect(&o, protect);
    read_stats(&s, path, n);
    choose_keep(&o, &s.model, ratio, sizeof ratio);
    o.note = ratio;
    if (score_plan(&p, &s, &o, &r, &e))
        die(&e);
    if (!common.dry_run && plan_write(&p, out, common.force, &e))
        die(&e);
    say(&p, &o, &r);
    if (common.json)
        print_json(&p, &o, &r, out);
    else if (common.dry_run)
        printf("would write %s: %d rows, %d of %d experts kept in each of %d layers\n",
               strcmp(out, "-") == 0 ? "to standard output" : out, p.n_layers * p.model.experts, o.keep,
               p.model.experts, p.n_layers);
    plan_free(&p);
    stats_free(&s);
    free((void *)o.weight);
    free(weights);
    free(protect);
}

int main(int argc, char **argv)
{
    int n = cmd_start(&command, WANT_JSON | WANT_FORCE | WANT_DRY_RUN | WANT_OUT, argc, argv);
    bool to_stdout = !common.out || strcmp(common.out, "-") == 0;

    if (opt.list && opt.diff)
        usage_error("--list and --diff exclude each other");
    if (opt.list) {
        if (n)
            usage_error("--list takes no operand");
        list();
    } else if (opt.diff) {
        if (n != 2)
            usage_error("--diff takes two plans");
        diff(argv[0], argv[1]);
    } else {
        if (n == 0)
            usage_error("which statistics? STATS is missing");
        if (opt.ratio && opt.keep)
            usage_error("--ratio and --keep exclude each other");
        if (common.json && to_stdout && !common.dry_run)
            usage_error("--json prints a summary where the plan goes: add -o PLAN or --dry-run");
        score(argv, n);
    }
    cmd_exit(EXIT_DONE);
}
