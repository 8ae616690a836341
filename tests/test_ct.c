/*
 * test_ct.c -- codings and configurations of compressed-tensors and of the FP8 methods: integers that are
 * packed here by other rules than they are read, in all widths, with zero points, orders and edges; which
 * formats config_groups announce; and that damage is told with the tensor's name.
 */
#include "check.h"

#include <cjson/cJSON.h>

#include "quant/format_rows.h"
#include "quant/fp8.h"

enum { OUT = 70, IN = 150, GROUP = 48, GROUPS = (IN + GROUP - 1) / GROUP };

static struct err err;

/* A map of codes as numbers, and what it is stored as. */
static struct {
    int code[OUT][IN], zero[OUT][GROUPS];
    float scale[OUT][GROUPS];
    int32_t order[IN];
    uint32_t words[OUT][(IN * 8 + 31) / 32], zeros[(OUT * 8 + 31) / 32 * GROUPS];
    int8_t bytes[OUT][IN], zero_bytes[OUT][GROUPS];
} map;

/* Bit by bit. */
static void put_bits(uint32_t *words, size_t stride, int index, int bits, int value)
{
    int i;

    for (i = 0; i < bits; i++) {
        size_t at = (size_t)(index * bits + i);

        words[at / 32 * stride] |= (uint32_t)(value >> i & 1) << at % 32;
    }
}

static void make_map(int bits)
{
    int half = 1 << (bits - 1), r, k, g;

    memset(&map, 0, sizeof map);
    for (r = 0; r < OUT; r++) {
        for (k = 0; k < IN; k++)
            map.code[r][k] = (r * 131 + k * 37 + r * k) % (2 * half) - half;
        for (g = 0; g < GROUPS; g++) {
            map.scale[r][g] = (float)(1 + (r + g) % 7) / 8;
            map.zero[r][g] = (r * 5 + g * 3) % (2 * half) - half;
        }
    }
    for (k = 0; k < IN; k++)
        map.order[k] = k * 29 % GROUPS;
}

/* The rows of words and zero points lie as close as so many bits allow. */
static void pack_map(int bits)
{
    int half = 1 << (bits - 1), words = (IN * bits + 31) / 32, r, k, g;

    for (r = 0; r < OUT; r++) {
        for (k = 0; k < IN; k++) {
            put_bits(&map.words[0][0] + r * words, 1, k, bits, map.code[r][k] + half);
            map.bytes[r][k] = (int8_t)map.code[r][k];
        }
        for (g = 0; g < GROUPS; g++) {
            put_bits(map.zeros + g, GROUPS, r, bits, map.zero[r][g] + half);
            map.zero_bytes[r][g] = (int8_t)map.zero[r][g];
        }
    }
}

static struct stored describe(const struct format *f, int bits, bool zeros, bool order)
{
    const struct format_claim c = {f, {1, GROUP, bits}};
    bool packed = f == &format_ct_packed;
    struct stored s = {.name = "map"};

    s.piece[USE_WEIGHT] =
        (struct stored_piece){packed ? (const uint8_t *)map.words : (const uint8_t *)map.bytes,
                              .dtype = packed ? DT_I32 : DT_I8, .name = "w"};
    s.piece[USE_SCALE] = (struct stored_piece){(const uint8_t *)map.scale, .dtype = DT_F32, .name = "s"};
    if (zeros)
        s.piece[USE_ZERO] =
            (struct stored_piece){packed ? (const uint8_t *)map.zeros : (const uint8_t *)map.zero_bytes,
                                  .dtype = packed ? DT_I32 : DT_I8};
    if (order)
        s.piece[USE_ORDER] = (struct stored_piece){(const uint8_t *)map.order, .dtype = DT_I32, .name = "o"};
    format_describe(&s, &c, OUT, IN, false);
    return s;
}

static float value(int r, int k, bool zeros, bool order)
{
    int g = order ? map.order[k] : k / GROUP;

    return (float)(map.code[r][k] - (zeros ? map.zero[r][g] : 0)) * map.scale[r][g];
}

static void check_rows(const struct format *f, int bits, bool zeros, bool order)
{
    struct stored s, slab;
    static float got[OUT][IN];
    int r, k, row, wrong = 0;
    float some[40];

    make_map(bits);
    pack_map(bits);
    s = describe(f, bits, zeros, order);
    CHECK(stored_rows(&s, 0, OUT, got, IN, false));
    for (r = 0; r < OUT; r++)
        for (k = 0; k < IN; k++)
            wrong += got[r][k] != value(r, k, zeros, order);
    for (row = 0; row < OUT; row += 23) { /* what a part of the rows is cut to */
        slab = s;
        for (k = 0; k < STORED_PIECES; k++)
            if (slab.piece[k].at)
                slab.piece[k].at = stored_row(&s, k, row);
        slab.row0 = row;
        stored_span(&slab, row, 31, 40, some);
        for (k = 0; k < 40; k++)
            wrong += some[k] != value(row, 31 + k, zeros, order);
    }
    CHECK_MSG(wrong == 0, "%s, %d bits%s%s: %d wrong", f->title, bits, zeros ? ", zero points" : "",
              order ? ", ordered" : "", wrong);
}

static void check_integers(void)
{
    int bits;

    for (bits = 1; bits <= 8; bits++) {
        check_rows(&format_ct_packed, bits, false, false);
        check_rows(&format_ct_packed, bits, true, false);
        check_rows(&format_ct_packed, bits, true, true);
        check_rows(&format_ct_packed, bits, false, true);
    }
    check_rows(&format_ct_int8, 8, false, false);
    check_rows(&format_ct_int8, 8, true, false);
    check_rows(&format_ct_int8, 4, true, false);
}

/* Powers of two as scales, of groups and of squares. */
static void check_powers(void)
{
    static const struct format_claim claim[] = {{&format_mxfp8_ct, {1, 32, 8}},
                                                {&format_fp8_powers, {64, 128, 0}}};
    static uint8_t code[OUT][IN], scale[OUT * IN];
    static float got[OUT][IN];
    int i, r, k, wrong = 0;

    for (k = 0; k < OUT * IN; k++) {
        code[k / IN][k % IN] = (uint8_t)(k * 37 % 251 % 0x7f);
        scale[k] = (uint8_t)(k % 11 ? 118 + k % 17 : 0);
    }
    for (i = 0; i < 2; i++) {
        int per = claim[i].block.out, block = claim[i].block.in, blocks = (IN + block - 1) / block;
        struct stored s = {.piece = {{(const uint8_t *)code, .dtype = DT_F8_E4M3}, {scale, .dtype = DT_U8}}};

        format_describe(&s, &claim[i], OUT, IN, false);
        CHECK(stored_rows(&s, 0, OUT, got, IN, false));
        for (r = 0; r < OUT; r++)
            for (k = 0; k < IN; k++)
                wrong += got[r][k] !=
                         e4m3_value[code[r][k]] * ldexpf(1, scale[r / per * blocks + k / block] - 127);
        CHECK_MSG(wrong == 0, "%s: %d wrong", claim[i].format->title, wrong);
    }
}

/* ---- damage ---- */

static void check_fault(const struct stored *s, const char *want)
{
    static float row[OUT][IN];

    err_clear(&err);
    CHECK(!stored_rows(s, 0, OUT, row, IN, false) && stored_fault(s, &err) == -1);
    CHECK_MSG(strstr(err.msg, want), "'%s' does not say '%s'", err.msg, want);
    err_clear(&err);
}

static void check_faults(void)
{
    static uint8_t code[OUT][IN], scale[OUT * IN];
    struct stored s;

    make_map(4);
    pack_map(4);
    map.order[77] = GROUPS;
    s = describe(&format_ct_packed, 4, false, true);
    check_fault(&s, "tensor 'o' holds a number of a group that there is not");
    map.order[77] = -1;
    check_fault(&s, "tensor 'o' holds a number of a group that there is not");
    map.order[77] = 0;
    map.scale[OUT - 1][1] = NAN;
    check_fault(&s, "tensor 's' holds a value that is not a finite number");
    memset(scale, 127, sizeof scale);
    s = (struct stored){.piece = {{(const uint8_t *)code, .dtype = DT_F8_E4M3, .name = "w"},
                                  {scale, .dtype = DT_U8, .name = "s"}}};
    format_describe(&s, &(struct format_claim){&format_mxfp8_ct, {1, 32, 8}}, OUT, IN, false);
    code[3][5] = 0x7f;
    check_fault(&s, "tensor 'w' holds");
    code[3][5] = 0;
    scale[9] = 255;
    check_fault(&s, "tensor 's' holds");
}

/* ---- announcements ---- */

static int claims(const char *text, struct format_claim *c)
{
    cJSON *config = cJSON_Parse(text);
    int n = format_claims(config, c);

    CHECK_MSG(config && c[n - 1].format == &format_plain, "%s", text);
    cJSON_Delete(config);
    return n - 1;
}

#define CT(more, groups)                                                                                     \
    "{\"quant_method\": \"compressed-tensors\", " more " \"config_groups\": {" groups "}}"
#define GROUP_OF(name, format, bits, type, rest)                                                             \
    "\"" name "\": {\"format\": " format ", \"weights\": {\"num_bits\": " bits ", \"type\": \"" type         \
    "\", " rest "}}"
#define W4 "\"strategy\": \"group\", \"group_size\": 128"

static void check_groups(void)
{
    struct format_claim c[MAX_CLAIMS];

    CHECK(claims(CT("\"format\": \"pack-quantized\",", GROUP_OF("W4A16", "null", "4", "int", W4)), c) == 1);
    CHECK(c->format == &format_ct_packed && c->block.bits == 4 && c->block.in == 128 && c->block.out == 1);
    CHECK(claims(CT("\"format\": \"mixed-precision\",",
                    GROUP_OF("a", "\"pack-quantized\"", "4", "int", W4) "," GROUP_OF(
                        "b", "\"float-quantized\"", "8", "float",
                        "\"strategy\": \"block\", \"block_structure\": "
                        "[128, 64]") "," GROUP_OF("c", "\"pack-quantized\"", "8", "int",
                                                  "\"strategy\": "
                                                  "\"channel\"") "," GROUP_OF("d", "\"pack-quantized\"", "4",
                                                                              "int", W4)),
                 c) == 3); /* the same twice is once */
    CHECK(c[0].format == &format_fp8_ct && c[0].block.out == 128 && c[0].block.in == 64);
    CHECK(c[1].block.bits == 4 && c[2].block.bits == 8 && c[2].block.in == 0 && c[2].block.out == 1);
    CHECK(claims(CT("\"format\": \"int-quantized\",",
                    GROUP_OF("a", "null", "8", "int", "\"strategy\": \"tensor\"")),
                 c) == 1);
    CHECK(c->format == &format_ct_int8 && !c->block.in && !c->block.out);
    CHECK(claims(CT("\"format\": \"pack-quantized\",", GROUP_OF("a", "null", "9", "int", W4)), c) == 0);
    CHECK(claims(CT("\"format\": \"pack-quantized\",",
                    GROUP_OF("a", "null", "4", "int", "\"strategy\": \"group\"")),
                 c) == 0);
    CHECK(claims(CT("\"format\": \"marlin-24\",", GROUP_OF("a", "null", "4", "int", W4)), c) == 0);
    CHECK(claims(CT("\"format\": \"pack-quantized\", \"transform_config\": {\"R1\": 1},",
                    GROUP_OF("a", "null", "4", "int", W4)),
                 c) == 0);
    CHECK(
        claims(CT("\"format\": \"pack-quantized\", \"sparsity_config\": {\"format\": \"sparse-24-bitmask\"},",
                  GROUP_OF("a", "null", "4", "int", W4)),
               c) == 0);
    CHECK(claims(CT("\"format\": \"pack-quantized\", \"sparsity_config\": {\"format\": \"dense\"},",
                    GROUP_OF("a", "null", "4", "int", W4)),
                 c) == 1);
}

/* What is announced has to be there. */
static void check_needs(void)
{
    const uint64_t w[] = {64, 16}, scale[] = {64, 1}, zeros[] = {8, 1}, order[] = {128};
    struct piece_view v[FORMAT_PIECES] = {{w, 2, DT_I32}, {scale, 2, DT_BF16}, {NULL, -1, 0}, {NULL, -1, 0}};
    struct format_claim c[MAX_CLAIMS];
    int i;

    for (i = 4; i < FORMAT_PIECES; i++)
        v[i].rank = -1;
    CHECK(claims(CT("\"format\": \"pack-quantized\",",
                    GROUP_OF("a", "null", "4", "int", "\"symmetric\": false, \"actorder\": \"group\"," W4)),
                 c) == 1);
    CHECK(format_fits(c, v, 64, 128, false) == FIT_SHAPE);
    v[2] = (struct piece_view){zeros, 2, DT_I32};
    CHECK(format_fits(c, v, 64, 128, false) == FIT_SHAPE);
    v[3] = (struct piece_view){order, 1, DT_I32};
    CHECK(format_fits(c, v, 64, 128, false) == FIT_WHOLE);
    CHECK(claims(CT("\"format\": \"pack-quantized\",",
                    GROUP_OF("a", "null", "4", "int", "\"actorder\": \"weight\"," W4)),
                 c) == 1);
    v[2].rank = v[3].rank = -1;
    CHECK(c->format == &format_ct_packed && format_fits(c, v, 64, 128, false) == FIT_WHOLE);
}

static void check_fp8(void)
{
    struct format_claim c[MAX_CLAIMS];

    CHECK(claims("{\"quant_method\": \"fp8\", \"activation_scheme\": \"static\"}", c) == 3);
    CHECK(c[0].format == &format_fp8_whole && c[1].format == &format_fp8_whole_inv && !c[0].block.out);
    CHECK(claims("{\"quant_method\": \"mxfp8\"}", c) == 3 && c[1].format == &format_fp8_powers);
    CHECK(c[1].block.out == 1 && c[1].block.in == 32);
    CHECK(claims("{\"quant_method\": \"fp8\", \"weight_block_size\": [128, 0]}", c) == 0);
}

/* AutoRound has blocks under its own name, too; the rest of what it writes is in test_packed.c. */
static void check_autoround(void)
{
    struct format_claim c[MAX_CLAIMS];

    CHECK(claims("{\"quant_method\": \"auto-round\", \"packing_format\": \"auto_round:fp8\", \"data_type\": "
                 "\"fp\", "
                 "\"bits\": 8, \"group_size\": [128, 128], \"weight_block_size\": [128, 128]}",
                 c) >= 1 &&
          c[0].format == &format_fp8_block && c[0].block.in == 128);
}

int main(void)
{
    check_autoround();
    check_integers();
    check_powers();
    check_faults();
    check_groups();
    check_needs();
    check_fp8();
    CHECK_END();
}
