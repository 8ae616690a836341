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

void mxfp4_encode_rows(struct encode_rows *r)
{
    size_t i, blocks = r->in / MXFP4_BLOCK;

    if (!r->energy) {
        mxfp4_from_f32(r->src, r->n * blocks, r->piece[USE_WEIGHT], r->piece[USE_SCALE], &r->err2, &r->sum2);
        return;
    }
    for (i = 0; i < r->n; i++)
        mxfp4_weighed(r->src + i * r->in, r->energy, blocks, r->piece[USE_WEIGHT] + i * blocks * MXFP4_BYTES,
                      r->piece[USE_SCALE] + i * blocks, &r->err2, &r->sum2);
}

static void mxfp4_oss_config(struct json_out *j, const struct encoder *encode, const char *const *ignore)
{
    static const char *const kept[] = {"model.layers.*.self_attn", "model.layers.*.mlp.router",
                                       "model.embed_tokens", "lm_head"};
    size_t i;

    (void)encode;
    (void)ignore; /* nothing but experts is converted */
    jo_open(j, "modules_to_not_convert", '[');
    for (i = 0; i < sizeof kept / sizeof *kept; i++)
        jo_string(j, NULL, kept[i]);
    jo_close(j);
    jo_string(j, "quant_method", "mxfp4");
}

static const struct encoder encoders[] = {{MXFP4_ENCODER, .config = mxfp4_oss_config}, {.target = NULL}};

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
    .encode = encoders,
};
