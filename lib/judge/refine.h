/*
 * refine.h -- a better plan by exchanging experts, each exchange judged by masking.
 *
 * Criteria score experts one by one; what a removal costs depends on who else is gone and on what later
 * layers make of it. Here that is measured: layer by layer, each candidate is taken out of (or put back into)
 * the masked model, and the divergence KL(whole || masked) over the text says what it is worth where it
 * stands. The most promising exchanges are then tried, several together too, and the best is kept if it
 * lowers the divergence by more than its standard error over documents (so that a text of few documents
 * changes little). This is a local search by coordinate descent: every count per layer stays as it was.
 *
 * Cost of a round: (2 * candidates + about 14) masked forward passes per layer, of which only the layers
 * from that one on are computed.
 */
#ifndef MOE_JUDGE_REFINE_H
#define MOE_JUDGE_REFINE_H

#include "judge/judge.h"

struct refine_options {
    int keep;       /* experts of every layer; 0: as many as the plan keeps */
    int rounds;     /* at most; one that changes nothing is the last */
    int candidates; /* of each layer: so many kept experts with the worst ranks, so many dropped ones with
                       the best; 0: all */
    /* Where it is kept what each mask was found to be worth, as soon as it is known, and where a run that
     * goes on from one that was killed looks first: the result is the same to the last bit. NULL: nowhere. */
    const char *partial;
};
struct refine_report {
    int64_t tokens;            /* scored */
    double before, cut, after; /* mean KL of the plan given, of it cut down, of the result */
    int exchanges, rounds;
    int64_t found; /* masks that the run before had computed */
    struct engine_cost cost;
};
/* The plan is written: removes what was kept. */
void refine_done(const char *partial);
/*
 * Refused: layers that keep fewer than o->keep, a number that the router's groups do not allow.
 *
 * Changes keep and rank of p: kept experts rank before dropped ones, in either group as before; the
 * criterion line gets the field refine=EXCHANGES. p must be of m and keep top-k experts at least in every
 * layer. Where the router has groups, experts are exchanged within theirs.
 */
int judge_refine(struct refine_report *r, struct plan *p, struct engine *en, const struct model *m,
                 const struct corpus *c, const struct refine_options *o, const struct pass_options *po,
                 struct err *e);

#endif
