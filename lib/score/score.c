#include "score/score.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "score/pool.h"
#include "stats/fields.h"
#include "stats/groups.h"

struct ranked {
    double score;
    bool protect;
    int expert;
    int place; /* in its group, from 0 */
};

/* What score_plan works with, layer by layer. */
struct work {
    const struct stats *s;
    const struct score_options *o;
    const struct criterion *twin;
    struct expert_groups groups;
    struct mix mix;
    unsigned char *flags;  /* [n_layers][experts] PROTECT_... */
    struct pooled *pooled; /* [experts] */
    struct ranked *order;  /* [experts], best first */
    long twin_keeps;       /* kept experts that the twin keeps too */
};

static int best_first(const void *va, const void *vb)
{
    const struct ranked *a = va, *b = vb;

    if (a->protect != b->protect)
        return a->protect ? -1 : 1;
    if (a->score != b->score)
        return a->score > b->score ? -1 : 1;
    return a->expert - b->expert;
}

static int best_place_first(const void *va, const void *vb)
{
    const struct ranked *a = va, *b = vb;

    return a->place != b->place ? a->place - b->place : best_first(va, vb);
}

/* Fills w->order with the layer's experts, the best of each group first, then the second of each ...; flags
 * NULL: nothing is protected. */
static void rank_layer(struct work *w, const struct criterion *c, const unsigned char *flags)
{
    int i, experts = w->s->model.experts, size = experts / w->groups.groups;

    for (i = 0; i < experts; i++)
        w->order[i] = (struct ranked){criterion_value(c, &w->pooled[i]), flags && flags[i], i, 0};
    for (i = 0; i < experts; i += size)
        qsort(w->order + i, (size_t)size, sizeof *w->order, best_first);
    for (i = 0; i < experts; i++)
        w->order[i].place = i % size;
    qsort(w->order, (size_t)experts, sizeof *w->order, best_place_first);
}

static int check_protected(const struct work *w, int l, const unsigned char *flags, struct err *e)
{
    int size = w->groups.experts / w->groups.groups, stay = w->o->keep / w->groups.groups, i, j;

    for (i = 0; i < w->groups.experts; i += size) {
        int n = 0;

        for (j = i; j < i + size; j++)
            n += flags[j] != 0;
        if (n <= stay)
            continue;
        if (w->groups.groups == 1)
            return err_set(
                e, ERR_USAGE,
                "layer %d: %d experts are protected, but only %d stay: protect fewer, or keep more",
                w->s->layer[l], n, stay);
        return err_set(e, ERR_USAGE,
                       "layer %d: %d experts of the group %d to %d are protected, but only %d stay in each "
                       "group: protect fewer, or keep more",
                       w->s->layer[l], n, i, i + size - 1, stay);
    }
    return 0;
}

/* Experts that only their protection keeps. */
static void count_protected(struct work *w, const unsigned char *flags, struct score_report *r)
{
    int i;

    rank_layer(w, w->o->criterion, NULL);
    for (i = w->o->keep; i < w->s->model.experts; i++) {
        unsigned char f = flags[w->order[i].expert];

        r->protected_super += (f & PROTECT_SUPER) != 0;
        r->protected_top += f == PROTECT_TOP;
    }
}

static void count_twin(struct work *w, const unsigned char *flags, const struct plan_row *row)
{
    int i;

    if (!w->twin)
        return;
    rank_layer(w, w->twin, flags);
    for (i = 0; i < w->o->keep; i++)
        w->twin_keeps += row[w->order[i].expert].keep;
}

static int score_layer(struct work *w, struct plan *p, int l, struct score_report *r, struct err *e)
{
    int experts = w->s->model.experts, i;
    const unsigned char *flags = w->flags + (size_t)l * (size_t)experts;
    struct plan_row *row = plan_rows(p, l);

    if (check_protected(w, l, flags, e) || pool_layer(w->pooled, w->s, l, &w->mix, e))
        return -1;
    rank_layer(w, w->o->criterion, flags);
    for (i = 0; i < experts; i++) {
        struct plan_row *to = &row[w->order[i].expert];

        to->score = w->order[i].score;
        to->rank = i + 1;
        to->keep = i < w->o->keep;
        r->zero += w->pooled[i].n == 0;
    }
    count_protected(w, flags, r);
    count_twin(w, flags, row);
    return 0;
}

/* The plan's criterion line: "reap\tkeep=24\tNOTE\tweights=code=3,math=1\tprotect=super,2". */
static int describe(struct str *out, const struct score_options *o, struct err *e)
{
    int i;

    str_addf(out, "%s\tkeep=%d", o->criterion->name, o->keep);
    if (o->note && *o->note)
        str_addf(out, "\t%s", o->note);
    for (i = 0; i < o->weights; i++) {
        str_adds(out, i ? "," : "\tweights=");
        name_escape(out, o->weight[i].category);
        str_addf(out, "=%.15g", o->weight[i].w);
    }
    if (o->weights && o->default_weight != 0)
        str_addf(out, ",*=%.15g", o->default_weight);
    if (o->protect_super)
        str_adds(out, "\tprotect=super");
    if (o->protect_top)
        str_addf(out, "%s%d", o->protect_super ? "," : "\tprotect=", o->protect_top);
    return str_ok(out, e);
}

static int work_init(struct work *w, const struct stats *s, const struct score_options *o, struct err *e)
{
    size_t experts = (size_t)s->model.experts;

    *w = (struct work){.s = s, .o = o, .twin = criterion_twin(o->criterion), .groups = groups_of(&s->model)};
    if (groups_check(&w->groups, o->keep, ERR_USAGE, e))
        return -1;
    w->flags = mem_new((size_t)s->n_layers * experts, 1, e);
    w->pooled = mem_new(experts, sizeof *w->pooled, e);
    w->order = mem_new(experts, sizeof *w->order, e);
    if (!w->flags || !w->pooled || !w->order || mix_init(&w->mix, s, o, e) ||
        (o->protect_super && protect_super(w->flags, s, e)))
        return -1;
    return o->protect_top ? protect_top(w->flags, s, o->protect_top, e) : 0;
}

static void work_free(struct work *w)
{
    mix_free(&w->mix);
    free(w->flags);
    free(w->pooled);
    free(w->order);
}

static void report_twin(struct score_report *r, const struct work *w)
{
    double chance = (double)w->o->keep / w->s->model.experts;

    r->overlap = 1;
    if (!w->twin)
        return;
    r->twin = w->twin->name;
    r->overlap = (double)w->twin_keeps / ((double)w->o->keep * w->s->n_layers);
    r->disagree = r->overlap < (1 + chance) / 2;
}

int score_plan(struct plan *p, const struct stats *s, const struct score_options *o, struct score_report *r,
               struct err *e)
{
    struct str line = {0};
    struct work w;
    int l, status = -1;

    *p = (struct plan){0};
    *r = (struct score_report){0};
    if (work_init(&w, s, o, e) || describe(&line, o, e) ||
        plan_new(p, &s->model, line.p, s->layer, s->n_layers, e))
        goto out;
    for (l = 0; l < s->n_layers; l++)
        if (score_layer(&w, p, l, r, e))
            goto out;
    report_twin(r, &w);
    r->better_keep = score_better_keep(s->model.experts, s->model.topk, o->keep);
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
