/* select.c -- greedy removal and swaps, the cost of a set kept up to date. */
#include "score/select.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* Removed so far. */
struct state {
    const struct select_task *t;
    bool *out;      /* [experts] */
    int *kept;      /* [groups] */
    double *loss;   /* [costs] unscaled */
    double *with;   /* [costs][experts] sum of pair[i][j] over removed j != i; NULL without pairs */
    double largest; /* |loss| of removing everything, as it counts: below SWAP_GAIN of it nothing is a gain */
};

/* Rounding must not look like progress. */
#define SWAP_GAIN 1e-12

static bool has_pairs(const struct select_task *t)
{
    return t->cost[0].pair != NULL;
}

/* What removing i (now kept) adds to cost c; for a removed i, what putting it back takes off. */
static double delta(const struct state *s, int c, int i)
{
    const struct select_task *t = s->t;

    return t->cost[c].alone[i] + (s->with ? 2 * s->with[(size_t)c * (size_t)t->experts + (size_t)i] : 0);
}

/* What counts, were the losses as by value(c). */
static double combine(const struct select_task *t, const double *loss)
{
    double worst = -INFINITY, sum = 0;
    int c;

    if (t->costs == 1)
        return loss[0];
    for (c = 0; c < t->costs; c++) {
        double x = t->cost[c].scale * loss[c];

        worst = fmax(worst, x);
        sum += x;
    }
    return worst + SELECT_MEAN * sum / t->costs;
}

/* What counts after removing i (sign 1) or putting it back (-1). One cost: only the change, so that equal
 * scores stay equal. */
static double after(const struct state *s, int i, int sign)
{
    const struct select_task *t = s->t;
    double worst = -INFINITY, sum = 0;
    int c;

    if (t->costs == 1)
        return sign * delta(s, 0, i);
    for (c = 0; c < t->costs; c++) {
        double x = t->cost[c].scale * (s->loss[c] + sign * delta(s, c, i));

        worst = fmax(worst, x);
        sum += x;
    }
    return worst + SELECT_MEAN * sum / t->costs;
}

static int group_of(const struct select_task *t, int i)
{
    return i / (t->experts / t->groups);
}

static void move(struct state *s, int i, bool out)
{
    const struct select_task *t = s->t;
    size_t experts = (size_t)t->experts, j;
    double sign = out ? 1 : -1;
    int c;

    for (c = 0; c < t->costs; c++) {
        const double *row = has_pairs(t) ? t->cost[c].pair + (size_t)i * experts : NULL;
        double *with = s->with ? s->with + (size_t)c * experts : NULL;

        s->loss[c] += sign * delta(s, c, i);
        for (j = 0; row && j < experts; j++)
            with[j] += (int)j == i ? 0 : sign * row[j];
    }
    s->out[i] = out;
    s->kept[group_of(t, i)] += out ? -1 : 1;
}

static int most_kept(const struct state *s, int sign)
{
    int g, most = s->kept[0];

    for (g = 1; g < s->t->groups; g++)
        if (sign * s->kept[g] > sign * most)
            most = s->kept[g];
    return most;
}

/* The best to remove next (out) or to put back, of the groups whose turn it is. */
static int next_move(const struct state *s, bool out)
{
    const struct select_task *t = s->t;
    int turn = most_kept(s, out ? 1 : -1), best = -1, i;
    bool best_protected = false;
    double best_value = 0;

    for (i = 0; i < t->experts; i++) {
        bool protected = t->protect && t->protect[i];
        double value;

        if (s->out[i] == out || s->kept[group_of(t, i)] != turn)
            continue;
        if (best >= 0 && protected != best_protected && protected == out)
            continue;
        value = after(s, i, out ? 1 : -1);
        /* ascending i: the larger number goes first and comes back last */
        if (best < 0 || protected != best_protected || value < best_value || (out && value == best_value)) {
            best = i;
            best_value = value;
            best_protected = protected;
        }
    }
    return best;
}

/* What counts after putting `in` back and removing i instead. */
static double after_swap(const struct state *s, int in, int i)
{
    const struct select_task *t = s->t;
    size_t experts = (size_t)t->experts;
    double worst = -INFINITY, sum = 0;
    int c;

    for (c = 0; c < t->costs; c++) {
        double pair = has_pairs(t) ? t->cost[c].pair[(size_t)in * experts + (size_t)i] : 0;
        double x = s->loss[c] - delta(s, c, in) + (delta(s, c, i) - 2 * pair);

        if (t->costs == 1)
            return x;
        x *= t->cost[c].scale;
        worst = fmax(worst, x);
        sum += x;
    }
    return worst + SELECT_MEAN * sum / t->costs;
}

/* Puts back `in` (now removed) and removes its best partner in the same group instead, if that is a gain. */
static bool swap_one(struct state *s, int in)
{
    const struct select_task *t = s->t;
    double best_value = combine(t, s->loss) - SWAP_GAIN * s->largest;
    int size = t->experts / t->groups, from = in / size * size, best = -1, i;

    for (i = from; i < from + size; i++) {
        double value;

        if (s->out[i] || (t->protect && t->protect[i]))
            continue;
        value = after_swap(s, in, i);
        if (value < best_value) {
            best = i;
            best_value = value;
        }
    }
    if (best < 0)
        return false;
    move(s, in, false);
    move(s, best, true);
    return true;
}

static void swap_all(struct state *s)
{
    int round, i, swaps;

    for (round = 0; round < SELECT_ROUNDS; round++) {
        for (swaps = 0, i = 0; i < s->t->experts; i++)
            swaps += s->out[i] && swap_one(s, i);
        if (swaps == 0)
            break;
    }
}

static void state_free(struct state *s)
{
    free(s->out);
    free(s->kept);
    free(s->loss);
    free(s->with);
}

static int state_new(struct state *s, const struct select_task *t, struct err *e)
{
    size_t experts = (size_t)t->experts, costs = (size_t)t->costs;
    int g;

    *s = (struct state){.t = t};
    s->out = mem_new(experts, sizeof *s->out, e);
    s->kept = mem_new((size_t)t->groups, sizeof *s->kept, e);
    s->loss = mem_new(costs, sizeof *s->loss, e);
    s->with = has_pairs(t) ? mem_new(costs * experts, sizeof *s->with, e) : NULL;
    if (!s->out || !s->kept || !s->loss || (has_pairs(t) && !s->with)) {
        state_free(s);
        return -1;
    }
    for (g = 0; g < t->groups; g++)
        s->kept[g] = t->experts / t->groups;
    return 0;
}

/* What a gain is compared with: the cost of the greedy choice, or of the dearest next step. */
static void set_largest(struct state *s)
{
    int i;

    s->largest = fabs(combine(s->t, s->loss));
    for (i = 0; i < s->t->experts; i++)
        s->largest = fmax(s->largest, fabs(after(s, i, 1)));
}

/* Removes (out) or puts back until n are kept, noting each in its place of the order. */
static void go_to(struct state *s, int *kept, int n, bool out, int *order)
{
    for (; *kept != n; *kept += out ? -1 : 1) {
        int i = next_move(s, out), place = out ? *kept - 1 : *kept;

        order[place] = i;
        move(s, i, out);
    }
}

/* From the greedy choice (a) and from the one that greedy return from nothing gives (b), both after swaps:
 * leaves the better in a. */
static void improve(struct state *a, struct state *b, int keep, int *order)
{
    int kept = a->t->experts, i;

    set_largest(a);
    b->largest = a->largest;
    swap_all(a);
    go_to(b, &kept, 0, true, order);
    go_to(b, &kept, keep, false, order);
    swap_all(b);
    if (!(combine(b->t, b->loss) < combine(a->t, a->loss) - SWAP_GAIN * a->largest))
        return;
    for (i = 0; i < a->t->experts; i++)
        if (a->out[i] && !b->out[i])
            move(a, i, false);
    for (i = 0; i < a->t->experts; i++)
        if (!a->out[i] && b->out[i])
            move(a, i, true);
}

/* Improves s, the greedy choice that order tells; then order tells the better one. */
static int search(struct state *s, int keep, int *order, struct selection *r, struct err *e)
{
    int experts = s->t->experts, kept = keep, i;
    bool *chosen = mem_new((size_t)experts, sizeof *chosen, e);
    int *scratch = mem_new((size_t)experts, sizeof *scratch, e);
    struct state other;
    int status = -1;

    if (!chosen || !scratch || state_new(&other, s->t, e))
        goto out;
    improve(s, &other, keep, scratch);
    state_free(&other);
    r->final = combine(s->t, s->loss);
    for (i = keep; i < experts; i++)
        r->swaps += !s->out[order[i]];
    memcpy(chosen, s->out, (size_t)experts * sizeof *chosen);
    if (r->swaps)
        go_to(s, &kept, experts, false, order);
    for (i = 0; i < experts; i++)
        if (chosen[i] && !s->out[i])
            move(s, i, true);
    status = 0;
out:
    free(chosen);
    free(scratch);
    return status;
}

int select_order(const struct select_task *t, int keep, int *order, struct selection *r, struct err *e)
{
    int kept = t->experts, status = 0;
    struct selection unasked;
    struct state s;

    r = r ? r : &unasked;
    if (state_new(&s, t, e))
        return -1;
    go_to(&s, &kept, keep, true, order);
    *r = (struct selection){.greedy = combine(t, s.loss), .final = combine(t, s.loss)};
    if ((has_pairs(t) || t->costs > 1) && keep < t->experts)
        status = search(&s, keep, order, r, e);
    if (status == 0)
        go_to(&s, &kept, 0, true, order);
    state_free(&s);
    return status;
}

int select_steps(const struct cost *c, int experts, const int *out, int n, double *step, struct err *e)
{
    struct select_task t = {.experts = experts, .groups = 1, .cost = c, .costs = 1};
    struct state s;
    int i;

    if (state_new(&s, &t, e))
        return -1;
    for (i = 0; i < n; i++) {
        step[i] = delta(&s, 0, out[i]);
        move(&s, out[i], true);
    }
    state_free(&s);
    return 0;
}
