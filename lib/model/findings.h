/*
 * findings.h -- whether a model is whole: everything that can be checked without running it.
 */
#ifndef MOE_MODEL_FINDINGS_H
#define MOE_MODEL_FINDINGS_H

#include "model/model.h"

/* The more a finding hurts, the later its grade. */
enum finding_grade {
    FINDING_LOADING, /* every tensor is right, but some loaders trip over it, or read something else */
    FINDING_WRONG,   /* the weights are wrong */
};
struct findings {
    struct finding {
        enum finding_grade grade;
        char *text; /* one line */
    } * v;          /* [n] */
    size_t n, cap;
};

/*
 * Reads every tensor. Found are: what is in the way of running the model, what runtimes of its container do
 * not take (model/container.h), tokenizer files that are missing,
 * safetensors files without an index, or that belong to none, an index beside model.safetensors, a wrong
 * total size in the index, headers over 25 MB, a quantization or MTP layers that are announced and not there,
 * and in tensors what model_check_values looks for. threads: 0: all processors. progress may be NULL. 0 when
 * everything could be read, whatever was found; the caller frees in any case.
 */
int model_findings(struct findings *f, const struct model *m, int threads,
                   void (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx, struct err *e);
/* One more, whose text is taken over; NULL: nothing. */
int findings_add(struct findings *f, enum finding_grade grade, char *text, struct err *e);
void findings_free(struct findings *f);

#endif
