/*
 * format_gptq.c -- integers of 2 to 8 bits as GPTQ packs them, in both versions: the first stores zero points
 * less one. AutoRound writes them too, without g_idx.
 */
#include <cjson/cJSON.h>
#include <string.h>

#include "base/json.h"
#include "quant/format_rows.h"
#include "quant/schemes.h"

enum { MIN_BITS = 2, MAX_BITS = 8 };

static const char *gptq_stumbles(const cJSON *config)
{
    static const char *const packed[] = {"gptq", "gptq_v2", NULL}, *const words[] = {"int32", NULL};

    if (!config_says(config, "quant_method", "gptq"))
        return config_says(config, "quant_method", "auto-round") ? autoround_stumbles(config) : NULL;
    if (!config_allows(config, "checkpoint_format", packed))
        return "checkpoint_format";
    if (!json_member(config, "checkpoint_format") && !config_allows(config, "format", packed))
        return "format";
    return config_allows(config, "pack_dtype", words) ? "bits" : "pack_dtype";
}

static bool is_v2(const cJSON *config)
{
    return config_says(config, json_member(config, "checkpoint_format") ? "checkpoint_format" : "format",
                       "gptq_v2");
}

static int gptq_find(const cJSON *config, bool v2, struct block_size *b, int max)
{
    static const struct scheme_keys keys = {"bits", "group_size", "dynamic", NULL};

    if (!config_says(config, "quant_method", "gptq"))
        return autoround_find(config, v2 ? AUTOROUND_GPTQ_V2 : AUTOROUND_GPTQ, "int", MIN_BITS, MAX_BITS, b,
                              max);
    if (is_v2(config) != v2 || strcmp(gptq_stumbles(config), "bits") != 0)
        return 0;
    return schemes_find(config, &keys, "int", MIN_BITS, MAX_BITS, b, max);
}

static int gptq_claims(const cJSON *config, struct block_size *b, int max)
{
    return gptq_find(config, false, b, max);
}

static int gptq_v2_claims(const cJSON *config, struct block_size *b, int max)
{
    return gptq_find(config, true, b, max);
}

#define WORDS DT_BIT(DT_I32) | DT_BIT(DT_U32)
#define PIECES                                                                                               \
    {                                                                                                        \
        {".qweight", NULL, USE_WEIGHT, WORDS, .dim = {{DIM_IN, PER_WORD}, {DIM_OUT, 1}}},                    \
            {".qzeros", NULL, USE_ZERO, WORDS, .dim = {{DIM_IN, PER_BLOCK}, {DIM_OUT, PER_WORD}}},           \
            {".scales", NULL, USE_SCALE, DT_FLOATS, .dim = {{DIM_IN, PER_BLOCK}, {DIM_OUT, 1}}},             \
            {".g_idx", NULL, USE_ORDER, WORDS, .optional = true, .dim = {{DIM_IN, 1}}},                      \
    }

const struct format format_gptq = {
    .name = "GPTQ",
    .title = "GPTQ",
    .stored = "GPTQ, split",
    .coding = CODING_GPTQ,
    .zero = 1,
    .piece = PIECES,
    .turned = true,
    .multiple = 1,
    .scalable = USE_SCALE,
    .claims = gptq_claims,
    .stumbles = gptq_stumbles,
};

const struct format format_gptq_v2 = {
    .name = "GPTQ",
    .title = "GPTQ (v2)",
    .stored = "GPTQ, split",
    .coding = CODING_GPTQ,
    .piece = PIECES,
    .turned = true,
    .multiple = 1,
    .scalable = USE_SCALE,
    .claims = gptq_v2_claims,
};
