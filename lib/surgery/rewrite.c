#include "surgery/rewrite.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"

#define INDEX_NAME "model.safetensors.index.json"

static bool is_one_of(const char *key, const char *const *keys, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++)
        if (strcmp(key, keys[i]) == 0)
            return true;
    return false;
}

static int merge_metadata(struct out_shard *s, const struct st_file *f, const char *const *keys,
                          const char *const *values, size_t n, struct err *e)
{
    bool format = false;
    size_t i;

    s->meta_key = mem_new(f->n_meta + n + 1, sizeof *s->meta_key, e);
    s->meta_value = mem_new(f->n_meta + n + 1, sizeof *s->meta_value, e);
    if (!s->meta_key || !s->meta_value)
        return -1;
    for (i = 0; i < f->n_meta; i++) {
        if (is_one_of(f->meta_key[i], keys, n))
            continue;
        format = format || strcmp(f->meta_key[i], "format") == 0;
        s->meta_key[s->n_meta] = f->meta_key[i];
        s->meta_value[s->n_meta++] = f->meta_value[i];
    }
    if (!format) {
        s->meta_key[s->n_meta] = "format"; /* transformers 4 asks for it */
        s->meta_value[s->n_meta++] = "pt";
    }
    for (i = 0; i < n; i++) {
        s->meta_key[s->n_meta] = keys[i];
        s->meta_value[s->n_meta++] = values[i];
    }
    return 0;
}

int rewrite_open(struct rewrite *rw, const struct model *m, const char *const *keys,
                 const char *const *values, size_t n, struct err *e)
{
    int i;

    *rw = (struct rewrite){.m = m};
    rw->shard = mem_new((size_t)m->ckpt.shards, sizeof *rw->shard, e);
    if (!rw->shard)
        return -1;
    for (i = 0; i < m->ckpt.shards; i++) {
        rw->shard[i].file = m->ckpt.shard_name[i];
        if (merge_metadata(&rw->shard[i], &m->ckpt.shard[i], keys, values, n, e))
            return -1;
    }
    return 0;
}

struct out_tensor *rewrite_add(struct rewrite *rw, size_t index, struct err *e)
{
    const struct tensor *from = rw->m->ckpt.tensor[index];
    struct out_shard *s = &rw->shard[from->shard];

    if (mem_grow(&s->out, &s->cap, s->n + 1, sizeof *s->out, e))
        return NULL;
    s->out[s->n] = (struct out_tensor){.t = *from, .from = from, .role = &rw->m->role[index]};
    return &s->out[s->n++];
}

const char *rewrite_name(struct rewrite *rw, char *text, struct err *e)
{
    if (!text || mem_grow(&rw->name, &rw->cap_names, rw->names + 1, sizeof *rw->name, e)) {
        free(text);
        return NULL;
    }
    return rw->name[rw->names++] = text;
}

struct place {
    uint64_t begin;
    size_t index;
};

static int by_place(const void *a, const void *b)
{
    const struct place *x = a, *y = b;

    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index; /* empty tensors share a place */
}

int rewrite_order(const struct model *m, int shard, size_t **index, size_t *n, struct err *e)
{
    struct place *p = mem_new(m->ckpt.shard[shard].n, sizeof *p, e);
    size_t i;

    *n = 0;
    *index = p ? mem_new(m->ckpt.shard[shard].n, sizeof **index, e) : NULL;
    if (!*index) {
        free(p);
        return -1;
    }
    for (i = 0; i < m->ckpt.n; i++)
        if (m->ckpt.tensor[i]->shard == shard)
            p[(*n)++] = (struct place){m->ckpt.tensor[i]->begin, i};
    qsort(p, *n, sizeof *p, by_place);
    for (i = 0; i < *n; i++)
        (*index)[i] = p[i].index;
    free(p);
    return 0;
}

/* The tensors alone, as the writer wants them; the caller frees. */
static struct tensor *plain(const struct out_shard *s, struct err *e)
{
    struct tensor *t = mem_new(s->n, sizeof *t, e);
    size_t i;

    for (i = 0; t && i < s->n; i++)
        t[i] = s->out[i].t;
    return t;
}

int rewrite_sizes(struct rewrite *rw, struct err *e)
{
    int i;

    rw->bytes = rw->tensor_bytes = 0;
    rw->files = 0;
    for (i = 0; i < rw->m->ckpt.shards; i++) {
        struct out_shard *s = &rw->shard[i];
        struct tensor *t;
        uint64_t data;
        size_t header;
        char *text;
        int r;

        if (!s->n)
            continue;
        t = plain(s, e);
        if (!t)
            return -1;
        r = st_header(t, s->n, s->meta_key, s->meta_value, s->n_meta, &text, &header, &data, e);
        free(t);
        if (r)
            return -1;
        free(text);
        s->bytes = header + data;
        rw->bytes += s->bytes;
        rw->tensor_bytes += data;
        rw->files++;
    }
    rw->total = rw->tensor_bytes;
    return 0;
}

int rewrite_step(struct rewrite *rw, uint64_t bytes, struct err *e)
{
    rw->done += bytes;
    if (rw->progress)
        rw->progress(rw->progress_ctx, rw->done, rw->total);
    return check_cancelled(e);
}

int rewrite_copy(struct rewrite *rw, struct st_writer *w, const struct tensor *from, uint64_t at, uint64_t n,
                 struct err *e)
{
    const struct rfile *file = &rw->m->ckpt.shard[from->shard].file;

    return st_copy(w, file, from->begin + at, n, e) || rewrite_step(rw, n, e) ? -1 : 0;
}

static int write_shard(const struct out_shard *s, const char *dir, rewrite_put *put, void *ctx, struct err *e)
{
    char *path = path_join(dir, s->file, e);
    struct tensor *t = path ? plain(s, e) : NULL;
    struct st_writer w = {0};
    size_t i;
    int r = -1;

    if (!t)
        goto done;
    if (st_create(&w, path, false, t, s->n, s->meta_key, s->meta_value, s->n_meta, e))
        goto done;
    for (i = 0; i < s->n; i++)
        if (put(ctx, &w, &s->out[i], e))
            break;
    r = i < s->n ? -1 : st_finish(&w, e);
    st_writer_close(&w);
done:
    free(t);
    free(path);
    return r;
}

/* ---- the index ---- */

/* Parameters of a tensor when packed ones are counted as the weights they hold. */
static uint64_t logical_count(const struct model *m, const struct tensor *t, const struct tensor_role *r)
{
    uint64_t n = tensor_count(t);
    bool packed = m->layout == EXPERTS_MXFP4 || m->layout == EXPERTS_SPLIT_MXFP4;

    if (!packed || (r->role != ROLE_EXPERT && r->role != ROLE_EXPERTS))
        return n;
    return r->piece == PIECE_BLOCKS ? 2 * n : r->piece == PIECE_SCALE ? 0 : n;
}

/*
 * total_parameters of the new index: counted as the source's own number was, stored elements or weights;
 * a number that neither explains is not carried on. A new number format has the same weights.
 */
static bool parameters(const struct rewrite *rw, uint64_t source, uint64_t *out)
{
    uint64_t stored = 0, logical = 0, stored_now = 0, logical_now = 0;
    const struct model *m = rw->m;
    size_t i;
    int k;

    for (i = 0; i < m->ckpt.n; i++) {
        stored += tensor_count(m->ckpt.tensor[i]);
        logical += logical_count(m, m->ckpt.tensor[i], &m->role[i]);
    }
    for (k = 0; k < m->ckpt.shards; k++)
        for (i = 0; i < rw->shard[k].n; i++) {
            stored_now += tensor_count(&rw->shard[k].out[i].t);
            logical_now += logical_count(m, &rw->shard[k].out[i].t, rw->shard[k].out[i].role);
        }
    *out = rw->same_weights ? logical : source == stored ? stored_now : logical_now;
    return source == stored || source == logical;
}

static int source_parameters(const struct rewrite *rw, bool *known, uint64_t *n, struct err *e)
{
    static const char *const path[] = {"metadata", "total_parameters", NULL};
    char *file = path_join(rw->m->dir, INDEX_NAME, e), *text = NULL;
    struct js js;
    size_t size, from, to;
    uint64_t source;
    int r = -1, found;

    *known = false;
    if (!file || file_read(file, ST_MAX_HEADER, &text, &size, e))
        goto done;
    found = json_find(text, size, file, path, &from, &to, e);
    if (found < 0)
        goto done;
    if (found) {
        js_init(&js, text + from, to - from, file, e);
        if (js_u64(&js, &source))
            goto done;
        *known = parameters(rw, source, n);
    }
    r = 0;
done:
    free(text);
    free(file);
    return r;
}

struct entry {
    const char *name, *file;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static int write_index(const struct rewrite *rw, const char *dir, struct err *e)
{
    struct entry *entry = NULL;
    size_t n = 0, cap = 0, i;
    struct str s = {0};
    char *path = path_join(dir, INDEX_NAME, e);
    uint64_t params;
    bool known;
    int k, r = -1;

    if (!path || source_parameters(rw, &known, &params, e))
        goto done;
    for (k = 0; k < rw->m->ckpt.shards; k++)
        for (i = 0; i < rw->shard[k].n; i++) {
            if (mem_grow(&entry, &cap, n + 1, sizeof *entry, e))
                goto done;
            entry[n++] = (struct entry){rw->shard[k].out[i].t.name, rw->shard[k].file};
        }
    qsort(entry, n, sizeof *entry, by_name);
    str_adds(&s, "{\n  \"metadata\": {\n");
    if (known)
        str_addf(&s, "    \"total_parameters\": %llu,\n", (unsigned long long)params);
    str_addf(&s, "    \"total_size\": %llu\n  },\n  \"weight_map\": {", (unsigned long long)rw->tensor_bytes);
    for (i = 0; i < n; i++) {
        str_adds(&s, i ? ",\n    \"" : "\n    \"");
        str_add_json(&s, entry[i].name, strlen(entry[i].name));
        str_adds(&s, "\": \"");
        str_add_json(&s, entry[i].file, strlen(entry[i].file));
        str_adds(&s, "\"");
    }
    str_adds(&s, "\n  }\n}\n");
    r = str_ok(&s, e) ? -1 : file_write(path, s.p, s.n, false, e);
done:
    free(entry);
    str_free(&s);
    free(path);
    return r;
}

int rewrite_write(struct rewrite *rw, const char *dir, rewrite_put *put, void *ctx, struct err *e)
{
    int i;

    for (i = 0; i < rw->m->ckpt.shards; i++)
        if (rw->shard[i].n && write_shard(&rw->shard[i], dir, put, ctx, e))
            return -1;
    return rw->m->ckpt.has_index ? write_index(rw, dir, e) : 0;
}

void rewrite_free(struct rewrite *rw)
{
    size_t i;
    int k;

    for (k = 0; rw->shard && k < rw->m->ckpt.shards; k++) {
        free(rw->shard[k].out);
        free(rw->shard[k].meta_key);
        free(rw->shard[k].meta_value);
    }
    for (i = 0; i < rw->names; i++)
        free(rw->name[i]);
    free(rw->name);
    free(rw->shard);
    *rw = (struct rewrite){0};
}
