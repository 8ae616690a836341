/*
 * repair_file.h -- what the experts that stay are given to make up for those that go, and its file
 * (moe-repair(5)).
 *
 * One number for each expert that multiplies what it gives; or, for families whose experts have biases, a
 * vector for each that is added to the bias of its down projection.
 */
#ifndef MOE_STATS_REPAIR_FILE_H
#define MOE_STATS_REPAIR_FILE_H

#include "stats/stats.h"

struct repair {
    struct model_id model;
    char *plan;          /* the criterion line of the plan that it was made for */
    char kept[HASH_HEX]; /* plan_kept_digest() of it; "": of an older file, which does not say */
    int *layer;          /* [n_layers] MoE layers, ascending */
    int n_layers;
    bool bias;
    int width;    /* bias: hidden; else 1 */
    float *value; /* [n_layers][experts][width]: additions to biases, or factors */
};

/* Biases 0, or factors 1; copies everything. kept is the caller's to set. */
int repair_new(struct repair *r, const struct model_id *id, const char *plan, const int *layer, int n_layers,
               bool bias, struct err *e);
void repair_free(struct repair *r);
float *repair_value(const struct repair *r, int layer_index, int expert); /* [width] */
/* As safetensors. path "-": standard output. Same values, same bytes. */
int repair_write(const struct repair *r, const char *path, bool force, struct err *e);
/* Refused with file: not such a file, another version, metadata or tensors missing, unknown or of the wrong
 * shape, values that are not finite. */
int repair_read(struct repair *r, const char *path, struct err *e);

#endif
