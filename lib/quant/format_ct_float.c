/*
 * format_ct_float.c -- FP8 as compressed-tensors writes it: E4M3 with one scale for all, for each row or for
 * each block, which multiplies; and MXFP8, whose scales are powers of two. Their activations are rounded too
 * where they are served; that is no affair of the weights.
 */
#include "quant/ct_config.h"
#include "quant/floats.h"
#include "quant/format_rows.h"
#include "quant/fp8.h"

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

/* The scale as it will be read, BF16, takes a row's largest magnitude to the largest code, nearly. */
static void channel_rows(struct encode_rows *r)
{
    size_t i;

    for (i = 0; i < r->n; i++) {
        const float *src = r->src + i * r->in;
        float scale = bf16_to_f32(f32_to_bf16(largest_f32(src, r->in) / 448));

        scale = scale >= 0x1p-126f ? scale : 1; /* whose inverse is finite */
        float_put(DT_BF16, r->piece[USE_SCALE], i, scale);
        e4m3_from_f32(src, scale, r->in, r->piece[USE_WEIGHT] + i * r->in, &r->err2, &r->sum2);
    }
}

static void fp8_channel_config(struct json_out *j, const struct encoder *encode, const char *const *ignore)
{
    static const struct ct_scheme scheme = {
        .format = "float-quantized", .type = "float", .strategy = "channel", .tokens = true};

    ct_write(j, &scheme, encode->block, ignore);
}

static const struct encoder encoders[] = {{.target = "fp8-channel",
                                           .about = "FP8 (E4M3 with one scale for each output channel)",
                                           .block = {1, 0, 8},
                                           .weight = DT_F8_E4M3,
                                           .scale = DT_BF16,
                                           .rows = channel_rows,
                                           .config = fp8_channel_config},
                                          {.target = NULL}};

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
    .encode = encoders,
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
