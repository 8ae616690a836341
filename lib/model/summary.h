/*
 * summary.h -- what a model weighs, and whether its weights are numbers.
 */
#ifndef MOE_MODEL_SUMMARY_H
#define MOE_MODEL_SUMMARY_H

#include "model/model.h"

struct model_summary {
    uint64_t file_bytes;   /* all safetensors files, headers included */
    uint64_t expert_bytes; /* tensors of routed experts */
    uint64_t router_bytes; /* router weights and biases */
    uint64_t mtp_bytes;    /* multi-token-prediction layers: dropped when experts are */
    int mtp_tensors;
    uint64_t other_bytes; /* all other tensors: never shrink */
    uint64_t params;      /* elements of all weights; an MXFP4 byte counts two, its scales none */
    uint64_t active;      /* of them, used by one token: all but the experts that are not chosen, and MTP */
};
void model_summarize(const struct model *m, struct model_summary *s);

/* What the mixers keep of one sequence of `context` tokens, in bf16: 2 * kv_heads * head_dim values per layer
 * and token, with latent attention the latent and the rotated part of the key; sliding and chunked layers
 * keep their window only. */
uint64_t model_kv_bytes(const struct model *m, int64_t context);

/*
 * Reads every tensor and calls problem() for each that holds a NaN (FP8 too), an infinity, or an MXFP4 scale
 * of 255; index is the first such element. Also for weights that are zero, all of them, or on end a quarter
 * of them (of a vocabulary's half) or a megabyte, by expert. Returns 0 when everything could be read
 * (problems or not).
 */
struct value_problem {
    const char *tensor, *what; /* what: "NaN", "infinity", "scale 255 (NaN)" (E8M0) */
    uint64_t index;
    bool zero; /* no number is wrong, but too many are 0; index 0 */
};
int model_check_values(const struct model *m, int threads,
                       void (*problem)(void *ctx, const struct value_problem *p),
                       void (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx, struct err *e);

#endif
