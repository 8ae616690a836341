/*
 * repair.h -- what is left of a layer, scaled so that it gives most nearly what the whole layer gave.
 *
 * For a token that a layer reads, let y be what its routed experts give together, and u_i = g'_i f_i what
 * those give that a plan keeps and that the router then chooses, each with its new gate weight; r = y - sum_i
 * u_i is missing. What is fitted, by least squares over the tokens with a ridge that draws it to 0, is one of
 *
 *     factors   a_i = 1 + d_i on what an expert gives:    min |r - sum_i d_i u_i|^2
 *     biases    d_i added to an expert's bias, a vector:  min |r - sum_i g'_i d_i|^2
 *
 *     (M + ridge diag M) d = v,  M_ij = sum <u_i, u_j> or sum g'_i g'_j,  v_i = sum <u_i, r> or sum g'_i r
 *
 * (Hoerl and Kennard 1970): biases for families whose experts have them, factors for others. Both sides read
 * the same tokens: the plan is in force in one layer at a time, all others are whole. A layer is repaired
 * only if what is fitted on one half of the documents lowers the error on the other, both ways together.
 * moe-prune puts it into the experts' down projections, so that the model that comes out has nothing that a
 * runtime must know.
 */
#ifndef MOE_JUDGE_REPAIR_H
#define MOE_JUDGE_REPAIR_H

#include "judge/judge.h"
#include "stats/repair_file.h"

struct repair_layer {
    int layer;
    double before, held; /* sum of |r|^2 / sum of |y|^2; the same after repair, each half by what was fitted
                            on the other */
    bool repaired;
};
struct repair_report {
    struct repair_layer *layer; /* [layers] of the MoE layers */
    int layers, repaired;
    double before, after; /* means over the layers; after: held where repaired, else before */
    struct engine_cost cost;
};

/*
 * out: made new; nothing changes for experts that p does not keep, and for those that no token chose. It
 * takes one forward pass over c, in which experts that the plan brings a token run beside its own. Refused: a
 * plan that does not fit the model (as for comparing), text of which one half has no document.
 */
int judge_repair(struct repair *out, struct repair_report *r, struct engine *en, const struct model *m,
                 const struct plan *p, const struct corpus *c, double ridge, const struct pass_options *po,
                 struct err *e);
void repair_report_free(struct repair_report *r);

#endif
