/*
 * test_container.c -- a second container: what safetensors has not, in one file. Its magic is at the front
 * and its suffix says nothing; names, order of dimensions and alignment are its own; configuration and
 * metadata stand in it. A model in it is opened, run, cut, verified and cut again like its safetensors
 * original, by the same code.
 */
#include "tmp.h"

#include "engine/engine.h"
#include "model/container.h"
#include "surgery/prune.h"

#define MAGIC "BOXES\n"
enum { ALIGN = 32, NAME = 200, REST = 100, METAS = 8 };

static struct err err;

/* ---- reading ---- */

struct box {
    struct rfile file;
    char *header; /* lines "config", "meta" and "tensor" with fields separated by tabs */
    char *config;
    struct container_meta meta[METAS];
    size_t n_meta, n;
    struct tensor *tensor;
    char (*name)[NAME];
};

/* Experts are numbered in another place, and layers are blocks. */
static void to_own(const char *name, char own[NAME])
{
    char rest[REST];
    int layer, expert;

    if (sscanf(name, "model.layers.%d.mlp.experts.%d.%99s", &layer, &expert, rest) == 3)
        snprintf(own, NAME, "blk.%d.%s/%d", layer, rest, expert);
    else if (sscanf(name, "model.layers.%d.%99s", &layer, rest) == 2)
        snprintf(own, NAME, "blk.%d.%s", layer, rest);
    else
        snprintf(own, NAME, "%s", name);
}

static void from_own(const char *own, char name[NAME])
{
    char rest[REST];
    int layer, expert;

    if (sscanf(own, "blk.%d.%99[^/]/%d", &layer, rest, &expert) == 3)
        snprintf(name, NAME, "model.layers.%d.mlp.experts.%d.%s", layer, expert, rest);
    else if (sscanf(own, "blk.%d.%99s", &layer, rest) == 2)
        snprintf(name, NAME, "model.layers.%d.%s", layer, rest);
    else
        snprintf(name, NAME, "%s", own);
}

static bool box_is(const char *path, const uint8_t *head, size_t n)
{
    (void)path;
    return n >= sizeof MAGIC - 1 && memcmp(head, MAGIC, sizeof MAGIC - 1) == 0;
}

static void take_tensor(struct box *b, char *field)
{
    struct tensor *t = &b->tensor[b->n];
    uint64_t ne[ST_MAX_RANK];
    int at = 0, i;

    from_own(strtok(field, "\t"), b->name[b->n]);
    t->name = b->name[b->n++];
    t->dtype = (enum dtype)atoi(strtok(NULL, "\t"));
    t->begin = strtoull(strtok(NULL, "\t"), NULL, 10);
    t->size = strtoull(strtok(NULL, "\t"), NULL, 10);
    for (field = strtok(NULL, "\t"); field; field = strtok(NULL, "\t"))
        ne[at++] = strtoull(field, NULL, 10);
    for (i = 0, t->rank = at; i < at; i++)
        t->shape[i] = ne[at - 1 - i];
}

static void take_line(struct box *b, char *line)
{
    char *tab = strchr(line, '\t');

    *tab++ = 0;
    if (strcmp(line, "config") == 0)
        b->config = tab;
    else if (strcmp(line, "tensor") == 0)
        take_tensor(b, tab);
    else
        b->meta[b->n_meta++] = (struct container_meta){strtok(tab, "\t"), strtok(NULL, "\t")};
}

static int box_open(struct checkpoint *c, struct err *e)
{
    struct box *b = c->own = mem_new(1, sizeof *b, e);
    char size[17] = "", *line, *next;
    uint64_t n;

    if (rfile_open(&b->file, c->dir, e) || rfile_read(&b->file, sizeof MAGIC - 1, size, 16, e))
        return -1;
    n = strtoull(size, NULL, 16);
    b->header = mem_new(n + 1, 1, e);
    b->tensor = mem_new(n / 16, sizeof *b->tensor, e); /* a line is longer than that */
    b->name = mem_new(n / 16, NAME, e);
    if (rfile_read(&b->file, sizeof MAGIC - 1 + 16, b->header, n, e))
        return -1;
    for (line = b->header; *line; line = next) {
        next = strchr(line, '\n');
        *next++ = 0;
        take_line(b, line);
    }
    return 0;
}

static int box_config(const struct checkpoint *c, char **text, size_t *n, char **what, struct err *e)
{
    const struct box *b = c->own;

    *what = mem_printf(e, "%s: config", b->file.path);
    *text = mem_strdup(b->config, e);
    *n = strlen(b->config);
    return *text && *what ? 0 : -1;
}

static int box_tensors(struct checkpoint *c, const struct arch *a, bool partial, struct err *e)
{
    struct box *b = c->own;

    CHECK(a->layers > 0 && !partial); /* the configuration is known by then */
    c->shard = mem_new(1, sizeof *c->shard, e);
    c->shard_name = mem_new(1, sizeof *c->shard_name, e);
    c->shard_name[c->shards++] = mem_strdup(path_base(b->file.path), e);
    c->shard[0] = (struct shard){&b->file, b->tensor[0].begin, b->n};
    return checkpoint_take(c, b->tensor, b->n, e) || checkpoint_sort(c, e) ? -1 : 0;
}

static const char *box_meta(const struct checkpoint *c, const char *key)
{
    const struct box *b = c->own;
    size_t i;

    for (i = 0; i < b->n_meta; i++)
        if (strcmp(b->meta[i].key, key) == 0)
            return b->meta[i].text;
    return NULL;
}

static void box_close(struct checkpoint *c)
{
    struct box *b = c->own;

    rfile_close(&b->file);
    free(b->header);
    free(b->tensor);
    free(b->name);
    free(b);
}

/* ---- writing ---- */

struct packing {
    struct wfile out;
};

/* The header; sets where the tensors are, from its own end on. */
static void write_header(struct container_writer *w, struct str *s)
{
    const char *config = w->config ? w->config : "";
    uint64_t at = 0;
    char own[NAME];
    size_t i;
    int d;

    str_adds(s, "config\t");
    for (; *config; config++)
        str_addc(s, *config == '\n' || *config == '\t' ? ' ' : *config);
    str_adds(s, "\n");
    for (i = 0; i < w->n_meta; i++)
        str_addf(s, "meta\t%s\t%s\n", w->meta[i].key, w->meta[i].text);
    for (i = 0; i < w->n; i++) {
        struct tensor *t = &w->tensor[i];

        t->begin = (1 << 20) + at; /* room for any header of this test */
        t->size = tensor_count(t) * 8 * dtype_bytes(t->dtype) / 8;
        at += (t->size + ALIGN - 1) / ALIGN * ALIGN;
        to_own(t->name, own);
        str_addf(s, "tensor\t%s\t%d\t%llu\t%llu", own, (int)t->dtype, (unsigned long long)t->begin,
                 (unsigned long long)t->size);
        for (d = t->rank; d-- > 0;)
            str_addf(s, "\t%llu", (unsigned long long)t->shape[d]);
        str_adds(s, "\n");
    }
    w->tensor_bytes = at;
    w->bytes = (1 << 20) + at;
    w->files = 1;
}

static int box_sizes(struct container_writer *w, struct err *e)
{
    struct str s = {0};

    write_header(w, &s);
    str_free(&s);
    return str_ok(&s, e);
}

static int pad_to(struct packing *p, uint64_t at, struct err *e)
{
    while (p->out.written < at)
        if (wfile_write(&p->out, "", 1, e))
            return -1;
    return 0;
}

static int box_create(struct container_writer *w, const char *path, struct err *e)
{
    struct packing *p = w->own = mem_new(1, sizeof *p, e);
    char size[17];
    struct str s = {0};
    int r;

    write_header(w, &s);
    snprintf(size, sizeof size, "%016llx", (unsigned long long)s.n);
    r = wfile_open(&p->out, path, true, e) || wfile_write(&p->out, MAGIC, sizeof MAGIC - 1, e) ||
        wfile_write(&p->out, size, 16, e) || wfile_write(&p->out, s.p, s.n, e);
    str_free(&s);
    return r ? -1 : 0;
}

static int box_next(struct container_writer *w, size_t i, struct err *e)
{
    return pad_to(w->own, w->tensor[i].begin, e);
}

static int box_put(struct container_writer *w, const void *p, size_t n, struct err *e)
{
    return wfile_write(&((struct packing *)w->own)->out, p, n, e);
}

static int box_copy(struct container_writer *w, const struct rfile *from, uint64_t off, uint64_t n,
                    struct err *e)
{
    return wfile_copy(&((struct packing *)w->own)->out, from, off, n, e);
}

static int box_finish(struct container_writer *w, struct err *e)
{
    struct packing *p = w->own;

    return pad_to(p, w->bytes, e) || wfile_commit(&p->out, e) ? -1 : 0;
}

static void box_end(struct container_writer *w)
{
    if (w->own)
        wfile_close(&((struct packing *)w->own)->out);
    free(w->own);
    w->own = NULL;
}

static const struct container_writer_ops packer = {.sizes = box_sizes,
                                                   .create = box_create,
                                                   .next = box_next,
                                                   .put = box_put,
                                                   .copy = box_copy,
                                                   .finish = box_finish,
                                                   .close = box_end};
static const struct container box = {.name = "box",
                                     .is = box_is,
                                     .open = box_open,
                                     .config = box_config,
                                     .tensors = box_tensors,
                                     .meta = box_meta,
                                     .close = box_close,
                                     .writer = &packer};

/* ---- the test ---- */

static const struct container *known[3];
static const struct model_options boxes = {.containers = known};

static void open_or_fail(struct model *m, const char *path)
{
    if (model_open(m, path, &boxes, &err)) {
        printf("%s: %s\n", path, err.msg);
        exit(1);
    }
}

/* A safetensors model as a file that is called like a blob. */
static void convert(const struct model *m, const char *to)
{
    struct container_writer w = {
        .like = &m->ckpt, .n = m->ckpt.n, .config = m->config_text, .config_n = m->config_n};
    size_t i;

    w.tensor = mem_new(w.n, sizeof *w.tensor, &err);
    for (i = 0; i < w.n; i++)
        w.tensor[i] = *m->ckpt.tensor[i];
    CHECK(box_sizes(&w, &err) == 0 && box_create(&w, to, &err) == 0);
    for (i = 0; i < w.n; i++) {
        const struct tensor *t = m->ckpt.tensor[i];

        CHECK(box_next(&w, i, &err) == 0 &&
              box_copy(&w, m->ckpt.shard[t->shard].file, t->begin, t->size, &err) == 0);
    }
    CHECK_MSG(box_finish(&w, &err) == 0, "%s", err.msg);
    box_end(&w);
    free(w.tensor);
}

/* The same tensors with the same bytes and roles, the same digest. */
static void same_model(const struct model *a, const struct model *b)
{
    char da[HASH_HEX], db[HASH_HEX];
    size_t i, wrong = 0;

    CHECK(a->ckpt.n == b->ckpt.n && a->layout == b->layout);
    for (i = 0; i < a->ckpt.n; i++) {
        const struct tensor *s = a->ckpt.tensor[i], *t = checkpoint_find(&b->ckpt, s->name);
        unsigned char *x = mem_new(s->size, 1, &err), *y = mem_new(s->size, 1, &err);
        ptrdiff_t at = checkpoint_index(&b->ckpt, s->name);

        if (!t || t->dtype != s->dtype || t->rank != s->rank || t->size != s->size ||
            memcmp(t->shape, s->shape, (size_t)s->rank * sizeof *s->shape) != 0 ||
            checkpoint_read(&a->ckpt, s, 0, x, s->size, &err) ||
            checkpoint_read(&b->ckpt, t, 0, y, t->size, &err) || memcmp(x, y, s->size) != 0 ||
            a->role[i].role != b->role[at].role || a->role[i].expert != b->role[at].expert)
            wrong++;
        free(x);
        free(y);
    }
    CHECK_MSG(!wrong, "%zu of %zu tensors differ", wrong, a->ckpt.n);
    CHECK(model_digest(a, da, &err) == 0 && model_digest(b, db, &err) == 0);
    CHECK_STR(da, db);
}

static float *logits(const struct model *m)
{
    static const int32_t ids[] = {3, 17, 5, 60, 2, 33, 8, 41};
    static const int64_t first[] = {0, 5, 8};
    const struct engine_options o = {.device = "cpu", .precision = PREC_F32, .threads = 1};
    const struct batch b = {ids, first, 2};
    float *out = mem_new(8 * (size_t)m->arch.vocab, sizeof *out, &err);
    struct hidden *h = NULL;
    struct engine *en;

    CHECK_MSG(engine_open(&en, &o, &err) == 0 && engine_forward(en, m, &b, NULL, NULL, &h, NULL, &err) == 0 &&
                  engine_logits(en, m, h, 0, 8, out, &err) == 0,
              "%s", err.msg);
    hidden_free(h);
    engine_close(en);
    return out;
}

/* Every layer loses another expert. */
static void plan_for(struct plan *p, const struct model *m)
{
    struct model_id id;
    int *layer = mem_new((size_t)m->arch.layers, sizeof *layer, &err), n = 0, i, j;

    CHECK(model_id_of(&id, m, &err) == 0);
    for (i = 0; i < m->arch.layers; i++)
        if (m->arch.layer[i].ffn == FFN_MOE)
            layer[n++] = i;
    CHECK(plan_new(p, &id, "test", layer, n, &err) == 0);
    for (i = 0; i < n; i++)
        for (j = 0; j < m->arch.experts; j++)
            plan_rows(p, i)[j].keep = j != i % m->arch.experts;
    free(layer);
}

static void cut_one(const struct model *m, const char *out)
{
    const struct prune_options o = {.verify = true, .model = &boxes};
    struct prune_report r;
    struct plan p;

    plan_for(&p, m);
    CHECK_MSG(prune_model(m, &p, out, &o, &r, &err) == 0, "%s", err.msg);
    CHECK(r.bytes_verified > 0 && r.files == m->ckpt.shards);
    plan_free(&p);
}

static void cut_both(const struct model *a, const struct model *b, int times)
{
    char *in_a = mem_printf(&err, "%s/a%d", tmp_dir, times),
         *in_b = mem_printf(&err, "%s/b%d", tmp_dir, times);
    struct model x, y;

    cut_one(a, in_a);
    cut_one(b, in_b);
    open_or_fail(&x, in_a);
    open_or_fail(&y, in_b);
    CHECK(y.ckpt.container == &box && y.arch.experts == a->arch.experts - 1);
    same_model(&x, &y);
    CHECK_STR(checkpoint_meta(&x.ckpt, "moe-tools.experts"), checkpoint_meta(&y.ckpt, "moe-tools.experts"));
    if (times > 1)
        cut_both(&x, &y, times - 1);
    model_close(&x);
    model_close(&y);
    free(in_a);
    free(in_b);
}

static void test_model(const char *dir)
{
    char *blob = path_join(tmp_dir, path_base(dir), &err);
    struct model a, b;
    float *x, *y;

    open_or_fail(&a, dir);
    CHECK_STR(a.ckpt.container->name, "safetensors");
    convert(&a, blob);
    CHECK(model_open(&b, blob, NULL, &err) == -1); /* without the row nobody knows it */
    err = (struct err){0};
    open_or_fail(&b, blob);
    CHECK_STR(b.ckpt.container->name, "box");
    same_model(&a, &b);
    x = logits(&a);
    y = logits(&b);
    CHECK(memcmp(x, y, 8 * (size_t)a.arch.vocab * sizeof *x) == 0);
    cut_both(&a, &b, 2);
    free(x);
    free(y);
    model_close(&a);
    model_close(&b);
    CHECK(remove(blob) == 0);
    free(blob);
}

int main(void)
{
    const struct container *const *all;

    tmp_open();
    known[0] = &box;
    for (all = container_table(); all[1]; all++)
        ;
    known[1] = *all; /* folders */
    test_model("tests/fixtures/qwen3-yarn");
    CHECK_END();
}
