/*
 * family.c -- the table of families. To add one: a row, and a fixture (CONTRIBUTING).
 */
#include "model/family.h"

static const char *const qwen3_keys[] = {"mlp_only_layers",
                                         "decoder_sparse_step",
                                         "norm_topk_prob",
                                         "use_sliding_window",
                                         "sliding_window",
                                         "max_window_layers",
                                         NULL};
static const char *const gpt_oss_keys[] = {"layer_types", "sliding_window", "swiglu_limit",
                                           "initial_context_length", NULL};

static const struct family table[] = {
    {
        .name = "qwen3_moe",
        .title = "Qwen3-MoE",
        .model_type = "qwen3_moe",
        .architectures = {"Qwen3MoeForCausalLM"},
        .key_experts = {"num_experts", "num_local_experts"},
        .key_topk = {"num_experts_per_tok"},
        .key_inter = "moe_intermediate_size",
        .key_dense_inter = "intermediate_size",
        .ffn_rule = FFN_SPARSE_STEP,
        .mask_rule = MASKS_USE_SLIDING,
        .own_keys = qwen3_keys,
        .default_theta = 10000,
        .default_eps = 1e-6,
        .default_kv_heads = 4,
        .default_window = 4096,
        .norm = NORM_ROUND_MUL,
        .qk_norm = QKN_HEAD_PRE,
        .act = ACT_SILU_GLU,
        .score = SCORE_SOFTMAX,
        .gate = GATE_SCORE,
        .renorm = RENORM_SUM,
        .renorm_key = true,
        .fused_layout = EXPERTS_FUSED,
        .ffn_module = "mlp",
        .router = "gate",
        .expert_gate = "gate_proj",
        .expert_up = "up_proj",
        .expert_down = "down_proj",
    },
    {
        .name = "gpt_oss",
        .title = "GPT-OSS",
        .model_type = "gpt_oss",
        .architectures = {"GptOssForCausalLM"},
        .key_experts = {"num_local_experts", "num_experts"},
        .key_topk = {"num_experts_per_tok", "experts_per_token"},
        .key_inter = "intermediate_size",
        .ffn_rule = FFN_ALL_MOE,
        .mask_rule = MASKS_LAYER_TYPES,
        .own_keys = gpt_oss_keys,
        .default_theta = 150000,
        .default_eps = 1e-5,
        .default_head_dim = 64,
        .default_kv_heads = 8,
        .default_yarn_factor = 32,
        .default_window = 128,
        .default_attention_bias = true,
        .norm = NORM_MUL_ROUND,
        .qk_norm = QKN_NONE,
        .sinks = true,
        .router_bias = true,
        .expert_bias = true,
        .act = ACT_OSS_GLU,
        .act_limit = 7,
        .score = SCORE_LOGIT,
        .gate = GATE_SOFTMAX_SELECTED,
        .renorm = RENORM_NONE,
        .fused_layout = EXPERTS_INTERLEAVED_IO,
        .ffn_module = "mlp",
        .router = "router",
    },
};

const struct family *family_table(int *n)
{
    *n = (int)(sizeof table / sizeof *table);
    return table;
}

const char *expert_layout_name(enum expert_layout l)
{
    static const char *const name[] = {
        [EXPERTS_SPLIT] = "split",
        [EXPERTS_FUSED] = "fused",
        [EXPERTS_INTERLEAVED_IO] = "fused, interleaved, input-major",
        [EXPERTS_MXFP4] = "MXFP4",
        [EXPERTS_SPLIT_MXFP4] = "MXFP4, split (compressed-tensors)",
    };

    return name[l];
}
