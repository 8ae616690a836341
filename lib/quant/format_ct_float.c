/*
 * format_ct_float.c -- FP8 as compressed-tensors writes it: E4M3 with one scale for all, for each row or for
 * each block, which multiplies; and MXFP8, whose scales are powers of two. Their activations are rounded too
 * where they are served; that is no affair of the weights.
 */
#include "quant/ct_config.h"
#include "quant/format_rows.h"

static int fp8_ct_claims(const struct cJSON *config, struct block_size *b, int max)
{
    static const char *const formats[] = {"float-quantized", "naive-quantized", NULL};

    return ct_claims(config, &(struct ct_kind){formats, "float", 8, 8, false, false, "fp"}, b, max);
}

static int mxfp8_ct_claims(const struct cJSON *config, struct block_size *b, int max)
{
    static const char *const formats[] = {"mxfp8-quantized", NULL};

    return ct_claims(config, &(struct ct_kind){formats, "float", 8, 8, false, false, "mx_fp"}, b, max);
}

const struct format format_fp8_ct = {
    .name = "FP8",
    .title = "FP8 (compressed-tensors)",
    .coding = CODING_E4M3,
    .piece = {{".weight", NULL, USE_WEIGHT, DT_BIT(DT_F8_E4M3), .dim = {{DIM_OUT, 1}, {DIM_IN, 1}}},
              {".weight_scale", NULL, USE_SCALE, DT_FLOATS,
               .dim = {{DIM_OUT, PER_BLOCK}, {DIM_IN, PER_BLOCK}}},
              CT_ACTIVATIONS},
    .multiple = 1,
    .scalable = USE_SCALE,
    .claims = fp8_ct_claims,
};

const struct format format_mxfp8_ct = {
    .name = "MXFP8",
    .title = "MXFP8 (compressed-tensors)",
    .stored = "MXFP8, split (compressed-tensors)",
    .coding = CODING_MXFP8,
    .piece = {{".weight", NULL, USE_WEIGHT, DT_BIT(DT_F8_E4M3), .dim = {{DIM_OUT, 1}, {DIM_IN, 1}}},
              {".weight_scale", NULL, USE_SCALE, DT_BIT(DT_U8) | DT_BIT(DT_F8_E8M0), .e8m0 = true,
               .dim = {{DIM_OUT, PER_BLOCK}, {DIM_IN, PER_BLOCK}}},
              CT_ACTIVATIONS},
    .multiple = 1,
    .scalable = STORED_PIECES,
    .claims = mxfp8_ct_claims,
};
