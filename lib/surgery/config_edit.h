/*
 * config_edit.h -- private to surgery: config.json of the cut model. Only the bytes of changed values
 * change.
 */
#ifndef MOE_SURGERY_CONFIG_EDIT_H
#define MOE_SURGERY_CONFIG_EDIT_H

#include "surgery/cut.h"

/* What config_cut changed besides the expert count. */
struct config_changes {
    int topk;         /* experts per token afterwards */
    bool mtp;         /* multi-token-prediction layers were announced: no longer */
    bool temperature; /* attn_temperature_tuning was a number: now it is true or false */
};

/*
 * config.json of m (its text_config, if it has one) with
 *   - every spelling of the expert count that is there set to what is kept; none is added;
 *   - every spelling of top-k too, if fewer than top-k are kept;
 *   - every number in the family's list of capacities (ERNIE's moe_capacity) too;
 *   - the numbers of multi-token-prediction layers that are there set to 0, if the cut drops such layers;
 *   - attn_temperature_tuning (Llama4) true or false instead of a number, which transformers 5 refuses;
 *   - experts' numbers in quantization_config following the new ones (quant_names.h).
 * The caller frees *text.
 */
int config_cut(const struct model *m, const struct cut *c, char **text, size_t *n,
               struct config_changes *changes, struct err *e);

#endif
