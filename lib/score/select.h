/*
 * select.h -- private to score: which experts of one layer go, so that as little as possible is lost.
 *
 * What removing a set P of experts costs is
 *
 *     cost(P) = sum over i in P of alone[i]  +  sum over i != j, both in P, of pair[i][j]
 *
 * the quadratic form p' F p with F's diagonal in alone. A scalar criterion has no pairs. With several costs,
 * one of each category, each is multiplied by its scale, and what counts is the largest, plus SELECT_MEAN of
 * their mean: that decides between choices which are the same to the worst category.
 *
 * The choice is greedy removal from the full set, improved by swaps of a removed expert with a kept one while
 * one lowers the cost; and, if that is better, what the same swaps make of greedy return from the empty set.
 * All obey the router's groups (each loses as many as the others, one at a time in turns)
 * and never remove a protected expert before one that is not. Nothing is random; of equal choices the expert
 * with the larger number goes.
 */
#ifndef MOE_SCORE_SELECT_H
#define MOE_SCORE_SELECT_H

#include <stdbool.h>

#include "base/err.h"

#define SELECT_MEAN 1e-3

struct cost {
    double *alone; /* [experts] */
    double *pair;  /* [experts][experts], symmetric, its diagonal is not read; NULL: none */
    double scale;  /* only used where there are several costs */
};

struct select_task {
    int experts, groups;          /* groups divides experts */
    const struct cost *cost;      /* [costs] */
    int costs;                    /* >= 1 */
    const unsigned char *protect; /* [experts], not 0: stays as long as possible; NULL: none */
};

/* At most this many rounds of swaps; a round offers every removed expert its best partner. */
enum { SELECT_ROUNDS = 50 };

struct selection {
    int swaps;            /* experts that greedy removal would have removed, and others go instead */
    double greedy, final; /* what counts (see above) with keep experts: of greedy removal, of the choice */
};

/*
 * order: [experts], those kept longest first: order[0 .. keep-1] is the choice, and for every other number of
 * experts the beginning of the list is the greedy continuation of it, down by removing more and up by
 * putting back what lowers the cost most. If nothing is better than greedy removal, it is simply its order.
 * keep is a multiple of groups, and no group has more than keep / groups protected.
 * s: what it costs; may be NULL.
 */
int select_order(const struct select_task *t, int keep, int *order, struct selection *s, struct err *e);

/* The cost (one, unscaled) of removing n experts in this order, one after the other: step[i] is what the i-th
 * adds. Their sum is cost(P). */
int select_steps(const struct cost *c, int experts, const int *out, int n, double *step, struct err *e);

#endif
