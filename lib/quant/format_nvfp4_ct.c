/*
 * format_nvfp4_ct.c -- NVFP4 as compressed-tensors writes it: packed codes, a scale for each block, and one
 * number for the map by which these scales are divided.
 */
#include "quant/ct_config.h"
#include "quant/format_rows.h"

static int nvfp4_ct_claims(const struct cJSON *config, struct block_size *b, int max)
{
    static const char *const formats[] = {"nvfp4-pack-quantized", NULL};

    return ct_claims(config, &(struct ct_kind){formats, "float", 4, 4, false, false, "nv_fp"}, b, max);
}

const struct format format_nvfp4_ct = {
    .name = "NVFP4",
    .title = "NVFP4 (compressed-tensors)",
    .stored = "NVFP4, split (compressed-tensors)",
    .coding = CODING_NVFP4,
    .divides = true,
    .piece = {{".weight_packed", NULL, USE_WEIGHT, DT_BIT(DT_U8), .dim = {{DIM_OUT, 1}, {DIM_IN, 2}}},
              {".weight_scale", NULL, USE_SCALE, DT_BIT(DT_F8_E4M3),
               .dim = {{DIM_OUT, PER_BLOCK}, {DIM_IN, PER_BLOCK}}},
              {".weight_global_scale", NULL, USE_GLOBAL, DT_BIT(DT_F32)},
              CT_ACTIVATIONS},
    .multiple = 2,
    .scalable = STORED_PIECES,
    .claims = nvfp4_ct_claims,
};
