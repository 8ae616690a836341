/*
 * gguf_write.c -- a new GGUF file: the old one's metadata and entries in their order, except for what a cut
 * changes. However many files there were, it is one.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "model/container/container_rows.h"
#include "model/container/gguf_own.h"

struct gguf_writing {
    struct wfile out;
    uint64_t data;
};

static struct gguf_own *old(const struct container_writer *w)
{
    return w->like->own;
}

/* ---- numbers ---- */

static void put_uint(struct str *s, uint64_t v, unsigned bytes)
{
    for (; bytes; bytes--, v >>= 8)
        str_addc(s, (char)(v & 0xff));
}

static void put_text(struct str *s, const char *prefix, const char *p, size_t n)
{
    put_uint(s, strlen(prefix) + n, 8);
    str_adds(s, prefix);
    str_add(s, p, n);
}

/* ---- metadata ---- */

static bool begins(const struct gguf_text *t, const char *with)
{
    return t->n >= strlen(with) && memcmp(t->p, with, strlen(with)) == 0;
}

/* Does the new file have this one? Those of a split have no sense in it, ours come anew. */
static bool stays(const struct container_writer *w, const struct gguf_value *v)
{
    size_t i, n = strlen(GGUF_OURS);

    if (begins(&v->key, "split."))
        return false;
    for (i = 0; i < w->n_meta; i++)
        if (begins(&v->key, GGUF_OURS) && v->key.n == n + strlen(w->meta[i].key) &&
            memcmp(v->key.p + n, w->meta[i].key, v->key.n - n) == 0)
            return false;
    return true;
}

/* Whole numbers that the new config.json has other than the metadata: key and value of each. */
struct edits {
    struct {
        char key[80];
        int64_t value;
    } v[4];
    int n;
};

/* ARCH.TAIL of the old metadata; 0: absent. */
static int64_t old_number(const struct container_writer *w, const char *tail, char key[80])
{
    struct gguf_text arch = {"", 0};
    int64_t n = 0;

    gguf_string(gguf_find(old(w)->set.part, "general.architecture"), &arch);
    snprintf(key, 80, "%.*s.%s", (int)arch.n, arch.p, tail);
    gguf_int(gguf_find(old(w)->set.part, key), 0, &n);
    return n;
}

static void edit(const struct container_writer *w, struct edits *x, const char *tail, int64_t value)
{
    if (old_number(w, tail, x->v[x->n].key) != value)
        x->v[x->n++].value = value;
}

/* Of config.json, the number under the first of these keys; absent: otherwise. */
static int64_t new_number(const cJSON *config, const char *const *key, int64_t absent)
{
    const cJSON *v = key[0] ? json_member(config, key[0]) : NULL;

    return cJSON_IsNumber(v) ? (int64_t)v->valuedouble : absent;
}

/* Are layers beyond the first n left out that the old file has? */
static bool layers_dropped(const struct container_writer *w, int64_t n)
{
    char prefix[40];
    size_t from, left = 0, i;

    snprintf(prefix, sizeof prefix, "model.layers.%lld.", (long long)n);
    from = checkpoint_from(w->like, prefix);
    for (i = 0; i < w->n; i++)
        left += strncmp(w->tensor[i].name, prefix, strlen(prefix)) == 0;
    return from < w->like->n && strncmp(w->like->tensor[from]->name, prefix, strlen(prefix)) == 0 && !left;
}

/* Further layers that went are announced no more, where that is one number each. */
static void edit_layers(const struct container_writer *w, const cJSON *config, struct edits *x)
{
    const struct family *f = old(w)->family;
    char key[80];
    int64_t further = old_number(w, "nextn_predict_layers", key), all = old_number(w, "block_count", key);
    size_t i;

    for (i = 0; i < old(w)->set.part->n_values; i++)
        if (old(w)->set.part->value[i].array && old(w)->set.part->value[i].n == (uint64_t)all)
            return; /* a list with an entry for each layer: llama.cpp takes the model as it is */
    if (!further || new_number(config, f->key_mtp, further) != 0 || !layers_dropped(w, all - further))
        return;
    edit(w, x, "block_count", all - further);
    edit(w, x, "nextn_predict_layers", 0);
}

/* llama.cpp tells two models apart by their number of experts, and computes them differently. */
static int check_count(const struct container_writer *w, int64_t from, int64_t to, struct err *e)
{
    enum { MAVERICK = 128 };

    if (strcmp(old(w)->family->name, "llama4") != 0 || (from == MAVERICK) == (to == MAVERICK))
        return 0;
    return err_set(
        e, ERR_UNKNOWN,
        "'%s': llama.cpp normalises q and k of a llama4 unless it has 128 experts: with %lld instead "
        "of %lld it would compute something else",
        w->like->dir, (long long)to, (long long)from);
}

static int read_edits(const struct container_writer *w, struct edits *x, struct err *e)
{
    const struct family *f = old(w)->family;
    int64_t experts, topk, n;
    cJSON *config = NULL;
    char key[80];

    *x = (struct edits){.n = 0};
    if (!w->config)
        return 0;
    if (json_parse(w->config, w->config_n, "config.json", &config, e))
        return -1;
    experts = old_number(w, "expert_count", key);
    topk = old_number(w, "expert_used_count", key);
    n = new_number(config, f->key_experts, experts);
    edit(w, x, "expert_count", n);
    edit(w, x, "expert_used_count", new_number(config, f->key_topk, topk));
    edit_layers(w, config, x);
    cJSON_Delete(config);
    return check_count(w, experts, n, e);
}

static void put_value(struct str *s, const struct edits *x, const struct gguf_value *v)
{
    const unsigned bytes = v->n ? (unsigned)(v->size / v->n) : 0;
    uint64_t k;
    int i;

    put_text(s, "", v->key.p, v->key.n);
    put_uint(s, v->array ? GGUF_ARRAY : v->type, 4);
    if (v->array) {
        put_uint(s, v->type, 4);
        put_uint(s, v->n, 8);
    }
    for (i = 0; i < x->n; i++)
        if (gguf_is(&v->key, x->v[i].key)) {
            for (k = 0; k < v->n; k++)
                put_uint(s, (uint64_t)x->v[i].value, bytes);
            return;
        }
    str_add(s, (const char *)v->at, v->size);
}

static int put_values(struct container_writer *w, struct str *s, struct err *e)
{
    const struct gguf *g = old(w)->set.part;
    struct edits x;
    size_t i;

    if (read_edits(w, &x, e))
        return -1;
    for (i = 0; i < g->n_values; i++)
        if (stays(w, &g->value[i]))
            put_value(s, &x, &g->value[i]);
    for (i = 0; i < w->n_meta; i++) {
        put_text(s, GGUF_OURS, w->meta[i].key, strlen(w->meta[i].key));
        put_uint(s, GGUF_STRING, 4);
        put_text(s, "", w->meta[i].text, strlen(w->meta[i].text));
    }
    return 0;
}

/* ---- tensors ---- */

static uint64_t aligned_to(uint64_t n, uint64_t a)
{
    return (n + a - 1) / a * a;
}

/* A tensor of the old file by its name here, and its entry there. */
static const struct gguf_info *entry_of(const struct container_writer *w, const struct tensor *t,
                                        const struct tensor **from)
{
    const struct gguf_own *own = old(w);

    *from = checkpoint_find(w->like, t->name);
    if (!*from)
        return NULL;
    return &own->set.part[(*from)->shard].info[*from - own->tensors[(*from)->shard].t];
}

static void put_entry(struct str *s, const struct gguf_info *t, const struct tensor *from,
                      const struct tensor *to, uint64_t offset)
{
    bool row = from->rank == 2 && from->shape[0] == 1; /* of as many elements as dimension 0 here */
    int i, k, changed = -1;

    for (i = 0; i < from->rank; i++)
        if (from->shape[i] != to->shape[i])
            changed = i;
    k = changed < 0 ? -1 : row ? 0 : t->dims - 1 - changed;
    put_text(s, "", t->name.p, t->name.n);
    put_uint(s, (uint64_t)t->dims, 4);
    for (i = 0; i < t->dims; i++)
        put_uint(s, i == k ? to->shape[changed] : t->ne[i], 8);
    put_uint(s, t->type, 4);
    put_uint(s, offset, 8);
}

/* All that is before the tensors; sets their places and sizes. */
static int make_head(struct container_writer *w, struct str *s, struct err *e)
{
    const struct gguf *g = old(w)->set.part;
    uint64_t at = 0, values = w->n_meta;
    const struct tensor *from;
    size_t i;

    for (i = 0; i < g->n_values; i++)
        values += stays(w, &g->value[i]);
    str_adds(s, GGUF_MAGIC);
    put_uint(s, 3, 4);
    put_uint(s, w->n, 8);
    put_uint(s, values, 8);
    if (put_values(w, s, e))
        return -1;
    w->tensor_bytes = 0;
    for (i = 0; i < w->n; i++) {
        struct tensor *t = &w->tensor[i];
        const struct gguf_info *entry = entry_of(w, t, &from);

        if (!entry || from->dtype != t->dtype || from->rank != t->rank)
            return err_set(e, ERR_USAGE,
                           "'%s': tensor '%s' cannot be made anew in a GGUF file, only be kept or cut",
                           w->like->dir, t->name);
        t->size = tensor_count(t) / dtype_elements(t->dtype) * dtype_bytes(t->dtype);
        t->begin = at;
        put_entry(s, entry, from, t, at);
        at += aligned_to(t->size, g->alignment);
        w->tensor_bytes += t->size;
    }
    while (s->n % g->alignment && !s->failed)
        str_addc(s, 0);
    for (i = 0; i < w->n; i++)
        w->tensor[i].begin += s->n;
    w->bytes = s->n + at;
    w->files = 1;
    return str_ok(s, e);
}

/* ---- the calls ---- */

static int gguf_sizes(struct container_writer *w, struct err *e)
{
    struct str s = {0};
    int r = make_head(w, &s, e);

    str_free(&s);
    return r;
}

static int gguf_create(struct container_writer *w, const char *path, struct err *e)
{
    struct gguf_writing *own = w->own = mem_new(1, sizeof *own, e);
    struct str s = {0};
    int r;

    if (!own)
        return -1;
    own->out.fd = -1;
    r = make_head(w, &s, e) || wfile_open(&own->out, path, true, e) || wfile_write(&own->out, s.p, s.n, e)
            ? -1
            : 0;
    str_free(&s);
    return r;
}

static int pad_to(struct gguf_writing *own, uint64_t at, struct err *e)
{
    while (own->out.written < at)
        if (wfile_write(&own->out, "", 1, e))
            return -1;
    return 0;
}

static int gguf_begin_tensor(struct container_writer *w, size_t i, struct err *e)
{
    return pad_to(w->own, w->tensor[i].begin, e);
}

static int gguf_put(struct container_writer *w, const void *p, size_t n, struct err *e)
{
    return wfile_write(&((struct gguf_writing *)w->own)->out, p, n, e);
}

static int gguf_copy(struct container_writer *w, const struct rfile *from, uint64_t off, uint64_t n,
                     struct err *e)
{
    return wfile_copy(&((struct gguf_writing *)w->own)->out, from, off, n, e);
}

static int gguf_finish(struct container_writer *w, struct err *e)
{
    struct gguf_writing *own = w->own;

    return pad_to(own, w->bytes, e) || wfile_commit(&own->out, e) ? -1 : 0;
}

static void gguf_writer_close(struct container_writer *w)
{
    if (w->own)
        wfile_close(&((struct gguf_writing *)w->own)->out);
    free(w->own);
    w->own = NULL;
}

const struct container_writer_ops gguf_writer = {
    .sizes = gguf_sizes,
    .create = gguf_create,
    .next = gguf_begin_tensor,
    .put = gguf_put,
    .copy = gguf_copy,
    .finish = gguf_finish,
    .close = gguf_writer_close,
};
