/* matrices_file.c -- the file of matrices: safetensors, with the lines of a statistics file as metadata. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/safetensors.h"
#include "stats/fields.h"
#include "stats/matrices.h"

#define MAGIC "moe-matrices 1"

/* The metadata: the lines of stats_lines(), and two more. */
enum { META_FORMAT, META_LINES, META_PAIRS = META_LINES + STATS_LINES, METAS };
static const char *const meta_name[METAS] = {"format", "model", "run", "parts", "categories", "pairs"};
static const char *const by_category = "by category", *const pooled = "pooled";

enum { NAME_MAX_BYTES = 64 };

static void tensor_name(char name[NAME_MAX_BYTES], int layer, int which)
{
    snprintf(name, NAME_MAX_BYTES, "layers.%d.%s", layer, statistic_tensor(which)->name);
}

/* ---- writing ---- */

/* All values of a tensor, in a buffer where they are not together, else in place; NULL: one is not finite. */
static const double *tensor_data(const struct matrices *m, int l, int which, double *buf, struct err *e)
{
    size_t n = matrices_values(m, which), step = matrices_stride(which), i;
    const double *v = matrices_place(m, which, l);

    for (i = 0; i < n; i++) {
        if (!isfinite(v[i * step])) {
            err_set(e, ERR_INPUT,
                    "matrices of layer %d: %s is infinite or not a number: activations overflowed",
                    m->head.layer[l], statistic_tensor(which)->name);
            return NULL;
        }
        if (step > 1)
            buf[i] = v[i * step];
    }
    return step > 1 ? buf : v;
}

static int put_all(const struct matrices *m, struct st_writer *w, struct err *e)
{
    double *buf = mem_new(matrices_values(m, 0), sizeof *buf, e);
    int l, which, status = buf ? 0 : -1;

    for (l = 0; l < m->head.n_layers && !status; l++)
        for (which = 0; which < TENSORS && !status; which++) {
            size_t n = matrices_values(m, which);
            const double *v = n ? tensor_data(m, l, which, buf, e) : NULL;

            status = n && (!v || st_put(w, v, n * sizeof *v, e)) ? -1 : 0;
        }
    free(buf);
    return status ? -1 : st_finish(w, e);
}

int matrices_write(const struct matrices *m, const char *path, bool force, struct err *e)
{
    size_t n = (size_t)m->head.n_layers * TENSORS, i;
    size_t many = 0; /* of the n that are there */
    struct tensor *t = mem_new(n, sizeof *t, e);
    char(*name)[NAME_MAX_BYTES] = mem_new(n, sizeof *name, e);
    struct str text[STATS_LINES] = {{0}};
    const char *value[METAS] = {[META_PAIRS] = m->pooled ? pooled : by_category, [META_FORMAT] = MAGIC};
    struct st_writer w = {.out = {.fd = -1}};
    int status = -1;

    if (!t || !name || stats_lines(&m->head, text, e))
        goto out;
    for (i = 0; i < STATS_LINES; i++)
        value[META_LINES + i] = text[i].p;
    for (i = 0; i < n; i++) {
        struct tensor *to = &t[many];
        int which = (int)(i % TENSORS);

        tensor_name(name[i], m->head.layer[i / TENSORS], which);
        *to = (struct tensor){.name = name[i], .dtype = DT_F64};
        to->rank = matrices_shape(m, which, to->shape);
        many += to->rank > 0;
    }
    if (st_create(&w, path, force, t, many, meta_name, value, METAS, e))
        goto out;
    status = put_all(m, &w, e);
    st_writer_close(&w);
out:
    for (i = 0; i < STATS_LINES; i++)
        str_free(&text[i]);
    free(name);
    free(t);
    return status;
}

/* ---- reading ---- */

struct reader {
    struct st_file st;
    const char *path;
    const char *meta[METAS];
    struct err *e;
};

/* The next of the pieces of *text that sep divides, in a string of its own; NULL at the end. */
static char *piece(const char **text, char sep, struct err *e)
{
    const char *from = *text, *to;

    if (!from)
        return NULL;
    to = strchr(from, sep);
    *text = to ? to + 1 : NULL;
    return mem_strndup(from, to ? (size_t)(to - from) : strlen(from), e);
}

static int read_parts(struct reader *r, struct stats *head)
{
    const char *text = *r->meta[META_LINES + LINE_PARTS] ? r->meta[META_LINES + LINE_PARTS] : NULL;
    char where[300], *line;
    struct stats_part part;
    int status = 0;

    while (!status && (line = piece(&text, '\n', r->e))) {
        snprintf(where, sizeof where, "'%.200s': part %d", r->path, head->parts + 1);
        status = stats_part_parse(&part, line, where, r->e);
        free(line);
        if (!status && stats_add_part(head, &part, r->e)) {
            err_prefix(r->e, "%s", where);
            status = -1;
        }
    }
    return r->e->kind ? -1 : 0;
}

/* Names of the categories, unescaped. */
static int read_categories(struct reader *r, char ***category, int *n)
{
    const char *text = r->meta[META_LINES + LINE_CATEGORIES];
    struct str name = {0};
    size_t cap = 0;
    char *word;
    int status = 0;

    while (!status && (word = piece(&text, '\t', r->e))) {
        if (!name_unescape(&name, word, strlen(word)) || str_ok(&name, r->e))
            status = err_set(r->e, ERR_INPUT, "'%s': category '%.60s' is empty or has an unknown escape",
                             r->path, word);
        else if (mem_grow(category, &cap, (size_t)*n + 1, sizeof **category, r->e) ||
                 !((*category)[*n] = mem_strdup(name.p, r->e)))
            status = -1;
        else
            ++*n;
        free(word);
    }
    str_free(&name);
    return r->e->kind ? -1 : 0;
}

static const struct tensor *find_tensor(struct reader *r, int layer, int which)
{
    char name[NAME_MAX_BYTES];

    tensor_name(name, layer, which);
    return st_find(&r->st, name);
}

/* The layers that have tensors; the caller frees. */
static int *read_layers(struct reader *r, const struct model_id *id, int *n)
{
    int *layer = mem_new((size_t)id->layers, sizeof *layer, r->e), l;

    *n = 0;
    for (l = 0; layer && l < id->layers; l++) {
        if (find_tensor(r, l, 0))
            layer[(*n)++] = l;
    }
    return layer;
}

/* The last dimension of a tensor of this rank; 0: it is not there. */
static int last_dim(const struct tensor *t, int rank)
{
    uint64_t n = t && t->rank == rank ? t->shape[rank - 1] : 0;

    return n < 1u << 30 ? (int)n : 0;
}

/* What the file says by its tensors, of a layer that has some: widths, and of which edition it is. */
static struct matrices_form read_form(struct reader *r, int layer)
{
    struct matrices_form f = {.pooled = strcmp(r->meta[META_PAIRS], pooled) == 0, .edition = 1};
    int which;

    for (which = 0; which < TENSORS; which++) {
        const struct tensor *t = find_tensor(r, layer, which);
        const struct statistic *x = statistic_tensor(which);

        if (x->per == PER_ELEMENT && x->which == SUM_INNER_SQUARE)
            f.inter = last_dim(t, 2);
        if (x->per == PER_SHARED)
            f.shared = last_dim(t, 1);
        if (t && x->edition > f.edition)
            f.edition = x->edition;
    }
    return f;
}

/* Every tensor is one of a row's. */
static int check_known(struct reader *r)
{
    size_t i;
    int which;

    for (i = 0; i < r->st.n; i++) {
        const char *name = r->st.tensor[i].name, *last = strrchr(name, '.');

        for (which = 0; last && which < TENSORS; which++)
            if (strcmp(statistic_tensor(which)->name, last + 1) == 0)
                break;
        if (!last || which == TENSORS)
            return err_set(r->e, ERR_UNKNOWN,
                           "'%s': tensor %.100s is not known to this version; a later one may read this file",
                           r->path, name);
    }
    return 0;
}

static int read_head(struct reader *r, struct matrices *m)
{
    struct stats *head = &m->head;
    struct model_id id;
    struct matrices_form form = {0};
    char **category = NULL, where[300];
    int *layer = NULL, n = 0, layers = 0, i, status = -1;

    snprintf(where, sizeof where, "'%.200s': \"model\"", r->path);
    if (model_id_parse(&id, r->meta[META_LINES + LINE_MODEL], where, r->e) ||
        read_categories(r, &category, &n))
        goto out;
    if (strcmp(r->meta[META_PAIRS], pooled) != 0 && strcmp(r->meta[META_PAIRS], by_category) != 0) {
        err_set(r->e, ERR_UNKNOWN, "'%s': \"pairs\" is \"%s\" or \"%s\", not \"%.40s\"", r->path, by_category,
                pooled, r->meta[META_PAIRS]);
        goto out;
    }
    layer = read_layers(r, &id, &layers);
    if (!layer)
        goto out;
    if (layers)
        form = read_form(r, layer[0]);
    if (!form.inter) {
        err_set(r->e, ERR_INPUT, "'%s': no layer has tensors", r->path);
        goto out;
    }
    /* a file of this many experts has this many bytes: sizes that cannot be end here, not out of memory */
    if (matrices_bytes(id.experts, id.hidden, layers, n, &form) != r->st.file.size - r->st.header_bytes) {
        err_set(r->e, ERR_INPUT, "'%s': its tensors are not those of its model line, categories and layers",
                r->path);
        goto out;
    }
    status = matrices_new(m, &id, r->meta[META_LINES + LINE_RUN], layer, layers, category, n, &form, r->e);
    if (status)
        err_prefix(r->e, "'%s'", r->path);
    else
        status = read_parts(r, head);
out:
    for (i = 0; i < n; i++)
        free(category[i]);
    free(category);
    free(layer);
    return status;
}

static int read_tensor(struct reader *r, struct matrices *m, int l, int which, double *buf)
{
    size_t n = matrices_values(m, which), step = matrices_stride(which), i;
    const struct statistic *row = statistic_tensor(which);
    double *to = matrices_place(m, which, l), *v = step > 1 ? buf : to;
    uint64_t shape[3];
    char name[NAME_MAX_BYTES];
    const struct tensor *t;
    int rank = matrices_shape(m, which, shape);

    if (!rank)
        return 0;
    tensor_name(name, m->head.layer[l], which);
    t = st_find(&r->st, name);
    if (!t || t->dtype != DT_F64 || t->rank != rank ||
        memcmp(t->shape, shape, (size_t)rank * sizeof *shape) != 0)
        return err_set(r->e, ERR_INPUT, "'%s': tensor %s is %s", r->path, name,
                       t ? "not F64 or has a shape that does not belong to the model line and the categories"
                         : "missing");
    if (st_read(&r->st, t, 0, v, n * sizeof *v, r->e))
        return -1;
    for (i = 0; i < n; i++) {
        const char *bad = statistic_bad(row->merge, row->negative, v[i]);

        if (bad)
            return err_set(r->e, ERR_INPUT, "'%s': tensor %s: value %zu is %s", r->path, name, i, bad);
        to[i * step] = v[i];
    }
    return 0;
}

static int check_symmetric(struct reader *r, const struct matrices *m, int l, int c)
{
    const struct pair_sums *p = matrices_pairs(m, l, c);
    size_t experts = (size_t)m->head.model.experts, i, j;

    for (i = 1; i < experts; i++)
        for (j = 0; j < i; j++) {
            const struct pair_sums *a = &p[i * experts + j], *b = &p[j * experts + i];

            if (a->n != b->n || a->weighted != b->weighted || a->gram != b->gram)
                return err_set(
                    r->e, ERR_INPUT,
                    "'%s': layer %d: the sums of experts %zu and %zu differ from those of %zu and %zu",
                    r->path, m->head.layer[l], i, j, j, i);
        }
    return 0;
}

static int read_sums(struct reader *r, struct matrices *m)
{
    double *buf = mem_new(matrices_values(m, 0), sizeof *buf, r->e);
    int l, c, which, status = buf ? 0 : -1;

    for (l = 0; l < m->head.n_layers && !status; l++) {
        for (which = 0; which < TENSORS && !status; which++)
            status = read_tensor(r, m, l, which, buf);
        for (c = 0; c < (m->pooled ? 1 : m->head.categories) && !status; c++)
            status = check_symmetric(r, m, l, c);
    }
    free(buf);
    return status;
}

int matrices_read(struct matrices *m, const char *path, struct err *e)
{
    struct err local = {0}; /* read_parts looks at it even if the caller does not */
    struct reader r = {.path = path, .e = &local};
    int status = -1;

    *m = (struct matrices){0};
    if (st_open(&r.st, path, &local) == 0) {
        status = fields_metadata(&r.st, MAGIC, "no file of matrices", meta_name, r.meta, METAS, &local) ||
                         check_known(&r) || read_head(&r, m) || read_sums(&r, m)
                     ? -1
                     : 0;
        st_close(&r.st);
    }
    if (status) {
        err_set(e, local.kind, "%s", local.msg);
        matrices_free(m);
    }
    return status;
}
