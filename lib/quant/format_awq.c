/* format_awq.c -- integers of 4 bits as AWQ packs them for its matrix products ("gemm"). */
#include <cjson/cJSON.h>
#include <string.h>

#include "base/json.h"
#include "quant/format_rows.h"
#include "quant/schemes.h"

enum { BITS = 4, PACK = 8 };

/* As transformers calls a key, unless it is there by AutoAWQ's name alone, as in its own file. */
static const char *own_key(const cJSON *config, const char *name, const char *other)
{
    return !json_member(config, name) && json_member(config, other) ? other : name;
}

static const char *awq_stumbles(const cJSON *config)
{
    static const char *const version[] = {"gemm", "GEMM", NULL};

    if (!config_says(config, "quant_method", "awq"))
        return NULL;
    return config_allows(config, "version", version) ? own_key(config, "bits", "w_bit") : "version";
}

static int awq_claims(const cJSON *config, struct block_size *b, int max)
{
    const struct scheme_keys keys = {own_key(config, "bits", "w_bit"),
                                     own_key(config, "group_size", "q_group_size"), NULL, NULL};
    const char *key = awq_stumbles(config);

    if (!key)
        return autoround_find(config, AUTOROUND_AWQ, "int", BITS, BITS, b, max);
    return strcmp(key, keys.bits) == 0 ? schemes_find(config, &keys, "int", BITS, BITS, b, max) : 0;
}

#define WORDS DT_BIT(DT_I32) | DT_BIT(DT_U32)

const struct format format_awq = {
    .name = "AWQ",
    .title = "AWQ",
    .stored = "AWQ, split",
    .coding = CODING_AWQ,
    .piece = {{".qweight", NULL, USE_WEIGHT, WORDS, .dim = {{DIM_IN, 1}, {DIM_OUT, PACK}}},
              {".qzeros", NULL, USE_ZERO, WORDS, .dim = {{DIM_IN, PER_BLOCK}, {DIM_OUT, PACK}}},
              {".scales", NULL, USE_SCALE, DT_FLOATS, .dim = {{DIM_IN, PER_BLOCK}, {DIM_OUT, 1}}}},
    .turned = true,
    .multiple = PACK,
    .scalable = USE_SCALE,
    .claims = awq_claims,
    .stumbles = awq_stumbles,
};
