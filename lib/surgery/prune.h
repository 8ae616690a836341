/*
 * prune.h -- cutting experts out of a checkpoint: what stays is copied byte for byte, whatever its format.
 */
#ifndef MOE_SURGERY_PRUNE_H
#define MOE_SURGERY_PRUNE_H

#include "model/model.h"
#include "stats/plan.h"

struct prune_options {
    bool force;            /* replace an existing OUT */
    bool cross_digest;     /* use a plan whose digest is of another model (sizes must still agree) */
    bool dry_run;          /* compute sizes only */
    bool verify;           /* read the result back and compare every kept byte with the source */
    const char *command;   /* command line for the model card */
    const char *plan_name; /* the plan's file name for the model card and metadata */
    void (*progress)(void *ctx, uint64_t done, uint64_t total); /* bytes; may be NULL */
    void *progress_ctx;
};

struct prune_report {
    int experts_before, experts_after, topk_before, topk_after;
    uint64_t bytes_before, bytes_after; /* of all safetensors files, headers included */
    uint64_t tensor_bytes_after;
    uint64_t bytes_verified; /* 0 without verify */
    int files;               /* safetensors files written */
};

/* Size of the safetensors files (headers included) when every MoE layer keeps `keep` experts; exact to
 * the byte when expert numbers in names do not decide the header's length, otherwise for the experts
 * 0..keep-1. Used by moe-inspect --keep and --fit as well. */
int prune_size(const struct model *m, int keep, uint64_t *bytes, uint64_t *tensor_bytes, struct err *e);
/* The same for one plan: exact. */
int prune_plan_size(const struct model *m, const struct plan *p, uint64_t *bytes, struct err *e);

/*
 * Refused before anything is written: a plan of another model (unless cross_digest), another layer set,
 * different numbers of kept experts in the layers (no runtime of these families loads that), nothing kept,
 * not enough free space. OUT is a directory that appears complete or not at all. Carried along: tokenizer,
 * template, licence, generation and processor files; README.md becomes README.base.md beside the new model
 * card; the map from old to new expert numbers goes into the metadata of every safetensors file
 * ("moe-tools.experts").
 */
int prune_model(const struct model *m, const struct plan *p, const char *out, const struct prune_options *o,
                struct prune_report *r, struct err *e);

/* Compares a pruned directory with its source byte for byte, given the plan. */
int prune_verify(const struct model *m, const struct plan *p, const char *out, uint64_t *bytes,
                 struct err *e);

#endif
