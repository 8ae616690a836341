/*
 * fit.h -- how many experts can be kept within so many bytes.
 */
#ifndef MOE_SURGERY_FIT_H
#define MOE_SURGERY_FIT_H

#include "model/model.h"

struct fit {
    int keep;         /* experts per layer that fit; 0: not even the least does */
    int least;        /* the smallest number that the router allows: 1, or more with groups */
    uint64_t weights; /* safetensors files with that many (with the least, when none fits) */
    uint64_t kv;      /* key-value cache of one sequence, bf16 */
};

/* The largest keep that the router allows with prune_size(keep) + model_kv_bytes(context) <= bytes. What a
 * runtime needs beyond weights and cache is the caller's to leave room for. */
int fit_keep(const struct model *m, uint64_t bytes, int64_t context, struct fit *f, struct err *e);

#endif
