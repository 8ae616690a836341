/* qwen.c -- the families of Qwen. */
#include "model/families/family_rows.h"

static const char *const qwen2_keys[] = {
    "mlp_only_layers", "decoder_sparse_step", "norm_topk_prob", "use_sliding_window",
    "sliding_window",  "max_window_layers",   "layer_types",    NULL};

const struct family family_qwen2_moe = {
    .name = "qwen2_moe",
    .title = "Qwen2-MoE",
    .needs = "shared expert behind a sigmoid gate, biased q, k and v",
    .model_type = {"qwen2_moe"},
    .architectures = {"Qwen2MoeForCausalLM"},
    .key_experts = {"num_experts", "num_local_experts"},
    .key_topk = {"num_experts_per_tok"},
    .key_inter = "moe_intermediate_size",
    .key_dense_inter = "intermediate_size",
    .key_attention_bias = "qkv_bias",
    .key_shared_width = "shared_expert_intermediate_size",
    .own_keys = qwen2_keys,
    .ffn_rule = FFN_SPARSE_STEP,
    .mask_rule = MASKS_QWEN2,
    .renorm_rule = RENORM_KEY,
    .default_theta = 10000,
    .default_eps = 1e-6,
    .default_kv_heads = 16,
    .default_window = 4096,
    .default_attention_bias = true,
    .default_shared = 5632,
    .shared_gated = true,
    .ffn_module = "mlp",
    .router = "gate",
    .shared_module = "shared_expert",
    GATE_UP_DOWN,
    .fused_layout = EXPERTS_FUSED,
};

static const struct fixed_key qwen3_fixed[] = {
    {"use_qk_norm", "true"}, {"scoring_func", "softmax"}, FIXED_END};

static const char *const qwen3_keys[] = {"mlp_only_layers",
                                         "decoder_sparse_step",
                                         "norm_topk_prob",
                                         "use_sliding_window",
                                         "sliding_window",
                                         "max_window_layers",
                                         NULL};

const struct family family_qwen3_moe = {
    .name = "qwen3_moe",
    .title = "Qwen3-MoE",
    .needs = "q and k normalised per head",
    .model_type = {"qwen3_moe"},
    .architectures = {"Qwen3MoeForCausalLM"},
    .key_experts = {"num_experts", "num_local_experts"},
    .key_topk = {"num_experts_per_tok"},
    .key_inter = "moe_intermediate_size",
    .key_dense_inter = "intermediate_size",
    .key_attention_bias = "attention_bias",
    .own_keys = qwen3_keys,
    .fixed = qwen3_fixed,
    .ffn_rule = FFN_SPARSE_STEP,
    .mask_rule = MASKS_USE_SLIDING,
    .renorm_rule = RENORM_KEY,
    .default_theta = 10000,
    .default_eps = 1e-6,
    .default_kv_heads = 4,
    .default_window = 4096,
    .qk_norm = QKN_HEAD_PRE,
    .o_bias = true,
    .ffn_module = "mlp",
    .router = "gate",
    GATE_UP_DOWN,
    .fused_layout = EXPERTS_FUSED,
};

static const struct fixed_key qwen3_vl_fixed[] = {
    {"use_qk_norm", "true"}, {"scoring_func", "softmax"}, FIXED_END};

static const char *const qwen3_vl_keys[] = {"mlp_only_layers", "decoder_sparse_step", "norm_topk_prob", NULL};

const struct family family_qwen3_vl_moe = {
    .name = "qwen3_vl_moe",
    .title = "Qwen3-VL-MoE",
    .needs = "the language model of the multimodal wrapper; experts input-major",
    .model_type = {"qwen3_vl_moe_text", "qwen3_vl_moe"},
    .architectures = {"Qwen3VLMoeForConditionalGeneration"},
    .key_experts = {"num_experts", "num_local_experts"},
    .key_topk = {"num_experts_per_tok"},
    .key_inter = "moe_intermediate_size",
    .key_dense_inter = "intermediate_size",
    .key_attention_bias = "attention_bias",
    .own_keys = qwen3_vl_keys,
    .fixed = qwen3_vl_fixed,
    .ffn_rule = FFN_SPARSE_STEP,
    .mask_rule = MASKS_FULL,
    .renorm_rule = RENORM_ALWAYS, /* whatever norm_topk_prob says */
    .default_theta = 500000,
    .default_eps = 1e-6,
    .default_kv_heads = 16,
    .qk_norm = QKN_HEAD_PRE,
    .o_bias = true,
    .ffn_module = "mlp",
    .router = "gate",
    GATE_UP_DOWN,
    .fused_layout = EXPERTS_CONCAT,
    .fused_by_shape = true,
};
