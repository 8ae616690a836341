/*
 * quant_kinds.h -- private to surgery: what is converted, by kind of tensor.
 */
#ifndef MOE_SURGERY_QUANT_KINDS_H
#define MOE_SURGERY_QUANT_KINDS_H

#include "surgery/quant_tensor.h"
#include "surgery/quantize.h"

/* Fills r->kind and what is copied from all that is to be written. */
int quant_kinds(struct quantize_report *r, const struct rewrite *rw, struct err *e);
/* Adds the error of what was made of this map. */
void quant_kinds_made(struct quantize_report *r, const struct quant_map *map);

#endif
