/*
 * format_fp8.c -- what the methods "fp8" and "mxfp8" have: E4M3 with one scale for each block, as DeepSeek-V3
 * ships it (128 x 128; blocks at the edges may be partial), or for the whole map; the scale multiplies
 * although it is called weight_scale_inv. Scales may be powers of two in a byte, beside which codes may be
 * E2M1, two to a byte.
 */
#include <cjson/cJSON.h>

#include "base/json.h"
#include "base/json_out.h"
#include "quant/floats.h"
#include "quant/format_rows.h"
#include "quant/fp8.h"
#include "quant/mxfp4.h"
#include "quant/schemes.h"

enum { MAX_SIDE = 1 << 20 };

/* A side of a block, as weight_block_size has it; a number is that of a square. */
static int side(const cJSON *size, int i)
{
    const cJSON *v = cJSON_IsNumber(size) ? size : cJSON_GetArrayItem(size, i);
    double x = cJSON_IsNumber(v) && (v == size || cJSON_GetArraySize(size) == 2) ? v->valuedouble : 0;

    return x >= 1 && x <= MAX_SIDE && x == (int)x ? (int)x : 0;
}

/* NULL: there is none. */
static const cJSON *block_size(const cJSON *config)
{
    const cJSON *size = json_member(config, "weight_block_size");

    return cJSON_IsNull(size) ? NULL : size;
}

static bool is_mx(const cJSON *config)
{
    return config_says(config, "quant_method", "mxfp8");
}

/* AutoRound writes blocks under its own name, too. */
static bool is_fp8(const cJSON *config)
{
    return config_says(config, "quant_method", "fp8") || is_mx(config) ||
           (autoround_packing(config) == AUTOROUND_FLOAT && block_size(config));
}

/* What scales are rounded to (ue8m0: powers of two) is no affair of who multiplies by them. */
static const char *fp8_stumbles(const cJSON *config)
{
    static const char *const fmt[] = {"e4m3", "e4m3fn", "float8_e4m3", "float8_e4m3fn", NULL};
    static const char *const scale_fmt[] = {"float", "float32", "fp32", "bfloat16", "bf16", "ue8m0", NULL};
    const cJSON *size = block_size(config);

    if (!is_fp8(config))
        return NULL;
    if (!config_allows(config, "fmt", fmt))
        return "fmt";
    if (!config_allows(config, "scale_fmt", scale_fmt))
        return "scale_fmt";
    return !size || (side(size, 0) && side(size, 1)) ? NULL : "weight_block_size";
}

/* Blocks, if there are any. */
static int block_claims(const cJSON *config, struct block_size *b, int max)
{
    const cJSON *size = block_size(config);

    if (max < 1 || !is_fp8(config) || fp8_stumbles(config) || (!size && !is_mx(config)))
        return 0;
    *b = size ? (struct block_size){.out = side(size, 0), .in = side(size, 1)}
              : (struct block_size){.out = 1, .in = MXFP4_BLOCK};
    return 1;
}

static int whole_claims(const cJSON *config, struct block_size *b, int max)
{
    if (max < 1 || !is_fp8(config) || fp8_stumbles(config) || block_size(config) || is_mx(config))
        return 0;
    *b = (struct block_size){0};
    return 1;
}

static int nibble_claims(const cJSON *config, struct block_size *b, int max)
{
    if (max < 1 || !is_fp8(config) || fp8_stumbles(config))
        return 0;
    *b = (struct block_size){.out = 1, .in = MXFP4_BLOCK};
    return 1;
}

/* ---- writing ---- */

enum { SIDE = 128, MOST = 448 };

/* The scale that takes a largest magnitude to the largest code. */
static float scale_for(float most)
{
    float s = most / MOST;

    return s >= 0x1p-126f ? s : 1; /* whose inverse is finite */
}

/* One row of blocks: n rows, at most SIDE. */
static void encode_blocks(struct encode_rows *r, const float *src, size_t n, uint8_t *dst, uint8_t *scales)
{
    size_t c, w, i;

    for (c = 0; c < r->in; c += w) {
        float most = 0, scale;

        w = r->in - c < SIDE ? r->in - c : SIDE;
        for (i = 0; i < n; i++) {
            float m = largest_f32(src + i * r->in + c, w);

            most = m > most ? m : most;
        }
        scale = scale_for(most);
        float_put(DT_F32, scales, c / SIDE, scale);
        for (i = 0; i < n; i++)
            e4m3_from_f32(src + i * r->in + c, scale, w, dst + i * r->in + c, &r->err2, &r->sum2);
    }
}

static void fp8_block_rows(struct encode_rows *r)
{
    size_t i, n, row = (r->in + SIDE - 1) / SIDE * sizeof(float);

    for (i = 0; i < r->n; i += n) {
        n = r->n - i < SIDE ? r->n - i : SIDE;
        encode_blocks(r, r->src + i * r->in, n, r->piece[USE_WEIGHT] + i * r->in,
                      r->piece[USE_SCALE] + i / SIDE * row);
    }
}

static void fp8_block_config(struct json_out *j, const struct encoder *encode, const char *const *ignore)
{
    jo_string(j, "activation_scheme", "dynamic");
    jo_string(j, "fmt", "e4m3");
    jo_open(j, "modules_to_not_convert", '[');
    for (; *ignore; ignore++)
        jo_string(j, NULL, *ignore);
    jo_close(j);
    jo_string(j, "quant_method", "fp8");
    jo_open(j, "weight_block_size", '[');
    jo_int(j, NULL, encode->block.out);
    jo_int(j, NULL, encode->block.in);
    jo_close(j);
}

/* Partial blocks are not written: transformers takes them for whole ones of another size, without a word. */
static const struct encoder encoders[] = {{.target = "fp8",
                                           .about = "FP8 (E4M3 with one scale for each block of 128 x 128)",
                                           .block = {SIDE, SIDE, 8},
                                           .out = SIDE,
                                           .in = SIDE,
                                           .weight = DT_F8_E4M3,
                                           .scale = DT_F32,
                                           .rows = fp8_block_rows,
                                           .config = fp8_block_config},
                                          {.target = NULL}};

#define WEIGHT                                                                                               \
    {                                                                                                        \
        ".weight", NULL, USE_WEIGHT, DT_BIT(DT_F8_E4M3), .dim = { {DIM_OUT, 1}, {DIM_IN, 1} }                \
    }
#define SCALE(suffix, dtypes, powers)                                                                        \
    {                                                                                                        \
        suffix, NULL, USE_SCALE, dtypes, .e8m0 = powers, .dim = {                                            \
            {DIM_OUT, PER_BLOCK},                                                                            \
            {DIM_IN, PER_BLOCK}                                                                              \
        }                                                                                                    \
    }
/* For static scales of activations. */
#define ACTIVATIONS GOES_ALONG(".activation_scale", NULL), GOES_ALONG(".input_scale", NULL)
#define POWERS      DT_BIT(DT_U8) | DT_BIT(DT_F8_E8M0)

const struct format format_fp8_block = {
    .name = "FP8",
    .title = "FP8 with scales of blocks",
    .coding = CODING_E4M3,
    .piece = {WEIGHT, SCALE(".weight_scale_inv", DT_FLOATS, false), ACTIVATIONS},
    .multiple = 1,
    .scalable = USE_SCALE,
    .claims = block_claims,
    .stumbles = fp8_stumbles,
    .encode = encoders,
};

const struct format format_fp8_powers = {
    .name = "FP8",
    .title = "FP8 with scales E8M0",
    .coding = CODING_MXFP8,
    .piece = {WEIGHT, SCALE(".weight_scale_inv", POWERS, true), ACTIVATIONS},
    .multiple = 1,
    .scalable = STORED_PIECES,
    .claims = block_claims,
};

const struct format format_fp8_whole = {
    .name = "FP8",
    .title = "FP8 with one scale",
    .coding = CODING_E4M3,
    .piece = {WEIGHT, SCALE(".weight_scale", DT_FLOATS, false), ACTIVATIONS},
    .multiple = 1,
    .scalable = USE_SCALE,
    .claims = whole_claims,
};

/* As transformers calls it. */
const struct format format_fp8_whole_inv = {
    .name = "FP8",
    .title = "FP8 with one scale",
    .coding = CODING_E4M3,
    .piece = {WEIGHT, SCALE(".weight_scale_inv", DT_FLOATS, false), ACTIVATIONS},
    .multiple = 1,
    .scalable = USE_SCALE,
    .claims = whole_claims,
};

const struct format format_fp8_nibbles = {
    .name = "MXFP4",
    .title = "MXFP4 in signed bytes",
    .stored = "MXFP4, split (signed bytes)",
    .coding = CODING_MXFP4,
    .piece = {{".weight", NULL, USE_WEIGHT, DT_BIT(DT_I8), .dim = {{DIM_OUT, 1}, {DIM_IN, 2}}},
              SCALE(".weight_scale_inv", POWERS, true),
              ACTIVATIONS},
    .multiple = MXFP4_BLOCK,
    .exact = true,
    .scalable = STORED_PIECES,
    .claims = nibble_claims,
};
