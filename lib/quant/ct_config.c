/* ct_config.c -- config_groups: formats, types, bits, and what shares a scale. */
#include "quant/ct_config.h"

#include <cjson/cJSON.h>
#include <string.h>

#include "base/json.h"
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
                           .symmetric = !cJSON_IsFalse(json_member(weights, "symmetric"))};
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

/* What AutoRound has in one of these formats, and calls by kinds of numbers. */
static int autoround_claims(const cJSON *config, const char *const *formats, int least, int most,
                            struct block_size *b, int max)
{
    static const struct {
        const char *format, *kind;
    } table[] = {{"mxfp4-pack-quantized", "mx_fp"},
                 {"mxfp8-quantized", "mx_fp"},
                 {"nvfp4-pack-quantized", "nv_fp"},
                 {"float-quantized", "fp"}};
    size_t i = 0;

    while (i < sizeof table / sizeof *table && !in_words(formats, table[i].format))
        i++;
    return i == sizeof table / sizeof *table
               ? 0
               : autoround_find(config, AUTOROUND_FLOAT, table[i].kind, least, most, b, max);
}

int ct_claims(const cJSON *config, const char *const *formats, const char *type, int least, int most,
              struct block_size *b, int max)
{
    struct ct_group g[CT_GROUPS];
    int groups = ct_groups(config, g), n = 0, i, k;

    for (i = 0; i < groups && n < max; i++) {
        if (!in_words(formats, g[i].format) || strcmp(g[i].type, type) != 0 || g[i].bits < least ||
            g[i].bits > most || (!g[i].symmetric && strcmp(type, "float") == 0))
            continue;
        for (k = 0; k < n && memcmp(&b[k], &g[i].block, sizeof *b) != 0; k++)
            ;
        if (k == n)
            b[n++] = g[i].block;
    }
    return groups ? n : autoround_claims(config, formats, least, most, b, max);
}
