/*
 * test_packed.c -- integers as GPTQ and AWQ pack them: every width, groups, zero points and orders, whole and
 * from slabs, against numbers made one by one; what announces them, and ModelOpt's algorithms; damage that is
 * named.
 */
#include "check.h"

#include <cjson/cJSON.h>
#include <stdlib.h>

#include "quant/floats.h"
#include "quant/format_rows.h"

enum { OUT = 72, IN = 96 };

static uint8_t words[OUT * IN * 4], zeros[OUT * IN * 4];
static float scales[OUT * IN];
static uint32_t order[IN];

/* Bits from..from+bits-1 of a string of words, `step` words from one to the next. */
static uint32_t bits_at(const uint8_t *p, size_t step, size_t from, int bits)
{
    uint32_t v = 0, w;
    int i;

    for (i = 0; i < bits; i++, from++) {
        memcpy(&w, p + from / 32 * step * 4, 4);
        v |= (w >> from % 32 & 1) << i;
    }
    return v;
}

static int awq_nibble(const uint8_t *row, int col)
{
    static const int place[] = {0, 4, 1, 5, 2, 6, 3, 7};
    uint32_t w;

    memcpy(&w, row + col / 8 * 4, 4);
    return (int)(w >> 4 * place[col % 8] & 15);
}

/* Weight (out, in). */
static float element(const struct format_claim *c, int o, int k)
{
    int bits = c->block.bits, g = c->block.in ? k / c->block.in : 0, q, z;
    bool awq = c->format == &format_awq;

    g = order[0] == UINT32_MAX ? g : (int)order[k];
    if (awq) {
        q = awq_nibble(words + (size_t)k * OUT / 8 * 4, o);
        z = awq_nibble(zeros + (size_t)g * OUT / 8 * 4, o);
    } else {
        size_t row = ((size_t)OUT * (size_t)bits + 31) / 32;

        q = (int)bits_at(words + (size_t)o * 4, OUT, (size_t)(k * bits), bits);
        z = (int)bits_at(zeros + (size_t)g * row * 4, 1, (size_t)(o * bits), bits) + c->format->zero;
    }
    return (float)(q - z) * scales[g * OUT + o];
}

static void fill(bool shuffled, const struct format_claim *c)
{
    int groups = c->block.in ? (IN + c->block.in - 1) / c->block.in : 1;
    size_t i;

    for (i = 0; i < sizeof words; i++) {
        words[i] = (uint8_t)(rand() >> 7);
        zeros[i] = (uint8_t)(rand() >> 7);
    }
    for (i = 0; i < OUT * IN; i++)
        scales[i] = (float)(1 + rand() % 200) / 256;
    for (i = 0; i < IN; i++)
        order[i] = (uint32_t)(rand() % groups);
    if (!shuffled)
        order[0] = UINT32_MAX;
}

static struct stored describe(const struct format_claim *c)
{
    struct stored s = {.name = "test"};

    s.piece[USE_WEIGHT] = (struct stored_piece){.at = words, .dtype = DT_I32};
    s.piece[USE_ZERO] = (struct stored_piece){.at = zeros, .dtype = DT_I32};
    s.piece[USE_SCALE] = (struct stored_piece){.at = (const uint8_t *)scales, .dtype = DT_F32};
    if (order[0] != UINT32_MAX)
        s.piece[USE_ORDER] = (struct stored_piece){.at = (const uint8_t *)order, .dtype = DT_I32};
    format_describe(&s, c, OUT, IN, false);
    return s;
}

static void check_map(const struct format *f, int bits, int group, bool shuffled)
{
    const struct format_claim c = {f, {.out = 1, .in = group, .bits = bits}};
    static float got[OUT * IN];
    static uint16_t half[OUT * IN];
    struct stored s, slab;
    int i, k, row, wrong = 0;

    fill(shuffled, &c);
    s = describe(&c);
    CHECK(s.in_out && stored_rows(&s, 0, OUT, got, IN, false) && stored_rows(&s, 0, OUT, half, IN, true));
    for (i = 0; i < OUT * IN; i++) {
        float want = element(&c, i / IN, i % IN);

        wrong += got[i] != want || half[i] != f32_to_bf16(want);
    }
    for (row = 0; row < IN; row += 37) { /* stored rows from one on; what an order points into is whole */
        slab = s;
        for (k = 0; k < STORED_PIECES; k++)
            if (s.piece[k].at)
                slab.piece[k].at = stored_row(&s, k, row);
        slab.row0 = row;
        stored_span(&slab, row, 8, 40, got);
        for (k = 0; k < 40; k++)
            wrong += got[k] != element(&c, 8 + k, row);
    }
    CHECK_MSG(wrong == 0, "%s, %d bits, groups of %d%s: %d wrong", f->title, bits, group,
              shuffled ? ", shuffled" : "", wrong);
}

static void check_maps(void)
{
    static const int groups[] = {0, 32, 48};
    size_t g;
    int bits;

    for (g = 0; g < sizeof groups / sizeof *groups; g++) {
        for (bits = 2; bits <= 8; bits++) {
            check_map(&format_gptq, bits, groups[g], false);
            check_map(&format_gptq_v2, bits, groups[g], true);
        }
        check_map(&format_awq, 4, groups[g], false);
    }
}

/* What is said of a map whose rows are not finite. */
static void check_fault(const struct stored *s, const char *want)
{
    static float got[OUT * IN];
    struct err e = {0};

    CHECK(!stored_rows(s, 0, OUT, got, IN, false));
    stored_fault(s, &e);
    CHECK_MSG(strstr(e.msg, want), "'%s' does not say '%s'", e.msg, want);
    err_clear(&e);
}

static void check_faults(void)
{
    const struct format_claim c = {&format_gptq, {.out = 1, .in = 32, .bits = 4}};
    struct stored s;

    fill(true, &c);
    s = describe(&c);
    s.piece[USE_ORDER].name = "g_idx";
    s.piece[USE_SCALE].name = "scales";
    order[IN - 1] = 3;
    check_fault(&s, "tensor 'g_idx' holds a number of a group that there is not");
    order[IN - 1] = UINT32_MAX;
    check_fault(&s, "tensor 'g_idx' holds");
    order[IN - 1] = 1;
    scales[7] = NAN;
    check_fault(&s, "tensor 'scales' holds a value that is not a finite number");
}

/* ---- what is announced ---- */

/* Claims as "GPTQ 4/128, ...": titles, bits and what shares a scale; the plain one is left out. */
static void check_claims(const char *config, const char *want)
{
    struct format_claim c[MAX_CLAIMS];
    cJSON *json = cJSON_Parse(config);
    int n = format_claims(json, c), i;
    char text[400] = "";

    for (i = 0; i < n - 1; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s %d %dx%d", i ? ", " : "",
                 c[i].format->title, c[i].block.bits, c[i].block.out, c[i].block.in);
    CHECK_MSG(json && strcmp(text, want) == 0, "%s announces '%s' and not '%s'", config, text, want);
    cJSON_Delete(json);
}

static void check_stumble(const char *config, const char *want)
{
    cJSON *json = cJSON_Parse(config);
    const char *key = json ? format_stumbles(json) : NULL;

    check_claims(config, "");
    CHECK_MSG(key && strcmp(key, want) == 0, "%s: '%s' and not '%s'", config, key ? key : "(none)", want);
    cJSON_Delete(json);
}

static void check_integers(void)
{
    check_claims("{\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 128}", "GPTQ 4 1x128");
    check_claims(
        "{\"quant_method\": \"gptq\", \"bits\": 3, \"group_size\": -1, \"checkpoint_format\": \"gptq_v2\"}",
        "GPTQ (v2) 3 1x0");
    check_claims(
        "{\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 32, \"format\": \"gptq\", \"dynamic\": "
        "{\"-:a\": {}, \"+:b\": {\"bits\": 8}, \"c\": {\"bits\": 8}, \"d\": {\"group_size\": 64}}}",
        "GPTQ 4 1x32, GPTQ 8 1x32, GPTQ 4 1x64");
    check_claims("{\"quant_method\": \"awq\", \"bits\": 4, \"group_size\": 128, \"version\": \"gemm\"}",
                 "AWQ 4 1x128");
    check_claims("{\"quant_method\": \"awq\", \"w_bit\": 4, \"q_group_size\": 64, \"version\": \"GEMM\"}",
                 "AWQ 4 1x64");
    check_stumble(
        "{\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 128, \"checkpoint_format\": \"marlin\"}",
        "checkpoint_format");
    check_stumble("{\"quant_method\": \"gptq\", \"bits\": 9, \"group_size\": 128}", "bits");
    check_stumble("{\"quant_method\": \"gptq\", \"bits\": 4, \"pack_dtype\": \"int16\"}", "pack_dtype");
    check_stumble("{\"quant_method\": \"awq\", \"bits\": 4, \"version\": \"gemv\"}", "version");
    check_stumble("{\"quant_method\": \"awq\", \"w_bit\": 8, \"version\": \"GEMM\"}", "w_bit");
    check_stumble("{\"quant_method\": \"awq\", \"bits\": 8, \"version\": \"gemm\"}", "bits");
}

#define AUTOROUND(rest) "{\"quant_method\": \"auto-round\", \"bits\": 4, \"group_size\": 64, " rest "}"

static void check_autoround(void)
{
    check_claims(AUTOROUND("\"packing_format\": \"auto_round:auto_gptq\", \"data_type\": \"int\""),
                 "GPTQ 4 1x64");
    check_claims(AUTOROUND("\"packing_format\": \"auto_round:gptqmodel\""), "GPTQ (v2) 4 1x64");
    check_claims(AUTOROUND("\"packing_format\": \"auto_round:auto_awq\""), "AWQ 4 1x64");
    check_claims(
        AUTOROUND("\"packing_format\": \"auto_round:auto_gptq\", \"extra_config\": {\"a\": {\"bits\": 16}, "
                  "\"b\": {\"bits\": 2, \"group_size\": 32}}"),
        "GPTQ 4 1x64, GPTQ 2 1x32");
    check_claims(
        "{\"quant_method\": \"auto-round\", \"bits\": 4, \"group_size\": 32, \"data_type\": \"mx_fp\", "
        "\"packing_format\": \"auto_round:llm_compressor\", \"extra_config\": {\"a\": {\"bits\": 8}}}",
        "MXFP8 (compressed-tensors) 8 1x32, MXFP4 (compressed-tensors) 4 1x32");
    check_claims(
        "{\"quant_method\": \"auto-round\", \"bits\": 4, \"group_size\": 16, \"data_type\": \"nv_fp\", "
        "\"packing_format\": \"auto_round:llm_compressor\"}",
        "NVFP4 (compressed-tensors) 4 1x16");
    check_claims(
        "{\"quant_method\": \"auto-round\", \"bits\": 8, \"group_size\": -1, \"data_type\": \"fp\", "
        "\"packing_format\": \"auto_round:fp8_static\", \"extra_config\": {\"a\": {\"group_size\": 0}}}",
        "FP8 (compressed-tensors) 8 1x0, FP8 (compressed-tensors) 8 0x0");
    check_stumble(AUTOROUND("\"packing_format\": \"auto_round:mlx\""), "packing_format");
    check_stumble(AUTOROUND("\"packing_format\": \"auto_round\", \"rotation_config\": {\"a\": 1}"),
                  "rotation_config");
}

#define MODELOPT(algo, rest) "{\"quant_method\": \"modelopt\", \"quant_algo\": \"" algo "\"" rest "}"

static void check_modelopt(void)
{
    check_claims(MODELOPT("NVFP4", ""), "NVFP4 (ModelOpt) 0 0x0");
    check_claims(MODELOPT("FP8", ""), "FP8 (ModelOpt) 0 0x0, FP8 (ModelOpt) 0 1x0");
    check_claims(MODELOPT("FP8_PER_CHANNEL_PER_TOKEN", ""), "FP8 (ModelOpt) 0 1x0");
    check_claims(MODELOPT("fp8_pb_wo", ""), "FP8 (ModelOpt) 0 128x128");
    check_claims(MODELOPT("mxfp4", ""), "MXFP4 (ModelOpt) 0 0x0");
    check_claims(MODELOPT("MIXED_PRECISION",
                          ", \"quantized_layers\": {\"a\": {\"quant_algo\": \"W4A16_NVFP4\"}, "
                          "\"b\": {\"quant_algo\": \"NVFP4\"}, \"c\": {\"quant_algo\": \"MXFP8\"}}"),
                 "NVFP4 (ModelOpt) 0 0x0, MXFP8 (ModelOpt) 0 0x0");
    check_stumble(MODELOPT("W4A16_AWQ", ""), "quant_algo");
}

int main(void)
{
    srand(1);
    check_maps();
    check_faults();
    check_integers();
    check_autoround();
    check_modelopt();
    CHECK_END();
}
