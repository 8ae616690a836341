/*
 * gguf.c -- a GGUF file, or several of one model: configuration and tensors stand in it under llama.cpp's
 * names. Ollama's blobs are such files, whatever they are called.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/words.h"
#include "model/container/container_rows.h"
#include "model/container/gguf_own.h"
#include "quant/floats.h"

enum { MOST_PARTS = 99999, MOST_FACTORS = 1 << 16, SHOWN = 100 };
#define MEMBER "-of-"

/* ---- types ---- */

static const struct {
    uint32_t id;
    enum dtype dtype;
} types[] = {{0, DT_F32},           {1, DT_F16},  {24, DT_I8},  {25, DT_I16},
             {26, DT_I32},          {27, DT_I64}, {28, DT_F64}, {30, DT_BF16},
#define GGML_TYPE(name, id, elements, bytes) {id, DT_##name},
             GGML_BLOCKS(GGML_TYPE)
#undef GGML_TYPE
};

static bool find_type(uint32_t id, enum dtype *d)
{
    size_t i;

    for (i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].id == id) {
            *d = types[i].dtype;
            return true;
        }
    return false;
}

/* ---- opening ---- */

static int split_number(const struct gguf *g, const char *key, int64_t absent, int64_t *n, struct err *e)
{
    const struct gguf_value *v = gguf_find(g, key);

    *n = absent;
    if (v && (!gguf_int(v, 0, n) || *n < 0 || *n > INT32_MAX))
        return err_set(e, ERR_INPUT, "'%s': the metadata key '%s' is no number that makes sense",
                       g->file.path, key);
    return 0;
}

/* The name of part `number` (from 1) beside the one given, "STEM-00001-of-00003.gguf". NULL: it is not called
 * so. */
static char *part_path(const char *path, int number, int parts, struct err *e)
{
    const char *base = path_base(path), *of = base, *next, *s;
    int one = 0, all = 0;

    while ((next = strstr(of + 1, MEMBER)) != NULL)
        of = next;
    s = of - 5;
    if (of - base < 6 || s[-1] != '-' || !take_number(&s, &one) || s != of || one != 1) {
        err_set(e, ERR_INPUT,
                "'%s' is the first of %d files, but is not called so: the others are looked for by its name, "
                "which must end in -00001-of-%05d.gguf",
                path, parts, parts);
        return NULL;
    }
    s = of + strlen(MEMBER);
    if (!take_number(&s, &all) || all != parts) {
        err_set(e, ERR_INPUT, "'%s' says that it is one of %d files, which its name does not", path, parts);
        return NULL;
    }
    return mem_printf(e, "%.*s%05d%s", (int)(of - 5 - path), path, number, of);
}

static int open_part(struct gguf_own *own, const char *path, int number, struct err *e)
{
    struct gguf *g = &own->set.part[own->set.parts];
    int64_t no, count;

    if (!path_exists(path))
        return err_set(e, ERR_INPUT, "'%s' is missing: is the download complete?", path);
    if (gguf_open(g, path, e))
        return -1;
    own->set.parts++;
    if (split_number(g, "split.no", 0, &no, e) || split_number(g, "split.count", 0, &count, e))
        return -1;
    if (no != number - 1 || count != own->count)
        return err_set(e, ERR_INPUT, "'%s' is file %lld of %lld by its metadata, not %d of %d", path,
                       (long long)no + 1, (long long)count, number, own->count);
    return 0;
}

static int open_others(struct gguf_own *own, struct err *e)
{
    const struct gguf *first = own->set.part;
    int64_t tensors;
    size_t n = 0;
    int i, r = 0;

    for (i = 2; i <= own->count && !r; i++) {
        char *path = part_path(first->file.path, i, own->count, e);

        r = path ? open_part(own, path, i, e) : -1;
        free(path);
    }
    if (r || split_number(first, "split.tensors.count", -1, &tensors, e))
        return -1;
    for (i = 0; i < own->set.parts; i++)
        n += own->set.part[i].n_infos;
    if (tensors >= 0 && (uint64_t)tensors != n)
        return err_set(e, ERR_INPUT, "'%s' and the files after it hold %zu tensors instead of %lld",
                       first->file.path, n, (long long)tensors);
    return 0;
}

/* Importance matrices, adapters and projectors of images are GGUF files too. */
static int check_kind(const struct gguf *g, struct err *e)
{
    struct gguf_text type = {"model", 5};

    gguf_string(gguf_find(g, "general.type"), &type);
    return gguf_is(&type, "model") ? 0
                                   : err_set(e, ERR_INPUT, "'%s' is no model, but by its metadata: %.*s",
                                             g->file.path, (int)(type.n < SHOWN ? type.n : SHOWN), type.p);
}

/* Texts of ours in the metadata, as strings. */
static int keep_meta(struct gguf_own *own, struct err *e)
{
    const struct gguf *g = own->set.part;
    size_t i, n = strlen(GGUF_OURS);
    struct gguf_text text;

    own->meta = mem_new(g->n_values, sizeof *own->meta, e);
    for (i = 0; own->meta && i < g->n_values; i++) {
        const struct gguf_value *v = &g->value[i];

        if (v->key.n <= n || memcmp(v->key.p, GGUF_OURS, n) != 0 || v->array || !gguf_string(v, &text))
            continue;
        if (!(own->meta[i] = mem_strndup(text.p, text.n, e)))
            return -1;
    }
    return own->meta ? 0 : -1;
}

static int gguf_open_model(struct checkpoint *c, struct err *e)
{
    struct gguf_own *own = c->own = mem_new(1, sizeof *own, e);
    int64_t no, count;
    struct gguf first;

    if (!own || gguf_open(&first, c->dir, e))
        return -1;
    if (split_number(&first, "split.no", 0, &no, e) || split_number(&first, "split.count", 1, &count, e))
        count = 0;
    else if (count > MOST_PARTS)
        err_set(e, ERR_INPUT, "'%s' is one of %lld files by its metadata", c->dir, (long long)count);
    else if (no)
        err_set(e, ERR_INPUT,
                "'%s' is file %lld of %lld of a model: give the first one, which has the metadata", c->dir,
                (long long)no + 1, (long long)count);
    own->count = count > 1 ? (int)count : 1;
    own->set.part = e->kind ? NULL : mem_new((size_t)own->count, sizeof *own->set.part, e);
    if (!own->set.part) {
        gguf_close(&first);
        return -1;
    }
    own->set.part[own->set.parts++] = first;
    if (check_kind(own->set.part, e) || keep_meta(own, e))
        return -1;
    return own->count > 1 ? open_others(own, e) : 0;
}

/* ---- configuration ---- */

/* What each frequency of rope is divided by; the caller frees. n 0: they stay as they are. */
static int rope_factors(const struct gguf_own *own, float **factor, size_t *n, struct err *e)
{
    int part;
    const struct gguf_info *t = gguf_entry(&own->set, "rope_freqs.weight", &part);
    const struct gguf *g;

    *n = 0;
    *factor = NULL;
    if (!t)
        return 0;
    g = &own->set.part[part];
    if (t->type != 0 || t->dims != 1 || t->ne[0] > MOST_FACTORS)
        return err_set(e, ERR_INPUT, "'%s': tensor 'rope_freqs.weight' is no vector of F32", g->file.path);
    *n = (size_t)t->ne[0];
    *factor = mem_new(*n, sizeof **factor, e);
    return *factor ? rfile_read(&g->file, g->data + t->offset, *factor, *n * sizeof **factor, e) : -1;
}

static int gguf_model_config(const struct checkpoint *c, char **text, size_t *n, char **what, struct err *e)
{
    const struct gguf_own *own = c->own;
    size_t factors;
    float *factor;
    int r;

    *text = NULL;
    *what = mem_strdup(c->dir, e);
    r = *what ? rope_factors(own, &factor, &factors, e) : -1;
    if (*what && !r)
        r = gguf_config(&own->set, factor, factors, text, n, e);
    if (*what)
        free(factor);
    return r;
}

/* ---- tensors ---- */

/* Dtype, size and place; *next is where it must begin behind `data`. */
static int place_tensor(const struct gguf *g, const struct gguf_info *t, struct tensor *to, uint64_t *next,
                        struct err *e)
{
    uint64_t n = 1, padded;
    int shown = (int)(t->name.n < SHOWN ? t->name.n : SHOWN), i;

    if (!find_type(t->type, &to->dtype))
        return err_set(e, ERR_UNKNOWN,
                       "'%s': tensor '%.*s' is of ggml's type %" PRIu32 ", which is not known", g->file.path,
                       shown, t->name.p, t->type);
    for (i = 0; i < GGUF_DIMS; i++)
        if (!mul_u64(n, t->ne[i], &n))
            return err_set(e, ERR_INPUT, "'%s': tensor '%.*s' is larger than can be", g->file.path, shown,
                           t->name.p);
    if (t->ne[0] % dtype_elements(to->dtype) || !dtype_size(to->dtype, n, &to->size))
        return err_set(e, ERR_INPUT, "'%s': tensor '%.*s' has rows of %" PRIu64 " elements, which %s has not",
                       g->file.path, shown, t->name.p, t->ne[0], dtype_name(to->dtype));
    if (t->offset != *next)
        return err_set(e, ERR_INPUT,
                       "'%s': tensor '%.*s' begins at byte %" PRIu64
                       " of the data, where it should at %" PRIu64 ": tensors overlap, or there is a hole",
                       g->file.path, shown, t->name.p, t->offset, *next);
    if (!add_u64(t->offset, to->size, next) || !add_u64(*next, g->alignment - 1, &padded) ||
        *next > g->file.size - (g->data < g->file.size ? g->data : g->file.size))
        return err_set(e, ERR_INPUT, "'%s': tensor '%.*s' ends past the end of the file (truncated?)",
                       g->file.path, shown, t->name.p);
    *next = padded / g->alignment * g->alignment;
    to->begin = g->data + t->offset;
    return 0;
}

/* "blk.LAYER.ffn_MAP.EXPERT.weight" */
static bool is_of_one_expert(const char *name)
{
    static const char digits[] = "0123456789", letters[] = "abcdefghijklmnopqrstuvwxyz";
    const char *p = name + 4 * (strncmp(name, "blk.", 4) == 0);
    size_t layer = strspn(p, digits), map, expert;

    if (p == name || !layer || strncmp(p + layer, ".ffn_", 5) != 0)
        return false;
    p += layer + 5;
    map = strspn(p, letters);
    if (!map || p[map] != '.')
        return false;
    p += map + 1;
    expert = strspn(p, digits);
    return expert && strcmp(p + expert, ".weight") == 0;
}

/* Files of before April 2024 have a tensor for each expert, "blk.0.ffn_gate.7.weight". */
static int check_age(const struct gguf *g, const struct gguf_info *t, struct err *e)
{
    char name[SHOWN];

    snprintf(name, sizeof name, "%.*s", (int)(t->name.n < SHOWN ? t->name.n : SHOWN - 1), t->name.p);
    if (!is_of_one_expert(name))
        return 0;
    return err_set(
        e, ERR_UNKNOWN,
        "'%s': tensor '%s' is of one expert, as before April 2024: llama.cpp does not take that any more, "
        "convert the model anew",
        g->file.path, name);
}

/* Our order of dimensions. */
static void shape_tensor(const struct gguf_info *t, enum gguf_shape shape, struct tensor *to)
{
    int i;

    to->rank = t->dims;
    for (i = 0; i < t->dims; i++)
        to->shape[i] = t->ne[t->dims - 1 - i];
    if (shape == SHAPE_SCALAR && t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3] == 1) {
        to->rank = 0;
    } else if (shape == SHAPE_ROW) {
        to->rank = 2;
        to->shape[0] = 1;
        to->shape[1] = t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
    } else if (shape == SHAPE_FLAT && t->dims == 3) {
        to->rank = 2;
        to->shape[0] = t->ne[2] * t->ne[1];
        to->shape[1] = t->ne[0];
    }
}

static int take_part(struct checkpoint *c, const struct family *f, struct err *e)
{
    struct gguf_own *own = c->own;
    const struct gguf *g = &own->set.part[c->shards];
    struct gguf_tensors *p = &own->tensors[c->shards];
    uint64_t next = 0;
    size_t i;

    p->t = mem_new(g->n_infos, sizeof *p->t, e);
    p->shape = mem_new(g->n_infos, sizeof *p->shape, e);
    if (!p->t || !p->shape)
        return -1;
    for (i = 0; i < g->n_infos; i++) {
        if (check_age(g, &g->info[i], e) ||
            !(p->t[i].name = gguf_name(f, &g->info[i].name, &p->shape[i], e)) ||
            place_tensor(g, &g->info[i], &p->t[i], &next, e))
            return -1;
        shape_tensor(&g->info[i], p->shape[i], &p->t[i]);
    }
    c->shard[c->shards] = (struct shard){&g->file, g->data, g->n_infos};
    c->shard_name[c->shards++] = mem_strdup(path_base(g->file.path), e);
    return c->shard_name[c->shards - 1] ? checkpoint_take(c, p->t, g->n_infos, e) : -1;
}

static int gguf_model_tensors(struct checkpoint *c, const struct arch *a, bool partial, struct err *e)
{
    struct gguf_own *own = c->own;
    size_t n = (size_t)own->set.parts;

    (void)partial;
    own->family = a->family;
    own->tensors = mem_new(n, sizeof *own->tensors, e);
    c->shard = mem_new(n, sizeof *c->shard, e);
    c->shard_name = mem_new(n, sizeof *c->shard_name, e);
    if (!own->tensors || !c->shard || !c->shard_name)
        return -1;
    while (c->shards < own->set.parts)
        if (take_part(c, a->family, e))
            return -1;
    return checkpoint_sort(c, e);
}

/* ---- the row ---- */

static bool is_gguf(const char *path, const uint8_t *head, size_t n)
{
    (void)path;
    return n >= 4 && memcmp(head, GGUF_MAGIC, 4) == 0;
}

static const char *gguf_model_meta(const struct checkpoint *c, const char *key)
{
    const struct gguf_own *own = c->own;
    const struct gguf *g = own->set.part;
    char whole[SHOWN];
    int32_t i = -1;

    if ((size_t)snprintf(whole, sizeof whole, GGUF_OURS "%s", key) < sizeof whole)
        i = map_find(&g->keys, whole, strlen(whole));
    return i < 0 ? NULL : own->meta[i];
}

static void gguf_close_model(struct checkpoint *c)
{
    struct gguf_own *own = c->own;
    size_t i, values;
    int k;

    if (!own)
        return;
    values = own->set.parts ? own->set.part[0].n_values : 0;
    for (i = 0; own->meta && i < values; i++)
        free(own->meta[i]);
    for (k = 0; k < own->set.parts; k++) {
        for (i = 0; own->tensors && own->tensors[k].t && i < own->set.part[k].n_infos; i++)
            free((char *)own->tensors[k].t[i].name);
        if (own->tensors) {
            free(own->tensors[k].t);
            free(own->tensors[k].shape);
        }
        gguf_close(&own->set.part[k]);
    }
    free(own->meta);
    free(own->tensors);
    free(own->set.part);
    free(own);
}

const struct container container_gguf = {
    .name = "GGUF",
    .is = is_gguf,
    .open = gguf_open_model,
    .config = gguf_model_config,
    .tensors = gguf_model_tensors,
    .meta = gguf_model_meta,
    .limits = gguf_limits,
    .close = gguf_close_model,
    .writer = &gguf_writer,
};
