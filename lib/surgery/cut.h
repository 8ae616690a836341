/*
 * cut.h -- private to surgery: which experts stay, by new number, and the record of it in the metadata.
 */
#ifndef MOE_SURGERY_CUT_H
#define MOE_SURGERY_CUT_H

#include "model/model.h"
#include "stats/plan.h"

struct cut {
    int experts, kept; /* before, after: the same in every MoE layer */
    int layers;        /* all layers of the model */
    int *old;          /* [layers][kept] old numbers in new order; unused for dense layers */
    int *renumber;     /* [layers][experts] new number, -1: dropped */
    bool *moe;         /* [layers] */
    bool drop_mtp;     /* multi-token-prediction layers go: their experts would not fit the new number */
};

/* Refused: a plan for other layers or sizes, layers that keep different numbers, nothing kept, what the
 * router's groups do not allow (stats/groups.h). */
int cut_from_plan(struct cut *c, const struct model *m, const struct plan *p, struct err *e);
/* Experts 0..keep-1 of every layer: for sizes. */
int cut_first(struct cut *c, const struct model *m, int keep, struct err *e);
/* New number of an expert, -1: dropped. */
int cut_number(const struct cut *c, int layer, int expert);
void cut_free(struct cut *c);

/*
 * The text of the metadata key CUT_KEY: "E;L:n,n,...;L:n,..." with E the number of experts of the base
 * model, then for each MoE layer L the base's numbers of the experts that are left, in their new order. All
 * n are padded with zeros to the width of E-1, so that the length depends on how many stay, not on which. If
 * the source was pruned before, its own record is followed, so that the numbers are always the first model's.
 * The caller frees. NULL on error.
 */
#define CUT_KEY "moe-tools.experts"
char *cut_record(const struct cut *c, const struct model *m, struct err *e);

#endif
