/*
 * format_mxfp4_ct.c -- MXFP4 as compressed-tensors writes it: packed codes and scales of each linear map.
 */
#include <cjson/cJSON.h>
#include <string.h>

#include "quant/format_rows.h"
#include "quant/mxfp4.h"

static int claims(const cJSON *config, struct block_size *b, int max)
{
    (void)b;
    return max > 0 && config_says(config, "quant_method", "compressed-tensors") &&
           config_says(config, "format", "mxfp4-pack-quantized");
}

/* One group of weight-only MXFP4 for all linear layers, and the names of those that are not converted. */
static void write_config(struct str *s, const char *const *ignore)
{
    str_adds(s, "{\n"
                "    \"config_groups\": {\n"
                "      \"group_0\": {\n"
                "        \"format\": \"mxfp4-pack-quantized\",\n"
                "        \"input_activations\": null,\n"
                "        \"output_activations\": null,\n"
                "        \"targets\": [\n"
                "          \"Linear\"\n"
                "        ],\n"
                "        \"weights\": {\n"
                "          \"dynamic\": false,\n"
                "          \"group_size\": 32,\n"
                "          \"num_bits\": 4,\n"
                "          \"scale_dtype\": \"torch.uint8\",\n"
                "          \"strategy\": \"group\",\n"
                "          \"symmetric\": true,\n"
                "          \"type\": \"float\"\n"
                "        }\n"
                "      }\n"
                "    },\n"
                "    \"format\": \"mxfp4-pack-quantized\",\n"
                "    \"ignore\": [");
    for (; *ignore; ignore++) {
        str_adds(s, "\n      \"");
        str_add_json(s, *ignore, strlen(*ignore));
        str_adds(s, ignore[1] ? "\"," : "\"");
    }
    str_adds(s, "\n    ],\n"
                "    \"quant_method\": \"compressed-tensors\",\n"
                "    \"quantization_status\": \"compressed\"\n"
                "  }");
}

static const struct encoder encoder = {
    .target = "mxfp4", .about = MXFP4_ABOUT, .rows = mxfp4_encode_rows, .config = write_config};

const struct format format_mxfp4_ct = {
    .name = "MXFP4",
    .title = "MXFP4 (compressed-tensors)",
    .stored = "MXFP4, split (compressed-tensors)",
    .coding = CODING_MXFP4,
    .piece = {{".weight_packed", NULL, USE_WEIGHT, DT_BIT(DT_U8), .dim = {{DIM_OUT, 1}, {DIM_IN, 2}}},
              {".weight_scale", NULL, USE_SCALE, DT_BIT(DT_U8), .e8m0 = true,
               .dim = {{DIM_OUT, 1}, {DIM_IN, MXFP4_BLOCK}}}},
    .multiple = MXFP4_BLOCK,
    .exact = true,
    .scalable = STORED_PIECES,
    .claims = claims,
    .encode = &encoder,
};
