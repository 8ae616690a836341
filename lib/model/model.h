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
/* What the tensor holds of it. */
enum piece { PIECE_WEIGHT, PIECE_BIAS, PIECE_SCALE, PIECE_BLOCKS };

struct tensor_role {
    enum role role;
    int layer;  /* -1: not in a layer */
    int expert; /* ROLE_EXPERT */
    int axis;   /* the dimension that counts experts: 0, or 1 behind a leading 1 */
    enum part part;
    enum piece piece;
    size_t digits, digits_n; /* ROLE_EXPERT: where the expert's number stands in the name */
};

struct model {
    char *dir, *revision; /* revision: NULL when not from a hub cache */
    char *config_text;    /* config.json as it is, or what the container has for it */
    size_t config_n;
    char *config_name; /* for messages */
    struct arch arch;
    struct checkpoint ckpt;
    struct tensor_role *role; /* [ckpt.n], parallel to ckpt.tensor */
    enum expert_layout layout;
    const char *ffn_module;                    /* of the MoE layers, in this checkpoint's spelling */
    const struct container *const *containers; /* as opened with: for what is made of it */
};

struct model_options {
    struct arch_options arch;
    /* What a model may lie in, NULL-terminated; NULL: all that there are (model/container.h). */
    const struct container *const *containers;
};

/*
 * Opens and checks: every tensor that the architecture asks for is there with the right shape and a
 * dtype that is understood, every expert 0..E-1 of every MoE layer, router rows = E, no expert beyond E,
 * no tensor whose name is not understood inside a layer. Each refusal names the tensor. (Values are not
 * read.) o may be NULL.
 */
int model_open(struct model *m, const char *arg, const struct model_options *o, struct err *e);
void model_close(struct model *m);

/* "model.layers.3.mlp.experts.down_proj_bias" etc. by parts: the tensor of MoE layer `layer` holding
 * piece of part for all experts (fused layouts), or for one expert (split layouts; expert is ignored by
 * fused ones). NULL: absent. */
const struct tensor *model_expert_tensor(const struct model *m, int layer, int expert, enum part part,
                                         enum piece piece);
/* "model.layers.LAYER.SUFFIX" (layer >= 0) or SUFFIX as it is (layer < 0). NULL: absent. */
const struct tensor *model_tensor(const struct model *m, int layer, const char *suffix);
/* "model.layers.LAYER.MODULE.SUFFIX", MODULE being the MoE module's name in this checkpoint. */
const struct tensor *model_ffn_tensor(const struct model *m, int layer, const char *suffix);

/* Bytes that one expert of one layer takes, all pieces; its row of the router aside. */
uint64_t model_expert_bytes(const struct model *m, int layer);

/*
 * The digest of statistics and plans: XXH3-128 of the text "family layers experts topk hidden" (with
 * single spaces, MoE layers' router weights following) and every router weight decoded to f32
 * little-endian, in layer order. Router biases are not part of it. Reads the routers.
 */
int model_digest(const struct model *m, char out[HASH_HEX], struct err *e);

/* Reads a whole tensor of dtype F32, F16, BF16 as f32 into dst[count]. */
int model_read_f32(const struct model *m, const struct tensor *t, float *dst, struct err *e);

#endif
