/*
 * gguf_kv.c -- reading the head of a GGUF file, whose length nothing says before it has been read.
 */
#include "model/container/gguf_kv.h"

#include <math.h>
#include <stdlib.h>

enum { FIRST_READ = 1 << 20, MOST = 1 << 30, SHOWN = 100 };

static const unsigned type_bytes[GGUF_TYPES] = {
    [GGUF_U8] = 1,  [GGUF_I8] = 1,   [GGUF_U16] = 2, [GGUF_I16] = 2, [GGUF_U32] = 4, [GGUF_I32] = 4,
    [GGUF_F32] = 4, [GGUF_BOOL] = 1, [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8,
};

/* ---- the bytes ---- */

struct parse {
    struct gguf *g;
    size_t at, have;
    size_t cap_values, cap_infos;
    const char *what; /* is being read, for messages */
    struct err *e;
};

/* What was found points into the bytes, which move. */
static void rebase(struct gguf *g, const uint8_t *from, const uint8_t *to)
{
    size_t i;

    for (i = 0; i < g->n_values; i++) {
        g->value[i].key.p = (const char *)to + (g->value[i].key.p - (const char *)from);
        g->value[i].at = to + (g->value[i].at - from);
    }
    for (i = 0; i < g->n_infos; i++)
        g->info[i].name.p = (const char *)to + (g->info[i].name.p - (const char *)from);
}

/* The first bytes of the file in memory of this size, fewer or more than before. */
static int resize(struct parse *p, size_t size)
{
    struct gguf *g = p->g;
    size_t keep = size < p->have ? size : p->have;
    uint8_t *bytes = mem_new_aligned(size, 1, p->e);

    if (!bytes)
        return -1;
    if (keep)
        memcpy(bytes, g->bytes, keep);
    if (size > keep && rfile_read(&g->file, keep, bytes + keep, size - keep, p->e)) {
        free(bytes);
        return -1;
    }
    rebase(g, g->bytes, bytes);
    free(g->bytes);
    g->bytes = bytes;
    p->have = size;
    return 0;
}

static int read_more(struct parse *p, size_t need)
{
    uint64_t size = p->have ? 2 * (uint64_t)p->have : FIRST_READ;

    size = size < need ? need : size;
    return resize(p, (size_t)(size > p->g->file.size ? p->g->file.size : size));
}

/* n bytes from here on; NULL: they are not there. */
static const uint8_t *gguf_take(struct parse *p, uint64_t n)
{
    const uint64_t size = p->g->file.size;

    if (p->e->kind)
        return NULL;
    if (n > size - p->at) {
        err_set(p->e, ERR_INPUT, "'%s': %s at byte %zu would end past the end of the file (truncated?)",
                p->g->file.path, p->what, p->at);
        return NULL;
    }
    if (n > MOST - p->at) {
        err_set(p->e, ERR_INPUT, "'%s': the metadata are larger than %d bytes", p->g->file.path, MOST);
        return NULL;
    }
    if (p->at + n > p->have && read_more(p, p->at + (size_t)n))
        return NULL;
    p->at += (size_t)n;
    return p->g->bytes + p->at - n;
}

/* The little-endian number of n bytes at b. */
static uint64_t number_at(const uint8_t *b, unsigned n)
{
    uint64_t v = 0;

    while (b && n)
        v = v << 8 | b[--n];
    return v;
}

static uint64_t take_uint(struct parse *p, unsigned n)
{
    return number_at(gguf_take(p, n), n);
}

static struct gguf_text take_text(struct parse *p)
{
    uint64_t n = take_uint(p, 8);
    const uint8_t *s = gguf_take(p, n);

    return (struct gguf_text){(const char *)s, s ? (size_t)n : 0};
}

/* ---- metadata ---- */

static int key_refused(struct parse *p, const struct gguf_value *v, const char *why)
{
    return err_set(p->e, ERR_INPUT, "'%s': the metadata key '%.*s' %s", p->g->file.path,
                   (int)(v->key.n < SHOWN ? v->key.n : SHOWN), v->key.p, why);
}

static bool take_key(struct parse *p, struct gguf_value *v)
{
    p->what = "a metadata key";
    v->key = take_text(p);
    if (p->e->kind)
        return false;
    if (!v->key.n || memchr(v->key.p, 0, v->key.n))
        err_set(p->e, ERR_INPUT, "'%s': a metadata key is empty or holds a NUL (byte %zu)", p->g->file.path,
                p->at);
    else if (map_find(&p->g->keys, v->key.p, v->key.n) >= 0)
        key_refused(p, v, "is there twice");
    else
        map_set(&p->g->keys, v->key.p, v->key.n, (int32_t)p->g->n_values, p->e);
    return !p->e->kind;
}

/* v is in the list already: when the bytes move, it is told. */
static void take_elements(struct parse *p, struct gguf_value *v)
{
    const size_t from = p->at;
    uint64_t i, bytes = 0;

    p->what = "a metadata value";
    if (v->type == GGUF_STRING) {
        for (i = 0; i < v->n && !p->e->kind; i++)
            take_text(p);
    } else if (!mul_u64(v->n, type_bytes[v->type], &bytes)) {
        key_refused(p, v, "has more elements than can be");
    } else {
        gguf_take(p, bytes);
    }
    if (p->e->kind)
        return;
    v->at = p->g->bytes + from;
    v->size = p->at - from;
    for (i = 0; v->type == GGUF_BOOL && i < v->n; i++)
        if (v->at[i] > 1) {
            key_refused(p, v, "is a boolean that is neither 0 nor 1");
            return;
        }
}

static void take_value(struct parse *p)
{
    struct gguf_value v = {.n = 1}, *in;
    uint64_t type;

    if (!take_key(p, &v) || mem_grow(&p->g->value, &p->cap_values, p->g->n_values + 1, sizeof v, p->e))
        return;
    v.at = (const uint8_t *)v.key.p;
    in = &p->g->value[p->g->n_values++];
    *in = v;
    p->what = "a metadata value's type";
    type = take_uint(p, 4);
    if (type == GGUF_ARRAY) {
        in->array = true;
        type = take_uint(p, 4);
        in->n = take_uint(p, 8);
    }
    if (p->e->kind)
        return;
    if (type >= GGUF_TYPES || type == GGUF_ARRAY) {
        key_refused(p, in, type == GGUF_ARRAY ? "is an array of arrays" : "has a value of an unknown type");
        return;
    }
    in->type = (enum gguf_type)type;
    take_elements(p, in);
}

/* ---- tensors ---- */

static void take_info(struct parse *p, struct map *names)
{
    struct gguf_info t;
    int i;

    p->what = "a tensor's entry";
    t.name = take_text(p);
    if (p->e->kind)
        return;
    if (!t.name.n || memchr(t.name.p, 0, t.name.n)) {
        err_set(p->e, ERR_INPUT, "'%s': a tensor's name is empty or holds a NUL (byte %zu)", p->g->file.path,
                p->at);
        return;
    }
    if (map_find(names, t.name.p, t.name.n) >= 0) {
        err_set(p->e, ERR_INPUT, "'%s': tensor '%.*s' is there twice", p->g->file.path,
                (int)(t.name.n < SHOWN ? t.name.n : SHOWN), t.name.p);
        return;
    }
    if (map_set(names, t.name.p, t.name.n, 0, p->e) ||
        mem_grow(&p->g->info, &p->cap_infos, p->g->n_infos + 1, sizeof t, p->e))
        return;
    p->g->info[p->g->n_infos++] = t;
    t.dims = (int)take_uint(p, 4);
    if (!p->e->kind && (t.dims < 0 || t.dims > GGUF_DIMS)) {
        t.name = p->g->info[p->g->n_infos - 1].name;
        err_set(p->e, ERR_INPUT, "'%s': tensor '%.*s' has more than %d dimensions", p->g->file.path,
                (int)(t.name.n < SHOWN ? t.name.n : SHOWN), t.name.p, GGUF_DIMS);
    }
    for (i = 0; i < GGUF_DIMS && !p->e->kind; i++)
        t.ne[i] = i < t.dims ? take_uint(p, 8) : 1;
    t.type = (uint32_t)take_uint(p, 4);
    t.offset = take_uint(p, 8);
    t.name = p->g->info[p->g->n_infos - 1].name;
    p->g->info[p->g->n_infos - 1] = t;
}

/* ---- all of it ---- */

static uint32_t take_version(struct parse *p)
{
    const uint8_t *magic = gguf_take(p, 4);
    uint32_t version;

    if (magic && memcmp(magic, GGUF_MAGIC, 4) != 0)
        err_set(p->e, ERR_INPUT, "'%s' is no GGUF file", p->g->file.path);
    version = (uint32_t)take_uint(p, 4);
    if (p->e->kind || version == 2 || version == 3)
        return version;
    err_set(p->e, ERR_UNKNOWN, "'%s' is GGUF of version %lu, versions 2 and 3 are understood%s",
            p->g->file.path, (unsigned long)version,
            version << 8 == 0 ? " (it is of the other byte order)" : "");
    return version;
}

/* After all entries: where the tensors begin. */
static int find_data(struct parse *p)
{
    const struct gguf_value *v = gguf_find(p->g, "general.alignment");
    int64_t a = 32;

    if (v && (v->array || v->type != GGUF_U32 || !gguf_int(v, 0, &a) || a < 1 || (a & (a - 1))))
        return key_refused(p, v, "is no power of two in 32 bits");
    p->g->alignment = (uint64_t)a;
    p->g->data = ((uint64_t)p->at + (uint64_t)a - 1) / (uint64_t)a * (uint64_t)a;
    return 0;
}

int gguf_open(struct gguf *g, const char *path, struct err *e)
{
    struct err local = {0};
    struct parse p = {.g = g, .what = "the header", .e = &local};
    struct map names = {0};
    uint64_t tensors, values, i;

    *g = (struct gguf){0};
    if (rfile_open(&g->file, path, e))
        return -1;
    g->version = take_version(&p);
    tensors = take_uint(&p, 8);
    values = take_uint(&p, 8);
    for (i = 0; i < values && !local.kind; i++)
        take_value(&p);
    for (i = 0; i < tensors && !local.kind; i++)
        take_info(&p, &names);
    map_free(&names);
    if (!local.kind && find_data(&p) == 0 && resize(&p, p.at) == 0)
        return 0;
    gguf_close(g);
    return err_set(e, local.kind, "%s", local.msg);
}

void gguf_close(struct gguf *g)
{
    rfile_close(&g->file);
    free(g->value);
    free(g->info);
    free(g->bytes);
    map_free(&g->keys);
    *g = (struct gguf){0};
}

/* ---- values ---- */

const struct gguf_value *gguf_find(const struct gguf *g, const char *key)
{
    int32_t i = map_find(&g->keys, key, strlen(key));

    return i < 0 ? NULL : &g->value[i];
}

/* Of a number: its element i as bits. */
static bool bits_at(const struct gguf_value *v, uint64_t i, uint64_t *bits)
{
    if (!v || i >= v->n || v->type == GGUF_STRING)
        return false;
    *bits = number_at(v->at + i * type_bytes[v->type], type_bytes[v->type]);
    return true;
}

bool gguf_int(const struct gguf_value *v, uint64_t i, int64_t *out)
{
    uint64_t bits, sign;

    if (!bits_at(v, i, &bits) || v->type == GGUF_F32 || v->type == GGUF_F64)
        return false;
    if (v->type == GGUF_I8 || v->type == GGUF_I16 || v->type == GGUF_I32) {
        sign = UINT64_C(1) << (8 * type_bytes[v->type] - 1);
        bits = (bits ^ sign) - sign;
    } else if (v->type == GGUF_U64 && bits > INT64_MAX) {
        return false;
    }
    *out = (int64_t)bits;
    return true;
}

bool gguf_number(const struct gguf_value *v, uint64_t i, double *out)
{
    uint64_t bits;
    int64_t whole;
    uint32_t low;
    float f;

    if (!bits_at(v, i, &bits))
        return false;
    if (v->type == GGUF_F32) {
        low = (uint32_t)bits;
        memcpy(&f, &low, sizeof f);
        *out = (double)f;
    } else if (v->type == GGUF_F64) {
        memcpy(out, &bits, sizeof *out);
    } else if (gguf_int(v, i, &whole)) {
        *out = (double)whole;
    } else {
        *out = (double)bits;
    }
    return true;
}

bool gguf_next(const struct gguf_value *v, const uint8_t **at, struct gguf_text *out)
{
    if (v->type != GGUF_STRING || *at >= v->at + v->size)
        return false;
    out->n = (size_t)number_at(*at, 8);
    out->p = (const char *)*at + 8;
    *at += 8 + out->n;
    return true;
}

bool gguf_string(const struct gguf_value *v, struct gguf_text *out)
{
    const uint8_t *at = v ? v->at : NULL;

    return v && gguf_next(v, &at, out);
}
