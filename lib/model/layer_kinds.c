/*
 * layer_kinds.c -- what kind each layer is, by the rules that a family's row names.
 */
#include <limits.h>
#include <string.h>

#include "base/mem.h"
#include "model/config.h"

/* A number, or a list of them (ERNIE): the smallest or largest. */
static int edge(struct config *c, const char *key, int absent_value, bool largest)
{
    const cJSON *v = config_get(c, key), *x;
    int edge_value = 0;
    bool any = false;

    if (!v || !cJSON_IsArray(v))
        return config_int(c, key, -1, INT_MAX, absent_value);
    cJSON_ArrayForEach(x, v)
    {
        int n = cJSON_IsNumber(x) ? (int)x->valuedouble : 0;

        if (!any || (largest ? n > edge_value : n < edge_value))
            edge_value = n;
        any = true;
    }
    return any ? edge_value : absent_value;
}

/* A present, non-null and non-empty list. */
static bool is_list(const struct config *c, const char *key)
{
    const cJSON *v = config_get(c, key);

    return v && cJSON_IsArray(v) && v->child;
}

static void sparse_step(struct arch *a, struct config *c)
{
    int step = config_int(c, "decoder_sparse_step", 1, INT_MAX, 1), i;

    for (i = 0; i < a->layers; i++)
        if ((i + 1) % step == 0 && !config_list_has(c, "mlp_only_layers", i))
            a->layer[i].ffn = FFN_MOE;
}

static void start_end(struct arch *a, struct config *c)
{
    int start = edge(c, "moe_layer_start_index", 1, false), end = edge(c, "moe_layer_end_index", -1, true);
    int interval = config_int(c, "moe_layer_interval", 1, INT_MAX, 1), i;

    if (end < 0)
        end = a->layers - 1;
    for (i = start < 0 ? 0 : start; i <= end && i < a->layers; i++)
        if ((i + 1) % interval == 0)
            a->layer[i].ffn = FFN_MOE;
}

/* An empty moe_layers means none (transformers tests for None only); absent or null: computed. */
static void interleave(struct arch *a, struct config *c)
{
    const cJSON *list = config_get(c, "moe_layers");
    bool listed = list && !cJSON_IsNull(list);
    int step = config_int(c, "interleave_moe_layer_step", 1, INT_MAX, 1), i;

    for (i = 0; i < a->layers; i++)
        if (listed ? config_list_has(c, "moe_layers", i) : (i + 1) % step == 0)
            a->layer[i].ffn = FFN_MOE;
}

/* mlp_layer_types, where a row knows it, says "dense" or "sparse" for each layer. */
static void read_mlp_types(struct arch *a, struct config *c)
{
    const cJSON *types = is_list(c, "mlp_layer_types") ? config_get(c, "mlp_layer_types") : NULL, *t;
    int i = 0;

    if (types && cJSON_GetArraySize(types) != a->layers) {
        err_set(c->e, ERR_INPUT, "'%s': mlp_layer_types has %d entries for %d layers", c->what,
                cJSON_GetArraySize(types), a->layers);
        return;
    }
    cJSON_ArrayForEach(t, types)
    {
        const char *name = cJSON_IsString(t) ? t->valuestring : "(not a string)";
        bool sparse = strcmp(name, "sparse") == 0;

        if (!sparse && strcmp(name, "dense") != 0)
            err_set(c->e, ERR_UNKNOWN, "'%s': the MLP layer type '%s' is not known", c->what, name);
        a->layer[i++].ffn = sparse ? FFN_MOE : FFN_DENSE;
    }
}

/* A list of true and false, or 1 and 0. */
static void read_moe_list(struct arch *a, struct config *c, const char *key)
{
    const cJSON *list = key && is_list(c, key) ? config_get(c, key) : NULL, *v;
    int i = 0;

    if (list && cJSON_GetArraySize(list) != a->layers) {
        err_set(c->e, ERR_INPUT, "'%s': %s has %d entries for %d layers", c->what, key,
                cJSON_GetArraySize(list), a->layers);
        return;
    }
    cJSON_ArrayForEach(v, list)
    {
        bool sparse = cJSON_IsTrue(v) || (cJSON_IsNumber(v) && v->valuedouble != 0);

        a->layer[i++].ffn = sparse ? FFN_MOE : FFN_DENSE;
    }
}

static void read_ffn(struct arch *a, struct config *c)
{
    const struct family *f = a->family;
    int i, first = 0;

    switch (f->ffn_rule) {
    case FFN_SPARSE_STEP:
        sparse_step(a, c);
        break;
    case FFN_START_END:
        start_end(a, c);
        break;
    case FFN_INTERLEAVE:
        interleave(a, c);
        break;
    case FFN_FIRST_K:
        first = config_int(c, "first_k_dense_replace", 0, INT_MAX, f->default_first_dense);
        /* fall through */
    case FFN_ALL_MOE:
        for (i = first; i < a->layers; i++)
            a->layer[i].ffn = FFN_MOE;
        break;
    }
    if (f->ffn_rule == FFN_FIRST_K) {
        read_moe_list(a, c, f->key_moe_layers);
        read_mlp_types(a, c);
    }
    for (i = 0; i < a->layers; i++)
        a->moe_layers += a->layer[i].ffn == FFN_MOE;
    if (!a->moe_layers)
        err_set(c->e, ERR_INPUT, "'%s': no layer has experts", c->what);
    if (a->moe_layers < a->layers)
        a->dense_inter =
            config_int(c, f->key_dense_inter ? f->key_dense_inter : "intermediate_size", 1, 1 << 24, 0);
}

/* no_rope_layers[i] == 1 says that layer i has rope (sic); absent, null or empty: every interval-th has none.
 */
static void read_no_rope(struct arch *a, struct config *c)
{
    int interval = config_int(c, "no_rope_layer_interval", 1, INT_MAX, 4), i;
    const cJSON *v = is_list(c, "no_rope_layers") ? config_get(c, "no_rope_layers") : NULL, *x = NULL;

    if (v && cJSON_GetArraySize(v) != a->layers)
        err_set(c->e, ERR_INPUT, "'%s': no_rope_layers has %d entries for %d layers", c->what,
                cJSON_GetArraySize(v), a->layers);
    x = v ? v->child : NULL;
    for (i = 0; i < a->layers; i++) {
        bool on = x ? cJSON_IsNumber(x) && x->valuedouble != 0 : (i + 1) % interval != 0;

        a->layer[i].attn.rope = on ? 0 : -1;
        x = x ? x->next : NULL;
    }
}

static const struct {
    const char *name;
    enum mask_kind mask;
} layer_types[] = {
    {"full_attention", MASK_FULL}, {"sliding_attention", MASK_SLIDING}, {"chunked_attention", MASK_CHUNKED}};

/* Overrides the computed masks where layer_types is given. */
static void read_layer_types(struct arch *a, struct config *c, int window)
{
    const cJSON *types = is_list(c, "layer_types") ? config_get(c, "layer_types") : NULL, *t;
    size_t k, n = sizeof layer_types / sizeof *layer_types;
    int i = 0;

    if (!types)
        return;
    if (cJSON_GetArraySize(types) != a->layers) {
        err_set(c->e, ERR_INPUT, "'%s': layer_types has %d entries for %d layers", c->what,
                cJSON_GetArraySize(types), a->layers);
        return;
    }
    cJSON_ArrayForEach(t, types)
    {
        const char *name = cJSON_IsString(t) ? t->valuestring : "(not a string)";

        for (k = 0; k < n && strcmp(layer_types[k].name, name) != 0; k++)
            ;
        if (k == n) {
            err_set(c->e, ERR_UNKNOWN, "'%s': the layer type '%s' is not known", c->what, name);
            return;
        }
        a->layer[i].attn.mask = window ? layer_types[k].mask : MASK_FULL;
        i++;
    }
}

static bool slides(const struct arch *a, struct config *c, int layer)
{
    switch (a->family->mask_rule) {
    case MASKS_USE_SLIDING:
        return config_bool(c, "use_sliding_window", false);
    case MASKS_IF_WINDOW:
        return true;
    case MASKS_LAYER_TYPES:
        return layer % 2 == 0;
    case MASKS_QWEN2:
        return config_bool(c, "use_sliding_window", false) && layer % 2 == 0 &&
               layer < config_int(c, "max_window_layers", 0, INT_MAX, 28);
    case MASKS_LATE:
        return layer >= config_int(c, "max_window_layers", 0, INT_MAX, 62);
    default:
        return false;
    }
}

static void read_masks(struct arch *a, struct config *c)
{
    const struct family *f = a->family;
    bool chunked = f->mask_rule == MASKS_CHUNKED_ON_ROPE;
    const char *key = chunked ? "attention_chunk_size" : "sliding_window";
    int window = config_null(c, key) ? 0 : config_int(c, key, 0, INT_MAX, f->default_window), i;

    for (i = 0; i < a->layers; i++) {
        bool on = chunked ? a->layer[i].attn.rope == 0 : slides(a, c, i);

        a->layer[i].attn.mask = on && window ? (chunked ? MASK_CHUNKED : MASK_SLIDING) : MASK_FULL;
    }
    if (f->mask_rule == MASKS_LAYER_TYPES || f->mask_rule == MASKS_QWEN2 || f->mask_rule == MASKS_LATE ||
        chunked)
        read_layer_types(a, c, window);
    for (i = 0; i < a->layers; i++)
        if (a->layer[i].attn.mask != MASK_FULL)
            a->layer[i].attn.window = window;
    if (chunked && !window)
        err_set(c->e, ERR_INPUT, "'%s': attention_chunk_size is null", c->what);
}

void layers_read(struct arch *a, struct config *c)
{
    int i;

    a->layer = mem_new((size_t)a->layers, sizeof *a->layer, c->e);
    if (!a->layer)
        return;
    for (i = 0; i < a->layers; i++)
        a->layer[i].mixer = a->family->mixer;
    read_ffn(a, c);
    if (a->family->mask_rule == MASKS_CHUNKED_ON_ROPE)
        read_no_rope(a, c);
    read_masks(a, c);
}
