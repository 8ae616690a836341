/*
 * st_folder_write.c -- a new folder of safetensors files under an old one's file names, with an index if that
 * had one or should have had, and config.json.
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/json_out.h"
#include "model/container/container_rows.h"

struct writing {
    char *dir;
    struct st_writer out;
    int shard; /* that is open, or -1 */
};

/* ---- metadata ---- */

struct metadata {
    const char **key, **value; /* [n] */
    size_t n;
};

static void metadata_free(struct metadata *m)
{
    free(m->key);
    free(m->value);
}

static void metadata_add(struct metadata *m, const char *key, const char *value)
{
    m->key[m->n] = key;
    m->value[m->n++] = value;
}

static bool is_set(const struct container_writer *w, const char *key)
{
    size_t i;

    for (i = 0; i < w->n_meta; i++)
        if (strcmp(w->meta[i].key, key) == 0)
            return true;
    return false;
}

/* The old file's own, except for the keys that are set now. */
static int metadata_of(struct metadata *m, const struct container_writer *w, int shard, struct err *e)
{
    const struct st_file *f = st_folder_file(w->like, shard);
    size_t max = f->n_meta + w->n_meta + 1, i;
    bool format = false;

    *m = (struct metadata){mem_new(max, sizeof *m->key, e), mem_new(max, sizeof *m->value, e), 0};
    if (!m->key || !m->value) {
        metadata_free(m);
        return -1;
    }
    for (i = 0; i < f->n_meta; i++) {
        if (is_set(w, f->meta_key[i]))
            continue;
        format = format || strcmp(f->meta_key[i], "format") == 0;
        metadata_add(m, f->meta_key[i], f->meta_value[i]);
    }
    if (!format)
        metadata_add(m, "format", "pt"); /* transformers 4 asks for it */
    for (i = 0; i < w->n_meta; i++)
        metadata_add(m, w->meta[i].key, w->meta[i].text);
    return 0;
}

/* ---- shards ---- */

/* How many tensors from the i-th on are in one file. */
static size_t in_file(const struct container_writer *w, size_t i)
{
    size_t to = i;

    while (to < w->n && w->tensor[to].shard == w->tensor[i].shard)
        to++;
    return to - i;
}

static int folder_sizes(struct container_writer *w, struct err *e)
{
    size_t i, n, header;
    uint64_t data;
    char *text;

    w->bytes = w->tensor_bytes = 0;
    w->files = 0;
    for (i = 0; i < w->n; i += n) {
        struct metadata m;
        int r;

        n = in_file(w, i);
        if (metadata_of(&m, w, w->tensor[i].shard, e))
            return -1;
        r = st_header(&w->tensor[i], n, m.key, m.value, m.n, &text, &header, &data, e);
        metadata_free(&m);
        if (r)
            return -1;
        free(text);
        w->bytes += header + data;
        w->tensor_bytes += data;
        w->files++;
    }
    return 0;
}

static int folder_create(struct container_writer *w, const char *dir, struct err *e)
{
    struct writing *own = w->own = mem_new(1, sizeof *own, e);

    if (!own)
        return -1;
    own->shard = -1;
    own->dir = mem_strdup(dir, e);
    return own->dir ? 0 : -1;
}

static int end_shard(struct writing *own, struct err *e)
{
    int r = own->shard < 0 ? 0 : st_finish(&own->out, e);

    if (own->shard >= 0)
        st_writer_close(&own->out);
    own->shard = -1;
    return r;
}

static int folder_next(struct container_writer *w, size_t i, struct err *e)
{
    struct writing *own = w->own;
    int shard = w->tensor[i].shard, r;
    struct metadata m;
    char *path;

    if (shard == own->shard)
        return 0;
    if (end_shard(own, e) || metadata_of(&m, w, shard, e))
        return -1;
    path = path_join(own->dir, w->like->shard_name[shard], e);
    r = path ? st_create(&own->out, path, false, &w->tensor[i], in_file(w, i), m.key, m.value, m.n, e) : -1;
    own->shard = r ? -1 : shard;
    metadata_free(&m);
    free(path);
    return r;
}

static int folder_put(struct container_writer *w, const void *p, size_t n, struct err *e)
{
    return st_put(&((struct writing *)w->own)->out, p, n, e);
}

static int folder_copy(struct container_writer *w, const struct rfile *from, uint64_t off, uint64_t n,
                       struct err *e)
{
    return st_copy(&((struct writing *)w->own)->out, from, off, n, e);
}

/* ---- the index ---- */

/*
 * total_parameters of the new index: counted as the old one's number was, stored elements or weights; a
 * number that neither explains is not carried on.
 */
static int total_parameters(const struct container_writer *w, bool *known, uint64_t *n, struct err *e)
{
    static const char *const path[] = {"metadata", "total_parameters", NULL};
    struct err other = {0}; /* a value of another kind is not carried on either */
    char *file, *text = NULL;
    struct js js;
    size_t size, from, to;
    uint64_t old;
    int r = -1, found;

    *known = false;
    if (!w->like->has_index)
        return 0;
    file = path_join(w->like->dir, ST_INDEX, e);
    if (!file || file_read(file, ST_MAX_HEADER, &text, &size, e))
        goto done;
    found = json_find(text, size, file, path, &from, &to, e);
    if (found < 0)
        goto done;
    if (found && js_init(&js, text + from, to - from, file, &other) == 0 && js_u64(&js, &old) == 0) {
        *known = old == w->before.stored || old == w->before.logical;
        *n = old == w->before.stored ? w->after.stored : w->after.logical;
    }
    r = 0;
done:
    free(text);
    free(file);
    return r;
}

static int st_by_name(const void *a, const void *b)
{
    return strcmp((*(const struct tensor *const *)a)->name, (*(const struct tensor *const *)b)->name);
}

static void index_text(const struct container_writer *w, const struct tensor **t, const uint64_t *params,
                       struct json_out *j)
{
    size_t i;

    jo_open(j, NULL, '{');
    jo_open(j, "metadata", '{');
    if (params)
        jo_uint(j, "total_parameters", *params);
    jo_uint(j, "total_size", w->tensor_bytes);
    jo_close(j);
    jo_open(j, "weight_map", '{');
    for (i = 0; i < w->n; i++)
        jo_string(j, t[i]->name, w->like->shard_name[t[i]->shard]);
    jo_close(j);
    jo_close(j);
    str_addc(&j->s, '\n');
}

static int write_index(const struct container_writer *w, const char *dir, struct err *e)
{
    const struct tensor **t = mem_new(w->n, sizeof *t, e);
    char *path = path_join(dir, ST_INDEX, e);
    struct json_out j = {.pretty = true};
    uint64_t params;
    bool known;
    size_t i;
    int r = -1;

    if (!t || !path || total_parameters(w, &known, &params, e))
        goto done;
    for (i = 0; i < w->n; i++)
        t[i] = &w->tensor[i];
    qsort(t, w->n, sizeof *t, st_by_name);
    index_text(w, t, known ? &params : NULL, &j);
    r = str_ok(&j.s, e) ? -1 : file_write(path, j.s.p, j.s.n, false, e);
done:
    free(t);
    str_free(&j.s);
    free(path);
    return r;
}

static int folder_finish(struct container_writer *w, struct err *e)
{
    struct writing *own = w->own;
    char *config = path_join(own->dir, "config.json", e);
    int r = config ? end_shard(own, e) : -1;

    if (!r && (w->like->has_index || w->like->shards > 1))
        r = write_index(w, own->dir, e);
    if (!r)
        r = file_write(config, w->config, w->config_n, false, e);
    free(config);
    return r;
}

static void st_folder_writer_close(struct container_writer *w)
{
    struct writing *own = w->own;

    if (!own)
        return;
    if (own->shard >= 0)
        st_writer_close(&own->out);
    free(own->dir);
    free(own);
    w->own = NULL;
}

const struct container_writer_ops st_folder_writer = {
    .sizes = folder_sizes,
    .create = folder_create,
    .next = folder_next,
    .put = folder_put,
    .copy = folder_copy,
    .finish = folder_finish,
    .close = st_folder_writer_close,
};
