/*
 * keys.c -- which keys of config.json are understood: those that are read, those that are known to change
 * nothing, and those that have the one value that the family ever has.
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/words.h"
#include "model/config.h"

/* Read by every row. */
static const char *const common_keys[] = {"architectures",
                                          "model_type",
                                          "hidden_size",
                                          "num_hidden_layers",
                                          "vocab_size",
                                          "num_attention_heads",
                                          "num_key_value_heads",
                                          "head_dim",
                                          "rms_norm_eps",
                                          "tie_word_embeddings",
                                          "rope_theta",
                                          "rope_scaling",
                                          "rope_parameters",
                                          "partial_rotary_factor",
                                          "original_max_position_embeddings",
                                          "max_position_embeddings",
                                          "hidden_act",
                                          "dtype",
                                          "torch_dtype",
                                          "quantization_config",
                                          NULL};

/* Without any influence on the forward pass of a text: of training, generation and loading. */
static const char *const harmless_keys[] = {
    /* of the checkpoint and its software */
    "transformers_version", "_name_or_path", "_commit_hash", "auto_map", "model_max_length",
    "tokenizer_class", "model_name", "unsloth_version", "unsloth_fixed", "torchscript", "use_bfloat16",
    "_attn_implementation", "_attn_implementation_autoset", "attn_implementation",
    "_attn_implementation_internal", "_experts_implementation", "_experts_implementation_internal",
    "experts_implementation", "use_flash_attention", "use_flash_attention_2", "use_flash_attn",
    "_flash_attn_2_enabled", "pretraining_tp", "ep_size", "gradient_checkpointing",
    "keys_to_ignore_at_inference",
    /* of training */
    "initializer_range", "attention_dropout", "hidden_dropout", "hidden_dropout_prob",
    "attention_probs_dropout_prob", "embd_pdrop", "resid_pdrop", "attn_pdrop", "classifier_dropout",
    "dropout", "output_router_logits", "router_aux_loss_coef", "router_jitter_noise", "router_z_loss_coef",
    "aux_loss_alpha", "seq_aux", "mtp_loss_weight", "mtp_loss_coef", "problem_type", "finetuning_task",
    "task_specific_params",
    /* of what is returned */
    "use_cache", "cache_implementation", "return_dict", "use_return_dict", "return_dict_in_generate",
    "output_hidden_states", "output_attentions", "output_scores", "id2label", "label2id", "num_labels",
    "chunk_size_feed_forward", "is_encoder_decoder", "is_decoder", "tie_encoder_decoder", "tf_legacy_loss",
    "cross_attention_hidden_size", "prefix",
    /* of the other parts of a multimodal model */
    "vision_config", "audio_config", "image_processor_config", "boi_token_index", "eoi_token_index",
    "image_token_index", "image_token_id", "video_token_index", "video_token_id", "vision_start_token_id",
    "vision_end_token_id", "vision_feature_layer", "vision_feature_select_strategy", "image_seq_length",
    "multimodal_projector_bias", "projector_hidden_act", "projector_hidden_size", "spatial_merge_size",
    "img_token_compression_config", "image_grid_pinpoints", "num_reward_heads", "process_image_mode",
    "media_placeholder_token_id", "video_placeholder", "use_unified_vision_chunk", "ignore_index",
    /* tokens, and how transformers 4 generates */
    "bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id", "sep_token_id", "cls_token_id",
    "mask_token_id", "decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id",
    "suppress_tokens", "begin_suppress_tokens", "bad_words_ids", "max_length", "max_new_tokens", "min_length",
    "do_sample", "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty", "temperature",
    "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "repetition_penalty",
    "length_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "num_return_sequences",
    "remove_invalid_values", "exponential_decay_length_penalty", NULL};

/* Of a multimodal wrapper: what stands beside text_config and is read. */
static const char *const wrapper_keys[] = {
    "architectures",       "model_type", "text_config", "quantization_config",
    "tie_word_embeddings", "dtype",      "torch_dtype", NULL};

/* What no family has otherwise. */
static const struct fixed_key common_fixed[] = {{"position_embedding_type", "rope"},
                                                {"use_rmsnorm", "true"},
                                                {"is_causal", "true"},
                                                {"rope_ratio", "1"},
                                                {"embedding_multiplier", "1"},
                                                {"residual_multiplier", "1"},
                                                {"logits_scaling", "1"},
                                                {"logit_scale", "1"},
                                                {"n_group", "1"},
                                                {"topk_group", "1"},
                                                {"routed_scaling_factor", "1"},
                                                {"moe_layer_freq", "1"},
                                                {"decoder_sparse_step", "1"},
                                                {NULL, NULL}};

/* Of a rope dictionary: read (rope.c); known not to change anything in a text (of its three positions in a
 * multimodal model all are the same); with the value that changes nothing. */
static const char *const rope_keys[] = {"rope_type",
                                        "type",
                                        "rope_theta",
                                        "factor",
                                        "partial_rotary_factor",
                                        "beta_fast",
                                        "beta_slow",
                                        "low_freq_factor",
                                        "high_freq_factor",
                                        "original_max_position_embeddings",
                                        "attention_factor",
                                        "mscale",
                                        "mscale_all_dim",
                                        "truncate",
                                        "factors",
                                        "finetuned",
                                        "mrope_section",
                                        "mrope_interleaved",
                                        NULL};
static const struct fixed_key rope_fixed[] = {
    {"attn_factor", "1"}, {"extrapolation_factor", "1"}, {"apply_yarn_scaling", "true"}, {NULL, NULL}};

static bool is_key(const char *own, const char *key)
{
    return own && strcmp(own, key) == 0;
}

/* null, false, 0, "", [], {}: a feature that is switched off. */
static bool neutral(const cJSON *v)
{
    return cJSON_IsNull(v) || cJSON_IsFalse(v) || (cJSON_IsNumber(v) && v->valuedouble == 0) ||
           (cJSON_IsString(v) && !*v->valuestring) || ((cJSON_IsArray(v) || cJSON_IsObject(v)) && !v->child);
}

bool config_value_is(const cJSON *v, const char *text)
{
    if (cJSON_IsString(v))
        return strcmp(v->valuestring, text) == 0;
    if (cJSON_IsNumber(v))
        return v->valuedouble == strtod(text, NULL);
    return strcmp(text, cJSON_IsTrue(v) ? "true" : cJSON_IsFalse(v) ? "false" : "null") == 0;
}

/* What is looked at, and what was found. */
struct keys {
    struct config *c;
    const struct family *f;
    const struct arch_options *o;
    struct str unknown; /* their names, quoted, with commas between */
    int n;
    const char *last;
};

static bool vouched_for(const struct keys *k, const char *key)
{
    return k->o && in_words(k->o->ignore_keys, key);
}

/* Whether v is one of these keys; that it has another value is an error. */
static bool fixed_key(struct keys *k, const struct fixed_key *fixed, const cJSON *v)
{
    const struct fixed_key *wrong = NULL;

    for (; fixed && fixed->key; fixed++) {
        if (strcmp(fixed->key, v->string) != 0)
            continue;
        if (cJSON_IsNull(v) || config_value_is(v, fixed->value) || vouched_for(k, v->string))
            return true;
        wrong = fixed;
    }
    if (wrong)
        err_set(k->c->e, ERR_UNKNOWN, "'%s': %s is not %s, which is all that is understood for the family %s",
                k->c->what, wrong->key, wrong->value, k->f->name);
    return wrong != NULL;
}

/* Whether v is one of the keys that must be what another is; that it is not is an error. */
static bool alike_key(struct keys *k, const cJSON *v)
{
    const struct fixed_key *p = k->f->alike;
    const cJSON *other;

    while (p && p->key && strcmp(p->key, v->string) != 0)
        p++;
    if (!p || !p->key)
        return false;
    other = config_get(k->c, p->value);
    if (other && !cJSON_IsNull(other) && !cJSON_IsNull(v) && !cJSON_Compare(other, v, true) &&
        !vouched_for(k, v->string))
        err_set(k->c->e, ERR_INPUT, "'%s': %s and %s are not the same", k->c->what, p->key, p->value);
    return true;
}

static bool known_key(const struct family *f, const char *key)
{
    return in_words(common_keys, key) || in_words(harmless_keys, key) || in_words(f->own_keys, key) ||
           in_words(f->key_experts, key) || in_words(f->key_topk, key) || in_words(f->key_mtp, key) ||
           is_key(f->key_inter, key) || is_key(f->key_dense_inter, key) ||
           is_key(f->key_attention_bias, key) || is_key(f->key_shared_count, key) ||
           is_key(f->key_shared_width, key) || is_key(f->key_gate_scale, key) ||
           is_key(f->key_moe_layers, key) || is_key(f->key_capacity, key);
}

static void check_duplicates(const struct config *c)
{
    const cJSON *v, *w;

    cJSON_ArrayForEach(v, c->obj)
    {
        for (w = v->next; w; w = w->next)
            if (strcmp(w->string, v->string) == 0 && !cJSON_Compare(v, w, true))
                err_set(c->e, ERR_INPUT, "'%s': '%s' occurs twice, with two values", c->what, v->string);
    }
}

static void unknown_key(struct keys *k, const cJSON *v)
{
    enum { NAMED = 700 }; /* bytes of a message */

    if (neutral(v) || vouched_for(k, v->string))
        return;
    k->last = v->string;
    k->n++;
    if (k->unknown.n < NAMED)
        str_addf(&k->unknown, "%s'%.100s'", k->n > 1 ? ", " : "", v->string);
    else
        str_adds(&k->unknown, ", ...");
}

/* Whether the other keys say that all layers attend to everything. */
static bool no_window(const struct keys *k)
{
    switch (k->f->mask_rule) {
    case MASKS_FULL:
        return true;
    case MASKS_USE_SLIDING:
        return !cJSON_IsTrue(config_get(k->c, "use_sliding_window"));
    case MASKS_IF_WINDOW: {
        const cJSON *window = config_get(k->c, "sliding_window");

        return !window || cJSON_IsNull(window);
    }
    default:
        return false;
    }
}

/* Layers that all attend to everything, and would without being listed. */
static bool plain_layers(const struct keys *k, const cJSON *v)
{
    const cJSON *t = v->child;

    if (strcmp(v->string, "layer_types") != 0 || !no_window(k) || !cJSON_IsArray(v))
        return false;
    while (t && cJSON_IsString(t) && strcmp(t->valuestring, "full_attention") == 0)
        t = t->next;
    return !t;
}

static bool understood(struct keys *k, const cJSON *v)
{
    return in_words(harmless_keys, v->string) || fixed_key(k, k->f->fixed, v) || known_key(k->f, v->string) ||
           alike_key(k, v) || fixed_key(k, common_fixed, v) || plain_layers(k, v);
}

static void check_object(struct keys *k)
{
    const cJSON *v;

    check_duplicates(k->c);
    cJSON_ArrayForEach(v, k->c->obj)
    {
        if (!understood(k, v))
            unknown_key(k, v);
    }
}

/* Beside text_config: what is read, what is harmless, and what says the same as inside. */
static void check_wrapper(struct keys *k, const struct config *wrapper)
{
    const cJSON *v, *inner;

    check_duplicates(wrapper);
    cJSON_ArrayForEach(v, wrapper->obj)
    {
        inner = config_get(k->c, v->string);
        if (!in_words(wrapper_keys, v->string) && !in_words(harmless_keys, v->string) &&
            !(inner && cJSON_Compare(inner, v, true)))
            unknown_key(k, v);
    }
}

/* rope_scaling hides all of rope_parameters, in transformers too: one number there that is neither in the
 * former nor beside both is lost, which was hardly meant. */
static void check_hidden(struct keys *k, const cJSON *in_force, const char *key, double otherwise)
{
    const cJSON *hidden = config_get(k->c, "rope_parameters"), *v = json_member(hidden, key);
    const cJSON *beside = config_get(k->c, key);

    if (!in_force || in_force == hidden || !cJSON_IsNumber(v) || vouched_for(k, "rope_parameters") ||
        cJSON_HasObjectItem(in_force, key))
        return;
    if (cJSON_IsNumber(beside))
        otherwise = beside->valuedouble;
    if (v->valuedouble != otherwise)
        err_set(k->c->e, ERR_INPUT,
                "'%s': rope_scaling takes the place of all of rope_parameters, and %s %.15g of that would be "
                "%.15g: "
                "write it into rope_scaling too, or say --ignore-key rope_parameters",
                k->c->what, key, v->valuedouble, otherwise);
}

static void check_rope(struct keys *k)
{
    const cJSON *v, *d = rope_dictionary(k->c);

    cJSON_ArrayForEach(v, d)
    {
        if (!in_words(rope_keys, v->string) && !fixed_key(k, rope_fixed, v))
            unknown_key(k, v);
    }
    check_hidden(k, d, "rope_theta", k->f->default_theta);
    check_hidden(k, d, "partial_rotary_factor",
                 k->f->default_partial_rotary > 0 ? k->f->default_partial_rotary : 1);
}

void keys_check(struct config *text, const struct config *wrapper, const struct family *f,
                const struct arch_options *o)
{
    struct keys k = {text, f, o, {0}, 0, NULL};

    if (wrapper)
        check_wrapper(&k, wrapper);
    check_object(&k);
    check_rope(&k);
    if (k.n == 1)
        err_set(
            text->e, ERR_UNKNOWN,
            "'%s': the key %s is not understood and might change what the model computes; if you know that "
            "it does not, say --ignore-key %s",
            text->what, k.unknown.p, k.last);
    if (k.n > 1)
        err_set(
            text->e, ERR_UNKNOWN,
            "'%s': the %d keys %s are not understood and might change what the model computes; if you know "
            "that they do not, say --ignore-key KEY of each",
            text->what, k.n, k.unknown.p);
    str_free(&k.unknown);
}
