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
#include "device/kinds.h"
#include "quant/format.h"

/* ---- variants of operations; those that a device knows by name: device/kinds.h ---- */

/* Where rounding happens in RMS norm, y = x * rsqrt(mean(x^2) + eps): w * R(y), or R(w * y) in f32. */
enum norm_kind { NORM_ROUND_MUL, NORM_MUL_ROUND };
/* What a layer does between tokens: grouped-query attention; or multi-head latent attention (DeepSeek): q and
 * kv through low ranks. KIND(GQA, gqa) is MIXER_GQA, whose rows are mixer_gqa (mixer.h) and mixing_gqa
 * (engine/mixing.h). */
#define MIXERS(KIND)       KIND(GQA, gqa) KIND(MLA, mla)
#define MIXER_ID(ID, name) MIXER_##ID,
enum mixer_kind { MIXERS(MIXER_ID) MIXER_KINDS };
#undef MIXER_ID
/* ROPE_FACTORS: a divisor for each frequency, as GGUF files have them. */
enum rope_type { ROPE_DEFAULT, ROPE_LINEAR, ROPE_DYNAMIC, ROPE_LLAMA3, ROPE_YARN, ROPE_FACTORS };
enum ffn_kind { FFN_DENSE, FFN_MOE };
/* What chooses the tokens that attention sees: nothing; in each layer (DeepSeek-V3.2); in some layers, for
 * those that follow too (GLM-5); blocks of tokens, in some layers (MiniMax-M3). */
enum indexer_kind { INDEXER_NONE, INDEXER_EACH, INDEXER_SHARED, INDEXER_BLOCKS };
/* The gate multiplies the expert's output, or its input (Llama4). */
enum gate_site { GATE_OUTPUT, GATE_INPUT };

/* How the matrices of a layer's experts lie together (detected from the tensors, not from the family); what
 * each consists of is its format's affair (quant/format.h). Shapes of plain numbers: E experts, H hidden, I
 * intermediate; rows are output features unless "in-out". */
enum expert_layout {
    EXPERTS_SPLIT,       /* A: experts.J.{gate,up,down}: [I,H] [I,H] [H,I] */
    EXPERTS_FUSED,       /* B: gate_up [E,2I,H] (gate rows first), down [E,H,I] */
    EXPERTS_CONCAT,      /* C: gate_up [E,H,2I] in-out, gate columns first; down [E,I,H] in-out */
    EXPERTS_INTERLEAVED, /* D: gate_up [E,H,2I] in-out, column 2n gate, 2n+1 up; down [E,I,H] in-out */
    EXPERTS_STACKED,     /* E: those of A, each of all experts: gate [E,I,H], up [E,I,H], down [E,H,I]; the
                            layout of GGUF */
};
const char *expert_layout_name(enum expert_layout l);
/* Are gate and up one tensor? */
static inline bool layout_fused(enum expert_layout l)
{
    return l != EXPERTS_SPLIT && l != EXPERTS_STACKED;
}

/* ---- the table ---- */

/* Which layers have experts: all; by decoder_sparse_step and mlp_only_layers; from first_k_dense_replace on
 * (or by mlp_layer_types, if the row's own_keys have it); moe_layer_start_index to _end_index every
 * _interval; moe_layers, or every interleave_moe_layer_step. */
enum ffn_rule { FFN_ALL_MOE, FFN_SPARSE_STEP, FFN_FIRST_K, FFN_START_END, FFN_INTERLEAVE };
/* Masks: full; sliding everywhere if use_sliding_window; sliding everywhere if sliding_window is a number;
 * by layer_types, absent: even layers slide (GPT-OSS); by layer_types, absent: even layers below
 * max_window_layers if use_sliding_window (Qwen2); by layer_types, absent: from max_window_layers on
 * (dots.llm1); chunked where rope is on (Llama4). */
enum mask_rule {
    MASKS_FULL,
    MASKS_USE_SLIDING,
    MASKS_IF_WINDOW,
    MASKS_LAYER_TYPES,
    MASKS_QWEN2,
    MASKS_LATE,
    MASKS_CHUNKED_ON_ROPE
};
/* How the selected gate weights are divided: not at all; by their sum + eps always; that if norm_topk_prob.
 */
enum renorm_rule { RENORM_NEVER, RENORM_ALWAYS, RENORM_KEY };

/* A key whose value, if present and not null, must be this JSON text: anything else changes the arithmetic.
 */
struct fixed_key {
    const char *key, *value;
};

struct family {
    const char *name;             /* as in statistics: "qwen3_moe" */
    const char *model_type[4];    /* config.json; NULL-terminated, the text model's own first */
    const char *architectures[4]; /* NULL-terminated */
    const char *title;            /* for people: "Qwen3-MoE" */
    const char *needs;            /* for people: what is special about it */

    /* config.json spellings; the first is canonical; all that are present must agree and are patched */
    const char *key_experts[4], *key_topk[3];
    const char *key_inter, *key_dense_inter; /* dense NULL: no dense layers */
    const char *key_attention_bias;          /* NULL: never biased */
    const char *key_shared_count;            /* shared width = its value * I */
    const char *key_shared_width;            /* shared width = its value */
    const char *key_gate_scale;              /* NULL: routed_scaling_factor */
    const char *key_mtp[3];                  /* numbers of MTP layers; set to 0 when they are dropped */
    const char *key_moe_layers;              /* list: which layers have experts (FFN_FIRST_K) */
    const char *key_capacity;                /* list of numbers that must all become the expert count */
    const char *const *own_keys;   /* other keys that this row reads, or that are known not to matter */
    const struct fixed_key *fixed; /* ends with {NULL, NULL} */
    const struct fixed_key *alike; /* keys that must be what another key is, if both are there */
    enum ffn_rule ffn_rule;
    enum mask_rule mask_rule;
    enum renorm_rule renorm_rule;

    /* values of absent keys */
    double default_theta, default_eps;
    double default_partial_rotary; /* 0: 1 */
    double default_yarn_factor;    /* 0: plain rope when config.json has no rope dictionary */
    int default_head_dim;          /* 0: H / heads */
    int default_kv_heads;          /* 0: heads */
    int default_window, default_first_dense, default_shared;
    int default_q_lora, default_nope, default_v; /* MLA */
    int default_index_heads;
    int default_groups, default_topk_group; /* 0: 1 */
    double default_gate_scale;              /* 0: 1 */
    bool default_attention_bias, default_tied, default_qk_norm, default_renorm;

    /* operations */
    enum norm_kind norm;
    bool norm_plus_one; /* the weights of norms are stored less one */
    enum mixer_kind mixer;
    enum indexer_kind indexer;
    enum qk_norm qk_norm;
    bool qk_norm_key; /* only if use_qk_norm (absent: default_qk_norm) */
    enum rope_layout rope_layout;
    bool sinks, temperature;
    bool router_bias, expert_bias;
    bool o_bias;   /* the attention bias is on o_proj too */
    bool use_bias; /* key_attention_bias also biases MLPs and lm_head (ERNIE) */
    enum act_kind act;
    double act_limit; /* default of swiglu_limit */
    enum score_kind score;
    enum gate_kind gate;
    enum group_kind group;
    enum gate_site gate_site;
    double renorm_eps;               /* added to the sum */
    double renorm_min;               /* the sum is at least this (moe_norm_min) */
    bool gate_scaled;                /* times key_gate_scale */
    bool scale_unless_renorm;        /* not when renormalised (DeepSeek-V2's own code) */
    bool router_f32;                 /* router product in f32 whatever the precision */
    bool shared_gated;               /* shared expert times sigmoid(shared_expert_gate x) */
    enum expert_layout fused_layout; /* what "experts.gate_up_proj" means in this family */
    bool fused_by_shape;             /* EXPERTS_FUSED if its shape says so */

    /* names after "layers.N." */
    const char *ffn_module;                            /* "mlp" */
    const char *dense_module;                          /* of layers without experts, if it differs */
    const char *fused_module;                          /* layout B's, if it differs (Mixtral: "mlp") */
    const char *router;                                /* "gate" or "router", within ffn_module */
    const char *corr_name;                             /* correction bias within ffn_module; NULL: none */
    const char *corr_other;                            /* what else it is called; NULL: nothing */
    bool corr_row;                                     /* it is [1,E] instead of [E] */
    const char *shared_module;                         /* within ffn_module; NULL: none */
    const char *expert_gate, *expert_up, *expert_down; /* layout A module names; NULL: never split */
};

/* The table (families/); *n rows. */
const struct family *const *family_table(int *n);

/* ---- a row applied ---- */

struct rope {
    enum rope_type type;
    enum rope_layout layout;
    double theta, factor;
    double original; /* original_max_position_embeddings, after its fall-backs */
    double beta_fast, beta_slow, low_freq, high_freq;
    double mscale_all; /* mscale_all_dim, 0 if absent (MLA: the attention scale depends on it) */
    bool truncate;
    double scaling; /* A: multiplies cos and sin */
    double max_position;
    int rot;         /* rotated dimensions of each head, the first ones (MLA: of its rope part) */
    float *inv_freq; /* [rot/2]; for ROPE_DYNAMIC the frequencies of positions < max_position */
};

/* The numbers of a layer that attends, which may be others than those of the next. */
struct attention_arch {
    int heads, kv_heads;
    int head_dim; /* of q and k (MLA: nope + rotated) */
    int v_dim;    /* of v */
    enum qk_norm qk_norm;
    bool bias_qkv, bias_o, sinks;
    bool qkv_one;                  /* q, k and v are one tensor, in that order: as the checkpoint has it */
    double scale, clip;            /* of scores; of q, k and v, 0: none */
    double temp_floor, temp_scale; /* without rope q *= 1 + scale * ln(1 + floor((pos + 1) / floor)); floor
                                      0: off */
    enum mask_kind mask;
    int window; /* MASK_SLIDING: keys seen, the token itself included; MASK_CHUNKED: the chunk */
    int rope;   /* the rope of q and k among the model's; -1: positions are not rotated into them */
};

/* MIXER_MLA beside it: q (0: one plain projection) and kv go through latents of these widths; nope is the
 * part of head_dim that is not rotated. */
struct latent_arch {
    int q, kv, nope;
    double eps;  /* of the latents' norms */
    bool kv_two; /* what makes k and v of their latent is two tensors, that of k transposed by heads: as the
                    checkpoint has it */
};

struct indexer_arch {
    int heads, dim; /* 0: the layer has none of its own */
};

struct layer_arch {
    enum ffn_kind ffn;
    enum mixer_kind mixer; /* it says which of the following count */
    struct attention_arch attn;
    struct latent_arch latent;
    struct indexer_arch indexer;
};

struct arch {
    const struct family *family;
    int hidden, layers, vocab;
    int inter, dense_inter; /* I, F */
    int shared_inter;       /* width of the shared expert, 0: none */
    int experts, topk;
    int groups, topk_group; /* GROUP_NONE: 1, 1 */
    enum group_kind group;
    double eps, act_limit;
    double gate_scale; /* multiplies the gate weights */
    bool bias_mlp, bias_head, tied, renorm;
    struct rope *rope; /* [ropes], no two of the same numbers */
    int ropes;
    struct layer_arch *layer; /* [layers] */
    int moe_layers;           /* how many are FFN_MOE */
    int max_position;
    int longest;      /* tokens of a document; longer ones would be attended to in part (indexer.c). 0: any */
    int mtp_layers;   /* MTP/nextn layers that config.json announces */
    bool nested;      /* everything but architectures and quantization is inside "text_config" */
    char unread[300]; /* quantization_config is not understood: what it is; "": it is, or there is none. Where
                         all tensors are plain numbers it is left over, and in the way of nothing */
    const char *corr_name; /* the family's, or its other name, as the checkpoint has it */
    const char *prefix;    /* before every tensor of the language model: "" or "language_model." */
    const char *trunk;     /* behind that, before all but the head's: "model." or "model.language_model." */
    struct format_claim claim[MAX_CLAIMS]; /* the formats that linear maps may have, the plain one last */
    int claims;
};

struct arch_options {
    const char *const *ignore_keys; /* NULL-terminated config keys the user vouches for; may be NULL */
};

/*
 * config: the parsed config.json; what: its path for messages. Refused by name: an unknown
 * architecture; a key that this family's row does not know and whose value is not null, false, empty or
 * among the keys known to be harmless (ways out: --ignore-key); expert-count spellings that disagree; sizes
 * that are missing or make no sense (topk > experts, heads not a multiple of kv_heads, layer_types of the
 * wrong length ...). Absent and null are told apart where transformers does.
 */
int arch_read(struct arch *a, const cJSON *config, const char *what, const struct arch_options *o,
              struct err *e);
void arch_free(struct arch *a);

#endif
