/*
 * format_nvfp4_ct.c -- NVFP4 as compressed-tensors writes it: packed codes, a scale for each block, and one
 * number for the map by which these scales are divided.
 */
#include "quant/ct_config.h"
#include "quant/format_rows.h"
#include "quant/nvfp4.h"

static int nvfp4_ct_claims(const struct cJSON *config, struct block_size *b, int max)
{
    static const char *const formats[] = {"nvfp4-pack-quantized", NULL};

    return ct_claims(config, &(struct ct_kind){formats, "float", 4, 4, false, false, "nv_fp"}, b, max);
}

static void nvfp4_rows(struct encode_rows *r)
{
    size_t i, blocks = r->in / NVFP4_BLOCK;

    for (i = 0; i < r->n; i++)
        r->lossless +=
            nvfp4_row(r->src + i * r->in, r->energy, r->in, r->global, r->piece[USE_WEIGHT] + i * r->in / 2,
                      r->piece[USE_SCALE] + i * blocks, &r->err2, &r->sum2);
    r->blocks += r->n * blocks;
}

static void nvfp4_config(struct json_out *j, const struct encoder *encode, const char *const *ignore)
{
    static const struct ct_scheme scheme = {.format = "nvfp4-pack-quantized",
                                            .type = "float",
                                            .strategy = "tensor_group",
                                            .scale_dtype = "torch.float8_e4m3fn"};

    ct_write(j, &scheme, encode->block, ignore);
}

static const struct encoder encoders[] = {
    {.target = "nvfp4",
     .about = "NVFP4 (blocks of 16 E2M1 values with one E4M3 scale, and one number for each map), each scale "
              "the best of all by squared error",
     .block = {1, NVFP4_BLOCK, 4},
     .in = NVFP4_BLOCK,
     .weight = DT_U8,
     .scale = DT_F8_E4M3,
     .broken = "vLLM gives broken output with it (vLLM issue 46641)",
     .weighs = true,
     .rows = nvfp4_rows,
     .global = nvfp4_global,
     .config = nvfp4_config},
    {.target = NULL}};

const struct format format_nvfp4_ct = {
    .name = "NVFP4",
    .title = "NVFP4 (compressed-tensors)",
    .stored = "NVFP4, split (compressed-tensors)",
    .coding = CODING_NVFP4,
    .divides = true,
    .piece = {{".weight_packed", NULL, USE_WEIGHT, DT_BIT(DT_U8), .dim = {{DIM_OUT, 1}, {DIM_IN, 2}}},
              {".weight_scale", NULL, USE_SCALE, DT_BIT(DT_F8_E4M3),
               .dim = {{DIM_OUT, PER_BLOCK}, {DIM_IN, PER_BLOCK}}},
              {".weight_global_scale", NULL, USE_GLOBAL, DT_BIT(DT_F32), .dim = {{DIM_FIXED, 1}}},
              CT_ACTIVATIONS},
    .multiple = 2,
    .scalable = STORED_PIECES,
    .claims = nvfp4_ct_claims,
    .encode = encoders,
};
