/*
 * format_ct_int.c -- integers as compressed-tensors writes them: I8 codes as they are, and codes of 1 to 8
 * bits in words of 32. Their activations may be rounded too where they are served; that is no affair of the
 * weights.
 */
#include "quant/ct_config.h"
#include "quant/format_rows.h"

static int int8_claims(const struct cJSON *config, struct block_size *b, int max)
{
    static const char *const formats[] = {"int-quantized", "naive-quantized", NULL};

    return ct_claims(config, formats, "int", 1, 8, b, max);
}

static int packed_claims(const struct cJSON *config, struct block_size *b, int max)
{
    static const char *const formats[] = {"pack-quantized", NULL};

    return ct_claims(config, formats, "int", 1, 8, b, max);
}

const struct format format_ct_int8 = {
    .name = "INT8",
    .title = "INT8 (compressed-tensors)",
    .stored = "INT8, split (compressed-tensors)",
    .coding = CODING_INT8,
    .piece = {{".weight", NULL, USE_WEIGHT, DT_BIT(DT_I8), .dim = {{DIM_OUT, 1}, {DIM_IN, 1}}},
              {".weight_scale", NULL, USE_SCALE, DT_FLOATS,
               .dim = {{DIM_OUT, PER_BLOCK}, {DIM_IN, PER_BLOCK}}},
              {".weight_zero_point", NULL, USE_ZERO, DT_BIT(DT_I8), .optional = true,
               .dim = {{DIM_OUT, PER_BLOCK}, {DIM_IN, PER_BLOCK}}},
              CT_ACTIVATIONS},
    .multiple = 1,
    .scalable = USE_SCALE,
    .claims = int8_claims,
};

const struct format format_ct_packed = {
    .name = "INT",
    .title = "packed integers (compressed-tensors)",
    .stored = "packed integers, split (compressed-tensors)",
    .coding = CODING_PACKED,
    .piece = {{".weight_packed", NULL, USE_WEIGHT, DT_BIT(DT_I32), .dim = {{DIM_OUT, 1}, {DIM_IN, PER_WORD}}},
              {".weight_scale", NULL, USE_SCALE, DT_FLOATS,
               .dim = {{DIM_OUT, PER_BLOCK}, {DIM_IN, PER_BLOCK}}},
              {".weight_zero_point", NULL, USE_ZERO, DT_BIT(DT_I32), .optional = true,
               .dim = {{DIM_OUT, PER_WORD}, {DIM_IN, PER_BLOCK}}},
              {".weight_g_idx", NULL, USE_ORDER, DT_BIT(DT_I32), .optional = true, .dim = {{DIM_IN, 1}}},
              GOES_ALONG(".weight_shape", NULL),
              CT_ACTIVATIONS},
    .multiple = 1,
    .scalable = USE_SCALE,
    .claims = packed_claims,
};
