/* ct_config.c -- config_groups: formats, types, bits, and what shares a scale. */
#include "quant/ct_config.h"

#include <cjson/cJSON.h>
#include <string.h>

#include "base/json.h"
#include "base/json_out.h"
#include "base/words.h"
#include "quant/format_rows.h"
#include "quant/schemes.h"

enum { MAX_BLOCK = 1 << 20 };

static const char *text_of(const cJSON *o, const char *key)
{
    const cJSON *v = json_member(o, key);

    return cJSON_IsString(v) ? v->valuestring : "";
}

/* A number from 1 on; 0: it is none. */
static int size_of(const cJSON *v)
{
    double x = cJSON_IsNumber(v) ? v->valuedouble : 0;

    return x >= 1 && x <= MAX_BLOCK && x == (int)x ? (int)x : 0;
}

/* What shares a scale. */
static bool read_block(const cJSON *weights, struct block_size *b)
{
    const char *strategy = text_of(weights, "strategy");
    const cJSON *size = json_member(weights, "block_structure");
    int group = size_of(json_member(weights, "group_size"));

    if (strcmp(strategy, "tensor") == 0)
        *b = (struct block_size){0};
    else if (strcmp(strategy, "channel") == 0)
        *b = (struct block_size){.out = 1};
    else if (strcmp(strategy, "group") == 0 || strcmp(strategy, "tensor_group") == 0)
        *b = (struct block_size){.out = 1, .in = group};
    else
        *b = (struct block_size){.out = size_of(cJSON_GetArrayItem(size, 0)),
                                 .in = size_of(cJSON_GetArrayItem(size, 1))};
    return strcmp(strategy, "tensor") == 0 || strcmp(strategy, "channel") == 0 || (b->out && b->in);
}

static bool read_group(const cJSON *all, const cJSON *group, struct ct_group *g)
{
    const cJSON *weights = json_member(group, "weights");
    const char *own = text_of(group, "format");

    *g = (struct ct_group){.format = *own ? own : text_of(all, "format"),
                           .type = text_of(weights, "type"),
                           .bits = size_of(json_member(weights, "num_bits")),
                           .zeros = cJSON_IsFalse(json_member(weights, "symmetric")),
                           .ordered = config_says(weights, "actorder", "group") ||
                                      cJSON_IsTrue(json_member(weights, "actorder"))};
    if (!cJSON_IsObject(weights) || !read_block(weights, &g->block))
        return false;
    g->block.bits = g->bits;
    return g->bits > 0;
}

/* Weights that are turned, or not all there. */
static bool is_transformed(const cJSON *config)
{
    const cJSON *turned = json_member(config, "transform_config"),
                *sparse = json_member(config, "sparsity_config");
    const char *format = text_of(sparse, "format");

    return (turned && turned->child) || (*format && strcmp(format, "dense") != 0);
}

int ct_groups(const cJSON *config, struct ct_group g[CT_GROUPS])
{
    const cJSON *group;
    int n = 0;

    if (!config_says(config, "quant_method", "compressed-tensors") || is_transformed(config))
        return 0;
    cJSON_ArrayForEach(group, json_member(config, "config_groups"))
    {
        if (n < CT_GROUPS && read_group(config, group, &g[n]))
            n++;
    }
    return n;
}

static bool is_kind(const struct ct_group *g, const struct ct_kind *k)
{
    return in_words(k->formats, g->format) && strcmp(g->type, k->type) == 0 && g->bits >= k->least &&
           g->bits <= k->most && g->zeros == k->zeros && g->ordered == k->ordered;
}

int ct_claims(const cJSON *config, const struct ct_kind *kind, struct block_size *b, int max)
{
    struct ct_group g[CT_GROUPS];
    int groups = ct_groups(config, g), n = 0, i, k;

    if (kind->autoround && config_says(config, "quant_method", "auto-round"))
        return autoround_find(config, AUTOROUND_FLOAT, kind->autoround, kind->least, kind->most, b, max);
    for (i = 0; i < groups && n < max; i++) {
        if (!is_kind(&g[i], kind))
            continue;
        for (k = 0; k < n && memcmp(&b[k], &g[i].block, sizeof *b) != 0; k++)
            ;
        if (k == n)
            b[n++] = g[i].block;
    }
    return n;
}

/* ---- writing ---- */

static void write_tokens(struct json_out *j, const struct ct_scheme *s, int bits)
{
    if (!s->tokens) {
        jo_null(j, "input_activations");
        return;
    }
    jo_open(j, "input_activations", '{');
    jo_bool(j, "dynamic", true);
    jo_int(j, "num_bits", bits);
    jo_string(j, "strategy", "token");
    jo_bool(j, "symmetric", true);
    jo_string(j, "type", s->type);
    jo_close(j);
}

static void write_weights(struct json_out *j, const struct ct_scheme *s, struct block_size block)
{
    jo_open(j, "weights", '{');
    jo_bool(j, "dynamic", false);
    if (block.in)
        jo_int(j, "group_size", block.in);
    jo_int(j, "num_bits", block.bits);
    if (s->scale_dtype)
        jo_string(j, "scale_dtype", s->scale_dtype);
    jo_string(j, "strategy", s->strategy);
    jo_bool(j, "symmetric", true);
    jo_string(j, "type", s->type);
    jo_close(j);
}

void ct_write(struct json_out *j, const struct ct_scheme *s, struct block_size block,
              const char *const *ignore)
{
    jo_open(j, "config_groups", '{');
    jo_open(j, "group_0", '{');
    jo_string(j, "format", s->format);
    write_tokens(j, s, block.bits);
    jo_null(j, "output_activations");
    jo_open(j, "targets", '[');
    jo_string(j, NULL, "Linear");
    jo_close(j);
    write_weights(j, s, block);
    jo_close(j);
    jo_close(j);
    jo_string(j, "format", s->format);
    jo_open(j, "ignore", '[');
    for (; *ignore; ignore++)
        jo_string(j, NULL, *ignore);
    jo_close(j);
    jo_string(j, "quant_method", "compressed-tensors");
    jo_string(j, "quantization_status", "compressed");
}
