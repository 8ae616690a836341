/*
 * format_ct_int.c -- integers as compressed-tensors writes them: I8 codes as they are, and codes of 1 to 8
 * bits in words of 32. What is announced has to be there: zero points, and the groups of elements that are no
 * runs. Activations may be rounded too where they are served; that is no affair of the weights.
 */
#include "quant/ct_config.h"
#include "quant/format_rows.h"
#include "quant/int4.h"

#define CLAIMS(name, zeros, ordered, ...)                                                                    \
    static int name##_claims(const struct cJSON *config, struct block_size *b, int max)                      \
    {                                                                                                        \
        static const char *const formats[] = {__VA_ARGS__, NULL};                                            \
                                                                                                             \
        return ct_claims(config, &(struct ct_kind){formats, "int", 1, 8, zeros, ordered, NULL}, b, max);     \
    }

static void group_rows(struct encode_rows *r)
{
    size_t i, group = (size_t)r->block.in;

    for (i = 0; i < r->n; i++)
        int4_row(r->src + i * r->in, r->energy, r->in, group, r->piece[USE_WEIGHT] + i * r->in / 2,
                 (uint16_t *)r->piece[USE_SCALE] + i * (r->in / group), &r->err2, &r->sum2);
}

static void int4_config(struct json_out *j, const struct encoder *encode, const char *const *ignore)
{
    static const struct ct_scheme scheme = {.format = "pack-quantized", .type = "int", .strategy = "group"};

    ct_write(j, &scheme, encode->block, ignore);
}

#define GROUPS(name, group)                                                                                  \
    {                                                                                                        \
        .target = name, .about = "INT4 (groups of " #group " with one scale, symmetric)",                    \
        .block = {1, group, 4}, .in = group, .weight = DT_I32, .scale = DT_BF16, .weighs = true,             \
        .rows = group_rows, .config = int4_config                                                            \
    }
static const struct encoder encoders[] = {GROUPS("int4", 128), GROUPS("int4-32", 32), {.target = NULL}};

/* clang-format off */
#define INT8(row, zeros)                                                                                     \
    CLAIMS(row, zeros, false, "int-quantized", "naive-quantized")                                            \
    const struct format format_##row = {                                                                     \
        .name = "INT8",                                                                                      \
        .title = "INT8 (compressed-tensors)",                                                                \
        .stored = "INT8, split (compressed-tensors)",                                                        \
        .coding = CODING_INT8,                                                                               \
        .piece = {{".weight", NULL, USE_WEIGHT, DT_BIT(DT_I8), .dim = {{DIM_OUT, 1}, {DIM_IN, 1}}},          \
                  {".weight_scale", NULL, USE_SCALE, DT_FLOATS,                                              \
                   .dim = {{DIM_OUT, PER_BLOCK}, {DIM_IN, PER_BLOCK}}},                                      \
                  {".weight_zero_point", NULL, USE_ZERO, DT_BIT(DT_I8), .optional = !(zeros),                \
                   .dim = {{DIM_OUT, PER_BLOCK}, {DIM_IN, PER_BLOCK}}},                                      \
                  CT_ACTIVATIONS},                                                                           \
        .multiple = 1,                                                                                       \
        .scalable = USE_SCALE,                                                                               \
        .claims = row##_claims,                                                                              \
    }

INT8(ct_int8, false);
INT8(ct_int8_zeros, true);

#define PACKED(row, zeros, ordered, made)                                                                    \
    CLAIMS(row, zeros, ordered, "pack-quantized")                                                            \
    const struct format format_##row = {                                                                     \
        .name = "INT",                                                                                       \
        .title = "packed integers (compressed-tensors)",                                                     \
        .stored = "packed integers, split (compressed-tensors)",                                             \
        .coding = CODING_PACKED,                                                                             \
        .piece = {{".weight_packed", NULL, USE_WEIGHT, DT_BIT(DT_I32),                                       \
                   .dim = {{DIM_OUT, 1}, {DIM_IN, PER_WORD}}},                                               \
                  {".weight_scale", NULL, USE_SCALE, DT_FLOATS,                                              \
                   .dim = {{DIM_OUT, PER_BLOCK}, {DIM_IN, PER_BLOCK}}},                                      \
                  {".weight_zero_point", NULL, USE_ZERO, DT_BIT(DT_I32), .optional = !(zeros),               \
                   .dim = {{DIM_OUT, PER_WORD}, {DIM_IN, PER_BLOCK}}},                                       \
                  {".weight_g_idx", NULL, USE_ORDER, DT_BIT(DT_I32), .optional = !(ordered),                 \
                   .dim = {{DIM_IN, 1}}},                                                                    \
                  {".weight_shape", NULL, USE_OTHER, UINT64_MAX, .optional = true, .size = true},             \
                  CT_ACTIVATIONS},                                                                           \
        .multiple = 1,                                                                                       \
        .scalable = USE_SCALE,                                                                               \
        .claims = row##_claims,                                                                              \
        .encode = made,                                                                                      \
    }

PACKED(ct_packed, false, false, encoders);
PACKED(ct_packed_zeros, true, false, NULL);
PACKED(ct_packed_ordered, false, true, NULL);
PACKED(ct_packed_zeros_ordered, true, true, NULL);
/* clang-format on */
