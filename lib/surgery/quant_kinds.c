/* quant_kinds.c -- tensors whose names differ in numbers only, counted together. */
#include "surgery/quant_kinds.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* Whether a tensor's name is of the kind. */
static bool is_of(const char *kind, const char *name)
{
    while (*kind && *name)
        if (*kind == '*' && isdigit((unsigned char)*name)) {
            name += strspn(name, "0123456789");
            kind++;
        } else if (*kind++ != *name++) {
            return false;
        }
    return *kind == *name;
}

/* "layers.*.up" of "layers.12.up"; a digit within a word stays ("w1"). The caller frees. */
static char *kind_name(const char *name, struct err *e)
{
    char *kind = mem_strdup(name, e), *to = kind;
    const char *p;

    for (p = name; kind && *p; p++) {
        size_t n = strspn(p, "0123456789");

        if (n && (p == name || p[-1] == '.') && (p[n] == '.' || !p[n])) {
            *to++ = '*';
            p += n - 1;
        } else {
            *to++ = *p;
        }
    }
    if (kind)
        *to = '\0';
    return kind;
}

static const char *format_or_dtype(const struct format *f, enum dtype d)
{
    return f->name ? f->name : dtype_name(d);
}

static const char *from_name(const struct quant_map *map)
{
    return format_or_dtype(map->from.as->format, map->from.piece[USE_WEIGHT]->dtype);
}

static const char *to_name(const struct quant_map *map)
{
    return format_or_dtype(map->to, map->encode->weight);
}

static struct quant_kind *kinds_find(const struct quantize_report *r, const struct quant_map *map)
{
    size_t i;

    for (i = r->kinds; i-- > 0;) {
        const struct quant_kind *k = &r->kind[i];

        if (is_of(k->name, map->from.piece[USE_WEIGHT]->name) && strcmp(k->from, from_name(map)) == 0 &&
            strcmp(k->to, to_name(map)) == 0)
            return &r->kind[i];
    }
    return NULL;
}

static struct quant_kind *kinds_add(struct quantize_report *r, size_t *cap, const struct quant_map *map,
                                    struct err *e)
{
    struct quant_kind *k = kinds_find(r, map);
    char *name;

    if (k)
        return k;
    name = kind_name(map->from.piece[USE_WEIGHT]->name, e);
    if (!name || mem_grow(&r->kind, cap, r->kinds + 1, sizeof *r->kind, e)) {
        free(name);
        return NULL;
    }
    k = &r->kind[r->kinds++];
    *k = (struct quant_kind){.name = name, .from = from_name(map), .to = to_name(map)};
    return k;
}

static int count_tensor(struct quantize_report *r, size_t *cap, const struct out_tensor *t, struct err *e)
{
    struct quant_kind *k;
    uint64_t bytes;
    int i;

    if (!dtype_size(t->t.dtype, tensor_count(&t->t), &bytes))
        return err_set(e, ERR_INPUT, "tensor '%s' is too large", t->t.name);
    if (!t->map) {
        r->copied++;
        r->copied_bytes += bytes;
        return 0;
    }
    if (!(k = kinds_add(r, cap, t->map, e)))
        return -1;
    k->bytes_after += bytes;
    if (t->use != USE_WEIGHT)
        return 0;
    k->tensors++;
    k->elements += t->map->n * t->map->out * t->map->in;
    for (i = 0; i < STORED_PIECES; i++)
        k->bytes_before += t->map->from.piece[i] ? t->map->from.piece[i]->size : 0;
    return 0;
}

int quant_kinds(struct quantize_report *r, const struct rewrite *rw, struct err *e)
{
    size_t cap = 0, i;
    int s;

    for (s = 0; s < rw->m->ckpt.shards; s++)
        for (i = 0; i < rw->shard[s].n; i++)
            if (count_tensor(r, &cap, &rw->shard[s].out[i], e))
                return -1;
    return 0;
}

void quant_kinds_made(struct quantize_report *r, const struct quant_map *map)
{
    struct quant_kind *k = kinds_find(r, map);

    if (k) {
        k->err2 += map->err2;
        k->sum2 += map->sum2;
        k->blocks += map->blocks;
        k->lossless += map->lossless;
    }
}

void quantize_report_free(struct quantize_report *r)
{
    while (r->kinds)
        free(r->kind[--r->kinds].name);
    free(r->kind);
    r->kind = NULL;
}
