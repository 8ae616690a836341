/*
 * rope_tables.h -- cosines and sines of rotary position embedding, for documents of given lengths.
 */
#ifndef MOE_ENGINE_ROPE_TABLES_H
#define MOE_ENGINE_ROPE_TABLES_H

#include "engine/engine.h"

struct rope_tables {
    struct device *d;
    const float **of; /* [docs] device [length][rot]: cosines, then sines, times the scaling */
    float **table;    /* [tables] device */
    int tables;
};

/*
 * One table serves all documents; with ROPE_DYNAMIC, whose frequencies depend on the length of a document
 * that is longer than max_position, one per such length.
 */
int rope_tables_new(struct rope_tables *t, struct device *d, const struct rope *r, const struct batch *b,
                    struct err *e);
void rope_tables_free(struct rope_tables *t);

#endif
