/*
 * format_fp8_block.c -- FP8 as DeepSeek-V3 ships it: E4M3 with one scale for each 128 x 128 block, which
 * multiplies (although it is called weight_scale_inv); blocks at the edges may be partial.
 */
#include <cjson/cJSON.h>

#include "quant/format_rows.h"

enum { BLOCK = 128 };

static int fp8_block_claims(const cJSON *config, struct block_size *b, int max)
{
    const cJSON *size = cJSON_GetObjectItemCaseSensitive(config, "weight_block_size");
    const cJSON *out = cJSON_GetArrayItem(size, 0), *in = cJSON_GetArrayItem(size, 1);

    if (max < 1 || !config_says(config, "quant_method", "fp8") || !config_allows(config, "fmt", "e4m3") ||
        !config_allows(config, "scale_fmt", "float") || cJSON_GetArraySize(size) != 2 ||
        !cJSON_IsNumber(out) || !cJSON_IsNumber(in) || out->valuedouble != BLOCK || in->valuedouble != BLOCK)
        return 0;
    *b = (struct block_size){BLOCK, BLOCK};
    return 1;
}

const struct format format_fp8_block = {
    .name = "FP8",
    .title = "FP8 with scales of 128 x 128 blocks",
    .coding = CODING_E4M3,
    .piece = {{".weight", NULL, USE_WEIGHT, DT_BIT(DT_F8_E4M3), .dim = {{DIM_OUT, 1}, {DIM_IN, 1}}},
              {".weight_scale_inv", NULL, USE_SCALE, DT_FLOATS,
               .dim = {{DIM_OUT, PER_BLOCK}, {DIM_IN, PER_BLOCK}}}},
    .multiple = 1,
    .scalable = USE_SCALE,
    .claims = fp8_block_claims,
};
