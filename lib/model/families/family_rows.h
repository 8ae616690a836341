/*
 * family_rows.h -- the rows of the table of families. CONTRIBUTING.md says how to add one. In the files that
 * have them key lists stand before the row that uses them; a key that is only known not to matter may stand
 * in own_keys too.
 */
#ifndef MOE_MODEL_FAMILIES_ROWS_H
#define MOE_MODEL_FAMILIES_ROWS_H

#include "model/family.h"

/* In the order in which they are listed. */
#define FAMILIES(ROW)                                                                                        \
    ROW(qwen3_moe)                                                                                           \
    ROW(gpt_oss)                                                                                             \
    ROW(llama4)                                                                                              \
    ROW(mixtral)                                                                                             \
    ROW(deepseek_v2)                                                                                         \
    ROW(deepseek_v3)                                                                                         \
    ROW(ernie4_5_moe)                                                                                        \
    ROW(glm4_moe)                                                                                            \
    ROW(glm4_moe_lite)                                                                                       \
    ROW(minimax_m2)                                                                                          \
    ROW(qwen2_moe)                                                                                           \
    ROW(olmoe)                                                                                               \
    ROW(qwen3_vl_moe)                                                                                        \
    ROW(hy_v3)                                                                                               \
    ROW(deepseek_v32)                                                                                        \
    ROW(glm_moe_dsa)                                                                                         \
    ROW(minimax_m3)                                                                                          \
    ROW(solar_open)                                                                                          \
    ROW(dots1)

#define FAMILY_ROW(name) extern const struct family family_##name;
FAMILIES(FAMILY_ROW)
#undef FAMILY_ROW

/* What many families have alike. The names of an expert's matrices: */
#define GATE_UP_DOWN .expert_gate = "gate_proj", .expert_up = "up_proj", .expert_down = "down_proj"
/* DeepSeek-V3's router, and where it and its experts are: */
#define DEEPSEEK_V3_FFN                                                                                      \
    .score = SCORE_SIGMOID, .group = GROUP_TOP2, .renorm_eps = 1e-20, .gate_scaled = true,                   \
    .router_f32 = true, .ffn_module = "mlp", .router = "gate", .corr_name = "gate.e_score_correction_bias",  \
    .shared_module = "shared_experts", GATE_UP_DOWN
/* what its configuration calls widths and numbers of layers: */
#define DEEPSEEK_V3_KEYS                                                                                     \
    .key_inter = "moe_intermediate_size", .key_dense_inter = "intermediate_size",                            \
    .key_attention_bias = "attention_bias", .key_shared_count = "n_shared_experts",                          \
    .key_mtp = {"num_nextn_predict_layers", "num_mtp_layers"}
/* and latent attention: */
#define MLA_KEYS                                                                                             \
    "q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "qk_head_dim", "v_head_dim"

/* Ends a list of fixed keys. */
#define FIXED_END                                                                                            \
    {                                                                                                        \
        NULL, NULL                                                                                           \
    }

#endif
