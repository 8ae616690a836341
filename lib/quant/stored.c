/* stored.c -- rows of a stored map as numbers, whatever their coding. */
#include "quant/stored.h"

#include "quant/coding_rows.h"
#include "quant/floats.h"
#include "quant/hot.h"

/* Elements that a conversion goes through at a time when the target type is not the stored one; the tiles in
 * which transposed maps are turned. */
enum { RUN = 256, EDGE = 32, SIDE = 128, EXTRA = 64 };

/* *ok stays true if all are finite. */
HOT(static void, finite_bf16, (const uint16_t *restrict p, size_t n, bool *restrict ok), (p, n, ok))
{
    uint16_t bad = 0;
    size_t i;

    for (i = 0; i < n; i++)
        bad |= (uint16_t)((p[i] & 0x7f80) == 0x7f80);
    *ok &= !bad;
}

HOT(static void, finite_f32, (const float *restrict p, size_t n, bool *restrict ok), (p, n, ok))
{
    uint32_t bad = 0, b;
    size_t i;

    for (i = 0; i < n; i++) {
        memcpy(&b, &p[i], 4);
        bad |= (b & 0x7f800000) == 0x7f800000;
    }
    *ok &= !bad;
}

#define CODING_ROW(id, name) [CODING_##id] = &coding_##name,
static const struct coding_row *const coding[CODING_COUNT] = {CODINGS(CODING_ROW)};

int coding_block(enum coding c)
{
    return coding[c]->block;
}

enum piece_use coding_suspect(enum coding c)
{
    return coding[c]->suspect;
}

/* ---- rows ---- */

void stored_span(const struct stored *s, int64_t row, int64_t col, int n, float *dst)
{
    coding[s->coding]->f32(s, row, col, n, dst);
}

static void row_bf16(const struct stored *s, int64_t row, uint16_t *dst)
{
    float run[RUN];
    int i, c;

    if (s->piece[USE_WEIGHT].dtype == DT_BF16) {
        memcpy(dst, stored_row(s, USE_WEIGHT, row), (size_t)s->in * 2);
    } else if (coding[s->coding]->bf16) {
        coding[s->coding]->bf16(s, row, 0, s->in, dst);
    } else {
        for (i = 0; i < s->in; i += c) {
            c = s->in - i < RUN ? s->in - i : RUN;
            stored_span(s, row, i, c, run);
            f32_to_bf16_n(run, dst + i, (size_t)c);
        }
    }
}

/* Rows from .. from+n-1, of which stored rows k0 .. k0+k-1 hold an element each. */
static void turn_tile(const struct stored *s, int from, int n, int k0, int k, void *dst, size_t ld, bool bf16)
{
    int block = coding[s->coding]->block, at = s->first + from * s->step, i, r;
    int64_t lo = at / block * block, hi = at + (int64_t)(n - 1) * s->step + 1;
    float tile[EDGE][SIDE + EXTRA];

    hi = (hi + block - 1) / block * block;
    for (i = 0; i < k; i++)
        stored_span(s, k0 + i, lo, (int)(hi - lo), tile[i]);
    for (r = 0; r < n; r++)
        for (i = 0; i < k; i++)
            float_put(bf16 ? DT_BF16 : DT_F32, dst, (size_t)r * ld + (size_t)(k0 + i),
                      tile[i][at - lo + r * s->step]);
}

static void turned_rows(const struct stored *s, int from, int n, uint8_t *dst, size_t ld, bool bf16)
{
    int most = SIDE / s->step, k, r, rows;

    for (r = 0; r < n; r += rows) {
        rows = n - r < most ? n - r : most;
        for (k = 0; k < s->in; k += EDGE)
            turn_tile(s, from + r, rows, k, s->in - k < EDGE ? s->in - k : EDGE,
                      dst + (size_t)r * ld * (bf16 ? 2 : 4), ld, bf16);
    }
}

bool stored_rows(const struct stored *s, int from, int n, void *dst, size_t ld, bool bf16)
{
    bool ok = true;
    int r;

    if (s->in_out)
        turned_rows(s, from, n, dst, ld, bf16);
    for (r = 0; r < n; r++) {
        int64_t row = s->first + (int64_t)(from + r) * s->step;

        if (bf16) {
            uint16_t *to = (uint16_t *)dst + (size_t)r * ld;

            if (!s->in_out)
                row_bf16(s, row, to);
            finite_bf16(to, (size_t)s->in, &ok);
        } else {
            float *to = (float *)dst + (size_t)r * ld;

            if (!s->in_out)
                stored_span(s, row, 0, s->in, to);
            finite_f32(to, (size_t)s->in, &ok);
        }
    }
    return ok;
}

/* ---- what is wrong with one ---- */

/* Stored rows that the map reaches to, from row0 on. */
static int64_t reach(const struct stored *s)
{
    int64_t last = s->in_out ? s->in - 1 : s->first + (int64_t)(s->out - 1) * s->step;

    return last - s->row0;
}

/* Whether each group is one that there is. */
static bool order_holds(const struct stored *s)
{
    const struct stored_piece *scale = &s->piece[USE_SCALE];
    int64_t groups = s->in_out ? (s->in + (int64_t)scale->per - 1) / scale->per
                               : (int64_t)(scale->row / dtype_bytes(scale->dtype));
    int32_t g;
    int i;

    for (i = 0; i < s->in; i++) {
        memcpy(&g, s->piece[USE_ORDER].at + 4 * (size_t)i, sizeof g);
        if (g < 0 || g >= groups)
            return false;
    }
    return true;
}

/* What of a piece makes no finite number; NULL: nothing. */
static const char *piece_fault(const struct stored *s, enum piece_use use)
{
    const struct stored_piece *p = &s->piece[use];
    int64_t rows = p->per ? (s->row0 + reach(s)) / p->per - s->row0 / p->per + 1 : 1;
    size_t bytes = (size_t)rows * p->row, at;

    if (!p->at)
        return NULL;
    bytes = p->size && p->size < bytes ? p->size : bytes;
    if (dtype_bad(p->dtype == DT_U8 && use == USE_SCALE ? DT_F8_E8M0 : p->dtype, p->at,
                  bytes / dtype_bytes(p->dtype) * dtype_elements(p->dtype), &at))
        return "a value that is not a finite number";
    if (use == USE_GLOBAL && s->divides && float_at(p->dtype, p->at, 0) == 0)
        return "0, which scales are divided by";
    if (use == USE_ORDER && !order_holds(s))
        return "a number of a group that there is not";
    return NULL;
}

/* The first piece with a fault; STORED_PIECES: none. */
static int first_fault(const struct stored *s, const char **what)
{
    static const enum piece_use order[] = {USE_SCALE, USE_GLOBAL, USE_WEIGHT, USE_ORDER};
    size_t i;

    for (i = 0; i < sizeof order / sizeof *order; i++)
        if ((*what = piece_fault(s, order[i])))
            return order[i];
    return STORED_PIECES;
}

bool stored_damaged(const struct stored *s)
{
    const char *what;

    return first_fault(s, &what) != STORED_PIECES;
}

int stored_fault(const struct stored *s, struct err *e)
{
    const char *what;
    int use = first_fault(s, &what);
    const char *name = use != STORED_PIECES && s->piece[use].name ? s->piece[use].name : s->name;

    return err_set(e, ERR_INPUT, "tensor '%s' holds %s", name,
                   what ? what : "a value that is not a finite number");
}
