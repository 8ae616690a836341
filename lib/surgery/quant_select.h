/*
 * quant_select.h -- private to surgery: which tensors change their number format, and what becomes of their
 * names, shapes and of quantization_config.
 */
#ifndef MOE_SURGERY_QUANT_SELECT_H
#define MOE_SURGERY_QUANT_SELECT_H

#include "surgery/quant_tensor.h"
#include "surgery/quantize.h"

/* chosen[i]: tensor i of the checkpoint is converted; [ckpt.n], the caller frees. NULL: refused. */
bool *quant_select(const struct model *m, enum quant_format to, const struct quantize_options *o,
                   struct err *e);
/* Fills rw with the tensors to write, every shard sorted as the reference writer does. */
int quant_plan(struct rewrite *rw, const bool *chosen, enum quant_format to, struct err *e);
/* config.json for the new format; the caller frees *text. */
int quant_config(const struct model *m, const bool *chosen, enum quant_format to, char **text, size_t *n,
                 struct err *e);

#endif
