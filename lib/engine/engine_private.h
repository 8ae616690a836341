/*
 * engine_private.h -- what engine.c, forward.c and head.c share.
 */
#ifndef MOE_ENGINE_ENGINE_PRIVATE_H
#define MOE_ENGINE_ENGINE_PRIVATE_H

#include "device/registry.h"
#include "engine/engine.h"
#include "load/weights.h"

struct kept_head {
    const struct model *m;
    char *dir;
    struct head_weights w;
};

struct engine {
    struct engine_options o;
    const struct backend *backend;
    struct device *d; /* the first of the devices; hidden states and heads are its */
    struct device *device[ENGINE_DEVICES];
    int devices;
    char library[400];
    char note[1100]; /* why "auto" did not get a device that is there; empty: nothing to say */
    struct kept_head *head;
    int heads;
    size_t heads_cap;
    uint8_t *ring; /* of host_new: what is read ahead passes through it */
    size_t ring_bytes;
};

struct hidden {
    struct device *d;
    bool on_host;
    void *x; /* elements [tokens][hidden], device or memory of host_new */
    int64_t tokens;
    int hidden;
};

/* The head of a model, which stays the engine's: read and packed when it is first asked for. */
int engine_head(struct engine *en, const struct model *m, struct head_weights *out, struct err *e);
/* Frees those of other models; n = 0: all. */
void engine_heads_keep(struct engine *en, const struct judged *of, int n);
/* At least so many bytes, the same memory for every pass. */
uint8_t *engine_ring(struct engine *en, size_t bytes, struct err *e);

#endif
