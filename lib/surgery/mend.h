/*
 * mend.h -- private to surgery: a repair (stats/repair_file.h) applied to the bytes of an expert.
 *
 * A factor multiplies the down projection: the piece of it that its format says can be (quant/format.h: a
 * plain weight, the scales of FP8), if that is BF16 or F32, and its bias if there is one. A vector is added
 * to that bias. Each element is computed in f64 and rounded once. MXFP4's scales are powers of two: factors
 * are refused there.
 */
#ifndef MOE_SURGERY_MEND_H
#define MOE_SURGERY_MEND_H

#include "model/model.h"
#include "stats/plan.h"
#include "stats/repair_file.h"

/* Refused: a repair of another model than the plan's, of other layers, or for tensors that it cannot change.
 * r NULL: none. */
int mend_check(const struct repair *r, const struct model *m, const struct plan *p, struct err *e);
/* Does it change expert `expert` in a tensor of this role? r may be NULL. */
bool mend_changes(const struct repair *r, const struct tensor_role *role, int expert);
/* n bytes of that expert, from its byte `at` on. */
void mend_apply(const struct repair *r, const struct tensor_role *role, const struct tensor *t, int expert,
                uint64_t at, void *bytes, size_t n);

#endif
