/* schemes.c -- bits, groups and kinds of numbers, as GPTQ, AWQ and AutoRound announce them. */
#include "quant/schemes.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/words.h"
#include "quant/format_rows.h"

enum { MAX_GROUP = 1 << 20 };

/* Under key, of the exception or else of the whole; absent, or no whole number: other. */
static int scheme_number(const cJSON *some, const cJSON *all, const char *key, int other)
{
    const cJSON *v = json_member(some, key);

    if (!v)
        v = json_member(all, key);
    return cJSON_IsNumber(v) && v->valuedouble == v->valueint ? v->valueint : other;
}

static bool is_kind(const cJSON *some, const cJSON *all, const struct scheme_keys *k, const char *kind)
{
    const cJSON *v = k->kind ? json_member(some, k->kind) : NULL;

    if (k->kind && !v)
        v = json_member(all, k->kind);
    return strncmp(cJSON_IsString(v) ? v->valuestring : "int", kind, strlen(kind)) == 0;
}

/* Adds the sizes, if they are others than the n before. */
static int add(struct block_size *b, int n, int max, struct block_size one)
{
    int i;

    for (i = 0; i < n; i++)
        if (b[i].out == one.out && b[i].in == one.in && b[i].bits == one.bits)
            return n;
    if (n < max)
        b[n++] = one;
    return n;
}

int schemes_find(const cJSON *config, const struct scheme_keys *k, const char *kind, int min_bits,
                 int max_bits, struct block_size *b, int max)
{
    const cJSON *some = NULL, *others = k->some ? json_member(config, k->some) : NULL;
    int n = 0;

    others = cJSON_IsObject(others) ? others->child : NULL;
    do { /* none first: what holds for all */
        int bits = scheme_number(some, config, k->bits, 0), group = scheme_number(some, config, k->group, -1);

        if (is_kind(some, config, k, kind) && bits >= min_bits && bits <= max_bits && group >= -1 &&
            group <= MAX_GROUP)
            n = add(b, n, max, (struct block_size){group != 0, group > 0 ? group : 0, bits});
        some = some ? some->next : others;
    } while (some);
    return n;
}

/* ---- AutoRound ---- */

enum autoround_packing autoround_packing(const cJSON *config)
{
    static const struct {
        const char *name;
        enum autoround_packing packing;
    } table[] = {{"auto", AUTOROUND_GPTQ},
                 {"auto_round:gptq", AUTOROUND_GPTQ},
                 {"auto_round:auto_gptq", AUTOROUND_GPTQ},
                 {"auto_round", AUTOROUND_GPTQ_V2},
                 {"auto_round:gptqmodel", AUTOROUND_GPTQ_V2},
                 {"auto_round:exllamav2", AUTOROUND_GPTQ_V2},
                 {"auto_round:awq", AUTOROUND_AWQ},
                 {"auto_round:auto_awq", AUTOROUND_AWQ},
                 {"auto_round:llm_compressor", AUTOROUND_FLOAT},
                 {"auto_round:fp8", AUTOROUND_FLOAT},
                 {"auto_round:fp8_static", AUTOROUND_FLOAT}};
    const cJSON *v = json_member(config, "packing_format");
    size_t i;

    if (!config_says(config, "quant_method", "auto-round"))
        return AUTOROUND_NONE;
    if (!v || cJSON_IsNull(v)) /* what it takes weights of 8-bit floats for, and integers */
        return config_says(config, "data_type", "fp") ? AUTOROUND_FLOAT : AUTOROUND_GPTQ;
    for (i = 0; cJSON_IsString(v) && i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].name, v->valuestring) == 0)
            return table[i].packing;
    return AUTOROUND_NONE;
}

const char *autoround_stumbles(const cJSON *config)
{
    static const char *const turned[] = {"rotation_config", "spinquant_config"};
    size_t i;

    for (i = 0; i < sizeof turned / sizeof *turned; i++) {
        const cJSON *v = json_member(config, turned[i]);

        if (v && !cJSON_IsNull(v) && (v->child || !cJSON_IsObject(v)))
            return turned[i];
    }
    return autoround_packing(config) == AUTOROUND_NONE ? "packing_format" : "data_type";
}

int autoround_find(const cJSON *config, enum autoround_packing packing, const char *kind, int min_bits,
                   int max_bits, struct block_size *b, int max)
{
    static const struct scheme_keys keys = {"bits", "group_size", "extra_config", "data_type"};
    const char *key = autoround_stumbles(config);

    if (autoround_packing(config) != packing || strcmp(key, "data_type") != 0)
        return 0;
    return schemes_find(config, &keys, kind, min_bits, max_bits, b, max);
}
