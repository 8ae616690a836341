/*
 * format_fp8_ct.c -- FP8 as compressed-tensors writes it: E4M3 with one scale for each row, which multiplies.
 * Its activations are rounded too where it is served; that is no affair of the weights.
 */
#include <cjson/cJSON.h>

#include "quant/format_rows.h"

/* Whether a group of config_groups is of this format; all: the whole configuration. */
static bool is_ours(const cJSON *all, const cJSON *group)
{
    const cJSON *weights = cJSON_GetObjectItemCaseSensitive(group, "weights");
    const cJSON *bits = cJSON_GetObjectItemCaseSensitive(weights, "num_bits");
    bool own = cJSON_IsString(cJSON_GetObjectItemCaseSensitive(group, "format"));

    return config_says(own ? group : all, "format", "float-quantized") &&
           config_says(weights, "type", "float") && config_says(weights, "strategy", "channel") &&
           cJSON_IsNumber(bits) && bits->valuedouble == 8 &&
           !cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(weights, "symmetric"));
}

static int claims(const cJSON *config, struct block_size *b, int max)
{
    const cJSON *group, *transform = cJSON_GetObjectItemCaseSensitive(config, "transform_config");

    if (max < 1 || !config_says(config, "quant_method", "compressed-tensors") ||
        (transform && transform->child)) /* weights that are turned, too */
        return 0;
    cJSON_ArrayForEach(group, cJSON_GetObjectItemCaseSensitive(config, "config_groups"))
    {
        if (is_ours(config, group)) {
            *b = (struct block_size){.out = 1};
            return 1;
        }
    }
    return 0;
}

const struct format format_fp8_ct = {
    .name = "FP8",
    .title = "FP8 with a scale for each row",
    .coding = CODING_E4M3,
    .piece = {{".weight", NULL, USE_WEIGHT, DT_BIT(DT_F8_E4M3), .dim = {{DIM_OUT, 1}, {DIM_IN, 1}}},
              {".weight_scale", NULL, USE_SCALE, DT_FLOATS,
               .dim = {{DIM_OUT, PER_BLOCK}, {DIM_IN, PER_BLOCK}}}},
    .multiple = 1,
    .scalable = USE_SCALE,
    .claims = claims,
};
