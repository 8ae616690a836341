/* repair_file.c -- the file of a repair, a tensor a layer. */
#include "stats/repair_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "model/safetensors.h"
#include "stats/fields.h"

#define MAGIC "moe-repair 1"

/* The last is not in older files. */
enum { META_FORMAT, META_LAYERS, META_MODEL, META_PLAN, META_KEPT, METAS, NAME_BYTES = 48 };
static const char *const meta_name[METAS] = {"format", "layers", "model", "plan", "kept"};

static size_t layer_values(const struct repair *r)
{
    return (size_t)r->model.experts * (size_t)r->width;
}

int repair_new(struct repair *r, const struct model_id *id, const char *plan, const int *layer, int n_layers,
               bool bias, struct err *e)
{
    size_t i;

    *r = (struct repair){.model = *id, .n_layers = n_layers, .bias = bias, .width = bias ? id->hidden : 1};
    r->plan = mem_strdup(plan, e);
    r->layer = mem_new((size_t)n_layers, sizeof *r->layer, e);
    r->value = mem_new((size_t)n_layers, layer_values(r) * sizeof *r->value, e);
    if (!r->plan || !r->layer || !r->value) {
        repair_free(r);
        return -1;
    }
    memcpy(r->layer, layer, (size_t)n_layers * sizeof *layer);
    for (i = 0; !bias && i < (size_t)n_layers * layer_values(r); i++)
        r->value[i] = 1;
    return 0;
}

void repair_free(struct repair *r)
{
    free(r->plan);
    free(r->layer);
    free(r->value);
    *r = (struct repair){0};
}

float *repair_value(const struct repair *r, int layer_index, int expert)
{
    return r->value + (size_t)layer_index * layer_values(r) + (size_t)expert * (size_t)r->width;
}

static void repair_describe(const struct repair *r, int l, struct tensor *t, char name[NAME_BYTES])
{
    snprintf(name, NAME_BYTES, "layers.%d.%s", r->layer[l], r->bias ? "bias" : "factor");
    *t = (struct tensor){.name = name,
                         .dtype = DT_F32,
                         .rank = r->bias ? 2 : 1,
                         .shape = {(uint64_t)r->model.experts, (uint64_t)r->width}};
    if (!r->bias)
        t->shape[1] = 0;
}

/* ---- writing ---- */

int repair_write(const struct repair *r, const char *path, bool force, struct err *e)
{
    struct tensor *t = mem_new((size_t)r->n_layers, sizeof *t, e);
    char(*name)[NAME_BYTES] = mem_new((size_t)r->n_layers, sizeof *name, e), id[256];
    const char *value[METAS] = {
        [META_FORMAT] = MAGIC, [META_MODEL] = id, [META_PLAN] = r->plan, [META_KEPT] = r->kept};
    struct st_writer w = {.out = {.fd = -1}};
    struct str layers = {0};
    int l, status = -1;

    if (!t || !name)
        goto out;
    for (l = 0; l < r->n_layers; l++) {
        str_addf(&layers, "%s%d", l ? "," : "", r->layer[l]);
        repair_describe(r, l, &t[l], name[l]);
    }
    value[META_LAYERS] = layers.p;
    if (str_ok(&layers, e))
        goto out;
    if (model_id_print(&r->model, id, sizeof id) < 0) {
        err_set(e, ERR_INPUT, "repair: the model line cannot be written");
        goto out;
    }
    if (st_create(&w, path, force, t, (size_t)r->n_layers, meta_name, value, METAS, e))
        goto out;
    status =
        st_put(&w, r->value, (size_t)r->n_layers * layer_values(r) * sizeof *r->value, e) || st_finish(&w, e)
            ? -1
            : 0;
    st_writer_close(&w);
out:
    str_free(&layers);
    free(name);
    free(t);
    return status;
}

/* ---- reading ---- */

/* "0,1,3": ascending numbers below n; the caller frees. */
static int *read_layers(const char *text, const char *path, int n, int *count, struct err *e)
{
    int *layer = mem_new((size_t)n, sizeof *layer, e);
    char *copy = mem_strdup(text, e), *p = copy, *comma;
    int64_t v;
    bool ok = layer && copy;

    for (*count = 0; ok && p; p = comma) {
        comma = strchr(p, ',');
        if (comma)
            *comma++ = 0;
        ok = num_i64(p, "layers", *count ? layer[*count - 1] + 1 : 0, n - 1, &v, e) == 0;
        if (ok)
            layer[(*count)++] = (int)v;
    }
    free(copy);
    if (ok)
        return layer;
    err_prefix(e, "'%s'", path);
    free(layer);
    return NULL;
}

static int read_layer(struct repair *r, const struct st_file *st, int l, struct err *e)
{
    const char *path = st->file.path;
    struct tensor want;
    const struct tensor *t;
    char name[NAME_BYTES];
    float *v = repair_value(r, l, 0);
    size_t i;
    int d;

    repair_describe(r, l, &want, name);
    t = st_find(st, name);
    if (!t)
        return err_set(e, ERR_INPUT, "'%s': tensor '%s' is missing", path, name);
    for (d = 0; d < want.rank && t->rank == want.rank && t->shape[d] == want.shape[d]; d++)
        ;
    if (d < want.rank || t->dtype != DT_F32)
        return err_set(e, ERR_INPUT, "'%s': tensor '%s' has another shape or dtype than it should", path,
                       name);
    if (st_read(st, t, 0, v, layer_values(r) * sizeof *v, e))
        return -1;
    for (i = 0; i < layer_values(r); i++)
        if (!isfinite(v[i]))
            return err_set(e, ERR_INPUT, "'%s': tensor '%s' holds a value that is not a finite number", path,
                           name);
    return 0;
}

static void read_kept(struct repair *r, const struct st_file *st)
{
    size_t i;

    for (i = 0; i < st->n_meta; i++)
        if (strcmp(st->meta_key[i], meta_name[META_KEPT]) == 0 && is_hex_digest(st->meta_value[i]))
            memcpy(r->kept, st->meta_value[i], HASH_HEX);
}

static int read_all(struct repair *r, const struct st_file *st, struct err *e)
{
    const char *meta[METAS], *path = st->file.path, *dot;
    char where[300];
    struct model_id id;
    int *layer, n, l, status;
    uint64_t values;
    bool bias;

    snprintf(where, sizeof where, "'%.250s': model", path);
    if (fields_metadata(st, MAGIC, "no repair", meta_name, meta, META_KEPT, e) ||
        model_id_parse(&id, meta[META_MODEL], where, e))
        return -1;
    layer = read_layers(meta[META_LAYERS], path, id.layers, &n, e);
    if (!layer)
        return -1;
    dot = st->n ? strrchr(st->tensor[0].name, '.') : NULL;
    bias = dot && strcmp(dot, ".bias") == 0;
    values = (uint64_t)id.experts * (bias ? (uint64_t)id.hidden : 1) * (uint64_t)n;
    /* before room is made for them: a few bytes can ask for all memory */
    if (st->n != (size_t)n)
        status = err_set(e, ERR_INPUT, "'%s' has %zu tensors for %d layers", path, st->n, n);
    else if (values != (st->file.size - st->header_bytes) / sizeof(float))
        status = err_set(e, ERR_INPUT, "'%s': its tensors are not those of its model line and layers", path);
    else
        status = repair_new(r, &id, meta[META_PLAN], layer, n, bias, e);
    free(layer);
    if (!status)
        read_kept(r, st);
    for (l = 0; l < n && !status; l++)
        status = read_layer(r, st, l, e);
    return status;
}

int repair_read(struct repair *r, const char *path, struct err *e)
{
    struct st_file st;
    int status;

    *r = (struct repair){0};
    if (st_open(&st, path, e))
        return -1;
    status = read_all(r, &st, e);
    st_close(&st);
    if (status)
        repair_free(r);
    return status;
}
