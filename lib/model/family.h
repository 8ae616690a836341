/*
 * family.h -- the table of model families: a family is data, not code.
 *
 * A row says how a family's config.json spells each quantity, which variant of every operation it uses,
 * and how its tensors are called. arch_read() applies a row to a config.json and gives a struct arch:
 * numbers and choices only, which is all that engine, surgery and inspection look at.
 */
#ifndef MOE_MODEL_FAMILY_H
#define MOE_MODEL_FAMILY_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* Where rounding happens in RMS norm, y = x * rsqrt(mean(x^2) + eps): w * R(y), or R(w * y) in f32. */
enum norm_kind { NORM_ROUND_MUL, NORM_MUL_ROUND };
/* q and k: not normalised, or RMS norm per head before rope. */
enum qk_norm { QKN_NONE, QKN_HEAD_PRE };
enum rope_type { ROPE_DEFAULT, ROPE_LINEAR, ROPE_DYNAMIC, ROPE_LLAMA3, ROPE_YARN };
enum mask_kind { MASK_FULL, MASK_SLIDING };
enum ffn_kind { FFN_DENSE, FFN_MOE };
/* silu(g) * u; or GPT-OSS: g = min(g, limit), u = clamp(u, -limit, limit), (u + 1) * g * sigmoid(1.702 g) */
enum act_kind { ACT_SILU_GLU, ACT_OSS_GLU };
/* What is ranked, and what the gate weight of the selected experts is. */
enum score_kind { SCORE_SOFTMAX, SCORE_LOGIT };
enum gate_kind { GATE_SCORE, GATE_SOFTMAX_SELECTED };
/* GATE_SCORE divided by the sum over the selected, or not. */
enum renorm_kind { RENORM_NONE, RENORM_SUM };

/* How one layer's experts are stored (detected from the tensors, not from the family). Shapes:
 * E experts, H hidden, I intermediate; rows are output features unless "in-out". */
enum expert_layout {
    EXPERTS_SPLIT,          /* A: experts.J.{gate,up,down}: [I,H] [I,H] [H,I] */
    EXPERTS_FUSED,          /* B: gate_up [E,2I,H] (gate rows first), down [E,H,I] */
    EXPERTS_INTERLEAVED_IO, /* D: gate_up [E,H,2I] in-out, column 2n gate, 2n+1 up; down [E,I,H] in-out */
    EXPERTS_MXFP4,          /* E: gate_up_blocks u8 [E,2I,H/32,16] + _scales u8 [E,2I,H/32], rows
                               interleaved as in D; down [E,H,I/32,16] + [E,H,I/32] */
    EXPERTS_SPLIT_MXFP4,    /* compressed-tensors: experts.J.X.weight_packed u8 [out,in/2] +
                               weight_scale u8 [out,in/32] */
};
const char *expert_layout_name(enum expert_layout l);

/* Which layers are FFN_MOE: all; or by decoder_sparse_step and mlp_only_layers. */
enum ffn_rule { FFN_ALL_MOE, FFN_SPARSE_STEP };
/* Masks: sliding everywhere if use_sliding_window; or by layer_types (absent: even layers slide). */
enum mask_rule { MASKS_USE_SLIDING, MASKS_LAYER_TYPES };

struct rope {
    enum rope_type type;
    double theta, factor;
    double original; /* original_max_position_embeddings, after its fall-backs */
    double beta_fast, beta_slow, low_freq, high_freq;
    bool truncate;
    double scaling; /* A: multiplies cos and sin */
    double max_position;
    int rot;         /* rotated dimensions of each head */
    float *inv_freq; /* [rot/2]; for ROPE_DYNAMIC the frequencies of positions < max_position */
};

struct layer_arch {
    enum ffn_kind ffn;
    enum mask_kind mask;
    int window; /* MASK_SLIDING: keys seen, the token itself included */
};

struct family {
    const char *name;             /* as in statistics: "qwen3_moe" */
    const char *model_type;       /* config.json */
    const char *architectures[3]; /* NULL-terminated */
    const char *title;            /* for people: "Qwen3-MoE" */
    /* config.json spellings; the first is canonical; all that are present must agree and are patched */
    const char *key_experts[4], *key_topk[3];
    const char *key_inter, *key_dense_inter; /* dense NULL: no dense layers */
    enum ffn_rule ffn_rule;
    enum mask_rule mask_rule;
    /* keys that this row consumes beyond the ones above and the common ones (see family.c) */
    const char *const *own_keys;
    /* defaults for absent keys */
    double default_theta, default_eps;
    int default_head_dim; /* 0: H / heads */
    int default_kv_heads;
    double default_yarn_factor; /* 0: plain rope when config.json has no rope dictionary */
    int default_window;
    bool default_attention_bias;
    /* operations */
    enum norm_kind norm;
    enum qk_norm qk_norm;
    bool sinks, router_bias, expert_bias;
    enum act_kind act;
    double act_limit; /* default of swiglu_limit */
    enum score_kind score;
    enum gate_kind gate;
    enum renorm_kind renorm;         /* before a norm_topk_prob key is looked at */
    bool renorm_key;                 /* norm_topk_prob decides (absent: false) */
    enum expert_layout fused_layout; /* what "experts.gate_up_proj" means in this family */
    /* names after "model.layers.N." */
    const char *ffn_module;                            /* "mlp" */
    const char *router;                                /* "gate" or "router", within ffn_module */
    const char *expert_gate, *expert_up, *expert_down; /* layout A module names */
};

/* The table; *n rows. */
const struct family *family_table(int *n);

struct arch {
    const struct family *family;
    int hidden, layers, vocab, heads, kv_heads, head_dim;
    int inter, dense_inter; /* I, F */
    int experts, topk;
    double eps, attn_scale, act_limit;
    bool bias_qkv, bias_o, tied, renorm;
    struct rope rope;
    struct layer_arch *layer; /* [layers] */
    int moe_layers;           /* how many are FFN_MOE */
    int max_position;
    bool mxfp4_config;    /* quantization_config says mxfp4 (GPT-OSS) */
    bool ct_mxfp4_config; /* compressed-tensors, format mxfp4-pack-quantized */
};

struct arch_options {
    const char *const *ignore_keys; /* NULL-terminated config keys the user vouches for; may be NULL */
};

/*
 * config: the parsed config.json; what: its path for messages. Refused by name: an unknown
 * architecture; a key that this family's row does not know and whose value is not null, false, empty or
 * among the keys known to be harmless (ways out: --ignore-key); expert-count spellings that disagree; a
 * quantization that is not read; sizes that are missing or make no sense (topk > experts, heads not a
 * multiple of kv_heads, layer_types of the wrong length ...).
 * Absent and null are told apart where transformers does.
 */
int arch_read(struct arch *a, const cJSON *config, const char *what, const struct arch_options *o,
              struct err *e);
void arch_free(struct arch *a);

#endif
