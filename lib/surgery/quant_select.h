/*
 * quant_select.h -- private to surgery: which tensors change their number format, and what becomes of their
 * names, shapes and of quantization_config.
 */
#ifndef MOE_SURGERY_QUANT_SELECT_H
#define MOE_SURGERY_QUANT_SELECT_H

#include "surgery/quant_tensor.h"
#include "surgery/quantize.h"

struct quantization {
    const struct model *m;
    const struct format *to; /* what chosen weights become; all other coded ones become BF16 */
    const struct encoder *encode;
    const struct matrices *matrices; /* NULL: none */
    bool *chosen;                    /* [ckpt.n] weights that become that */
    struct quant_map *map;           /* [maps] */
    size_t maps;
};

/* target: as for quantize_model. */
int quant_select(struct quantization *q, const struct model *m, const char *target,
                 const struct quantize_options *o, struct err *e);
/* Fills rw with the tensors to write, every shard sorted as the reference writer does; their maps belong to
 * q. */
int quant_plan(struct quantization *q, struct rewrite *rw, struct err *e);
/* config.json for the new format; the caller frees *text. */
int quant_config(const struct quantization *q, char **text, size_t *n, struct err *e);
void quant_free(struct quantization *q);

#endif
