/*
 * config_edit.h -- private to surgery: config.json of the cut model. Only the bytes of changed values
 * change.
 */
#ifndef MOE_SURGERY_CONFIG_EDIT_H
#define MOE_SURGERY_CONFIG_EDIT_H

#include "surgery/cut.h"

/*
 * config.json of m with every spelling of the expert count that is there set to what is kept, and every
 * spelling of top-k too if fewer than top-k are kept; lists in quantization_config that name experts by
 * number ("model.layers.3.mlp.experts.17.down_proj") follow the new numbers, entries of dropped experts go.
 * A pattern ("re:...") with an expert's number in it is refused: it cannot be renumbered. *topk: experts per
 * token afterwards. The caller frees *text.
 */
int config_cut(const struct model *m, const struct cut *c, char **text, size_t *n, int *topk, struct err *e);

#endif
