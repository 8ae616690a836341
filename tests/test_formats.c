/*
 * test_formats.c -- storage formats: shapes, names and claims as the table says them; stored maps, turned
 * and cut into slabs, against numbers made one by one; and devices that know nothing but plain numbers, for
 * which others are decoded first.
 */
#include "check.h"

#include <cjson/cJSON.h>
#include <stdlib.h>

#include "engine/engine_private.h"
#include "forward.h"
#include "quant/floats.h"
#include "quant/format_rows.h"
#include "quant/fp8.h"
#include "quant/mxfp4.h"

/* ---- the table ---- */

static void check_shape(const struct format *f, int piece, struct block_size b, bool in_out, const char *want)
{
    uint64_t shape[PIECE_DIMS];
    int n = piece_shape(&f->piece[piece], b, 200, 320, in_out, shape), i;
    char text[100] = "";

    for (i = 0; i < n; i++)
        snprintf(text + strlen(text), 30, "%s%llu", i ? "," : "", (unsigned long long)shape[i]);
    CHECK_MSG(strcmp(text, want) == 0, "%s, piece %d: [%s] is not [%s]", f->title, piece, text, want);
}

static void check_list(uint64_t set, const char *want)
{
    char text[64];

    dtype_list(set, text);
    CHECK_MSG(strcmp(text, want) == 0, "'%s' is not '%s'", text, want);
}

/* Sets of dtypes as messages have them, which are never cut off. */
static void check_lists(void)
{
    check_list(DT_BIT(DT_U8), "U8");
    check_list(DT_BIT(DT_U8) | DT_BIT(DT_F8_E8M0) | DT_BIT(DT_I32), "U8, F8_E8M0 or I32");
    check_list(DT_FLOATS, "BF16, F16 or F32");
    check_list(DT_GGML, "blocks of ggml");
    check_list(DT_FLOATS | DT_GGML, "BF16, F16, F32 or blocks of ggml");
}

static void check_shapes(void)
{
    const struct block_size none = {0}, square = {128, 128, 0}, row = {1, 0, 0};

    check_shape(&format_plain, 0, none, false, "200,320");
    check_shape(&format_plain, 0, none, true, "320,200");
    check_shape(&format_mxfp4_oss, 0, none, false, "200,10,16");
    check_shape(&format_mxfp4_oss, 1, none, false, "200,10");
    check_shape(&format_mxfp4_ct, 0, none, false, "200,160");
    check_shape(&format_fp8_block, 1, square, false, "2,3");
    check_shape(&format_fp8_block, 1, square, true, "3,2");
    check_shape(&format_fp8_block, 1, row, false, "200,1");
    check_shape(&format_fp8_block, 1, none, false, "1,1");
    check_shape(&format_nvfp4_ct, 1, (struct block_size){1, 16, 4}, false, "200,20");
    check_shape(&format_nvfp4_ct, 2, none, false, "1");
    CHECK(piece_weights(&format_mxfp4_oss.piece[0], none, 160) == 320);
    CHECK(piece_weights(&format_mxfp4_ct.piece[0], none, 160) == 320);
    CHECK(piece_weights(&format_mxfp4_ct.piece[1], none, 10) == 0);
    CHECK(piece_weights(&format_fp8_block.piece[0], none, 7) == 7 && piece_weights(NULL, none, 7) == 7);
}

/* The formats that a quantization_config announces. */
static int claims(const char *text, struct format_claim *c)
{
    cJSON *config = cJSON_Parse(text);
    int n = format_claims(config, c);

    CHECK(n >= 1 && c[n - 1].format == &format_plain);
    cJSON_Delete(config);
    return n;
}

static void check_claims(void)
{
    struct format_claim c[MAX_CLAIMS];
    const struct format_claim *f;
    const struct piece *p;

    CHECK(format_claims(NULL, c) == 1);
    CHECK(claims("{\"quant_method\": \"awq\"}", c) == 1);
    CHECK(claims("{\"quant_method\": \"fp8\", \"weight_block_size\": [128]}", c) == 1);
    CHECK(claims("{\"quant_method\": \"fp8\", \"weight_block_size\": [0, 128]}", c) == 1);
    CHECK(claims("{\"quant_method\": \"fp8\", \"weight_block_size\": [128, 128], \"fmt\": \"e5m2\"}", c) ==
          1);
    CHECK(claims("{\"quant_method\": \"fp8\", \"weight_block_size\": [64, 32], \"scale_fmt\": \"ue8m0\"}",
                 c) == 4);
    CHECK(c[0].format == &format_fp8_block && c[0].block.out == 64 && c[0].block.in == 32);
    CHECK(claims("{\"quant_method\": \"fp8\", \"weight_block_size\": 64, \"fmt\": \"E4M3\"}", c) == 4);
    CHECK(c[0].format == &format_fp8_block && c[0].block.out == 64 && c[0].block.in == 64);
    CHECK(claims("{\"quant_method\": \"fp8\", \"weight_block_size\": 0}", c) == 1);
    CHECK(claims("{\"quant_method\": \"mxfp4\"}", c) == 2 && c[0].format == &format_mxfp4_oss);
    CHECK(claims("{\"quant_method\": \"fp8\", \"weight_block_size\": [128, 128], \"fmt\": null}", c) == 4);
    CHECK(c[0].format == &format_fp8_block && c[0].block.out == 128 && c[0].block.in == 128);
#define CT(weights)                                                                                          \
    "{\"quant_method\": \"compressed-tensors\", \"format\": \"float-quantized\", \"config_groups\": "        \
    "{\"g\": "                                                                                               \
    "{\"format\": null, \"weights\": {\"num_bits\": 8, \"type\": \"float\", \"strategy\": " weights "}}}}"
    CHECK(claims("{\"quant_method\": \"compressed-tensors\", \"format\": \"nvfp4-pack-quantized\", "
                 "\"config_groups\": {\"a\": {\"weights\": {\"num_bits\": 4, \"type\": \"float\", "
                 "\"strategy\": \"tensor_group\", \"group_size\": 16}}}}",
                 c) == 2 &&
          c[0].format == &format_nvfp4_ct && c[0].block.in == 16);
    CHECK(claims(CT("\"token\""), c) == 1 && claims(CT("\"channel\", \"symmetric\": false"), c) == 1);
    CHECK(claims(CT("\"channel\""), c) == 2 && c[0].format == &format_fp8_ct);
    CHECK(c[0].block.out == 1 && c[0].block.in == 0);
    CHECK(claims("{\"quant_method\": \"fp8\", \"weight_block_size\": [128, 128]}", c) == 4);
    p = format_find_piece(c, 4, "a.weight", false, DT_F8_E4M3, &f);
    CHECK(p == &format_fp8_block.piece[0] && f->format == &format_fp8_block);
    p = format_find_piece(c, 4, "a.weight", false, DT_BF16, &f);
    CHECK(p == format_plain.piece && f->format == &format_plain);
    p = format_find_piece(c, 4, "a.weight_scale_inv", false, DT_F32, &f);
    CHECK(p && p->use == USE_SCALE);
    CHECK(!format_find_piece(c, 4, "a.weight", false, DT_U8, &f) &&
          !format_find_piece(c, 4, "a.bias", false, DT_BF16, &f));
    CHECK(format_find_suffix("_blocks", true) && !format_find_suffix("_blocks", false));
}

/* Which of several formats tensors are. */
static void check_fits(void)
{
    static const struct format_claim fp8 = {&format_fp8_ct, {1, 0, 0}},
                                     square = {&format_fp8_ct, {128, 128, 0}},
                                     nv = {&format_nvfp4_ct, {1, 16, 4}};
    const uint64_t w[] = {200, 320}, row[] = {200, 1}, flat[] = {200}, blocks[] = {2, 3},
                   packed[] = {200, 160}, each[] = {200, 20}, one[] = {1};
    struct piece_view v[FORMAT_PIECES] = {{w, 2, DT_F8_E4M3}, {row, 2, DT_BF16}};

    CHECK(format_fits(&fp8, v, 0, 0, false) == FIT_WHOLE &&
          format_fits(&fp8, v, 200, 320, false) == FIT_WHOLE);
    CHECK(format_fits(&fp8, v, 200, 160, false) == FIT_WEIGHT &&
          format_fits(&square, v, 0, 0, false) == FIT_PIECES);
    CHECK(format_fits(&nv, v, 0, 0, false) == FIT_NAME);
    v[1] = (struct piece_view){flat, 1, DT_F32}; /* a dimension of 1 less */
    CHECK(format_fits(&fp8, v, 0, 0, false) == FIT_WHOLE);
    v[1] = (struct piece_view){blocks, 2, DT_F32};
    CHECK(format_fits(&fp8, v, 0, 0, false) == FIT_PIECES &&
          format_fits(&square, v, 0, 0, false) == FIT_WHOLE);
    v[1].dtype = DT_U8;
    CHECK(format_fits(&square, v, 0, 0, false) == FIT_SHAPE);
    v[1].rank = -1;
    CHECK(format_fits(&square, v, 0, 0, false) == FIT_SHAPE);
    v[0].rank = -1;
    CHECK(format_fits(&square, v, 0, 0, false) == FIT_NONE);
    v[0] = (struct piece_view){packed, 2, DT_U8};
    v[1] = (struct piece_view){each, 2, DT_F8_E4M3};
    v[2] = (struct piece_view){one, 1, DT_F32};
    v[3].rank = -1;
    CHECK(format_fits(&nv, v, 0, 0, false) == FIT_WHOLE);
    v[2].rank = 0;
    CHECK(format_fits(&nv, v, 200, 320, false) == FIT_WHOLE);
    v[2].rank = -1;
    CHECK(format_fits(&nv, v, 200, 320, false) == FIT_SHAPE);
}

/* ---- stored maps ---- */

enum { OUT = 160, IN = 192 }; /* in-out: stored rows of OUT elements */

static uint8_t codes[OUT * IN], scales[OUT * IN];
static const float all_scale = 24;

/* Element (row, col) as stored. */
static float stored_element(const struct stored *s, int row, int col)
{
    const float *f = (const float *)(const void *)scales;
    int blocks = (int)(s->stride + s->block - 1) / s->block, at = row * (int)s->stride + col, code;
    uint8_t byte;

    if (s->coding == CODING_E4M3)
        return e4m3_value[codes[at]] * f[row / s->piece[USE_SCALE].per * blocks + col / s->block];
    code = codes[at / 2] >> 4 * (at & 1) & 15;
    if (s->coding == CODING_NVFP4 && s->piece[USE_WEIGHT].per == 2) /* neighbours are in a column */
        code = codes[row / 2 * (int)s->stride + col] >> 4 * (row & 1) & 15;
    if (s->coding == CODING_NVFP4) {
        float scale = e4m3_value[scales[row / s->piece[USE_SCALE].per * blocks + col / s->block]];

        return e2m1_value[code] * (s->divides ? scale / all_scale : scale * all_scale);
    }
    byte = scales[at / MXFP4_BLOCK];
    return (code & 8 ? -1.f : 1.f) * (const float[]){0, .5f, 1, 1.5f, 2, 3, 4, 6}[code & 7] *
           ldexpf(1, byte - 127);
}

static void fill_pieces(enum coding coding)
{
    float f[OUT];
    int i;

    for (i = 0; i < OUT * IN; i++) {
        codes[i] = (uint8_t)(i * 37 % 251 % 0x7f);
        scales[i] = (uint8_t)(120 + i % 7);
    }
    for (i = 0; i < OUT; i++)
        f[i] = (float)(1 + i % 5) / 4;
    if (coding == CODING_E4M3)
        memcpy(scales, f, sizeof f);
}

/* All rows of part `first` of two that alternate (step 2) or all of them, as a whole and from slabs. */
static void check_rows(const struct format_claim *c, bool in_out, int first, int step)
{
    static float want[OUT * IN], got[OUT * IN];
    static uint16_t half[OUT * IN];
    struct stored s = {.name = "test"}, slab;
    int r, k, wrong = 0, row;

    fill_pieces(c->format->coding);
    s.piece[USE_WEIGHT] =
        (struct stored_piece){.at = codes, .dtype = c->format->coding == CODING_E4M3 ? DT_F8_E4M3 : DT_U8};
    s.piece[USE_SCALE] =
        (struct stored_piece){.at = scales, .dtype = c->format->coding == CODING_E4M3 ? DT_F32 : DT_U8};
    if (c->format->coding == CODING_NVFP4)
        s.piece[USE_GLOBAL] = (struct stored_piece){.at = (const uint8_t *)&all_scale, .dtype = DT_F32};
    format_describe(&s, c, OUT, IN, in_out);
    s.first = first;
    s.step = step;
    s.out = OUT / step;
    for (r = 0; r < s.out; r++)
        for (k = 0; k < IN; k++)
            want[r * IN + k] =
                in_out ? stored_element(&s, k, first + r * step) : stored_element(&s, first + r * step, k);
    CHECK(stored_rows(&s, 0, s.out, got, IN, false) && stored_rows(&s, 0, s.out, half, IN, true));
    for (k = 0; k < s.out * IN; k++)
        wrong += got[k] != want[k] || half[k] != f32_to_bf16(want[k]);
    CHECK_MSG(wrong == 0, "%s%s, from %d by %d: %d wrong", c->format->title, in_out ? ", in-out" : "", first,
              step, wrong);
    for (row = 0; row < (in_out ? IN : OUT); row += 50) { /* stored rows from one on */
        slab = s;
        for (k = 0; k <= USE_SCALE; k++)
            slab.piece[k].at = stored_row(&s, k, row);
        slab.row0 = row;
        stored_span(&slab, row, 32, 64, got);
        for (k = 0; k < 64; k++)
            wrong += got[k] != stored_element(&s, row, 32 + k);
    }
    CHECK_MSG(wrong == 0, "%s: slabs", c->format->title);
}

static void check_stored(void)
{
    static const struct format_claim fp8 = {&format_fp8_block, {128, 128, 0}},
                                     row = {&format_fp8_block, {1, 0, 0}}, all = {&format_fp8_block, {0}},
                                     mx = {&format_mxfp4_ct, {0}}, nv = {&format_nvfp4_ct, {1, 16, 4}};
    const struct format_claim *const each[] = {&fp8, &row, &all, &mx, &nv};
    size_t i;

    for (i = 0; i < sizeof each / sizeof *each; i++) {
        check_rows(each[i], false, 0, 1);
        check_rows(each[i], false, 1, 2);
        if (each[i] != &mx) {
            check_rows(each[i], true, 0, 1);
            check_rows(each[i], true, 1, 2);
        }
    }
}

/* ---- devices that know less ---- */

static const struct ops *knows_all;
static struct ops knows_plain;

static int plain_pack(struct device *d, const struct matrix_job *job, int jobs, struct err *e)
{
    int i, k;

    for (i = 0; i < jobs; i++)
        for (k = 0; k < job[i].parts; k++)
            if (job[i].part[k].coding != CODING_FLOAT)
                return err_set(e, ERR_UNKNOWN, "'%s' was not decoded", job[i].part[k].name);
    return knows_all->pack(d, job, jobs, e);
}

static void plain_only(struct engine *en)
{
    knows_all = en->device[0]->ops;
    knows_plain = *knows_all;
    knows_plain.pack = plain_pack;
    en->device[0]->ops = &knows_plain;
    en->device[0]->can.codings = UINT64_C(1) << CODING_FLOAT;
}

static void check_decoded(const char *name, enum precision p)
{
    static const int64_t first[] = {0, 20, 45};
    struct run known, other;
    struct model m;
    struct batch b;
    int32_t ids[45];
    float nll[2][45];
    int i;

    if (model_open(&m, name, NULL, &err)) {
        CHECK_MSG(0, "%s", err.msg);
        return;
    }
    for (i = 0; i < 45; i++)
        ids[i] = i * 7 % m.arch.vocab;
    b = (struct batch){ids, first, 2};
    if (run_open(&known, &m, &b, NULL, p, 2, 0) == 0) {
        run_way.patch = plain_only;
        if (run_open(&other, &m, &b, NULL, p, 2, 0) == 0) {
            same_bytes(&known, &other, &m, name);
            CHECK(engine_nll(known.en, &m, known.h, &b, nll[0], &err) == 0 &&
                  engine_nll(other.en, &m, other.h, &b, nll[1], &err) == 0);
            CHECK_MSG(memcmp(nll[0], nll[1], sizeof nll[0]) == 0, "%s: nll differs", name);
        }
        run_way.patch = NULL;
        run_close(&other);
    }
    run_close(&known);
    model_close(&m);
}

int main(void)
{
    static const char *const model[] = {"examples/tiny-gptoss", "tests/fixtures/qwen3-fp8",
                                        "tests/fixtures/deepseek-v3-fp8"};
    size_t i;

    check_lists();
    check_shapes();
    check_claims();
    check_fits();
    check_stored();
    for (i = 0; i < sizeof model / sizeof *model; i++) {
        check_decoded(model[i], PREC_F32);
        check_decoded(model[i], PREC_BF16);
    }
    CHECK_END();
}
