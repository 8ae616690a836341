/* minimax.c -- the families of MiniMax. */
#include "model/families/family_rows.h"

static const char *const minimax_keys[] = {
    "rotary_dim",      "attn_type_list", "mlp_intermediate_size", "mtp_transformer_layers",
    "num_mtp_modules", "use_mtp",        "shared_moe_mode",       NULL};

static const struct fixed_key minimax_fixed[] = {{"scoring_func", "sigmoid"},
                                                 {"norm_topk_prob", "true"},
                                                 {"qk_norm_type", "per_layer"},
                                                 {"use_qk_norm", "true"},
                                                 {"use_routing_bias", "true"},
                                                 {"shared_intermediate_size", "0"},
                                                 {"sliding_window", "null"},
                                                 {"layernorm_full_attention_beta", "1"},
                                                 {"layernorm_linear_attention_beta", "1"},
                                                 {"layernorm_mlp_beta", "1"},
                                                 FIXED_END};

const struct family family_minimax_m2 = {
    .name = "minimax_m2",
    .title = "MiniMax-M2",
    .needs = "sigmoid router with correction bias, q and k normalised whole, half-rotated heads",
    .model_type = {"minimax_m2", "minimax"},
    .architectures = {"MiniMaxM2ForCausalLM"},
    .key_experts = {"num_local_experts", "num_experts"},
    .key_topk = {"num_experts_per_tok"},
    .key_inter = "intermediate_size",
    .own_keys = minimax_keys,
    .fixed = minimax_fixed,
    .ffn_rule = FFN_ALL_MOE,
    .mask_rule = MASKS_FULL,
    .renorm_rule = RENORM_ALWAYS,
    .default_theta = 5e6,
    .default_eps = 1e-6,
    .default_head_dim = 128,
    .default_kv_heads = 8,
    .qk_norm = QKN_FULL_PRE,
    .score = SCORE_SIGMOID,
    .ffn_module = "block_sparse_moe",
    .fused_module = "mlp",
    .router = "gate",
    .corr_name = "e_score_correction_bias",
    .expert_gate = "w1",
    .expert_up = "w3",
    .expert_down = "w2",
    .fused_layout = EXPERTS_FUSED,
};
