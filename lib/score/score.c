/* score.c -- from statistics to a plan: costs, budget, selection, ranks. */
#include "score/score.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "score/budget.h"
#include "score/costs.h"
#include "stats/fields.h"
#include "stats/groups.h"

/* What score_plan works with, layer by layer. */
struct work {
    const struct stats *s;
    const struct score_options *o;
    const struct criterion *twin;
    struct expert_groups groups;
    struct costs costs;
    unsigned char *flags; /* [n_layers][experts] PROTECT_... */
    int *keep;            /* [n_layers] */
    int *order, *other;   /* [experts] best first: the choice; another to compare it with */
    double *step;         /* [experts] */
    double *lost;         /* [costs.n] of each category, sum over the layers of shares */
    long twin_keeps;      /* kept experts that the twin keeps too */
};

static int refuse_protected(const struct work *w, int l, int first, int size, int n, int stay, struct err *e)
{
    if (w->groups.groups == 1)
        return err_set(e, ERR_USAGE,
                       "layer %d: %d experts are protected, but only %d stay: protect fewer, or keep more",
                       w->s->layer[l], n, stay);
    return err_set(e, ERR_USAGE,
                   "layer %d: %d experts of the group %d to %d are protected, but only %d stay in each "
                   "group: protect fewer, or keep more",
                   w->s->layer[l], n, first, first + size - 1, stay);
}

/* The most protected experts of any group of the layer; *first: where that group begins. */
static int most_protected(const struct work *w, int l, int *first)
{
    const unsigned char *flags = w->flags + (size_t)l * (size_t)w->groups.experts;
    int size = w->groups.experts / w->groups.groups, most = -1, i, j;

    for (i = 0; i < w->groups.experts; i += size) {
        int n = 0;

        for (j = i; j < i + size; j++)
            n += flags[j] != 0;
        if (n > most) {
            most = n;
            *first = i;
        }
    }
    return most;
}

static int check_protected(const struct work *w, int l, int keep, struct err *e)
{
    int size = w->groups.experts / w->groups.groups, stay = keep / w->groups.groups, first = 0;
    int n = most_protected(w, l, &first);

    return n > stay ? refuse_protected(w, l, first, size, n, stay, e) : 0;
}

/* ---- one layer ---- */

static struct select_task task_of(const struct work *w, const unsigned char *flags)
{
    bool worst = w->o->over == SELECT_WORST;

    return (struct select_task){.experts = w->groups.experts,
                                .groups = w->groups.groups,
                                .cost = worst ? w->costs.category : &w->costs.all,
                                .costs = worst ? w->costs.n : 1,
                                .protect = flags};
}

/* Each category's own ranking, best first, for the turns; ranks is [costs.n][experts]. */
static int rank_categories(struct work *w, int *ranks, struct err *e)
{
    struct select_task t = task_of(w, NULL);
    int k;

    t.costs = 1;
    for (k = 0; k < w->costs.n; k++) {
        t.cost = &w->costs.category[k];
        if (select_order(&t, t.experts, ranks + (size_t)k * (size_t)t.experts, NULL, e))
            return -1;
    }
    return 0;
}

static int protect_turns(struct work *w, int l, struct err *e)
{
    size_t experts = (size_t)w->groups.experts;
    int *ranks = mem_new((size_t)w->costs.n * experts, sizeof *ranks, e), status;

    if (!ranks)
        return -1;
    status = costs_layer(&w->costs, l, e) || rank_categories(w, ranks, e) ? -1 : 0;
    if (status == 0)
        status = protect_in_turns(w->flags + (size_t)l * experts, &w->groups, w->costs.category, w->costs.n,
                                  ranks, w->o->protect_turns, w->o->keep / w->groups.groups, e);
    free(ranks);
    return status;
}

/* Experts that only their protection keeps. */
static int count_protected(struct work *w, const unsigned char *flags, int keep, struct score_report *r,
                           struct err *e)
{
    struct select_task t = task_of(w, NULL);
    int i;

    if (!w->o->protect_super && !w->o->protect_top && !w->o->protect_turns)
        return 0;
    if (select_order(&t, keep, w->other, NULL, e))
        return -1;
    for (i = keep; i < t.experts; i++) {
        unsigned char f = flags[w->other[i]];

        r->protected_super += (f & PROTECT_SUPER) != 0;
        r->protected_top += (f & (PROTECT_SUPER | PROTECT_TOP)) == PROTECT_TOP;
        r->protected_turns += f == PROTECT_TURNS;
    }
    return 0;
}

static int count_twin(struct work *w, const unsigned char *flags, int keep, const struct plan_row *row,
                      struct err *e)
{
    struct cost cost = {.alone = w->step};
    struct select_task t = task_of(w, flags);
    int i;

    if (!w->twin)
        return 0;
    for (i = 0; i < t.experts; i++)
        w->step[i] = criterion_value(w->twin, &w->costs.pooled[i]);
    t.cost = &cost;
    t.costs = 1;
    if (select_order(&t, keep, w->other, NULL, e))
        return -1;
    for (i = 0; i < keep; i++)
        w->twin_keeps += row[w->other[i]].keep;
    return 0;
}

/* Fills w->step: what each removal, from the end of w->order on, adds to a cost. *share: what the removed
 * have of its whole. */
static int lost_share(struct work *w, const struct cost *c, int keep, double *share, struct err *e)
{
    int experts = w->groups.experts, i;
    double part = 0, all = 0;

    for (i = 0; i < experts; i++)
        w->other[i] = w->order[experts - 1 - i];
    if (select_steps(c, experts, w->other, experts, w->step, e))
        return -1;
    for (i = 0; i < experts; i++) {
        all += w->step[i];
        part += i < experts - keep ? w->step[i] : 0;
    }
    *share = all > 0 ? part / all : 0;
    return 0;
}

/* Leaves in w->step the steps of all categories together. */
static int count_lost(struct work *w, int l, struct score_report *r, struct err *e)
{
    double share;
    int k;

    for (k = 0; k < w->costs.n; k++) {
        if (lost_share(w, &w->costs.category[k], w->keep[l], &share, e))
            return -1;
        w->lost[k] += share / w->s->n_layers;
    }
    if (lost_share(w, &w->costs.all, w->keep[l], &share, e))
        return -1;
    r->lost += share / w->s->n_layers;
    return 0;
}

static int score_layer(struct work *w, struct plan *p, int l, struct score_report *r, struct err *e)
{
    int experts = w->groups.experts, keep = w->keep[l], i;
    const unsigned char *flags = w->flags + (size_t)l * (size_t)experts;
    struct plan_row *row = plan_rows(p, l);
    struct selection chosen;
    struct select_task t;

    if (check_protected(w, l, keep, e) || costs_layer(&w->costs, l, e))
        return -1;
    t = task_of(w, flags);
    if (select_order(&t, keep, w->order, &chosen, e) || count_lost(w, l, r, e))
        return -1;
    for (i = 0; i < experts; i++) {
        struct plan_row *to = &row[w->order[i]];

        to->score = w->step[experts - 1 - i];
        if (!isfinite(to->score)) /* no plan has such a score, and a choice by it means nothing */
            return err_set(e, ERR_INPUT, "layer %d, expert %d: the sums are too large for a score",
                           w->s->layer[l], w->order[i]);
        to->rank = i + 1;
        to->keep = i < keep;
        r->zero += w->costs.tokens[i] == 0;
    }
    r->swaps += chosen.swaps;
    r->gained += chosen.swaps ? (1 - chosen.final / chosen.greedy) / w->s->n_layers : 0;
    r->keep_min = l == 0 || keep < r->keep_min ? keep : r->keep_min;
    r->keep_max = keep > r->keep_max ? keep : r->keep_max;
    return count_protected(w, flags, keep, r, e) || count_twin(w, flags, keep, row, e) ? -1 : 0;
}

/* ---- all layers ---- */

/* What removing the experts of each layer in its own order costs, in shares of the layer's whole. */
static int share_steps(struct work *w, double *step, struct err *e)
{
    int experts = w->groups.experts, l, i;

    for (l = 0; l < w->s->n_layers; l++) {
        struct select_task t;
        double all = 0, share;

        if (costs_layer(&w->costs, l, e))
            return -1;
        t = task_of(w, w->flags + (size_t)l * (size_t)experts);
        if (select_order(&t, experts, w->order, NULL, e) || lost_share(w, &w->costs.all, 0, &share, e))
            return -1;
        for (i = 0; i < experts; i++)
            all += w->step[i];
        for (i = 0; i < experts; i++)
            step[(size_t)l * (size_t)experts + (size_t)i] = all > 0 ? w->step[i] / all : 0;
    }
    return 0;
}

static int choose_keep(struct work *w, struct err *e)
{
    int topk = w->groups.topk < w->o->keep ? w->groups.topk : w->o->keep, n = w->s->n_layers, l, first;
    double *step;
    int status;

    for (l = 0; l < n; l++)
        w->keep[l] = w->o->keep;
    if (w->o->budget == BUDGET_UNIFORM)
        return 0;
    for (l = 0; l < n; l++) {
        int must = most_protected(w, l, &first) * w->groups.groups;
        int least = w->o->min_keep ? w->o->min_keep : topk;

        w->keep[l] = must > least ? must : least;
    }
    step = mem_new((size_t)n * (size_t)w->groups.experts, sizeof *step, e);
    if (!step)
        return -1;
    status = share_steps(w, step, e) || budget_spread(step, n, &w->groups, (long)n * w->o->keep, w->keep, e)
                 ? -1
                 : 0;
    free(step);
    return status;
}

/* The plan's criterion line: "reap\tkeep=24\tNOTE\tweights=code=3,math=1\tprotect=super,2". */
static int score_describe(struct str *out, const struct score_options *o, struct err *e)
{
    const char *sep = "\tprotect=";
    int i;

    str_addf(out, "%s\tkeep=%d", o->criterion->name, o->keep);
    if (o->criterion->kind == CRITERION_FILE && o->scores && *o->scores->criterion) {
        str_adds(out, "\tof=");
        name_escape(out, o->scores->criterion);
    }
    if (o->note && *o->note)
        str_addf(out, "\t%s", o->note);
    if (o->over == SELECT_WORST)
        str_adds(out, "\tselect=worst");
    if (o->budget == BUDGET_GLOBAL)
        str_adds(out, "\tbudget=global");
    if (o->budget == BUDGET_GLOBAL && o->min_keep)
        str_addf(out, "\tmin=%d", o->min_keep);
    for (i = 0; i < o->weights; i++) {
        str_adds(out, i ? "," : "\tweights=");
        name_escape(out, o->weight[i].category);
        str_addf(out, "=%.15g", o->weight[i].w);
    }
    if (o->weights && o->default_weight != 0)
        str_addf(out, ",*=%.15g", o->default_weight);
    if (o->protect_super) {
        str_addf(out, "%ssuper", sep);
        sep = ",";
    }
    if (o->protect_top) {
        str_addf(out, "%s%d", sep, o->protect_top);
        sep = ",";
    }
    if (o->protect_turns)
        str_addf(out, "%sturns=%d", sep, o->protect_turns);
    return str_ok(out, e);
}

static int protect(struct work *w, struct err *e)
{
    int l;

    if ((w->o->protect_super && protect_super(w->flags, w->s, e)) ||
        (w->o->protect_top && protect_top(w->flags, w->s, w->o->protect_top, e)))
        return -1;
    for (l = 0; w->o->protect_turns && l < w->s->n_layers; l++)
        if (protect_turns(w, l, e))
            return -1;
    return 0;
}

static int work_init(struct work *w, const struct stats *s, const struct score_options *o, struct err *e)
{
    bool by_category = o->over == SELECT_WORST || o->protect_turns;
    size_t experts = (size_t)s->model.experts;

    *w = (struct work){.s = s, .o = o, .groups = groups_of(&s->model)};
    if (o->over == SELECT_ALL)
        w->twin = criterion_twin(o->criterion);
    if (groups_check(&w->groups, o->keep, ERR_USAGE, e) || costs_new(&w->costs, s, o, by_category, e))
        return -1;
    w->flags = mem_new((size_t)s->n_layers * experts, 1, e);
    w->keep = mem_new((size_t)s->n_layers, sizeof *w->keep, e);
    w->order = mem_new(experts, sizeof *w->order, e);
    w->other = mem_new(experts, sizeof *w->other, e);
    w->step = mem_new(experts, sizeof *w->step, e);
    w->lost = mem_new((size_t)w->costs.n, sizeof *w->lost, e);
    if (!w->flags || !w->keep || !w->order || !w->other || !w->step || !w->lost)
        return -1;
    return protect(w, e) || choose_keep(w, e) ? -1 : 0;
}

static void work_free(struct work *w)
{
    costs_free(&w->costs);
    free(w->flags);
    free(w->keep);
    free(w->order);
    free(w->other);
    free(w->step);
    free(w->lost);
}

static void report_twin(struct score_report *r, const struct work *w)
{
    double chance = (double)w->o->keep / w->groups.experts;

    r->overlap = 1;
    if (!w->twin)
        return;
    r->twin = w->twin->name;
    r->differ = (long)w->o->keep * w->s->n_layers - w->twin_keeps;
    r->overlap = (double)w->twin_keeps / ((double)w->o->keep * w->s->n_layers);
    r->disagree = r->overlap < (1 + chance) / 2;
}

static void report_worst(struct score_report *r, const struct work *w)
{
    int k;

    for (k = 0; w->o->over == SELECT_WORST && k < w->costs.n; k++)
        if (!r->worst || w->lost[k] > r->worst_lost) {
            r->worst = w->costs.categories->category[w->costs.index[k]];
            r->worst_lost = w->lost[k];
        }
}

int score_plan(struct plan *p, const struct stats *s, const struct score_options *o, struct score_report *r,
               struct err *e)
{
    struct str line = {0};
    struct work w;
    int l, status = -1;

    *p = (struct plan){0};
    *r = (struct score_report){0};
    if (work_init(&w, s, o, e) || score_describe(&line, o, e) ||
        plan_new(p, &s->model, line.p, s->layer, s->n_layers, e))
        goto out;
    for (l = 0; l < s->n_layers; l++)
        if (score_layer(&w, p, l, r, e))
            goto out;
    report_twin(r, &w);
    report_worst(r, &w);
    r->better_keep =
        o->budget == BUDGET_UNIFORM ? score_better_keep(s->model.experts, s->model.topk, o->keep) : 0;
    if (!groups_allow(&w.groups, r->better_keep))
        r->better_keep = 0;
    status = 0;
out:
    if (status)
        plan_free(p);
    work_free(&w);
    str_free(&line);
    return status;
}

int score_better_keep(int experts, int topk, int keep)
{
    int step = experts >= 64 ? 8 : 4, down = keep - keep % step, up = down + step;
    bool down_fits = down >= topk && down > 0, up_fits = up >= topk && up < experts;

    if (keep % step == 0 || keep >= experts || experts % step)
        return 0;
    if (down_fits && up_fits)
        return keep - down < up - keep ? down : up;
    return down_fits ? down : up_fits ? up : 0;
}
