/* dtype.c -- the table of dtypes, and values of theirs that are no numbers. */
#include "quant/dtype.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "quant/coding_rows.h"

#define GGML_ROW(name, id, elements, bytes) [DT_##name] = {#name, elements, bytes},
static const struct {
    const char *name;
    unsigned elements, bytes;
} table[DT_COUNT] = {
    [DT_BOOL] = {"BOOL", 1, 1},
    [DT_F4] = {"F4", 2, 1},
    [DT_F6_E2M3] = {"F6_E2M3", 4, 3},
    [DT_F6_E3M2] = {"F6_E3M2", 4, 3},
    [DT_U8] = {"U8", 1, 1},
    [DT_I8] = {"I8", 1, 1},
    [DT_F8_E5M2] = {"F8_E5M2", 1, 1},
    [DT_F8_E4M3] = {"F8_E4M3", 1, 1},
    [DT_F8_E8M0] = {"F8_E8M0", 1, 1},
    [DT_F8_E4M3FNUZ] = {"F8_E4M3FNUZ", 1, 1},
    [DT_F8_E5M2FNUZ] = {"F8_E5M2FNUZ", 1, 1},
    [DT_I16] = {"I16", 1, 2},
    [DT_U16] = {"U16", 1, 2},
    [DT_F16] = {"F16", 1, 2},
    [DT_BF16] = {"BF16", 1, 2},
    [DT_I32] = {"I32", 1, 4},
    [DT_U32] = {"U32", 1, 4},
    [DT_F32] = {"F32", 1, 4},
    [DT_C64] = {"C64", 1, 8},
    [DT_F64] = {"F64", 1, 8},
    [DT_I64] = {"I64", 1, 8},
    [DT_U64] = {"U64", 1, 8},
    GGML_BLOCKS(GGML_ROW) /* their sizes are in dtype.h */
};
#undef GGML_ROW

const char *dtype_name(enum dtype d)
{
    return table[d].name;
}

unsigned dtype_elements(enum dtype d)
{
    return table[d].elements;
}

unsigned dtype_bytes(enum dtype d)
{
    return table[d].bytes;
}

bool dtype_size(enum dtype d, uint64_t n, uint64_t *bytes)
{
    return n % table[d].elements == 0 && mul_u64(n / table[d].elements, table[d].bytes, bytes);
}

void dtype_list(uint64_t set, char text[64])
{
    static const struct {
        uint64_t set;
        const char *text;
    } usual[] = {{DT_FLOATS, "BF16, F16 or F32"}, /* in this order */
                 {DT_GGML, "blocks of ggml"},
                 {DT_FLOATS | DT_GGML, "BF16, F16, F32 or blocks of ggml"}};
    size_t at = 0;
    int d;

    for (d = 0; d < (int)(sizeof usual / sizeof *usual); d++)
        if (usual[d].set == set) {
            snprintf(text, 64, "%s", usual[d].text);
            return;
        }
    text[0] = 0;
    for (d = 0; d < DT_COUNT && at < 64; d++) {
        if (!(set >> d & 1))
            continue;
        set &= ~DT_BIT(d);
        at += (size_t)snprintf(text + at, 64 - at, "%s%s", table[d].name,
                               !set              ? ""
                               : set & (set - 1) ? ", "
                                                 : " or ");
    }
}

static const char *bad_half(const unsigned char *p, size_t n, uint16_t exponent, size_t *at)
{
    uint16_t v;

    for (*at = 0; *at < n; ++*at) {
        memcpy(&v, p + 2 * *at, 2);
        if ((v & exponent) == exponent)
            return v & 0x7fff & ~exponent ? "NaN" : "infinity";
    }
    return NULL;
}

static const char *bad_single(const unsigned char *p, size_t n, size_t *at)
{
    uint32_t v;

    for (*at = 0; *at < n; ++*at) {
        memcpy(&v, p + 4 * *at, 4);
        if ((v & 0x7f800000) == 0x7f800000)
            return v & 0x7fffff ? "NaN" : "infinity";
    }
    return NULL;
}

static const char *bad_byte(const unsigned char *p, size_t n, unsigned mask, const char *what, size_t *at)
{
    for (*at = 0; *at < n; ++*at)
        if ((p[*at] & mask) == mask)
            return what;
    return NULL;
}

const char *dtype_bad(enum dtype d, const void *p, size_t n, size_t *at)
{
    switch (d) {
    case DT_BF16:
        return bad_half(p, n, 0x7f80, at);
    case DT_F16:
        return bad_half(p, n, 0x7c00, at);
    case DT_F32:
        return bad_single(p, n, at);
    case DT_F8_E4M3: /* has no infinity */
        return bad_byte(p, n, 0x7f, "NaN", at);
    case DT_F8_E8M0:
        return bad_byte(p, n, 0xff, "scale 255 (NaN)", at);
    default:
        return DT_GGML >> d & 1 ? ggml_bad(d, p, n, at) : NULL;
    }
}
