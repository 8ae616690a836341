/* safetensors.c -- one file of tensors, read with distrust and written in order. */
#include "model/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/json_out.h"
#include "base/magic.h"

/* enum dtype, or -1. */
static int dtype_from_name(const char *name)
{
    int d;

    for (d = 0; d <= DT_U64; d++)
        if (strcmp(dtype_name((enum dtype)d), name) == 0)
            return d;
    return -1;
}

uint64_t tensor_count(const struct tensor *t)
{
    uint64_t n = 1;
    int i;

    for (i = 0; i < t->rank; i++)
        n *= t->shape[i];
    return n;
}

/* Bytes by dtype and shape; false when they overflow or are not whole. */
static bool tensor_bytes(const struct tensor *t, uint64_t *bytes)
{
    uint64_t n = 1;
    int i;

    for (i = 0; i < t->rank; i++)
        if (!mul_u64(n, t->shape[i], &n))
            return false;
    return dtype_size(t->dtype, n, bytes);
}

/* ---- reading ---- */

/* What one pass over the header collects; names and metadata as offsets into growing storage. */
struct header {
    struct js js;
    struct st_file *f;
    struct str names, key, text;
    size_t *name_at; /* [cap] offset of each tensor's name */
    size_t cap, name_cap, meta_cap;
};

static int read_shape(struct header *h, struct tensor *t)
{
    js_open(&h->js, '[');
    while (js_item(&h->js)) {
        if (t->rank == ST_MAX_RANK)
            return js_fail(&h->js, "tensor '%s' has more than %d dimensions", h->key.p, ST_MAX_RANK);
        if (js_u64(&h->js, &t->shape[t->rank++]))
            return -1;
    }
    return 0;
}

/* The fields of one entry; h->key holds the tensor's name. */
static int read_entry(struct header *h, struct tensor *t, struct err *e)
{
    bool have_dtype = false, have_shape = false, have_offsets = false;
    struct str field = {0};
    uint64_t end = 0, bytes;
    int d, r = -1;

    js_open(&h->js, '{');
    while (js_key(&h->js, &field)) {
        if (strcmp(field.p, "dtype") == 0 && !have_dtype) {
            have_dtype = true;
            if (js_string(&h->js, &h->text))
                goto done;
            d = dtype_from_name(h->text.p);
            if (d < 0) {
                js_fail(&h->js, "tensor '%s' has the unknown dtype '%s'", h->key.p, h->text.p);
                goto done;
            }
            t->dtype = (enum dtype)d;
        } else if (strcmp(field.p, "shape") == 0 && !have_shape) {
            have_shape = true;
            if (read_shape(h, t))
                goto done;
        } else if (strcmp(field.p, "data_offsets") == 0 && !have_offsets) {
            have_offsets = true;
            js_open(&h->js, '[');
            if (!js_item(&h->js) || js_u64(&h->js, &t->begin) || !js_item(&h->js) || js_u64(&h->js, &end) ||
                js_item(&h->js)) {
                js_fail(&h->js, "tensor '%s': data_offsets must be [begin, end]", h->key.p);
                goto done;
            }
        } else if (js_skip(&h->js, NULL, NULL)) { /* unknown fields are allowed */
            goto done;
        }
    }
    if (e->kind)
        goto done;
    if (!have_dtype || !have_shape || !have_offsets) {
        js_fail(&h->js, "tensor '%s' has no %s", h->key.p,
                !have_dtype   ? "dtype"
                : !have_shape ? "shape"
                              : "data_offsets");
    } else if (!tensor_bytes(t, &bytes)) {
        js_fail(&h->js, "tensor '%s': its shape times its dtype is no number of bytes", h->key.p);
    } else if (end < t->begin) {
        js_fail(&h->js, "tensor '%s' ends before it begins", h->key.p);
    } else if (end - t->begin != bytes) {
        js_fail(&h->js, "tensor '%s' needs %llu bytes by its shape, its data_offsets span %llu", h->key.p,
                (unsigned long long)bytes, (unsigned long long)(end - t->begin));
    } else {
        t->size = bytes;
        r = 0;
    }
done:
    str_free(&field);
    return r;
}

static int read_metadata(struct header *h, struct err *e)
{
    struct st_file *f = h->f;

    if (js_peek(&h->js) == 'n') /* as the reference reader has it */
        return js_skip(&h->js, NULL, NULL);
    js_open(&h->js, '{');
    while (js_key(&h->js, &h->key)) {
        size_t cap = h->meta_cap;

        if (js_peek(&h->js) != '"')
            return js_fail(&h->js, "__metadata__ '%s' is not a string", h->key.p);
        if (js_string(&h->js, &h->text) || mem_grow(&f->meta_key, &cap, f->n_meta + 1, sizeof(char *), e) ||
            mem_grow(&f->meta_value, &h->meta_cap, f->n_meta + 1, sizeof(char *), e))
            return -1;
        f->meta_key[f->n_meta] = mem_strdup(h->key.p, e);
        f->meta_value[f->n_meta] = mem_strdup(h->text.p, e);
        f->n_meta++;
        if (e->kind)
            return -1;
    }
    return e->kind ? -1 : 0;
}

static int read_header(struct header *h, const char *text, size_t n, struct err *e)
{
    struct st_file *f = h->f;
    char *what = mem_printf(e, "'%s' header", f->file.path);

    if (!what)
        return -1;
    if (js_init(&h->js, text, n, what, e))
        goto done;
    h->js.p = text; /* a byte order mark is not allowed */
    h->js.strict = true;
    js_open(&h->js, '{');
    while (js_key(&h->js, &h->key)) {
        if (strcmp(h->key.p, "__metadata__") == 0) {
            if (read_metadata(h, e))
                goto done;
            continue;
        }
        if (mem_grow(&f->tensor, &h->cap, f->n + 1, sizeof *f->tensor, e) ||
            mem_grow(&h->name_at, &h->name_cap, f->n + 1, sizeof *h->name_at, e))
            goto done;
        f->tensor[f->n] = (struct tensor){0};
        if (read_entry(h, &f->tensor[f->n], e))
            goto done;
        h->name_at[f->n++] = h->names.n;
        str_add(&h->names, h->key.p, h->key.n + 1);
    }
    js_end(&h->js);
    str_ok(&h->names, e);
done:
    free(what);
    return e->kind ? -1 : 0;
}

static int by_begin(const void *a, const void *b)
{
    const struct tensor *x = a, *y = b;

    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->size < y->size ? -1 : x->size > y->size;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct tensor *)a)->name, ((const struct tensor *)b)->name);
}

/* Tensors must tile the data area: no hole, no overlap, nothing left over. */
static int check_tiling(struct st_file *f, uint64_t data_size, struct err *e)
{
    const char *path = f->file.path;
    uint64_t at = 0;
    size_t i;

    qsort(f->tensor, f->n, sizeof *f->tensor, by_begin);
    for (i = 0; i < f->n; i++) {
        const struct tensor *t = &f->tensor[i];

        if (t->begin < at)
            return err_set(e, ERR_INPUT,
                           "'%s': tensor '%s' overlaps another: it begins at data byte %llu, before %llu",
                           path, t->name, (unsigned long long)t->begin, (unsigned long long)at);
        if (t->begin > at)
            return err_set(e, ERR_INPUT, "'%s': a hole of %llu bytes before tensor '%s'", path,
                           (unsigned long long)(t->begin - at), t->name);
        if (!add_u64(at, t->size, &at) || at > data_size)
            return err_set(e, ERR_INPUT, "'%s' is truncated: tensor '%s' ends past the end of the file", path,
                           t->name);
    }
    if (at != data_size)
        return err_set(e, ERR_INPUT, "'%s': %llu bytes after the last tensor", path,
                       (unsigned long long)(data_size - at));
    return 0;
}

static int check_names(struct st_file *f, struct err *e)
{
    size_t i;

    qsort(f->tensor, f->n, sizeof *f->tensor, by_name);
    for (i = 1; i < f->n; i++)
        if (strcmp(f->tensor[i - 1].name, f->tensor[i].name) == 0)
            return err_set(e, ERR_INPUT, "'%s': tensor '%s' occurs twice", f->file.path, f->tensor[i].name);
    return 0;
}

static int load(struct st_file *f, struct header *h, struct err *e)
{
    const char *path = f->file.path;
    unsigned char head[64] = {0};
    const char *kind;
    uint64_t n = 0;
    char *text;
    size_t i;
    int r;

    if (rfile_read(&f->file, 0, head, f->file.size < sizeof head ? f->file.size : sizeof head, e))
        return -1;
    if (f->file.size < 8)
        return err_set(e, ERR_INPUT, "'%s' is too short for a safetensors file (%llu bytes)", path,
                       (unsigned long long)f->file.size);
    for (i = 8; i-- > 0;)
        n = n << 8 | head[i];
    kind = n > ST_MAX_HEADER ? magic_kind(head, sizeof head) : NULL; /* a length may look like any of them */
    if (kind)
        return err_set(e, ERR_INPUT, "'%s' is %s", path, kind);
    if (n > ST_MAX_HEADER)
        return err_set(e, ERR_INPUT,
                       "'%s': a header of %llu bytes is not allowed (is it a safetensors file?)", path,
                       (unsigned long long)n);
    if (n > f->file.size - 8)
        return err_set(e, ERR_INPUT,
                       "'%s' is truncated: its header of %llu bytes ends past the end of the file", path,
                       (unsigned long long)n);
    f->header_bytes = 8 + n;
    text = mem_new((size_t)n + 1, 1, e);
    if (!text)
        return -1;
    r = rfile_read(&f->file, 8, text, (size_t)n, e) || read_header(h, text, (size_t)n, e) ? -1 : 0;
    free(text);
    if (r)
        return -1;
    f->names = h->names.p;
    h->names = (struct str){0};
    for (i = 0; i < f->n; i++)
        f->tensor[i].name = f->names + h->name_at[i];
    if (f->n && (check_tiling(f, f->file.size - f->header_bytes, e) || check_names(f, e)))
        return -1;
    if (!f->n && f->file.size != f->header_bytes)
        return err_set(e, ERR_INPUT, "'%s': %llu bytes of data but no tensor", path,
                       (unsigned long long)(f->file.size - f->header_bytes));
    for (i = 0; i < f->n; i++)
        f->tensor[i].begin += f->header_bytes;
    return 0;
}

int st_open(struct st_file *f, const char *path, struct err *e)
{
    struct header h = {.f = f};
    struct err local = {0}; /* the scanner needs one even if the caller does not */
    int r;

    *f = (struct st_file){0};
    if (rfile_open(&f->file, path, e))
        return -1;
    r = load(f, &h, &local);
    str_free(&h.names);
    str_free(&h.key);
    str_free(&h.text);
    free(h.name_at);
    if (r) {
        err_set(e, local.kind, "%s", local.msg);
        st_close(f);
    }
    return r;
}

const struct tensor *st_find(const struct st_file *f, const char *name)
{
    struct tensor key = {.name = name};

    return f->n ? bsearch(&key, f->tensor, f->n, sizeof key, by_name) : NULL;
}

int st_read(const struct st_file *f, const struct tensor *t, uint64_t off, void *dst, size_t n, struct err *e)
{
    return rfile_read(&f->file, t->begin + off, dst, n, e);
}

void st_close(struct st_file *f)
{
    size_t i;

    for (i = 0; i < f->n_meta; i++) {
        free(f->meta_key[i]);
        free(f->meta_value[i]);
    }
    free(f->meta_key);
    free(f->meta_value);
    free(f->tensor);
    free(f->names);
    rfile_close(&f->file);
    *f = (struct st_file){.file = {.fd = -1}};
}

/* ---- writing ---- */

static void header_entry(struct json_out *j, const struct tensor *t, uint64_t begin)
{
    int i;

    jo_open(j, t->name, '{');
    jo_string(j, "dtype", dtype_name(t->dtype));
    jo_open(j, "shape", '[');
    for (i = 0; i < t->rank; i++)
        jo_uint(j, NULL, t->shape[i]);
    jo_close(j);
    jo_open(j, "data_offsets", '[');
    jo_uint(j, NULL, begin);
    jo_uint(j, NULL, begin + t->size);
    jo_close(j);
    jo_close(j);
}

int st_header(struct tensor *t, size_t n, const char *const *meta_key, const char *const *meta_value,
              size_t n_meta, char **header, size_t *header_bytes, uint64_t *data_bytes, struct err *e)
{
    struct json_out j = {0};
    uint64_t at = 0, len;
    size_t i;

    *header = NULL;
    str_add(&j.s, "\0\0\0\0\0\0\0", 8);
    jo_open(&j, NULL, '{');
    if (n_meta)
        jo_open(&j, "__metadata__", '{');
    for (i = 0; i < n_meta; i++)
        jo_string(&j, meta_key[i], meta_value[i]);
    if (n_meta)
        jo_close(&j);
    for (i = 0; i < n; i++) {
        if (!tensor_bytes(&t[i], &t[i].size) || at > UINT64_MAX / 4) {
            str_free(&j.s);
            return err_set(e, ERR_INPUT, "tensor '%s': its shape times its dtype is no number of bytes",
                           t[i].name);
        }
        header_entry(&j, &t[i], at);
        t[i].begin = at;
        at += t[i].size;
    }
    jo_close(&j);
    while (j.s.n % 8 && !j.s.failed)
        str_addc(&j.s, ' ');
    if (str_ok(&j.s, e) || j.s.n - 8 > ST_MAX_HEADER) {
        err_set(e, ERR_INPUT, "a safetensors header of %zu bytes is too large", j.s.n);
        str_free(&j.s);
        return -1;
    }
    len = j.s.n - 8;
    for (i = 0; i < 8; i++)
        j.s.p[i] = (char)(len >> 8 * i);
    for (i = 0; i < n; i++)
        t[i].begin += j.s.n;
    *header = j.s.p;
    *header_bytes = j.s.n;
    *data_bytes = at;
    return 0;
}

int st_create(struct st_writer *w, const char *path, bool force, struct tensor *t, size_t n,
              const char *const *meta_key, const char *const *meta_value, size_t n_meta, struct err *e)
{
    size_t header_bytes;
    char *header;
    int r;

    *w = (struct st_writer){.out = {.fd = -1}};
    if (st_header(t, n, meta_key, meta_value, n_meta, &header, &header_bytes, &w->data_bytes, e))
        return -1;
    r = wfile_open(&w->out, path, force, e);
    if (!r && wfile_write(&w->out, header, header_bytes, e)) {
        wfile_close(&w->out);
        r = -1;
    }
    w->data_bytes += header_bytes; /* from here on: the file's size */
    free(header);
    return r;
}

int st_put(struct st_writer *w, const void *p, size_t n, struct err *e)
{
    return wfile_write(&w->out, p, n, e);
}

int st_copy(struct st_writer *w, const struct rfile *from, uint64_t off, uint64_t n, struct err *e)
{
    return wfile_copy(&w->out, from, off, n, e);
}

int st_finish(struct st_writer *w, struct err *e)
{
    if (w->out.written != w->data_bytes)
        return err_set(e, ERR_INPUT, "'%s': %llu bytes were written where its header promises %llu",
                       w->out.path, (unsigned long long)w->out.written, (unsigned long long)w->data_bytes);
    return wfile_commit(&w->out, e);
}

void st_writer_close(struct st_writer *w)
{
    wfile_close(&w->out);
}
