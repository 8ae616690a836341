/*
 * arch.c -- a family's row applied to a config.json.
 */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/config.h"
#include "model/mixer.h"

enum { MAX_LAYERS = 4096, MAX_EXPERTS = 65536 };

/* ---- which keys are understood ---- */

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

/* Without any influence on the forward pass of a text. */
static const char *const harmless_keys[] = {"transformers_version",
                                            "use_cache",
                                            "initializer_range",
                                            "bos_token_id",
                                            "eos_token_id",
                                            "pad_token_id",
                                            "attention_dropout",
                                            "output_router_logits",
                                            "router_aux_loss_coef",
                                            "router_jitter_noise",
                                            "_name_or_path",
                                            "return_dict",
                                            "output_hidden_states",
                                            "output_attentions",
                                            "id2label",
                                            "label2id",
                                            "auto_map",
                                            "problem_type",
                                            "chunk_size_feed_forward",
                                            "is_encoder_decoder",
                                            "_attn_implementation",
                                            "_attn_implementation_autoset",
                                            "pretraining_tp",
                                            "unsloth_version",
                                            "unsloth_fixed",
                                            "tokenizer_class",
                                            "max_length",
                                            "temperature",
                                            "top_p",
                                            "top_k",
                                            "do_sample",
                                            "num_return_sequences",
                                            NULL};

/* Of a multimodal wrapper: what stands beside text_config. */
static const char *const wrapper_keys[] = {
    "architectures",        "model_type",          "text_config", "vision_config", "quantization_config",
    "transformers_version", "tie_word_embeddings", "dtype",       "torch_dtype",   "boi_token_index",
    "eoi_token_index",      "image_token_index",   NULL};

static bool in_list(const char *const *list, const char *key)
{
    for (; list && *list; list++)
        if (strcmp(*list, key) == 0)
            return true;
    return false;
}

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

/* Is v the value that the text says: true, false, null, a number or a string without quotes? */
static bool has_value(const cJSON *v, const char *text)
{
    if (cJSON_IsString(v))
        return strcmp(v->valuestring, text) == 0;
    if (cJSON_IsNumber(v))
        return v->valuedouble == strtod(text, NULL);
    return strcmp(text, cJSON_IsTrue(v) ? "true" : cJSON_IsFalse(v) ? "false" : "null") == 0;
}

/* 1: a fixed key with the right value; 0: not a fixed key; the wrong value is an error. */
static bool fixed_key(struct config *c, const struct family *f, const cJSON *v)
{
    const struct fixed_key *k;

    for (k = f->fixed; k && k->key; k++) {
        if (strcmp(k->key, v->string) != 0)
            continue;
        if (!cJSON_IsNull(v) && !has_value(v, k->value))
            err_set(c->e, ERR_UNKNOWN,
                    "'%s': %s is not %s, which is all that is understood for the family %s", c->what, k->key,
                    k->value, f->name);
        return true;
    }
    return false;
}

static bool known_key(const struct family *f, const char *key)
{
    return in_list(common_keys, key) || in_list(harmless_keys, key) || in_list(f->own_keys, key) ||
           in_list(f->key_experts, key) || in_list(f->key_topk, key) || in_list(f->key_mtp, key) ||
           is_key(f->key_inter, key) || is_key(f->key_dense_inter, key) ||
           is_key(f->key_attention_bias, key) || is_key(f->key_shared_count, key) ||
           is_key(f->key_shared_width, key) || is_key(f->key_capacity, key);
}

static void check_duplicates(struct config *c)
{
    const cJSON *v, *w;

    cJSON_ArrayForEach(v, c->obj)
    {
        for (w = v->next; w; w = w->next)
            if (strcmp(w->string, v->string) == 0)
                err_set(c->e, ERR_INPUT, "'%s': '%s' occurs twice", c->what, v->string);
    }
}

static void check_keys(struct config *c, const struct family *f, const struct arch_options *o, bool wrapper)
{
    const cJSON *v;

    check_duplicates(c);
    cJSON_ArrayForEach(v, c->obj)
    {
        const char *key = v->string;

        if (wrapper ? in_list(wrapper_keys, key) || in_list(harmless_keys, key)
                    : fixed_key(c, f, v) || known_key(f, key))
            continue;
        if (neutral(v) || (o && in_list(o->ignore_keys, key)))
            continue;
        err_set(
            c->e, ERR_UNKNOWN,
            "'%s': the key '%s' is not understood and might change what the model computes; if you know that "
            "it does not, say --ignore-key %s",
            c->what, key, key);
    }
}

/* ---- parts of an architecture ---- */

static const struct family *find_family(struct config *c)
{
    const cJSON *archs = config_get(c, "architectures"), *first = archs ? archs->child : NULL;
    const char *type = config_string(c, "model_type");
    int n, i;
    const struct family *t = family_table(&n);

    if (first && cJSON_IsString(first)) {
        for (i = 0; i < n; i++)
            if (in_list(t[i].architectures, first->valuestring))
                return &t[i];
        err_set(c->e, ERR_UNKNOWN,
                "'%s': the architecture '%s' is not known; moe-inspect --families lists those that are",
                c->what, first->valuestring);
        return NULL;
    }
    for (i = 0; type && i < n; i++)
        if (in_list(t[i].model_type, type))
            return &t[i];
    err_set(c->e, ERR_UNKNOWN,
            "'%s': the model type '%s' is not known; moe-inspect --families lists those that are", c->what,
            type ? type : "(none)");
    return NULL;
}

/* All spellings that are present must agree. */
static int agreed(struct config *c, const char *const *keys, int max)
{
    const char *found = NULL, *const * k;
    int value = 0, v;

    for (k = keys; *k; k++) {
        if (!config_has(c, *k) || config_null(c, *k))
            continue;
        v = config_int(c, *k, 1, max, 0);
        if (found && v != value)
            err_set(c->e, ERR_INPUT, "'%s': %s is %d but %s is %d", c->what, found, value, *k, v);
        found = *k;
        value = v;
    }
    if (!found)
        err_set(c->e, ERR_INPUT, "'%s' has no %s", c->what, keys[0]);
    return value;
}

static void read_quantization(struct arch *a, struct config *c)
{
    const cJSON *q = config_get(c, "quantization_config");
    struct config d = {q, c->what, c->e};
    const char *method, *format;

    if (cJSON_IsNull(q))
        q = NULL;
    a->claims = format_claims(q, a->claim);
    if (!q || a->claims > 1)
        return;
    method = config_string(&d, "quant_method");
    format = config_string(&d, "format");
    snprintf(a->unread, sizeof a->unread, "the quantization '%.60s%s%.60s' is not read",
             method ? method : "(no name)", format ? ", " : "", format ? format : "");
}

static void read_groups(struct arch *a, struct config *c)
{
    const struct family *f = a->family;
    const char *method = config_string(c, "topk_method");

    a->groups = a->topk_group = 1;
    if (f->group == GROUP_NONE)
        return;
    if (f->group == GROUP_MAX) {
        if (!method || strcmp(method, "greedy") == 0)
            return;
        if (strcmp(method, "group_limited_greedy") != 0) {
            err_set(c->e, ERR_UNKNOWN, "'%s': topk_method '%s' is not known", c->what, method);
            return;
        }
    }
    a->groups = config_int(c, "n_group", 1, a->experts, f->default_groups ? f->default_groups : 1);
    a->topk_group =
        config_int(c, "topk_group", 1, a->groups, f->default_topk_group ? f->default_topk_group : 1);
    if (a->groups > 1)
        a->group = f->group;
    if (a->experts % a->groups)
        err_set(c->e, ERR_INPUT, "'%s': %d experts do not divide into %d groups", c->what, a->experts,
                a->groups);
    else if (a->topk_group > a->groups)
        err_set(c->e, ERR_INPUT, "'%s': %d groups of %d make no sense", c->what, a->topk_group, a->groups);
    else if (a->topk_group * (a->experts / a->groups) < a->topk)
        err_set(c->e, ERR_INPUT, "'%s': %d groups of %d experts are too few for %d experts per token",
                c->what, a->topk_group, a->experts / a->groups, a->topk);
}

static void read_router(struct arch *a, struct config *c)
{
    const struct family *f = a->family;

    a->experts = agreed(c, f->key_experts, MAX_EXPERTS);
    a->topk = agreed(c, f->key_topk, MAX_EXPERTS);
    if (c->e->kind)
        return;
    if (a->topk > a->experts)
        err_set(c->e, ERR_INPUT, "'%s': %d experts per token of %d make no sense", c->what, a->topk,
                a->experts);
    a->renorm = f->renorm_rule == RENORM_ALWAYS ||
                (f->renorm_rule == RENORM_KEY && config_bool(c, "norm_topk_prob", f->default_renorm));
    if (f->scale_unless_renorm && a->topk == 1)
        a->renorm = false;
    a->gate_scale = f->default_gate_scale > 0 ? f->default_gate_scale : 1;
    if (f->gate_scaled)
        a->gate_scale = config_double(c, "routed_scaling_factor", 0, 1e6, a->gate_scale);
    if (f->scale_unless_renorm && a->renorm)
        a->gate_scale = 1;
    read_groups(a, c);
}

static void read_sizes(struct arch *a, struct config *c)
{
    const struct family *f = a->family;
    const char *act = config_string(c, "hidden_act"), *const * k;

    a->hidden = config_int(c, "hidden_size", 1, MAX_DIM, 0);
    a->layers = config_int(c, "num_hidden_layers", 1, MAX_LAYERS, 0);
    a->vocab = config_int(c, "vocab_size", 1, MAX_DIM, 0);
    a->inter = config_int(c, f->key_inter, 1, MAX_DIM, 0);
    a->eps = config_double(c, "rms_norm_eps", 0, 1, f->default_eps);
    a->max_position = config_int(c, "max_position_embeddings", 1, INT_MAX, 32768);
    a->tied = config_bool(c, "tie_word_embeddings", f->default_tied);
    a->act_limit = config_double(c, "swiglu_limit", 1e-6, 1e6, f->act_limit);
    if (f->act == ACT_SILU_GLU && act && strcmp(act, "silu") != 0)
        err_set(c->e, ERR_UNKNOWN, "'%s': the activation '%s' is not known", c->what, act);
    if (c->e->kind)
        return;
    read_router(a, c);
    if (f->key_shared_count)
        a->shared_inter =
            a->inter * config_int(c, f->key_shared_count, 0, MAX_DIM / a->inter, f->default_shared);
    if (f->key_shared_width)
        a->shared_inter = config_int(c, f->key_shared_width, 0, MAX_DIM, f->default_shared);
    a->bias_head = f->use_bias && config_bool(c, f->key_attention_bias, f->default_attention_bias);
    a->bias_mlp = f->use_bias ? a->bias_head : config_bool(c, "mlp_bias", false);
    for (k = f->key_mtp; *k; k++)
        if (config_has(c, *k) && !config_null(c, *k))
            a->mtp_layers = config_int(c, *k, 0, MAX_LAYERS, 0);
}

static void read_text(struct arch *a, struct config *c)
{
    int i;

    read_sizes(a, c);
    if (c->e->kind)
        return;
    layers_read(a, c);
    for (i = 0; i < a->layers && !c->e->kind; i++)
        mixer_of(&a->layer[i])->read(a, c, &a->layer[i]);
}

int arch_read(struct arch *a, const cJSON *config, const char *what, const struct arch_options *o,
              struct err *e)
{
    struct err local = {0};
    struct config root = {config, what, &local}, text = root;

    *a = (struct arch){.prefix = ""};
    if (!cJSON_IsObject(config)) {
        err_set(&local, ERR_INPUT, "'%s' is not a JSON object", what);
    } else {
        a->family = find_family(&root);
        a->nested = cJSON_IsObject(config_get(&root, "text_config"));
        if (a->nested)
            text.obj = config_get(&root, "text_config");
        if (a->family) {
            if (a->nested)
                check_keys(&root, a->family, o, true);
            check_keys(&text, a->family, o, false);
            read_quantization(a, &root);
            read_text(a, &text);
            if (a->nested && config_has(&root, "tie_word_embeddings") &&
                !config_has(&text, "tie_word_embeddings"))
                a->tied = config_bool(&root, "tie_word_embeddings", false);
        }
    }
    if (!local.kind)
        return 0;
    arch_free(a);
    return err_set(e, local.kind, "%s", local.msg);
}

void arch_free(struct arch *a)
{
    int i;

    for (i = 0; i < a->ropes; i++)
        free(a->rope[i].inv_freq);
    free(a->rope);
    free(a->layer);
    *a = (struct arch){0};
}
