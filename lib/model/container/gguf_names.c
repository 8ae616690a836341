/*
 * gguf_names.c -- what llama.cpp calls tensors, and what the families' own code does.
 */
#include <stdlib.h>

#include "base/words.h"
#include "model/container/gguf_rows.h"

/* Where in a layer our name stands: at its top, or in the module of its MLP or experts. */
enum place { IN_LAYER, IN_FFN, IN_SHARED, IN_EXPERTS };

struct name_row {
    const char *theirs, *ours; /* ours NULL: by the family */
    enum place place;
    enum gguf_shape shape;
};

/* Behind "blk.N.". Of a linear map what stands before ".weight", which then has other endings too. */
static const struct name_row vectors[] = {
    {"attn_norm.weight", "input_layernorm.weight", IN_LAYER, SHAPE_PLAIN},
    {"ffn_norm.weight", "post_attention_layernorm.weight", IN_LAYER, SHAPE_PLAIN},
    {"post_attention_norm.weight", "post_attention_layernorm.weight", IN_LAYER, SHAPE_PLAIN},
    {"attn_q_norm.weight", "self_attn.q_norm.weight", IN_LAYER, SHAPE_PLAIN},
    {"attn_k_norm.weight", "self_attn.k_norm.weight", IN_LAYER, SHAPE_PLAIN},
    {"attn_q_a_norm.weight", "self_attn.q_a_layernorm.weight", IN_LAYER, SHAPE_PLAIN},
    {"attn_kv_a_norm.weight", "self_attn.kv_a_layernorm.weight", IN_LAYER, SHAPE_PLAIN},
    {"attn_sinks.weight", "self_attn.sinks", IN_LAYER, SHAPE_PLAIN},
    {"attn_sinks", "self_attn.sinks", IN_LAYER, SHAPE_PLAIN}, /* Ollama's */
};
static const struct name_row maps[] = {
    {"attn_q", "self_attn.q_proj", IN_LAYER, SHAPE_PLAIN},
    {"attn_k", "self_attn.k_proj", IN_LAYER, SHAPE_PLAIN},
    {"attn_v", "self_attn.v_proj", IN_LAYER, SHAPE_PLAIN},
    {"attn_qkv", "self_attn.qkv_proj", IN_LAYER, SHAPE_PLAIN},
    {"attn_output", "self_attn.o_proj", IN_LAYER, SHAPE_PLAIN},
    {"attn_out", "self_attn.o_proj", IN_LAYER, SHAPE_PLAIN}, /* Ollama's */
    {"attn_q_a", "self_attn.q_a_proj", IN_LAYER, SHAPE_PLAIN},
    {"attn_q_b", "self_attn.q_b_proj", IN_LAYER, SHAPE_PLAIN},
    {"attn_kv_a_mqa", "self_attn.kv_a_proj_with_mqa", IN_LAYER, SHAPE_PLAIN},
    {"attn_kv_b", "self_attn.kv_b_proj", IN_LAYER, SHAPE_PLAIN},
    {"attn_k_b", "self_attn.k_b_proj", IN_LAYER, SHAPE_FLAT},
    {"attn_v_b", "self_attn.v_b_proj", IN_LAYER, SHAPE_FLAT},
    {"ffn_gate", "gate_proj", IN_FFN, SHAPE_PLAIN},
    {"ffn_up", "up_proj", IN_FFN, SHAPE_PLAIN},
    {"ffn_down", "down_proj", IN_FFN, SHAPE_PLAIN},
    {"ffn_gate_inp", NULL, IN_FFN, SHAPE_PLAIN},
    {"ffn_gate_inp_shexp", "shared_expert_gate", IN_FFN, SHAPE_ROW},
    {"ffn_gate_shexp", "gate_proj", IN_SHARED, SHAPE_PLAIN},
    {"ffn_up_shexp", "up_proj", IN_SHARED, SHAPE_PLAIN},
    {"ffn_down_shexp", "down_proj", IN_SHARED, SHAPE_PLAIN},
    {"ffn_gate_exps", "gate_proj", IN_EXPERTS, SHAPE_PLAIN},
    {"ffn_up_exps", "up_proj", IN_EXPERTS, SHAPE_PLAIN},
    {"ffn_down_exps", "down_proj", IN_EXPERTS, SHAPE_PLAIN},
    {"ffn_gate_up_exps", "gate_up_proj", IN_EXPERTS, SHAPE_PLAIN},
};
static const char *const endings[] = {".weight", ".bias", ".scale", ".input_scale"};

/* Outside of layers. */
static const struct {
    const char *theirs, *ours;
} others[] = {
    {"token_embd.weight", "model.embed_tokens.weight"},
    {"output_norm.weight", "model.norm.weight"},
    {"output.weight", "lm_head.weight"},
    {"output.scale", "lm_head.scale"},
    {"output.input_scale", "lm_head.input_scale"},
    {"rope_freqs.weight", "model.rotary_emb.factors"},
};

#define COUNT(list) (sizeof(list) / sizeof *(list))

/* Is s a map's name and one of the endings? */
static const char *ending_of(const char *s, const char *map)
{
    size_t n = strlen(map), i;

    for (i = 0; strncmp(s, map, n) == 0 && i < COUNT(endings); i++)
        if (strcmp(s + n, endings[i]) == 0)
            return endings[i];
    return NULL;
}

/* Our name within a layer. */
static char *place_name(const struct family *f, const struct name_row *r, const char *end,
                        enum gguf_shape *shape, struct err *e)
{
    const char *ours = r->ours ? r->ours : f->router;

    *shape = r->place != IN_EXPERTS && ends_with(end, "scale") ? SHAPE_SCALAR : r->shape;
    switch (r->place) {
    case IN_FFN:
        return mem_printf(e, "%s.%s%s", f->ffn_module, ours, end);
    case IN_SHARED:
        return mem_printf(e, "%s.%s.%s%s", f->ffn_module, f->shared_module ? f->shared_module : "shared",
                          ours, end);
    case IN_EXPERTS: /* as all experts' are called together */
        if (strcmp(end, ".weight") == 0)
            return mem_printf(e, "%s.experts.%s", f->ffn_module, ours);
        return mem_printf(e, "%s.experts.%s%s", f->ffn_module, ours, strcmp(end, ".bias") ? end : "_bias");
    default:
        return mem_printf(e, "%s%s", ours, end);
    }
}

static char *layer_name(const struct family *f, const char *s, enum gguf_shape *shape, struct err *e)
{
    const char *end;
    size_t i;

    if (strcmp(s, "exp_probs_b.bias") == 0 || strcmp(s, "exp_probs_b") == 0) {
        *shape = f->corr_row ? SHAPE_ROW : SHAPE_PLAIN;
        return mem_printf(e, "%s.%s", f->ffn_module, f->corr_name ? f->corr_name : s);
    }
    for (i = 0; i < COUNT(vectors); i++)
        if (strcmp(s, vectors[i].theirs) == 0)
            return place_name(f, &vectors[i], "", shape, e);
    for (i = 0; i < COUNT(maps); i++)
        if ((end = ending_of(s, maps[i].theirs)) != NULL)
            return place_name(f, &maps[i], end, shape, e);
    /* what is not known is refused where it might belong to experts */
    if (strncmp(s, "ffn_", 4) == 0 || strstr(s, "exp"))
        return mem_printf(e, "%s.%s", f->ffn_module, s);
    return mem_strdup(s, e);
}

char *gguf_name(const struct family *f, const struct gguf_text *name, enum gguf_shape *shape, struct err *e)
{
    char *theirs = mem_strndup(name->p, name->n, e), *in_layer, *ours = NULL;
    const char *s = theirs;
    size_t i;
    int layer;

    *shape = SHAPE_PLAIN;
    if (!theirs)
        return NULL;
    if (strncmp(s, "blk.", 4) == 0 && (s += 4, take_number(&s, &layer)) && *s == '.') {
        in_layer = layer_name(f, s + 1, shape, e);
        ours = in_layer ? mem_printf(e, "model.layers.%d.%s", layer, in_layer) : NULL;
        free(in_layer);
        free(theirs);
        return ours;
    }
    for (i = 0; i < COUNT(others); i++)
        if (strcmp(theirs, others[i].theirs) == 0) {
            ours = mem_strdup(others[i].ours, e);
            free(theirs);
            return ours;
        }
    return theirs;
}
