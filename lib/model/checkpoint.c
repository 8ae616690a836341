#include "model/checkpoint.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"

#define INDEX_NAME  "model.safetensors.index.json"
#define SINGLE_NAME "model.safetensors"

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

static int by_tensor(const void *a, const void *b)
{
    return strcmp((*(const struct tensor *const *)a)->name, (*(const struct tensor *const *)b)->name);
}

/* The distinct file names of the index, sorted. */
static int shard_names(struct checkpoint *c, const struct index_map *m, struct err *e)
{
    char **all = mem_new(m->n, sizeof *all, e);
    size_t i;

    if (!all)
        return -1;
    for (i = 0; i < m->n; i++)
        all[i] = m->text.p + m->entry[i].file;
    qsort(all, m->n, sizeof *all, by_string);
    c->shard_name = mem_new(m->n, sizeof *c->shard_name, e);
    for (i = 0; c->shard_name && i < m->n; i++) {
        if (i && strcmp(all[i], all[i - 1]) == 0)
            continue;
        c->shard_name[c->shards] = mem_strdup(all[i], e);
        if (!c->shard_name[c->shards])
            break;
        c->shards++;
    }
    free(all);
    return c->shard_name && i == m->n ? 0 : -1;
}

static int open_shards(struct checkpoint *c, struct err *e)
{
    int i;
    size_t k;

    c->shard = mem_new((size_t)c->shards, sizeof *c->shard, e);
    if (!c->shard)
        return -1;
    for (i = 0; i < c->shards; i++) {
        char *path = path_join(c->dir, c->shard_name[i], e);
        int r;

        if (!path)
            return -1;
        if (c->has_index && !path_exists(path)) {
            err_set(e, ERR_INPUT,
                    "'%s' is missing, although " INDEX_NAME " names it: is the download complete?", path);
            free(path);
            return -1;
        }
        r = st_open(&c->shard[i], path, e);
        free(path);
        if (r)
            return -1;
        c->n += c->shard[i].n;
    }
    c->tensor = mem_new(c->n, sizeof *c->tensor, e);
    if (!c->tensor)
        return -1;
    c->n = 0;
    for (i = 0; i < c->shards; i++)
        for (k = 0; k < c->shard[i].n; k++) {
            c->shard[i].tensor[k].shard = i;
            c->tensor_bytes += c->shard[i].tensor[k].size;
            c->tensor[c->n++] = &c->shard[i].tensor[k];
        }
    qsort(c->tensor, c->n, sizeof *c->tensor, by_tensor);
    for (k = 1; k < c->n; k++)
        if (strcmp(c->tensor[k - 1]->name, c->tensor[k]->name) == 0)
            return err_set(e, ERR_INPUT, "tensor '%s' is in '%s' and in '%s' of '%s'", c->tensor[k]->name,
                           c->shard_name[c->tensor[k - 1]->shard], c->shard_name[c->tensor[k]->shard],
                           c->dir);
    return 0;
}

/* The index and the shards must say the same. */
static int check_index(const struct checkpoint *c, const struct index_map *m, struct err *e)
{
    bool *listed = mem_new(c->n, sizeof *listed, e);
    size_t i;
    int r = -1;

    if (!listed)
        return -1;
    for (i = 0; i < m->n; i++) {
        const char *name = m->text.p + m->entry[i].name, *file = m->text.p + m->entry[i].file;
        struct tensor key = {.name = name};
        const struct tensor *kp = &key, **at = bsearch(&kp, c->tensor, c->n, sizeof kp, by_tensor);

        if (!at || strcmp(c->shard_name[(*at)->shard], file) != 0) {
            err_set(e, ERR_INPUT, "tensor '%s' is not in '%s/%s', where " INDEX_NAME " says it is", name,
                    c->dir, file);
            goto done;
        }
        if (listed[at - c->tensor]) {
            err_set(e, ERR_INPUT, "tensor '%s' occurs twice in " INDEX_NAME, name);
            goto done;
        }
        listed[at - c->tensor] = true;
    }
    for (i = 0; i < c->n; i++)
        if (!listed[i]) {
            err_set(e, ERR_INPUT, "tensor '%s' of '%s/%s' is not listed in " INDEX_NAME, c->tensor[i]->name,
                    c->dir, c->shard_name[c->tensor[i]->shard]);
            goto done;
        }
    r = 0;
done:
    free(listed);
    return r;
}

static int open_all(struct checkpoint *c, struct index_map *m, struct err *e)
{
    char *single = path_join(c->dir, SINGLE_NAME, e), *index = path_join(c->dir, INDEX_NAME, e);
    int r = -1;

    if (!single || !index)
        goto done;
    if (path_exists(single)) {
        c->shard_name = mem_new(1, sizeof *c->shard_name, e);
        if (!c->shard_name || !(c->shard_name[0] = mem_strdup(SINGLE_NAME, e)))
            goto done;
        c->shards = 1;
    } else if (path_exists(index)) {
        c->has_index = true;
        if (read_index(m, index, e) || shard_names(c, m, e))
            goto done;
    } else {
        err_set(e, ERR_INPUT, "'%s' holds no model: neither " SINGLE_NAME " nor " INDEX_NAME " is there",
                c->dir);
        goto done;
    }
    r = open_shards(c, e) || (c->has_index && check_index(c, m, e)) ? -1 : 0;
done:
    free(single);
    free(index);
    return r;
}

int checkpoint_open(struct checkpoint *c, const char *dir, struct err *e)
{
    struct index_map m = {0};
    int r;

    *c = (struct checkpoint){.dir = mem_strdup(dir, e)};
    r = c->dir ? open_all(c, &m, e) : -1;
    index_free(&m);
    if (r)
        checkpoint_close(c);
    return r;
}

const struct tensor *checkpoint_find(const struct checkpoint *c, const char *name)
{
    struct tensor key = {.name = name};
    const struct tensor *kp = &key, **at;

    at = c->n ? bsearch(&kp, c->tensor, c->n, sizeof kp, by_tensor) : NULL;
    return at ? *at : NULL;
}

int checkpoint_read(const struct checkpoint *c, const struct tensor *t, uint64_t off, void *dst, size_t n,
                    struct err *e)
{
    return st_read(&c->shard[t->shard], t, off, dst, n, e);
}

void checkpoint_close(struct checkpoint *c)
{
    int i;

    for (i = 0; i < c->shards; i++) {
        if (c->shard)
            st_close(&c->shard[i]);
        free(c->shard_name[i]);
    }
    free(c->shard);
    free(c->shard_name);
    free(c->tensor);
    free(c->dir);
    *c = (struct checkpoint){0};
}
