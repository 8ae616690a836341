/*
 * format_fp8_block.c -- FP8 as DeepSeek-V3 ships it: E4M3 with one scale for each block (of 128 x 128), which
 * multiplies (although it is called weight_scale_inv); blocks at the edges may be partial.
 */
#include <cjson/cJSON.h>

#include "base/json.h"
#include "quant/format_rows.h"

enum { MAX_SIDE = 1 << 20 };

/* A side of a block, as weight_block_size has it. */
static int side(const cJSON *size, int i)
{
    const cJSON *v = cJSON_GetArrayItem(size, i);
    double x = cJSON_IsNumber(v) && cJSON_GetArraySize(size) == 2 ? v->valuedouble : 0;

    return x >= 1 && x <= MAX_SIDE && x == (int)x ? (int)x : 0;
}

/* What scales are rounded to (ue8m0: powers of two) is no affair of who multiplies by them. */
static const char *fp8_block_stumbles(const cJSON *config)
{
    static const char *const fmt[] = {"e4m3", "e4m3fn", "float8_e4m3", "float8_e4m3fn", NULL};
    static const char *const scale_fmt[] = {"float", "float32", "fp32", "bfloat16", "bf16", "ue8m0", NULL};
    const cJSON *size = json_member(config, "weight_block_size");

    if (!config_says(config, "quant_method", "fp8"))
        return NULL;
    if (!config_allows(config, "fmt", fmt))
        return "fmt";
    if (!config_allows(config, "scale_fmt", scale_fmt))
        return "scale_fmt";
    return side(size, 0) && side(size, 1) ? NULL : "weight_block_size";
}

static int fp8_block_claims(const cJSON *config, struct block_size *b, int max)
{
    const cJSON *size = json_member(config, "weight_block_size");

    if (max < 1 || !config_says(config, "quant_method", "fp8") || fp8_block_stumbles(config))
        return 0;
    *b = (struct block_size){.out = side(size, 0), .in = side(size, 1)};
    return 1;
}

const struct format format_fp8_block = {
    .name = "FP8",
    .title = "FP8 with scales of blocks",
    .coding = CODING_E4M3,
    .piece = {{".weight", NULL, USE_WEIGHT, DT_BIT(DT_F8_E4M3), .dim = {{DIM_OUT, 1}, {DIM_IN, 1}}},
              {".weight_scale_inv", NULL, USE_SCALE, DT_FLOATS,
               .dim = {{DIM_OUT, PER_BLOCK}, {DIM_IN, PER_BLOCK}}}},
    .multiple = 1,
    .scalable = USE_SCALE,
    .claims = fp8_block_claims,
    .stumbles = fp8_block_stumbles,
};
