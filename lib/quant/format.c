/* format.c -- the table of storage formats, and what follows from its rows. */
#include "quant/format.h"

#include <cjson/cJSON.h>
#include <limits.h>
#include <string.h>

#include "base/json.h"
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

bool config_allows(const cJSON *config, const char *key, const char *const *values)
{
    const cJSON *v = json_member(config, key);

    return !v || cJSON_IsNull(v) || (cJSON_IsString(v) && in_words(values, v->valuestring));
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
                                      enum dtype dtype, const struct format **f)
{
    const struct piece *p;
    int i;

    for (i = 0; i < n; i++)
        FOR_PIECES(p, claim[i].format)
        {
            const char *suffix = piece_suffix(p, fused);

            if (suffix && p->dtypes >> dtype & 1 && ends_with(name, suffix)) {
                *f = claim[i].format;
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

/* n elements, `per` of which (0: all) share one. */
static uint64_t shared(uint64_t n, int per)
{
    return per ? (n + (uint64_t)per - 1) / (uint64_t)per : n > 0;
}

int piece_shape(const struct piece *p, struct block_size b, uint64_t out, uint64_t in, bool in_out,
                uint64_t shape[PIECE_DIMS])
{
    int of[PIECE_DIMS + 1] = {-1, -1, -1, -1}, i;
    uint64_t swap;

    for (i = 0; i < PIECE_DIMS && p->dim[i].of != DIM_END; i++) {
        const struct dim *d = &p->dim[i];

        of[d->of] = i;
        shape[i] = d->of == DIM_FIXED ? (uint64_t)d->per : shared(d->of == DIM_OUT ? out : in, per_of(d, b));
    }
    if (in_out && of[DIM_OUT] >= 0 && of[DIM_IN] >= 0) {
        swap = shape[of[DIM_OUT]];
        shape[of[DIM_OUT]] = shape[of[DIM_IN]];
        shape[of[DIM_IN]] = swap;
    }
    return i;
}

uint64_t piece_weights(const struct piece *p, uint64_t count)
{
    uint64_t packed = 1, fixed = 1;
    int i;

    if (!p)
        return count;
    if (p->use != USE_WEIGHT)
        return 0;
    for (i = 0; i < PIECE_DIMS && p->dim[i].of != DIM_END; i++)
        *(p->dim[i].of == DIM_FIXED ? &fixed : &packed) *= (uint64_t)p->dim[i].per;
    return count * packed / fixed;
}

/* Bytes of a piece that go with one stored row of `row` elements, which run along `along`. */
static size_t row_bytes(const struct piece *p, struct block_size b, enum dim_of along, uint64_t row,
                        enum dtype dtype)
{
    uint64_t n = 1, bytes = 0;
    int i;

    for (i = 0; i < PIECE_DIMS && p->dim[i].of != DIM_END; i++)
        if (p->dim[i].of == DIM_FIXED)
            n *= (uint64_t)p->dim[i].per;
        else if (p->dim[i].of == along)
            n *= shared(row, per_of(&p->dim[i], b));
    dtype_size(dtype, n, &bytes);
    return (size_t)bytes;
}

/* Stored rows that share a row of the piece. */
static int rows_per(const struct piece *p, struct block_size b, enum dim_of down)
{
    int i;

    for (i = 0; i < PIECE_DIMS && p->dim[i].of != DIM_END; i++)
        if (p->dim[i].of == down && per_of(&p->dim[i], b))
            return per_of(&p->dim[i], b);
    return INT_MAX;
}

void format_describe(struct stored *s, const struct format_claim *c, int out, int in, bool in_out)
{
    enum dim_of along = in_out ? DIM_OUT : DIM_IN, down = in_out ? DIM_IN : DIM_OUT;
    int row = in_out ? out : in;
    const struct piece *p;

    s->coding = c->format->coding;
    s->out = out;
    s->in = in;
    s->in_out = in_out;
    s->first = 0;
    s->step = 1;
    s->stride = s->block = row;
    s->row0 = 0;
    FOR_PIECES(p, c->format)
    {
        if (p->use >= STORED_PIECES)
            continue;
        s->piece[p->use].row = row_bytes(p, c->block, along, (uint64_t)row, s->piece[p->use].dtype);
        s->piece[p->use].per = rows_per(p, c->block, down);
        if (p->use == USE_SCALE)
            s->block = rows_per(p, c->block, along) < row ? rows_per(p, c->block, along) : row;
    }
}
