/* glm.c -- the families of GLM. */
#include "model/families/family_rows.h"

static const char *const glm4_keys[] = {
    "first_k_dense_replace", "n_group",     "topk_group", "norm_topk_prob",
    "routed_scaling_factor", "use_qk_norm", NULL};

static const struct fixed_key glm4_fixed[] = {
    {"scoring_func", "sigmoid"}, {"topk_method", "noaux_tc"}, FIXED_END};

const struct family family_glm4_moe = {
    .name = "glm4_moe",
    .title = "GLM4-MoE",
    .needs =
        "sigmoid router with correction bias and groups, shared expert, half-rotated heads, an MTP layer",
    .model_type = {"glm4_moe"},
    .architectures = {"Glm4MoeForCausalLM"},
    .key_experts = {"n_routed_experts", "num_local_experts", "num_experts"},
    .key_topk = {"num_experts_per_tok"},
    DEEPSEEK_V3_KEYS,
    .own_keys = glm4_keys,
    .fixed = glm4_fixed,
    .ffn_rule = FFN_FIRST_K,
    .mask_rule = MASKS_FULL,
    .renorm_rule = RENORM_KEY,
    .default_theta = 10000,
    .default_eps = 1e-5,
    .default_partial_rotary = 0.5,
    .default_kv_heads = 8,
    .default_first_dense = 1,
    .default_shared = 1,
    .default_renorm = true,
    .qk_norm = QKN_HEAD_PRE,
    .qk_norm_key = true,
    DEEPSEEK_V3_FFN,
    .fused_layout = EXPERTS_FUSED,
};

static const char *const glm4_lite_keys[] = {
    MLA_KEYS,         "first_k_dense_replace", "mlp_layer_types", "n_group", "topk_group",
    "norm_topk_prob", "routed_scaling_factor", "rope_interleave", NULL};

/* Part of the rotated dimensions left alone: transformers fails on it, so nobody knows what it means. */
static const struct fixed_key glm4_lite_fixed[] = {
    {"scoring_func", "sigmoid"}, {"topk_method", "noaux_tc"}, {"partial_rotary_factor", "1"}, FIXED_END};

const struct family family_glm4_moe_lite = {
    .name = "glm4_moe_lite",
    .title = "GLM4-MoE-Lite",
    .needs = "DeepSeek-V3's layers, a dense or sparse MLP by mlp_layer_types; GLM-4.7-Flash",
    .model_type = {"glm4_moe_lite"},
    .architectures = {"Glm4MoeLiteForCausalLM"},
    .key_experts = {"n_routed_experts", "num_local_experts", "num_experts"},
    .key_topk = {"num_experts_per_tok"},
    DEEPSEEK_V3_KEYS,
    .own_keys = glm4_lite_keys,
    .fixed = glm4_lite_fixed,
    .ffn_rule = FFN_FIRST_K,
    .mask_rule = MASKS_FULL,
    .renorm_rule = RENORM_KEY,
    .default_theta = 10000,
    .default_eps = 1e-5,
    .default_first_dense = 1,
    .default_shared = 1,
    .default_q_lora = 768,
    .default_nope = 192,
    .default_v = 256,
    .default_gate_scale = 1.8,
    .default_renorm = true,
    .mixer = MIXER_MLA,
    .rope_layout = ROPE_PAIR,
    .o_bias = true,
    DEEPSEEK_V3_FFN,
    .fused_layout = EXPERTS_FUSED,
};

static const char *const glm_dsa_keys[] = {MLA_KEYS,
                                           "first_k_dense_replace",
                                           "n_group",
                                           "topk_group",
                                           "topk_method",
                                           "norm_topk_prob",
                                           "routed_scaling_factor",
                                           "mlp_bias",
                                           "rope_interleave",
                                           "aux_loss_alpha",
                                           "seq_aux",
                                           "ep_size",
                                           "mlp_layer_types",
                                           "layer_types",
                                           "index_topk",
                                           "index_n_heads",
                                           "index_head_dim",
                                           "index_topk_freq",
                                           "index_skip_topk_offset",
                                           "index_topk_pattern",
                                           "indexer_types",
                                           "index_share_for_mtp_iteration",
                                           NULL};
static const struct fixed_key glm_dsa_fixed[] = {{"scoring_func", "sigmoid"},
                                                 {"topk_method", "noaux_tc"},
                                                 {"moe_layer_freq", "1"},
                                                 {"moe_router_dtype", "float32"},
                                                 {"indexer_rope_interleave", "true"},
                                                 {"rope_interleave", "true"},
                                                 FIXED_END};

const struct family family_glm_moe_dsa = {
    .name = "glm_moe_dsa",
    .title = "GLM-5",
    .needs = "DeepSeek-V3's layers; documents of as many tokens as the indexers choose",
    .model_type = {"glm_moe_dsa"},
    .architectures = {"GlmMoeDsaForCausalLM"},
    .key_experts = {"n_routed_experts", "num_local_experts", "num_experts"},
    .key_topk = {"num_experts_per_tok"},
    DEEPSEEK_V3_KEYS,
    .own_keys = glm_dsa_keys,
    .fixed = glm_dsa_fixed,
    .ffn_rule = FFN_FIRST_K,
    .mask_rule = MASKS_FULL,
    .renorm_rule = RENORM_KEY,
    .default_theta = 10000,
    .default_eps = 1e-5,
    .default_first_dense = 3,
    .default_shared = 1,
    .default_q_lora = 2048,
    .default_nope = 192,
    .default_v = 256,
    .default_gate_scale = 2.5,
    .default_renorm = true,
    .default_index_heads = 32,
    .mixer = MIXER_MLA,
    .indexer = INDEXER_SHARED,
    .rope_layout = ROPE_PAIR,
    .o_bias = true,
    DEEPSEEK_V3_FFN,
    .fused_layout = EXPERTS_FUSED,
};
