/*
 * format_modelopt.c -- what NVIDIA ModelOpt writes, for each map or for all experts of a layer: FP8 with one
 * scale for a map, a row or a block; NVFP4, whose scales of blocks are multiplied by one number; MXFP8 and
 * MXFP4. Beside all experts NVFP4 has its blocks along the inputs, the MX formats along the last dimension
 * whatever that is.
 */
#include <cjson/cJSON.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "quant/format_rows.h"
#include "quant/mxfp4.h"

enum { NV_BLOCK = 16, MX_BLOCK = 32, FP8_BLOCK = 128 };

/* Algorithms by name, with what shares a scale in them; how activations are rounded is no affair of the
 * weights. */
static const struct algorithm {
    const char *name;
    const struct format *format;
    struct block_size block;
} algorithms[] = {
    {"FP8", &format_modelopt_fp8, {0}},
    {"FP8", &format_modelopt_fp8, {.out = 1}},
    {"FP8_PER_CHANNEL_PER_TOKEN", &format_modelopt_fp8, {.out = 1}},
    {"FP8_PC_PT", &format_modelopt_fp8, {.out = 1}},
    {"FP8_PB_WO", &format_modelopt_fp8, {.out = FP8_BLOCK, .in = FP8_BLOCK}},
    {"FP8_PB_REAL", &format_modelopt_fp8, {.out = FP8_BLOCK, .in = FP8_BLOCK}},
    {"NVFP4", &format_modelopt_nvfp4, {0}},
    {"W4A16_NVFP4", &format_modelopt_nvfp4, {0}},
    {"W4A8_NVFP4_FP8", &format_modelopt_nvfp4, {0}},
    {"MXFP8", &format_modelopt_mxfp8, {0}},
    {"MXFP4", &format_modelopt_mxfp4, {0}},
    {"W4A8_MXFP4_FP8", &format_modelopt_mxfp4, {0}},
};

static bool same_block(struct block_size a, struct block_size b)
{
    return a.out == b.out && a.in == b.in;
}

/* Adds the blocks of an algorithm in this format, those that are new. */
static int add_algorithm(const struct format *f, const cJSON *name, struct block_size *b, int n, int max)
{
    size_t i;
    int k;

    for (i = 0; cJSON_IsString(name) && i < sizeof algorithms / sizeof *algorithms; i++) {
        const struct algorithm *a = &algorithms[i];

        if (a->format != f || strcasecmp(a->name, name->valuestring) != 0)
            continue;
        for (k = 0; k < n && !same_block(b[k], a->block); k++)
            ;
        if (k == n && n < max)
            b[n++] = a->block;
    }
    return n;
}

/* Those of the model, or, where algorithms are mixed, of the layers. */
static int claims(const struct format *f, const cJSON *config, struct block_size *b, int max)
{
    const cJSON *layer;
    int n;

    if (!config_says(config, "quant_method", "modelopt"))
        return 0;
    n = add_algorithm(f, json_member(config, "quant_algo"), b, 0, max);
    cJSON_ArrayForEach(layer, json_member(config, "quantized_layers")) n =
        add_algorithm(f, json_member(layer, "quant_algo"), b, n, max);
    return n;
}

static const char *modelopt_stumbles(const cJSON *config)
{
    return config_says(config, "quant_method", "modelopt") ? "quant_algo" : NULL;
}

static int fp8_claims(const cJSON *config, struct block_size *b, int max)
{
    return claims(&format_modelopt_fp8, config, b, max);
}

static int nvfp4_claims(const cJSON *config, struct block_size *b, int max)
{
    return claims(&format_modelopt_nvfp4, config, b, max);
}

static int mxfp8_claims(const cJSON *config, struct block_size *b, int max)
{
    return claims(&format_modelopt_mxfp8, config, b, max);
}

static int mxfp4_claims(const cJSON *config, struct block_size *b, int max)
{
    return claims(&format_modelopt_mxfp4, config, b, max);
}

#define INPUT_SCALE GOES_ALONG(".input_scale", "_input_scale")

const struct format format_modelopt_fp8 = {
    .name = "FP8",
    .title = "FP8 (ModelOpt)",
    .coding = CODING_E4M3,
    .piece = {{".weight", "", USE_WEIGHT, DT_BIT(DT_F8_E4M3), .dim = {{DIM_OUT, 1}, {DIM_IN, 1}}},
              {".weight_scale", "_weight_scale", USE_SCALE, DT_FLOATS,
               .dim = {{DIM_OUT, PER_BLOCK}, {DIM_IN, PER_BLOCK}}},
              INPUT_SCALE},
    .multiple = 1,
    .scalable = USE_SCALE,
    .claims = fp8_claims,
    .stumbles = modelopt_stumbles,
};

const struct format format_modelopt_nvfp4 = {
    .name = "NVFP4",
    .title = "NVFP4 (ModelOpt)",
    .coding = CODING_NVFP4,
    .piece = {{".weight", "", USE_WEIGHT, DT_BIT(DT_U8), .dim = {{DIM_OUT, 1}, {DIM_IN, 2}}},
              {".weight_scale", "_weight_scale", USE_SCALE, DT_BIT(DT_F8_E4M3),
               .dim = {{DIM_OUT, 1}, {DIM_IN, NV_BLOCK}}},
              {".weight_scale_2", "_weight_scale_2", USE_GLOBAL, DT_BIT(DT_F32)},
              INPUT_SCALE},
    .multiple = 2,
    .scalable = USE_GLOBAL,
    .claims = nvfp4_claims,
};

const struct format format_modelopt_mxfp8 = {
    .name = "MXFP8",
    .title = "MXFP8 (ModelOpt)",
    .coding = CODING_MXFP8,
    .piece = {{".weight", "", USE_WEIGHT, DT_BIT(DT_F8_E4M3), .last = true,
               .dim = {{DIM_OUT, 1}, {DIM_IN, 1}}},
              {".weight_scale", "_weight_scale", USE_SCALE, DT_BIT(DT_U8), .e8m0 = true, .last = true,
               .dim = {{DIM_OUT, 1}, {DIM_IN, MX_BLOCK}}},
              INPUT_SCALE},
    .multiple = 1,
    .scalable = STORED_PIECES,
    .claims = mxfp8_claims,
};

const struct format format_modelopt_mxfp4 = {
    .name = "MXFP4",
    .title = "MXFP4 (ModelOpt)",
    .coding = CODING_MXFP4,
    .piece = {{".weight", "", USE_WEIGHT, DT_BIT(DT_U8), .last = true, .dim = {{DIM_OUT, 1}, {DIM_IN, 2}}},
              {".weight_scale", "_weight_scale", USE_SCALE, DT_BIT(DT_U8), .e8m0 = true, .last = true,
               .dim = {{DIM_OUT, 1}, {DIM_IN, MXFP4_BLOCK}}},
              INPUT_SCALE},
    .multiple = MXFP4_BLOCK,
    .exact = true,
    .scalable = STORED_PIECES,
    .claims = mxfp4_claims,
};
