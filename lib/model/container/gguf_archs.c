/*
 * gguf_archs.c -- llama.cpp's architectures of our families. Sources: its src/models/NAME.cpp and
 * src/llama-model.cpp for what is read, required and meant where a key is absent; conversion/ for what is
 * written.
 */
#include "model/container/gguf_rows.h"

#include <math.h>

/* ---- members of config.json that one architecture has ---- */

static void qwen2(struct gguf_making *m)
{
    jo_bool(&m->j, "use_sliding_window", false); /* llama.cpp has none */
}

/* Latent attention. Files of early 2025 have the widths of whole heads under the plain keys. */
static void deepseek(struct gguf_making *m)
{
    int64_t rotated = gguf_whole(m, "rope.dimension_count", -1),
            q = gguf_whole(m, "attention.q_lora_rank", 0);
    int64_t k = gguf_whole(m, "attention.key_length", -1), v = gguf_whole(m, "attention.value_length", -1);

    if (q)
        jo_int(&m->j, "q_lora_rank", q);
    else
        jo_null(&m->j, "q_lora_rank");
    jo_int(&m->j, "kv_lora_rank", gguf_whole(m, "attention.kv_lora_rank", -1));
    jo_int(&m->j, "qk_rope_head_dim", rotated);
    jo_int(&m->j, "qk_nope_head_dim", gguf_whole(m, "attention.key_length_mla", k) - rotated);
    jo_int(&m->j, "v_head_dim", gguf_whole(m, "attention.value_length_mla", v));
    gguf_key(m, "attention.head_count_kv"); /* of the latent, or as many as there are heads */
    jo_int(&m->j, "num_key_value_heads", m->heads);
    jo_int(&m->j, "first_k_dense_replace", gguf_whole(m, "leading_dense_block_count", 0));
}

/* Softmax is what llama.cpp takes where nothing is said; a model with a correction bias was not trained so.
 */
static void deepseek_v2(struct gguf_making *m)
{
    int64_t n = gguf_whole(m, "expert_group_count", 1);

    if (gguf_rows(m->set, "exp_probs_b.bias"))
        err_set(
            m->e, ERR_INPUT,
            "'%s': there is a correction bias (exp_probs_b), but no expert_gating_func, so that llama.cpp "
            "takes the wrong function without a word: which one it is must be said",
            m->g->file.path);
    jo_string(&m->j, "topk_method", n > 1 ? "group_limited_greedy" : "greedy");
    deepseek(m);
}

static void glm4(struct gguf_making *m)
{
    jo_int(&m->j, "first_k_dense_replace", gguf_whole(m, "leading_dense_block_count", 0));
    jo_bool(&m->j, "use_qk_norm", gguf_has(m, "blk.0.attn_q_norm.weight"));
}

static void ernie(struct gguf_making *m)
{
    jo_int(&m->j, "moe_layer_start_index", gguf_whole(m, "leading_dense_block_count", 0));
    jo_int(&m->j, "moe_layer_interval", gguf_whole(m, "interleave_moe_layer_step", -1));
}

/* llama.cpp has constants for what config.json says: chunks and temperature floor of 8192, temperature scale
 * 0.1, no norm of q and k with 128 experts; a sliding window of 0 switches all of it off. */
static void llama4(struct gguf_making *m)
{
    bool plain = gguf_key(m, "attention.sliding_window") && gguf_whole(m, "attention.sliding_window", 1) == 0;
    int64_t i;

    jo_int(&m->j, "interleave_moe_layer_step", gguf_whole(m, "interleave_moe_layer_step", -1));
    jo_int(&m->j, "attention_chunk_size", 8192);
    jo_bool(&m->j, "attn_temperature_tuning", !plain);
    jo_int(&m->j, "floor_scale", 8192);
    jo_double(&m->j, "attn_scale", 0.1);
    jo_bool(&m->j, "use_qk_norm", m->experts != 128);
    jo_open(&m->j, "no_rope_layers", '[');
    for (i = 0; i < m->layers; i++)
        jo_int(&m->j, NULL, plain || (i + 1) % 4 != 0);
    jo_close(&m->j);
    jo_open(&m->j, "layer_types", '[');
    for (i = 0; i < m->layers; i++)
        jo_string(&m->j, NULL, plain || (i + 1) % 4 == 0 ? "full_attention" : "chunked_attention");
    jo_close(&m->j);
}

static void minimax(struct gguf_making *m)
{
    jo_int(&m->j, "rotary_dim", gguf_whole(m, "rope.dimension_count", m->head_dim));
}

/* Every other layer slides, or as the pattern says: one flag for each layer, or after how many a full one
 * comes. */
static void gpt_oss(struct gguf_making *m)
{
    const struct gguf_value *pattern = gguf_key(m, "attention.sliding_window_pattern");
    int64_t every = 2, slides, i;

    jo_int(&m->j, "sliding_window", gguf_whole(m, "attention.sliding_window", -1));
    if (pattern && !pattern->array)
        gguf_int(pattern, 0, &every);
    jo_open(&m->j, "layer_types", '[');
    for (i = 0; i < m->layers; i++) {
        slides = every == 0 || (every > 0 && i % every < every - 1);
        if (pattern && pattern->array)
            gguf_int(pattern, (uint64_t)i, &slides);
        jo_string(&m->j, NULL, slides ? "sliding_attention" : "full_attention");
    }
    jo_close(&m->j);
}

/* ---- the rows ---- */

static const struct gguf_arch rows[] = {
    {.name = {"llama"},
     .family = "mixtral",
     .width = WIDTH_DENSE,
     .gating = GATING_SOFTMAX,
     .gating_ignored = true,
     .permuted = true},
    {.name = {"qwen2moe"},
     .family = "qwen2_moe",
     .width = WIDTH_SHARE,
     .renorm = RENORM_NO,
     .gating = GATING_SOFTMAX,
     .gating_ignored = true,
     .more = qwen2},
    {.name = {"qwen3moe"},
     .family = "qwen3_moe",
     .width = WIDTH_SHARE,
     .renorm = RENORM_YES,
     .gating = GATING_SOFTMAX,
     .gating_ignored = true,
     .more = qwen2},
    {.name = {"olmoe"},
     .family = "olmoe",
     .width = WIDTH_DENSE,
     .renorm = RENORM_NO,
     .gating = GATING_SOFTMAX,
     .gating_ignored = true},
    {.name = {"deepseek2"},
     .pre = "glm4",
     .family = "glm4_moe_lite",
     .renorm = RENORM_BY_KEY,
     .gating = GATING_SIGMOID,
     .gating_implied = true,
     .half_rotated = true,
     .more = deepseek},
    {.name = {"deepseek2"},
     .family = "deepseek_v2",
     .renorm = RENORM_BY_KEY,
     .gating = GATING_SOFTMAX,
     .gating_implied = true,
     .half_rotated = true,
     .more = deepseek_v2},
    {.name = {"deepseek2"},
     .family = "deepseek_v3",
     .renorm = RENORM_BY_KEY,
     .gating = GATING_SIGMOID,
     .half_rotated = true,
     .more = deepseek},
    {.name = {"glm4moe"},
     .family = "glm4_moe",
     .width = WIDTH_SHARE,
     .renorm = RENORM_BY_KEY,
     .gating = GATING_SIGMOID,
     .gating_implied = true,
     .half_rotated = true,
     .more = glm4},
    {.name = {"ernie4_5-moe"},
     .family = "ernie4_5_moe",
     .gating = GATING_SOFTMAX,
     .gating_ignored = true,
     .more = ernie},
    {.name = {"llama4"},
     .family = "llama4",
     .gating = GATING_SIGMOID,
     .gating_ignored = true,
     .more = llama4},
    {.name = {"minimax-m2"},
     .family = "minimax_m2",
     .width = WIDTH_DENSE,
     .gating = GATING_SIGMOID,
     .half_rotated = true,
     .more = minimax},
    {.name = {"gpt-oss", "gptoss"}, /* the latter is Ollama's */
     .family = "gpt_oss",
     .gating = GATING_SOFTMAX_SELECTED,
     .gating_ignored = true,
     .more = gpt_oss},
};

const struct gguf_arch *gguf_archs(int *n)
{
    *n = (int)(sizeof rows / sizeof *rows);
    return rows;
}
