/*
 * model.h -- a checkpoint understood: configuration, tensors, and the expert map (which bytes belong to
 * which layer, expert and matrix).
 *
 *     struct model m;
 *     if (model_open(&m, "openai/gpt-oss-20b", NULL, e)) ...
 *     ...
 *     model_close(&m);
 */
#ifndef MOE_MODEL_MODEL_H
#define MOE_MODEL_MODEL_H

#include "base/hash.h"
#include "model/checkpoint.h"
#include "model/family.h"

/* What a tensor is to a pruner. */
enum role {
    ROLE_OTHER,   /* copied as it is */
    ROLE_ROUTER,  /* router weight, bias, correction bias: dim `axis` is the expert */
    ROLE_EXPERT,  /* belongs to one expert, whose number is in its name */
    ROLE_EXPERTS, /* all experts of a layer: dim 0 is the expert */
    ROLE_MTP,     /* of a multi-token-prediction layer: dropped when experts are pruned */
};
/* Which matrix of the expert; PART_GATE_UP is the fused one. */
enum part { PART_NONE, PART_GATE, PART_UP, PART_DOWN, PART_GATE_UP };
struct tensor_role {
    enum role role;
    int layer;  /* -1: not in a layer */
    int expert; /* ROLE_EXPERT */
    bool ffn;   /* inside the layer's FFN module */
    int axis; /* the dimension that counts experts: 0, or 1 behind a leading 1; -1: none, a number for all */
    enum part part;
    enum piece_use use;        /* what it is to the linear map that it belongs to */
    const struct piece *piece; /* of which of the model's formats; NULL: of none */
    const struct format_claim *as;
    bool sure;               /* of a map that was checked, whose weight this is */
    size_t digits, digits_n; /* ROLE_EXPERT: where the expert's number stands in the name */
};

struct model {
    char *dir, *revision; /* revision: NULL when not from a hub cache */
    char *config_text;    /* config.json as it is, or what the container has for it */
    size_t config_n;
    char *config_name; /* for messages */
    char *cut_only;    /* why it cannot be run; NULL: it can */
    struct arch arch;
    struct checkpoint ckpt;
    struct tensor_role *role; /* [ckpt.n], parallel to ckpt.tensor */
    enum expert_layout layout;
    const char *ffn_module;                    /* of the MoE layers, in this checkpoint's spelling */
    const struct container *const *containers; /* as opened with: for what is made of it */
};

/*
 * What a model is opened for. All ask for a config.json that is understood.
 * To be run: every tensor that the architecture asks for is there with the right shape and a dtype and number
 * format that are understood, every expert 0..E-1 of every MoE layer, router rows = E, no expert beyond E, no
 * tensor whose name is not understood inside a layer.
 * To be cut: all that, of what lies inside MoE modules; of the experts, which number a tensor belongs to is
 * enough, whatever it holds. Routers are BF16, F16, F32 or blocks of ggml. What is in the way of running it
 * is in cut_only. For its digest: routers alone; files of the checkpoint may be missing.
 */
enum model_level { MODEL_RUN, MODEL_CUT, MODEL_DIGEST };

struct model_options {
    enum model_level level;
    struct arch_options arch;
    /* Names (with * and ? as in file names) of tensors that are not understood and that the user vouches for:
     * NULL-terminated; may be NULL. */
    const char *const *ignore_tensors;
    /* What a model may lie in, NULL-terminated; NULL: all that there are (model/container.h). */
    const struct container *const *containers;
};

/* Opens and checks. Each refusal names the tensor. (Values are not read.) o may be NULL. */
int model_open(struct model *m, const char *arg, const struct model_options *o, struct err *e);
void model_close(struct model *m);

/* Files beside config.json that say how tensors are stored, as exporters write them: NULL ends them. */
extern const char *const quantization_files[];

/* Is the tensor the language model's, and not of the other parts of a multimodal wrapper? */
bool of_language_model(const struct arch *a, const char *name);
/* "layers.LAYER.SUFFIX" (layer >= 0) or SUFFIX as it is (layer < 0). NULL: absent. */
const struct tensor *model_tensor(const struct model *m, int layer, const char *suffix);
/* "layers.LAYER.MODULE.SUFFIX", MODULE being the MoE module's name in this checkpoint. */
const struct tensor *model_ffn_tensor(const struct model *m, int layer, const char *suffix);

/* A linear map: its format and its tensors, by use. */
struct linear_tensors {
    const struct format_claim *as;
    const struct tensor *piece[STORED_PIECES]; /* NULL: absent */
};
/* The map whose weight is "NAME.weight" (or as its format calls it) of a layer (-1: of none); name is what
 * stands after "layers.LAYER.". false: there is none. */
bool model_linear(const struct model *m, int layer, const char *name, struct linear_tensors *l);
/* The matrix of an expert of a MoE layer; in other layouts than the split one the tensors are those of all
 * experts, and in fused ones parts gate and up are one, PART_GATE_UP. */
bool model_expert_linear(const struct model *m, int layer, int expert, enum part part,
                         struct linear_tensors *l);
/* Bytes of an expert in a tensor that `of` of them share, and where they begin: a number that all have in
 * common is whole in each. */
static inline uint64_t slice_bytes(const struct tensor *t, int of)
{
    return t->rank ? t->size / (uint64_t)of : t->size;
}
static inline uint64_t slice_begin(const struct tensor *t, int of, int expert)
{
    return t->rank ? t->size / (uint64_t)of * (uint64_t)expert : 0;
}
/* The biases of all experts of a layer. NULL: absent. */
const struct tensor *model_expert_bias(const struct model *m, int layer, enum part part);
/* Whether any tensor is in another format than plain numbers. If not, a quantization_config is left over. */
bool model_coded(const struct model *m);
/* Whether matrices of this format are in-out in the model's layout of experts. */
bool model_in_out(const struct model *m, const struct format *f);
/* The format of the routed experts, as far as the first one of all tells. */
const struct format *model_expert_format(const struct model *m);

/* Whether a tensor has a row for each expert, along `axis`. */
static inline bool counts_experts(const struct tensor_role *r)
{
    return (r->role == ROLE_EXPERTS && r->axis >= 0) || r->role == ROLE_ROUTER;
}
/* The format of a tensor; NULL: none that is known. */
static inline const struct format *role_format(const struct tensor_role *r)
{
    return r->as ? r->as->format : NULL;
}
/* The weights that count elements of a tensor are, as piece_weights. */
static inline uint64_t role_weights(const struct tensor_role *r, uint64_t count)
{
    return piece_weights(r->piece, r->as ? r->as->block : (struct block_size){0}, count);
}

/* Bytes that one expert of one layer takes, all pieces; its row of the router aside. */
uint64_t model_expert_bytes(const struct model *m, int layer);

/*
 * The digest of statistics and plans, as man moe-stats defines it for any container and format: XXH3-128 of
 * the text "family layers experts topk hidden" (single spaces) and, in layer order, every MoE layer's router
 * weight [experts][hidden], row j scoring expert j, as f32 little-endian. family is the text model's row of
 * family.h, layers are without MTP. Nothing else is part of it, no bias either. Only routers are read.
 */
int model_digest(const struct model *m, char out[HASH_HEX], struct err *e);

/* Reads a whole tensor of dtype F32, F16, BF16 or a block of ggml as f32 into dst[count]. */
int model_read_f32(const struct model *m, const struct tensor *t, float *dst, struct err *e);

#endif
