/*
 * arch.c -- a family's row applied to a config.json.
 */
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/config.h"

enum { MAX_DIM = 1 << 24, MAX_LAYERS = 4096, MAX_EXPERTS = 65536 };

/* ---- config.json values ---- */

static const cJSON *get(const struct config *c, const char *key)
{
    return c->obj ? cJSON_GetObjectItemCaseSensitive(c->obj, key) : NULL;
}

bool config_has(const struct config *c, const char *key)
{
    return get(c, key) != NULL;
}

bool config_null(const struct config *c, const char *key)
{
    const cJSON *v = get(c, key);

    return v && cJSON_IsNull(v);
}

double config_double(struct config *c, const char *key, double min, double max, double absent_value)
{
    const cJSON *v = get(c, key);

    if (!v || cJSON_IsNull(v)) {
        if (absent_value < min && absent_value != 0)
            err_set(c->e, ERR_INPUT, "'%s' has no %s", c->what, key);
        return absent_value;
    }
    if (!cJSON_IsNumber(v) || !(v->valuedouble >= min && v->valuedouble <= max)) {
        err_set(c->e, ERR_INPUT, "'%s': %s is not a number from %g to %g", c->what, key, min, max);
        return absent_value;
    }
    return v->valuedouble;
}

int config_int(struct config *c, const char *key, int min, int max, int absent_value)
{
    const cJSON *v = get(c, key);

    if (!v || cJSON_IsNull(v)) {
        if (absent_value < min)
            err_set(c->e, ERR_INPUT, "'%s' has no %s", c->what, key);
        return absent_value;
    }
    if (!cJSON_IsNumber(v) || v->valuedouble != floor(v->valuedouble) ||
        !(v->valuedouble >= min && v->valuedouble <= max)) {
        err_set(c->e, ERR_INPUT, "'%s': %s is not a whole number from %d to %d", c->what, key, min, max);
        return absent_value < min ? min : absent_value;
    }
    return (int)v->valuedouble;
}

/* Released files hold 4 where a bool is meant: read as truth. */
bool config_bool(struct config *c, const char *key, bool absent_value)
{
    const cJSON *v = get(c, key);

    if (!v || cJSON_IsNull(v))
        return absent_value;
    if (cJSON_IsNumber(v))
        return v->valuedouble != 0;
    if (!cJSON_IsBool(v))
        err_set(c->e, ERR_INPUT, "'%s': %s is not true or false", c->what, key);
    return cJSON_IsTrue(v);
}

const char *config_string(struct config *c, const char *key)
{
    const cJSON *v = get(c, key);

    if (!v || cJSON_IsNull(v))
        return NULL;
    if (!cJSON_IsString(v)) {
        err_set(c->e, ERR_INPUT, "'%s': %s is not a string", c->what, key);
        return NULL;
    }
    return v->valuestring;
}

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
                                          "attention_bias",
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
                                            "router_jitter_noise",
                                            "max_length",
                                            "temperature",
                                            "top_p",
                                            "top_k",
                                            "do_sample",
                                            "num_return_sequences",
                                            NULL};

static bool in_list(const char *const *list, const char *key)
{
    for (; list && *list; list++)
        if (strcmp(*list, key) == 0)
            return true;
    return false;
}

/* null, false, 0, "", [], {}: a feature that is switched off. */
static bool neutral(const cJSON *v)
{
    return cJSON_IsNull(v) || cJSON_IsFalse(v) || (cJSON_IsNumber(v) && v->valuedouble == 0) ||
           (cJSON_IsString(v) && !*v->valuestring) || ((cJSON_IsArray(v) || cJSON_IsObject(v)) && !v->child);
}

static void check_keys(struct config *c, const struct family *f, const struct arch_options *o)
{
    const cJSON *v, *w;

    cJSON_ArrayForEach(v, c->obj)
    {
        const char *key = v->string;

        for (w = v->next; w; w = w->next)
            if (strcmp(w->string, key) == 0)
                err_set(c->e, ERR_INPUT, "'%s': '%s' occurs twice", c->what, key);
        if (in_list(common_keys, key) || in_list(harmless_keys, key) || in_list(f->own_keys, key) ||
            in_list(f->key_experts, key) || in_list(f->key_topk, key) || strcmp(f->key_inter, key) == 0 ||
            (f->key_dense_inter && strcmp(f->key_dense_inter, key) == 0) || neutral(v) ||
            (o && in_list(o->ignore_keys, key)))
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
    const cJSON *archs = get(c, "architectures"), *first = archs ? archs->child : NULL;
    const char *type = config_string(c, "model_type");
    int n, i, k;
    const struct family *t = family_table(&n);

    if (first && cJSON_IsString(first)) {
        for (i = 0; i < n; i++)
            for (k = 0; k < 3 && t[i].architectures[k]; k++)
                if (strcmp(t[i].architectures[k], first->valuestring) == 0)
                    return &t[i];
        err_set(c->e, ERR_UNKNOWN,
                "'%s': the architecture '%s' is not known; moe-inspect --families lists those that are",
                c->what, first->valuestring);
        return NULL;
    }
    for (i = 0; type && i < n; i++)
        if (strcmp(t[i].model_type, type) == 0)
            return &t[i];
    err_set(c->e, ERR_UNKNOWN,
            "'%s': the model type '%s' is not known; moe-inspect --families lists those that are", c->what,
            type ? type : "(none)");
    return NULL;
}

/* All spellings that are present must agree. */
static int agreed(struct config *c, const char *const *keys, int max)
{
    const char *found = NULL;
    int value = 0, v;

    for (; *keys; keys++) {
        if (!config_has(c, *keys) || config_null(c, *keys))
            continue;
        v = config_int(c, *keys, 1, max, 0);
        if (found && v != value)
            err_set(c->e, ERR_INPUT, "'%s': %s is %d but %s is %d", c->what, found, value, *keys, v);
        found = *keys;
        value = v;
    }
    if (!found)
        err_set(c->e, ERR_INPUT, "'%s' has no %s", c->what, keys[-1]);
    return value;
}

static void read_quantization(struct arch *a, struct config *c)
{
    const cJSON *q = get(c, "quantization_config");
    struct config d = {q, c->what, c->e};
    const char *method, *format;

    if (!q || cJSON_IsNull(q))
        return;
    method = config_string(&d, "quant_method");
    format = config_string(&d, "format");
    if (method && strcmp(method, "mxfp4") == 0)
        a->mxfp4_config = true;
    else if (method && strcmp(method, "compressed-tensors") == 0 && format &&
             strcmp(format, "mxfp4-pack-quantized") == 0)
        a->ct_mxfp4_config = true;
    else
        err_set(c->e, ERR_UNKNOWN, "'%s': the quantization '%s%s%s' is not read", c->what,
                method ? method : "(no name)", format ? ", " : "", format ? format : "");
}

static bool in_int_list(struct config *c, const char *key, int value)
{
    const cJSON *list = get(c, key), *v;

    cJSON_ArrayForEach(v, list)
    {
        if (!cJSON_IsNumber(v))
            err_set(c->e, ERR_INPUT, "'%s': %s is not a list of numbers", c->what, key);
        else if (v->valuedouble == value)
            return true;
    }
    return false;
}

static void read_masks(struct arch *a, struct config *c)
{
    const struct family *f = a->family;
    int window =
        config_null(c, "sliding_window") ? 0 : config_int(c, "sliding_window", 0, INT_MAX, f->default_window);
    const cJSON *types = get(c, "layer_types"), *t = NULL;
    int i;

    if (f->mask_rule == MASKS_USE_SLIDING && !config_bool(c, "use_sliding_window", false))
        window = 0;
    if (f->mask_rule == MASKS_LAYER_TYPES && types && !cJSON_IsNull(types)) {
        if (cJSON_GetArraySize(types) != a->layers)
            err_set(c->e, ERR_INPUT, "'%s': layer_types has %d entries for %d layers", c->what,
                    cJSON_GetArraySize(types), a->layers);
        t = types->child;
    }
    for (i = 0; i < a->layers; i++) {
        bool sliding = f->mask_rule == MASKS_USE_SLIDING || i % 2 == 0;

        if (t) {
            const char *name = cJSON_IsString(t) ? t->valuestring : "(not a string)";

            sliding = strcmp(name, "sliding_attention") == 0;
            if (!sliding && strcmp(name, "full_attention") != 0)
                err_set(c->e, ERR_UNKNOWN, "'%s': the layer type '%s' is not known", c->what, name);
            t = t->next;
        }
        a->layer[i].mask = sliding && window ? MASK_SLIDING : MASK_FULL;
        a->layer[i].window = sliding ? window : 0;
    }
}

static void read_layers(struct arch *a, struct config *c)
{
    const struct family *f = a->family;
    int step = f->ffn_rule == FFN_SPARSE_STEP ? config_int(c, "decoder_sparse_step", 1, INT_MAX, 1) : 1, i;

    a->layer = mem_new((size_t)a->layers, sizeof *a->layer, c->e);
    if (!a->layer)
        return;
    for (i = 0; i < a->layers; i++) {
        bool dense =
            f->ffn_rule == FFN_SPARSE_STEP && ((i + 1) % step || in_int_list(c, "mlp_only_layers", i));

        a->layer[i].ffn = dense ? FFN_DENSE : FFN_MOE;
        a->moe_layers += !dense;
    }
    read_masks(a, c);
    if (a->moe_layers < a->layers)
        a->dense_inter = config_int(c, f->key_dense_inter, 1, MAX_DIM, 0);
    if (!a->moe_layers)
        err_set(c->e, ERR_INPUT, "'%s': no layer has experts", c->what);
}

static void read_sizes(struct arch *a, struct config *c)
{
    const struct family *f = a->family;
    const char *act = config_string(c, "hidden_act");

    a->hidden = config_int(c, "hidden_size", 1, MAX_DIM, 0);
    a->layers = config_int(c, "num_hidden_layers", 1, MAX_LAYERS, 0);
    a->vocab = config_int(c, "vocab_size", 1, MAX_DIM, 0);
    a->heads = config_int(c, "num_attention_heads", 1, MAX_DIM, 0);
    a->kv_heads = config_int(c, "num_key_value_heads", 1, MAX_DIM,
                             config_null(c, "num_key_value_heads") ? a->heads : f->default_kv_heads);
    if (c->e->kind)
        return;
    a->head_dim = config_int(c, "head_dim", 1, MAX_DIM,
                             f->default_head_dim && !config_null(c, "head_dim") ? f->default_head_dim
                                                                                : a->hidden / a->heads);
    a->inter = config_int(c, f->key_inter, 1, MAX_DIM, 0);
    a->experts = agreed(c, f->key_experts, MAX_EXPERTS);
    a->topk = agreed(c, f->key_topk, MAX_EXPERTS);
    a->eps = config_double(c, "rms_norm_eps", 0, 1, f->default_eps);
    a->max_position = config_int(c, "max_position_embeddings", 1, INT_MAX, 32768);
    a->tied = config_bool(c, "tie_word_embeddings", false);
    a->bias_qkv = a->bias_o = config_bool(c, "attention_bias", f->default_attention_bias);
    a->renorm = f->renorm == RENORM_SUM && (!f->renorm_key || config_bool(c, "norm_topk_prob", false));
    a->act_limit = config_double(c, "swiglu_limit", 1e-6, 1e6, f->act_limit);
    a->attn_scale = 1 / sqrt(a->head_dim);
    if (f->act == ACT_SILU_GLU && act && strcmp(act, "silu") != 0)
        err_set(c->e, ERR_UNKNOWN, "'%s': the activation '%s' is not known", c->what, act);
    if (c->e->kind)
        return;
    if (a->topk > a->experts)
        err_set(c->e, ERR_INPUT, "'%s': %d experts per token of %d make no sense", c->what, a->topk,
                a->experts);
    if (a->heads % a->kv_heads)
        err_set(c->e, ERR_INPUT, "'%s': %d attention heads do not divide among %d key-value heads", c->what,
                a->heads, a->kv_heads);
}

int arch_read(struct arch *a, const cJSON *config, const char *what, const struct arch_options *o,
              struct err *e)
{
    struct err local = {0};
    struct config c = {config, what, &local};

    *a = (struct arch){0};
    if (!cJSON_IsObject(config)) {
        err_set(&local, ERR_INPUT, "'%s' is not a JSON object", what);
    } else {
        a->family = find_family(&c);
        if (a->family) {
            check_keys(&c, a->family, o);
            read_quantization(a, &c);
            read_sizes(a, &c);
        }
    }
    if (!local.kind)
        read_layers(a, &c);
    if (!local.kind)
        rope_read(&a->rope, &c, a->family, a->head_dim, a->max_position);
    if (!local.kind)
        return 0;
    arch_free(a);
    return err_set(e, local.kind, "%s", local.msg);
}

void arch_free(struct arch *a)
{
    free(a->layer);
    free(a->rope.inv_freq);
    *a = (struct arch){0};
}
