/*
 * format_ggml.c -- the blocks of GGUF files, which carry their scales with them. What takes part in
 * quantization there is said by each tensor's dtype; the container announces that there are any.
 */
#include "quant/format_rows.h"

static int ggml_claims(const struct cJSON *config, struct block_size *b, int max)
{
    (void)b;
    return max > 0 && config_says(config, "quant_method", "gguf");
}

const struct format format_ggml = {
    .title = "blocks of ggml",
    .coding = CODING_GGML,
    .piece = {{".weight", "", USE_WEIGHT, DT_GGML, .dim = {{DIM_OUT, 1}, {DIM_IN, 1}}},
              {".scale", ".scale", USE_GLOBAL, DT_BIT(DT_F32), .optional = true},
              {".input_scale", ".input_scale", USE_OTHER, DT_BIT(DT_F32), .optional = true}},
    .multiple = 32,
    .scalable = STORED_PIECES,
    .claims = ggml_claims,
};
