/*
 * engine_private.h -- what engine.c, forward.c and head.c share.
 */
#ifndef MOE_ENGINE_PRIVATE_H
#define MOE_ENGINE_PRIVATE_H

#include "engine/ops.h"

struct engine {
    struct engine_options o;
    struct device *d;
    char note[1100]; /* why DEVICE_AUTO did not get a GPU that is there; empty: nothing to say */
};

struct hidden {
    struct device *d;
    void *x; /* device elements [tokens][hidden] */
    int64_t tokens;
    int hidden;
};

/* Tokens that go through an operation at once when nobody says otherwise: enough for every expert to get full
 * tiles, few enough for the buffers to stay small. */
int64_t chunk_default(const struct engine *en, const struct model *m);
double engine_now(void);

#endif
