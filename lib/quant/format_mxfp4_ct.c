/*
 * format_mxfp4_ct.c -- MXFP4 as compressed-tensors writes it: packed codes and scales of each linear map.
 */
#include <cjson/cJSON.h>

#include "quant/ct_config.h"
#include "quant/format_rows.h"
#include "quant/mxfp4.h"

static int mxfp4_ct_claims(const cJSON *config, struct block_size *b, int max)
{
    static const char *const formats[] = {"mxfp4-pack-quantized", NULL};
    int n = ct_claims(config, &(struct ct_kind){formats, "float", 4, 4, false, false, "mx_fp"}, b, max);

    return n == 1 && b->in == MXFP4_BLOCK;
}

static void mxfp4_ct_config(struct json_out *j, const struct encoder *encode, const char *const *ignore)
{
    static const struct ct_scheme scheme = {
        .format = "mxfp4-pack-quantized", .type = "float", .strategy = "group", .scale_dtype = "torch.uint8"};

    ct_write(j, &scheme, encode->block, ignore);
}

static const struct encoder encoders[] = {{MXFP4_ENCODER, .config = mxfp4_ct_config}, {.target = NULL}};

const struct format format_mxfp4_ct = {
    .name = "MXFP4",
    .title = "MXFP4 (compressed-tensors)",
    .stored = "MXFP4, split (compressed-tensors)",
    .coding = CODING_MXFP4,
    .piece = {{".weight_packed", NULL, USE_WEIGHT, DT_BIT(DT_U8), .dim = {{DIM_OUT, 1}, {DIM_IN, 2}}},
              {".weight_scale", NULL, USE_SCALE, DT_BIT(DT_U8) | DT_BIT(DT_F8_E8M0), .e8m0 = true,
               .dim = {{DIM_OUT, 1}, {DIM_IN, MXFP4_BLOCK}}},
              CT_ACTIVATIONS},
    .multiple = MXFP4_BLOCK,
    .exact = true,
    .scalable = STORED_PIECES,
    .claims = mxfp4_ct_claims,
    .encode = encoders,
};
