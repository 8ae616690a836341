/* format.c -- the table of storage formats, and what follows from its rows. */
#include "quant/format.h"

#include <cjson/cJSON.h>
#include <limits.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/words.h"
#include "quant/format_rows.h"

#define ENTRY(name) &format_##name,
static const struct format *const table[] = {FORMATS(ENTRY)};
#undef ENTRY
enum { ENTRIES = sizeof table / sizeof *table };

const struct format *const *format_table(int *n)
{
    *n = ENTRIES;
    return table;
}

bool config_says(const cJSON *config, const char *key, const char *value)
{
    const cJSON *v = json_member(config, key);

    return cJSON_IsString(v) && strcmp(v->valuestring, value) == 0;
}

static bool in_words_any_case(const char *const *list, const char *word)
{
    while (*list && strcasecmp(*list, word) != 0)
        list++;
    return *list != NULL;
}

bool config_allows(const cJSON *config, const char *key, const char *const *values)
{
    const cJSON *v = json_member(config, key);

    return !v || cJSON_IsNull(v) || (cJSON_IsString(v) && in_words_any_case(values, v->valuestring));
}

const char *format_stumbles(const cJSON *config)
{
    const char *key = NULL;
    int i;

    for (i = 0; i < ENTRIES && !key; i++)
        key = table[i]->stumbles ? table[i]->stumbles(config) : NULL;
    return key;
}

int format_claims(const cJSON *config, struct format_claim claim[MAX_CLAIMS])
{
    struct block_size block[MAX_CLAIMS];
    int n = 0, i, k, found;

    for (i = 0; config && i < ENTRIES && n < MAX_CLAIMS - 1; i++) {
        found = table[i]->claims ? table[i]->claims(config, block, MAX_CLAIMS - 1 - n) : 0;
        for (k = 0; k < found; k++)
            claim[n++] = (struct format_claim){table[i], block[k]};
    }
    claim[n++] = (struct format_claim){.format = &format_plain};
    return n;
}

/* ---- names ---- */

const struct piece *format_find_suffix(const char *suffix, bool fused)
{
    const struct piece *p;
    int i;

    for (i = 0; i < ENTRIES; i++)
        FOR_PIECES(p, table[i])
    if (piece_suffix(p, fused) && strcmp(piece_suffix(p, fused), suffix) == 0)
        return p;
    return NULL;
}

const struct piece *format_find_piece(const struct format_claim *claim, int n, const char *name, bool fused,
                                      enum dtype dtype, const struct format_claim **as)
{
    const struct piece *p;
    int i;

    for (i = 0; i < n; i++)
        FOR_PIECES(p, claim[i].format)
        {
            const char *suffix = piece_suffix(p, fused);

            if (suffix && p->dtypes >> dtype & 1 && ends_with(name, suffix)) {
                *as = &claim[i];
                return p;
            }
        }
    return NULL;
}

/* ---- shapes ---- */

static int per_of(const struct dim *d, struct block_size b)
{
    return d->per != PER_BLOCK ? d->per : d->of == DIM_OUT ? b.out : b.in;
}

/* What there is of the dimension for n elements of the map. */
static uint64_t extent(const struct dim *d, struct block_size b, uint64_t n)
{
    uint64_t per = d->per == PER_WORD ? 32 : (uint64_t)per_of(d, b), bits = (uint64_t)b.bits;

    if (d->per == PER_WORD)
        return n / 32 * bits + (n % 32 * bits + 31) / 32;
    return per ? n / per + (n % per > 0) : n > 0;
}

int piece_shape(const struct piece *p, struct block_size b, uint64_t out, uint64_t in, bool in_out,
                uint64_t shape[PIECE_DIMS])
{
    int of[PIECE_DIMS + 1] = {-1, -1, -1, -1}, i;
    uint64_t swap;

    if (in_out && p->last)
        return piece_shape(p, b, in, out, false, shape);
    for (i = 0; i < PIECE_DIMS && p->dim[i].of != DIM_END; i++) {
        const struct dim *d = &p->dim[i];

        of[d->of] = i;
        shape[i] = d->of == DIM_FIXED ? (uint64_t)d->per : extent(d, b, d->of == DIM_OUT ? out : in);
    }
    if (in_out && of[DIM_OUT] >= 0 && of[DIM_IN] >= 0) {
        swap = shape[of[DIM_OUT]];
        shape[of[DIM_OUT]] = shape[of[DIM_IN]];
        shape[of[DIM_IN]] = swap;
    }
    return i;
}

uint64_t piece_weights(const struct piece *p, struct block_size b, uint64_t count)
{
    uint64_t packed = 1, fixed = 1;
    int i;

    if (!p)
        return count;
    if (p->use != USE_WEIGHT)
        return 0;
    for (i = 0; i < PIECE_DIMS && p->dim[i].of != DIM_END; i++)
        if (p->dim[i].per == PER_WORD)
            packed *= 32, fixed *= (uint64_t)b.bits;
        else
            *(p->dim[i].of == DIM_FIXED ? &fixed : &packed) *= (uint64_t)p->dim[i].per;
    return count * packed / fixed;
}

/* ---- which format a map has ---- */

/* Leaves out dimensions of 1; returns the rank. */
static int squeeze(const uint64_t *shape, int rank, uint64_t out[PIECE_DIMS + 1])
{
    int i, n = 0;

    for (i = 0; i < rank && n <= PIECE_DIMS; i++)
        if (shape[i] != 1)
            out[n++] = shape[i];
    return n;
}

bool piece_has_shape(const struct piece *p, struct block_size b, uint64_t out, uint64_t in, bool in_out,
                     const struct piece_view *v)
{
    uint64_t want[PIECE_DIMS], few[2][PIECE_DIMS + 1];
    int rank = piece_shape(p, b, out, in, in_out, want), n;

    if (p->use == USE_OTHER)
        return true;
    if (p->use == USE_WEIGHT || v->rank == rank)
        return v->rank == rank && memcmp(want, v->shape, (size_t)rank * sizeof *want) == 0;
    n = squeeze(want, rank, few[0]);
    return squeeze(v->shape, v->rank, few[1]) == n && memcmp(few[0], few[1], (size_t)n * sizeof **few) == 0;
}

bool format_extents(const struct format_claim *c, const struct piece_view *v, bool in_out, uint64_t *out,
                    uint64_t *in)
{
    const struct dim *d = c->format->piece->dim;
    int i, at[DIM_FIXED + 1] = {0};
    uint64_t n[DIM_FIXED + 1] = {1, 1, 1, 1};

    for (i = 0; i < PIECE_DIMS && d[i].of != DIM_END; i++)
        at[d[i].of] = i;
    if (v->rank != i)
        return false;
    for (i = DIM_OUT; i <= DIM_IN; i++) {
        uint64_t have = v->shape[at[in_out && !c->format->piece->last ? DIM_OUT + DIM_IN - i : i]];
        bool words = d[at[i]].per == PER_WORD;

        if (!mul_u64(have, words ? 32 : (uint64_t)d[at[i]].per, &n[i]))
            return false;
        n[i] /= words ? (uint64_t)c->block.bits : 1;
    }
    *out = n[in_out && c->format->piece->last ? DIM_IN : DIM_OUT];
    *in = n[in_out && c->format->piece->last ? DIM_OUT : DIM_IN];
    return true;
}

enum format_fit format_fits(const struct format_claim *c, const struct piece_view v[FORMAT_PIECES],
                            uint64_t out, uint64_t in, bool in_out)
{
    const struct piece *p = c->format->piece;
    enum format_fit fit = FIT_WHOLE;

    if (v->rank < 0)
        return FIT_NONE;
    if (!(p->dtypes >> v->dtype & 1))
        return FIT_NAME;
    if (!out && !format_extents(c, v, in_out, &out, &in))
        return FIT_PIECES;
    if (!piece_has_shape(p, c->block, out, in, in_out, v))
        return FIT_WEIGHT;
    for (p++, v++; (p->suffix || p->fused_suffix) && fit > FIT_SHAPE; p++, v++) {
        if (v->rank < 0 ? !p->optional : !(p->dtypes >> v->dtype & 1))
            fit = FIT_SHAPE;
        else if (v->rank >= 0 && !piece_has_shape(p, c->block, out, in, in_out, v))
            fit = FIT_PIECES;
    }
    return fit;
}

/* ---- stored maps ---- */

/* Bytes of a piece that go with one stored row, or with those that share them, of `row` elements, which run
 * along `along`. */
static size_t row_bytes(const struct piece *p, struct block_size b, enum dim_of along, uint64_t row,
                        enum dtype dtype)
{
    uint64_t n = 1, bytes = 0;
    int i;

    for (i = 0; i < PIECE_DIMS && p->dim[i].of != DIM_END; i++)
        if (p->dim[i].of == DIM_FIXED)
            n *= (uint64_t)p->dim[i].per;
        else if (p->dim[i].of == along)
            n *= extent(&p->dim[i], b, row);
        else if (p->dim[i].per == PER_WORD)
            n *= (uint64_t)b.bits;
    dtype_size(dtype, n, &bytes);
    return (size_t)bytes;
}

/* Stored rows that share a row of the piece. */
static int rows_per(const struct piece *p, struct block_size b, enum dim_of down)
{
    int i;

    for (i = 0; i < PIECE_DIMS && p->dim[i].of != DIM_END; i++)
        if (p->dim[i].of == down && p->dim[i].per == PER_WORD)
            return 32; /* which end where a word does, however many bits they have */
        else if (p->dim[i].of == down && per_of(&p->dim[i], b))
            return per_of(&p->dim[i], b);
    return INT_MAX;
}

void format_describe(struct stored *s, const struct format_claim *c, int out, int in, bool in_out)
{
    bool turned = in_out || c->format->turned;
    int row = turned ? out : in;
    const struct piece *p;

    s->coding = c->format->coding;
    s->zero = c->format->zero;
    s->divides = c->format->divides;
    s->bits = c->block.bits;
    s->out = out;
    s->in = in;
    s->in_out = turned;
    s->first = 0;
    s->step = 1;
    s->stride = s->block = row;
    s->row0 = 0;
    FOR_PIECES(p, c->format)
    {
        enum dim_of along = turned && !p->last ? DIM_OUT : DIM_IN, down = DIM_OUT + DIM_IN - along;

        if (p->use >= STORED_PIECES)
            continue;
        s->piece[p->use].row = row_bytes(p, c->block, along, (uint64_t)row, s->piece[p->use].dtype);
        s->piece[p->use].per = rows_per(p, c->block, down);
        if (p->use == USE_SCALE)
            s->block = rows_per(p, c->block, along) < row ? rows_per(p, c->block, along) : row;
    }
}
