/*
 * quantize.h -- changing the number format of weights.
 */
#ifndef MOE_SURGERY_QUANTIZE_H
#define MOE_SURGERY_QUANTIZE_H

#include "model/model.h"

struct matrices;

struct quant_tensor_report {
    const char *name;  /* of the tensor written (valid during the callback) */
    uint64_t count;    /* elements */
    double err2, sum2; /* sum (v-q)^2, sum v^2: relative squared error and SQNR follow */
};

/* Tensors of one kind: those whose names differ in numbers only. */
struct quant_kind {
    char *name;            /* of the source, numbers as '*': "model.layers.*.mlp.experts.*.up_proj.weight" */
    const char *from, *to; /* "BF16", "mxfp4" */
    uint64_t tensors, elements, bytes_before, bytes_after; /* bytes: of scales too */
    double err2, sum2;                                     /* 0 in a dry run */
    uint64_t blocks, lossless; /* of NVFP4: all, and those whose values are as they were; 0: not counted */
};

struct quantize_options {
    bool force, dry_run;
    int threads; /* 0: all */
    const char *const
        *include; /* NULL-terminated globs on tensor names (fnmatch); NULL: routed experts only */
    const char *const *exclude;
    const struct matrices *matrices; /* whose sums of squares weigh the errors of experts; NULL: none */
    const char *command;
    const struct model_options *model; /* as the model was opened, to open the result; may be NULL */
    void (*tensor)(void *ctx, const struct quant_tensor_report *r); /* in file order; may be NULL */
    void (*progress)(void *ctx, uint64_t done, uint64_t total);
    void *ctx;
};

struct quantize_report {
    uint64_t bytes_before, bytes_after;
    uint64_t bytes_needed; /* everything that is written, tokenizer and the like included */
    uint64_t bytes_free;   /* where OUT is to be, before */
    uint64_t bytes_read;   /* of tensors */
    /* dry_run: bytes a second at which the model can be read, and what reading and writing take at that speed
     */
    double read_rate, seconds;
    uint64_t tensors;          /* converted */
    int files;                 /* safetensors files written */
    double err2, sum2;         /* over all of them */
    uint64_t blocks, lossless; /* as in struct quant_kind */
    struct quant_kind *kind;   /* [kinds] of what is converted, in file order */
    size_t kinds;
    uint64_t copied, copied_bytes; /* tensors that stay as they are */
};
void quantize_report_free(struct quantize_report *r);

/*
 * target: what an encoder of quant/format.h is called: "mxfp4", "nvfp4", "fp8", "fp8-channel", "int4",
 * "int4-32", "bf16". The source's weights may be in any format that quant/format.h reads; what is quantized
 * and not to be converted becomes BF16, everything else is copied. To MXFP4 GPT-OSS gets the released layout
 * (blocks, scales, quantization_config mxfp4), split-expert families that of compressed-tensors, as of all
 * others but "fp8", which is that of DeepSeek-V3. To BF16: the family's own layout (GPT-OSS: [E,H,2I]
 * interleaved, in-out). Shards keep their names; within one, tensors stand in the order of the reference
 * writer (dtype, then name) or, where that would tear apart the pieces of a map, map by map; all are aligned.
 *
 * Refused, by tensor: rows that are no multiple of a block; NaN or infinity, with the index (for GPT-OSS in
 * the order of the BF16 tensor); what include names and the layout cannot express (anything but experts for
 * GPT-OSS; vectors, routers and embeddings everywhere); routed experts of some layers only. Refused too: a
 * model that is in that format already, one that holds all experts of a layer in one tensor where no layout
 * is known, NVFP4 of GPT-OSS, containers that are one
 * file, matrices of another model; include, exclude or matrices towards BF16 (ERR_USAGE). OUT appears
 * complete or not at all. r is for quantize_report_free, whatever is returned.
 */
int quantize_model(const struct model *m, const char *target, const char *out,
                   const struct quantize_options *o, struct quantize_report *r, struct err *e);

#endif
