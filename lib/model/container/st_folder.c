/*
 * st_folder.c -- a folder of safetensors files with a config.json: model.safetensors, shards with their
 * index.
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/words.h"
#include "model/container/container_rows.h"

enum { MAX_CONFIG = 16 << 20 };

struct folder {
    struct st_file *file; /* [c->shards] */
};

/* ---- the index ---- */

/* weight_map as read: sorted by tensor name; both strings are offsets into text. */
struct index_map {
    struct {
        size_t name, file;
    } * entry;
    size_t n, cap;
    struct str text;
};

static void index_free(struct index_map *m)
{
    free(m->entry);
    str_free(&m->text);
}

static int read_index(struct index_map *m, const char *path, struct err *e)
{
    struct str key = {0}, value = {0};
    struct err local = {0};
    char *text;
    struct js js;
    size_t n;
    bool seen = false;

    if (file_read(path, ST_MAX_HEADER, &text, &n, e))
        return -1;
    if (js_init(&js, text, n, path, &local))
        goto done;
    js_open(&js, '{');
    while (js_key(&js, &key)) {
        if (strcmp(key.p, "weight_map") != 0 || seen) {
            js_skip(&js, NULL, NULL);
            continue;
        }
        seen = true;
        js_open(&js, '{');
        while (js_key(&js, &key)) {
            if (js_string(&js, &value) || mem_grow(&m->entry, &m->cap, m->n + 1, sizeof *m->entry, &local))
                goto done;
            if (strchr(value.p, '/') || !*value.p) {
                js_fail(&js, "shard name '%s' is not a plain file name", value.p);
                goto done;
            }
            m->entry[m->n].name = m->text.n;
            str_add(&m->text, key.p, key.n + 1);
            m->entry[m->n++].file = m->text.n;
            str_add(&m->text, value.p, value.n + 1);
        }
    }
    js_end(&js);
    if (!local.kind && (!seen || !m->n))
        err_set(&local, ERR_INPUT, "'%s' has no weight_map", path);
    str_ok(&m->text, &local);
done:
    str_free(&key);
    str_free(&value);
    free(text);
    return local.kind ? err_set(e, local.kind, "%s", local.msg) : 0;
}

static int by_string(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The distinct file names of the index, sorted; the caller frees the array. */
static char **shard_names(const struct index_map *m, size_t *n, struct err *e)
{
    char **all = mem_new(m->n, sizeof *all, e);
    size_t i;

    *n = 0;
    if (!all)
        return NULL;
    for (i = 0; i < m->n; i++)
        all[i] = m->text.p + m->entry[i].file;
    qsort(all, m->n, sizeof *all, by_string);
    for (i = 0; i < m->n; i++)
        if (!i || strcmp(all[i], all[*n - 1]) != 0)
            all[(*n)++] = all[i];
    return all;
}

static bool has_shard(const struct checkpoint *c, const char *file)
{
    int i;

    for (i = 0; i < c->shards; i++)
        if (strcmp(c->shard_name[i], file) == 0)
            return true;
    return false;
}

/* Marks the tensors that the index lists. */
static int check_entries(const struct checkpoint *c, const struct index_map *m, bool *listed, struct err *e)
{
    size_t i;

    for (i = 0; i < m->n; i++) {
        const char *name = m->text.p + m->entry[i].name, *file = m->text.p + m->entry[i].file;
        ptrdiff_t at = checkpoint_index(c, name);

        if (c->missing && !has_shard(c, file))
            continue;
        if (at < 0 || strcmp(c->shard_name[c->tensor[at]->shard], file) != 0)
            return err_set(e, ERR_INPUT, "tensor '%s' is not in '%s/%s', where " ST_INDEX " says it is", name,
                           c->dir, file);
        if (listed[at])
            return err_set(e, ERR_INPUT, "tensor '%s' occurs twice in " ST_INDEX, name);
        listed[at] = true;
    }
    return 0;
}

/* The index and the shards must say the same. */
static int check_index(const struct checkpoint *c, const struct index_map *m, struct err *e)
{
    bool *listed = mem_new(c->n, sizeof *listed, e);
    int r = listed ? check_entries(c, m, listed, e) : -1;
    size_t i;

    for (i = 0; !r && i < c->n; i++)
        if (!listed[i])
            r = err_set(e, ERR_INPUT, "tensor '%s' of '%s/%s' is not listed in " ST_INDEX, c->tensor[i]->name,
                        c->dir, c->shard_name[c->tensor[i]->shard]);
    free(listed);
    return r;
}

/* ---- the files ---- */

static int open_shard(struct checkpoint *c, const char *name, bool partial, struct err *e)
{
    struct folder *own = c->own;
    char *path = path_join(c->dir, name, e);
    struct st_file *f = &own->file[c->shards];
    int r = -1;

    if (!path)
        return -1;
    if (c->has_index && !path_exists(path)) {
        if (partial) {
            c->missing++;
            r = 0;
        } else {
            err_set(e, ERR_INPUT,
                    "'%s' is missing, although " ST_INDEX " names it: is the download complete?", path);
        }
    } else if (st_open(f, path, e) == 0) {
        c->shard[c->shards] = (struct shard){&f->file, f->header_bytes, f->n};
        c->shard_name[c->shards++] = mem_strdup(name, e);
        r = c->shard_name[c->shards - 1] ? checkpoint_take(c, f->tensor, f->n, e) : -1;
    }
    free(path);
    return r;
}

static int open_shards(struct checkpoint *c, char **name, size_t n, bool partial, struct err *e)
{
    struct folder *own = c->own;
    size_t i;

    own->file = mem_new(n, sizeof *own->file, e);
    c->shard = mem_new(n, sizeof *c->shard, e);
    c->shard_name = mem_new(n, sizeof *c->shard_name, e);
    if (!own->file || !c->shard || !c->shard_name)
        return -1;
    for (i = 0; i < n; i++)
        if (open_shard(c, name[i], partial, e))
            return -1;
    return checkpoint_sort(c, e);
}

static int open_indexed(struct checkpoint *c, const char *index, bool partial, struct err *e)
{
    struct index_map m = {0};
    char **name = NULL;
    size_t n;
    int r = -1;

    c->has_index = true;
    if (read_index(&m, index, e) == 0 && (name = shard_names(&m, &n, e)) != NULL)
        r = open_shards(c, name, n, partial, e) || check_index(c, &m, e) ? -1 : 0;
    free(name);
    index_free(&m);
    return r;
}

/* "STEM-00002-of-00003.safetensors": where the first number stands, and both; false: another name. */
static bool shard_number(const char *name, size_t *at, int *number, int *total)
{
    const char *of = strstr(name, "-of-"), *s = of;

    while (s && s > name && s[-1] >= '0' && s[-1] <= '9')
        s--;
    *at = s ? (size_t)(s - name) : 0;
    if (!s || !take_number(&s, number) || s != of)
        return false;
    s += strlen("-of-");
    return take_number(&s, total) && strcmp(s, ".safetensors") == 0;
}

/* Shards without an index: one whole set, counted from 0 or from 1, and no other. They go to the front of the
 * sorted names; how many, 0: it is not so. */
static size_t bare_shards(char **name, size_t n)
{
    int number, total = 0, first = 0;
    size_t shards = 0, i, at;

    for (i = 0; i < n; i++) {
        char *s = name[i];

        if (!ends_with(s, ".safetensors"))
            continue;
        if (!shard_number(s, &at, &number, &total) || (shards && strncmp(s, name[0], at) != 0))
            return 0;
        first = shards ? first : number;
        if (first > 1 || number != first + (int)shards)
            return 0;
        name[i] = name[shards];
        name[shards++] = s;
    }
    return shards == (size_t)total ? shards : 0;
}

/* What else a folder of a model may hold in the place of its weights. */
static const struct {
    const char *end, *what;
} other_weights[] = {
    {".gguf", "is GGUF, the format of llama.cpp: give the file itself"},
    {".bin", "is a checkpoint of PyTorch"},
    {".bin.index.json", "is a checkpoint of PyTorch"},
    {".pth", "is a checkpoint of PyTorch"},
    {".pt", "is a checkpoint of PyTorch"},
    {".ckpt", "is a checkpoint of PyTorch"},
    {".h5", "is a checkpoint of TensorFlow"},
    {".msgpack", "is a checkpoint of Flax"},
    {".onnx", "is ONNX"},
    {".npz", "is a checkpoint of NumPy"},
    {".incomplete", "is half of a download"},
    {"adapter_model.safetensors", "is an adapter for another model: merge it into that"},
};

static const char *what_else(const char *name)
{
    size_t i;

    for (i = 0; i < sizeof other_weights / sizeof *other_weights && strcmp(name, "training_args.bin"); i++)
        if (ends_with(name, other_weights[i].end))
            return other_weights[i].what;
    return NULL;
}

/* Of one name, why the folder holds no weights; NULL: it says nothing. The caller frees. */
static char *why_none(const char *dir, char *name, struct err *e)
{
    char *path = path_join(dir, name, e), *why = NULL;
    const char *what = what_else(name);
    int number, total;
    size_t at;

    if (path && ends_with(name, ".safetensors") && !path_exists(path))
        why = mem_printf(e, "'%s' links to a file that is not there: is the download complete?", path);
    else if (path && shard_number(name, &at, &number, &total))
        why = mem_printf(e,
                         "'%s' is one of %d shards, but with the other files they are no whole set (is the "
                         "download complete?)",
                         path, total);
    else if (path && what)
        why = mem_printf(e,
                         "'%s' holds no weights in safetensors: %s %s; safetensors may be had of the model's "
                         "publisher or of the hub's converter (a pull request, @refs/pr/N)",
                         dir, name, what);
    free(path);
    return why;
}

/* Says what stands in the place of the weights. Always -1. */
static int no_weights(const struct checkpoint *c, char **name, size_t n, struct err *e)
{
    char *why = NULL;
    size_t i;

    for (i = 0; i < n && !why && !e->kind; i++)
        why = why_none(c->dir, name[i], e);
    if (!e->kind)
        err_set(e, ERR_INPUT,
                why ? "%s" : "'%s' holds no model: neither " ST_SINGLE " nor " ST_INDEX " is there",
                why ? why : c->dir);
    free(why);
    return -1;
}

static int open_bare(struct checkpoint *c, bool partial, struct err *e)
{
    char **name;
    size_t n, shards;
    int r;

    if (dir_list(c->dir, &name, &n, e))
        return -1;
    shards = bare_shards(name, n);
    r = shards ? open_shards(c, name, shards, partial, e) : no_weights(c, name, n, e);
    dir_free(name, n);
    return r;
}

static int folder_tensors(struct checkpoint *c, const struct arch *a, bool partial, struct err *e)
{
    char *single = path_join(c->dir, ST_SINGLE, e), *index = path_join(c->dir, ST_INDEX, e);
    char *only[] = {(char[]){ST_SINGLE}};
    int r = -1;

    (void)a;
    if (!single || !index)
        ;
    else if ((c->index_unread = path_exists(single) && path_exists(index)) || path_exists(single))
        r = open_shards(c, only, 1, partial, e);
    else if (path_exists(index))
        r = open_indexed(c, index, partial, e);
    else
        r = open_bare(c, partial, e);
    free(single);
    free(index);
    return r;
}

/* ---- the row ---- */

static bool is_folder(const char *path, const uint8_t *head, size_t n)
{
    (void)path;
    (void)head;
    return n == 0;
}

static int folder_open(struct checkpoint *c, struct err *e)
{
    c->own = mem_new(1, sizeof(struct folder), e);
    return c->own ? 0 : -1;
}

static int folder_config(const struct checkpoint *c, char **text, size_t *n, char **what, struct err *e)
{
    size_t bom;

    *text = NULL;
    *what = path_join(c->dir, "config.json", e);
    if (!*what || file_read(*what, MAX_CONFIG, text, n, e))
        return -1;
    bom = skip_bom(*text, *n); /* other readers refuse one: it is not written again */
    *n -= bom;
    memmove(*text, *text + bom, *n + 1);
    return 0;
}

const struct st_file *st_folder_file(const struct checkpoint *c, int shard)
{
    const struct folder *own = c->own;

    return &own->file[shard];
}

/* What concerns all files stands in each. */
static const char *folder_meta(const struct checkpoint *c, const char *key)
{
    const struct st_file *f = st_folder_file(c, 0);
    size_t i;

    for (i = 0; c->shards && i < f->n_meta; i++)
        if (strcmp(f->meta_key[i], key) == 0)
            return f->meta_value[i];
    return NULL;
}

static void st_folder_close(struct checkpoint *c)
{
    struct folder *own = c->own;
    int i;

    for (i = 0; own && i < c->shards; i++)
        st_close(&own->file[i]);
    if (own)
        free(own->file);
    free(own);
}

const struct container container_safetensors = {
    .name = "safetensors",
    .folder = true,
    .is = is_folder,
    .open = folder_open,
    .config = folder_config,
    .tensors = folder_tensors,
    .meta = folder_meta,
    .close = st_folder_close,
    .writer = &st_folder_writer,
};
