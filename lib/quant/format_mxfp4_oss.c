/*
 * format_mxfp4_oss.c -- MXFP4 as GPT-OSS is released: blocks and scales of all experts of a layer.
 */
#include <cjson/cJSON.h>

#include "base/json_out.h"
#include "quant/format_rows.h"
#include "quant/mxfp4.h"

static int mxfp4_oss_claims(const cJSON *config, struct block_size *b, int max)
{
    (void)b;
    return max > 0 && config_says(config, "quant_method", "mxfp4");
}

void mxfp4_encode_rows(const float *src, size_t n, size_t in, uint8_t *const piece[STORED_PIECES],
                       double *err2, double *sum2)
{
    mxfp4_from_f32(src, n * in / MXFP4_BLOCK, piece[USE_WEIGHT], piece[USE_SCALE], err2, sum2);
}

static void write_config(struct json_out *j, const char *const *ignore)
{
    static const char *const kept[] = {"model.layers.*.self_attn", "model.layers.*.mlp.router",
                                       "model.embed_tokens", "lm_head"};
    size_t i;

    (void)ignore; /* nothing but experts is converted */
    jo_open(j, "modules_to_not_convert", '[');
    for (i = 0; i < sizeof kept / sizeof *kept; i++)
        jo_string(j, NULL, kept[i]);
    jo_close(j);
    jo_string(j, "quant_method", "mxfp4");
}

static const struct encoder encoder = {
    .target = "mxfp4", .about = MXFP4_ABOUT, .rows = mxfp4_encode_rows, .config = write_config};

const struct format format_mxfp4_oss = {
    .name = "MXFP4",
    .title = "MXFP4 (GPT-OSS)",
    .stored = "MXFP4",
    .coding = CODING_MXFP4,
    .piece = {{NULL, "_blocks", USE_WEIGHT, DT_BIT(DT_U8),
               .dim = {{DIM_OUT, 1}, {DIM_IN, MXFP4_BLOCK}, {DIM_FIXED, MXFP4_BYTES}}},
              {NULL, "_scales", USE_SCALE, DT_BIT(DT_U8), .e8m0 = true,
               .dim = {{DIM_OUT, 1}, {DIM_IN, MXFP4_BLOCK}}}},
    .multiple = MXFP4_BLOCK,
    .interleaved = true,
    .exact = true,
    .scalable = STORED_PIECES,
    .claims = mxfp4_oss_claims,
    .encode = &encoder,
};
