/*
 * prune.h -- cutting experts out of a checkpoint: what stays is copied byte for byte, whatever its format.
 */
#ifndef MOE_SURGERY_PRUNE_H
#define MOE_SURGERY_PRUNE_H

#include "model/model.h"
#include "stats/groups.h"
#include "stats/repair_file.h"

struct prune_options {
    bool force;            /* replace an existing OUT */
    bool cross_digest;     /* use a plan whose digest is of another model (sizes must still agree) */
    bool dry_run;          /* compute sizes only */
    bool refuse_mtp;       /* refuse a model with multi-token-prediction layers, instead of dropping them */
    bool verify;           /* read the result back and compare every kept byte with what it should be */
    const char *command;   /* command line for the model card */
    const char *plan_name; /* the plan's file name for the model card and metadata */
    const struct repair *repair; /* change what the experts that stay give; NULL: copy all bytes */
    const char *repair_name;
    const struct model_options *model; /* as the model was opened, to open the result; may be NULL */
    void (*progress)(void *ctx, uint64_t done, uint64_t total); /* bytes; may be NULL */
    void *progress_ctx;
};

struct prune_report {
    const char *container; /* its name */
    int experts_before, experts_after, topk_before, topk_after;
    uint64_t bytes_before, bytes_after; /* of all files of tensors, headers included */
    uint64_t tensor_bytes_after;
    uint64_t bytes_verified; /* 0 without verify */
    uint64_t bytes_needed;   /* everything that is written, tokenizer and the like included */
    uint64_t bytes_free;     /* where OUT is to be, before */
    uint64_t bytes_read;     /* of tensors, while verifying too */
    /* dry_run: bytes a second at which the model can be read, and what reading and writing take at that speed
     */
    double read_rate, seconds;
    int files;        /* of tensors, written */
    bool crossed;     /* the plan's digest is another model's */
    int mtp_tensors;  /* dropped with the multi-token-prediction layers */
    bool mtp_config;  /* config.json announced such layers; its numbers are 0 now */
    bool temperature; /* config.json: attn_temperature_tuning was a number, now it is true or false */
};

/* What the model's router allows to keep. */
struct expert_groups prune_groups(const struct model *m);

/*
 * Size of the safetensors files (headers included) when every MoE layer keeps `keep` experts. Exact to the
 * byte for fused layouts, whatever experts stay. For split layouts the tensor bytes are exact; the
 * headers are those of the experts 0..keep-1, and may differ by a few bytes for others: which shard loses
 * which tensors decides how many digits the offsets have, and whether a shard is left empty.
 * Used by moe-inspect --keep and --fit as well.
 */
int prune_size(const struct model *m, int keep, uint64_t *bytes, struct err *e);
/* The same for one plan: exact for every layout. */
int prune_plan_size(const struct model *m, const struct plan *p, uint64_t *bytes, struct err *e);

/*
 * Refused before anything is written: a plan of another model (unless cross_digest), another layer set,
 * a repair that does not fit, different numbers of kept experts in the layers (no runtime of these families
 * loads that), nothing kept, what the router's groups do not allow, multi-token-prediction layers (with
 * refuse_mtp), OUT inside the model or around it, not enough free space. OUT is a directory, or a file where
 * the container is one, that appears complete or not at all. Shards keep their names and the order of their
 * tensors; one of which nothing is left is not written. Multi-token-prediction layers are dropped as soon as
 * one expert is: theirs would not fit the new number, and config.json then announces none. Carried along:
 * tokenizer, template, licence, generation and processor files; README.md becomes README.base.md beside the
 * new model card. The metadata of every safetensors file get "moe-tools.experts" (the first model's numbers
 * of the experts that are left; man moe-prune), "moe-tools.model" (the digest of the model that was cut) and
 * "moe-tools.plan" (a digest of that, the criterion, what is kept and the repair, if there is one).
 */
int prune_model(const struct model *m, const struct plan *p, const char *out, const struct prune_options *o,
                struct prune_report *r, struct err *e);

/* Compares a pruned directory with its source byte for byte, given the plan. */
int prune_verify(const struct model *m, const struct plan *p, const char *out, uint64_t *bytes,
                 struct err *e);

#endif
