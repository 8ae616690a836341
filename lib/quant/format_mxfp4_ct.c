/*
 * format_mxfp4_ct.c -- MXFP4 as compressed-tensors writes it: packed codes and scales of each linear map.
 */
#include <cjson/cJSON.h>

#include "base/json_out.h"
#include "quant/ct_config.h"
#include "quant/format_rows.h"
#include "quant/mxfp4.h"

static int mxfp4_ct_claims(const cJSON *config, struct block_size *b, int max)
{
    static const char *const formats[] = {"mxfp4-pack-quantized", NULL};
    int n = ct_claims(config, &(struct ct_kind){formats, "float", 4, 4, false, false, "mx_fp"}, b, max);

    return n == 1 && b->in == MXFP4_BLOCK;
}

/* One group of weight-only MXFP4 for all linear layers. */
static void write_group(struct json_out *j)
{
    jo_open(j, "config_groups", '{');
    jo_open(j, "group_0", '{');
    jo_string(j, "format", "mxfp4-pack-quantized");
    jo_null(j, "input_activations");
    jo_null(j, "output_activations");
    jo_open(j, "targets", '[');
    jo_string(j, NULL, "Linear");
    jo_close(j);
    jo_open(j, "weights", '{');
    jo_bool(j, "dynamic", false);
    jo_int(j, "group_size", MXFP4_BLOCK);
    jo_int(j, "num_bits", 4);
    jo_string(j, "scale_dtype", "torch.uint8");
    jo_string(j, "strategy", "group");
    jo_bool(j, "symmetric", true);
    jo_string(j, "type", "float");
    jo_close(j);
    jo_close(j);
    jo_close(j);
}

static void write_config(struct json_out *j, const char *const *ignore)
{
    write_group(j);
    jo_string(j, "format", "mxfp4-pack-quantized");
    jo_open(j, "ignore", '[');
    for (; *ignore; ignore++)
        jo_string(j, NULL, *ignore);
    jo_close(j);
    jo_string(j, "quant_method", "compressed-tensors");
    jo_string(j, "quantization_status", "compressed");
}

static const struct encoder encoder = {
    .target = "mxfp4", .about = MXFP4_ABOUT, .rows = mxfp4_encode_rows, .config = write_config};

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
    .encode = &encoder,
};
