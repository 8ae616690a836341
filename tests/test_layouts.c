/*
 * test_layouts.c -- every way experts are stored gives the same numbers, byte for byte, as another way that
 * stores the same values; damaged weights are refused by name. Models are made from those in examples/, in
 * a temporary folder.
 */
#include "tmp.h"

#include <stdint.h>

#include "engine/engine.h"
#include "quant/bf16.h"
#include "surgery/quantize.h"

static struct err err;

static const int64_t doc_first[] = {0, 70, 131};

/* Adds config.json of m to what was made of m, and closes both. */
static void finish(struct outdir *d, struct model *m)
{
    char *path = path_join(d->tmp, "config.json", &err);

    CHECK(file_write(path, m->config_text, m->config_n, false, &err) == 0);
    free(path);
    CHECK(outdir_commit(d, &err) == 0);
    outdir_close(d);
    model_close(m);
}

/* f32 logits of two short documents, and their number. */
static float *logits_of(const char *dir, size_t *n)
{
    struct engine_options o = {.precision = PREC_F32, .threads = 2};
    int32_t ids[131];
    struct batch b = {ids, doc_first, 2};
    struct hidden *h = NULL;
    struct engine *en = NULL;
    struct model m;
    float *out = NULL;
    size_t i;

    if (model_open(&m, dir, NULL, &err))
        return NULL;
    for (i = 0; i < 131; i++)
        ids[i] = (int32_t)(i * 37 % (size_t)m.arch.vocab);
    *n = 131 * (size_t)m.arch.vocab;
    if (engine_open(&en, &o, &err) == 0 && engine_forward(en, &m, &b, NULL, NULL, &h, NULL, &err) == 0) {
        out = calloc(*n, sizeof *out);
        if (engine_logits(en, &m, h, 0, 131, out, &err)) {
            free(out);
            out = NULL;
        }
    }
    hidden_free(h);
    engine_close(en);
    model_close(&m);
    return out;
}

static void same(const char *a, const char *b, const char *what)
{
    size_t n = 0, k = 0;
    float *x = logits_of(a, &n), *y = logits_of(b, &k);

    CHECK_MSG(x && y, "%s: %s", what, err.msg);
    if (x && y)
        CHECK_MSG(n == k && !memcmp(x, y, n * sizeof *x), "%s: other numbers", what);
    free(x);
    free(y);
    err_clear(&err);
}

static void quantize(const char *from, const char *to, const char *out)
{
    struct quantize_options o = {.command = "test"};
    struct quantize_report r;
    struct model m;

    CHECK_MSG(model_open(&m, from, NULL, &err) == 0, "%s", err.msg);
    CHECK_MSG(quantize_model(&m, to, out, &o, &r, &err) == 0, "%s", err.msg);
    quantize_report_free(&r);
    model_close(&m);
}

/* ---- fused experts, [E][2I][H], written as F32 so that this type is read too ---- */

enum { MAX_TENSORS = 256 };

struct copy {
    const struct model *m;
    struct tensor out[MAX_TENSORS];
    char name[MAX_TENSORS][128];
    int layer[MAX_TENSORS]; /* of fused tensors; -1: copied */
    size_t n;
};

static void add_fused(struct copy *c, int layer, bool down)
{
    const struct arch *a = &c->m->arch;
    uint64_t e = (uint64_t)a->experts, h = (uint64_t)a->hidden, i = (uint64_t)a->inter;
    struct tensor *t = &c->out[c->n];

    snprintf(c->name[c->n], sizeof c->name[0], "model.layers.%d.mlp.experts.%s", layer,
             down ? "down_proj" : "gate_up_proj");
    *t = (struct tensor){.name = c->name[c->n], .dtype = DT_F32, .rank = 3};
    t->shape[0] = e;
    t->shape[1] = down ? h : 2 * i;
    t->shape[2] = down ? i : h;
    c->layer[c->n++] = layer;
}

static void put_fused(struct st_writer *w, const struct copy *c, size_t at, bool down)
{
    const struct arch *a = &c->m->arch;
    size_t n = (size_t)a->hidden * (size_t)a->inter;
    float *f = calloc(n, sizeof *f);
    enum part p;
    int e;

    for (e = 0; e < a->experts; e++)
        for (p = down ? PART_DOWN : PART_GATE; p <= (down ? PART_DOWN : PART_UP); p++) {
            struct linear_tensors l;

            CHECK(model_expert_linear(c->m, c->layer[at], e, p, &l) &&
                  model_read_f32(c->m, l.piece[USE_WEIGHT], f, &err) == 0 &&
                  st_put(w, f, n * sizeof *f, &err) == 0);
        }
    free(f);
}

static void write_fused(const char *from, const char *out)
{
    static struct copy c;
    struct st_writer w;
    struct outdir d;
    struct model m;
    char *path;
    size_t i;
    int l;

    CHECK_MSG(model_open(&m, from, NULL, &err) == 0, "%s", err.msg);
    c.m = &m;
    for (i = 0; i < m.ckpt.n; i++)
        if (m.role[i].role != ROLE_EXPERT) {
            c.layer[c.n] = -1;
            c.out[c.n++] = *m.ckpt.tensor[i];
        }
    for (l = 0; l < m.arch.layers; l++) {
        add_fused(&c, l, false);
        add_fused(&c, l, true);
    }
    CHECK(outdir_open(&d, out, false, NULL, NULL, &err) == 0);
    path = path_join(d.tmp, "model.safetensors", &err);
    CHECK_MSG(st_create(&w, path, false, c.out, c.n, NULL, NULL, 0, &err) == 0, "%s", err.msg);
    for (i = 0; i < c.n; i++) {
        const struct tensor *t = c.layer[i] < 0 ? checkpoint_find(&m.ckpt, c.out[i].name) : NULL;

        if (t)
            CHECK(st_copy(&w, m.ckpt.shard[t->shard].file, t->begin, t->size, &err) == 0);
        else
            put_fused(&w, &c, i, strstr(c.out[i].name, "down_proj") != NULL);
    }
    CHECK_MSG(st_finish(&w, &err) == 0, "%s", err.msg);
    st_writer_close(&w);
    free(path);
    finish(&d, &m);
}

/* ---- damage ---- */

/* A copy of a model with the bytes at a place of one tensor replaced. */
static void damage(const char *from, const char *out, const char *tensor, uint64_t off, const void *bytes,
                   size_t n)
{
    struct model m;
    struct outdir d;
    const struct tensor *t;
    char *text, *path;
    size_t size;

    CHECK_MSG(model_open(&m, from, NULL, &err) == 0, "%s", err.msg);
    t = checkpoint_find(&m.ckpt, tensor);
    CHECK_MSG(t != NULL, "no %s", tensor);
    CHECK(outdir_open(&d, out, false, NULL, NULL, &err) == 0);
    path = path_join(m.dir, m.ckpt.shard_name[t->shard], &err);
    CHECK(file_read(path, 1 << 30, &text, &size, &err) == 0);
    free(path);
    memcpy(text + t->begin + off, bytes, n);
    path = path_join(d.tmp, m.ckpt.shard_name[t->shard], &err);
    CHECK(file_write(path, text, size, false, &err) == 0);
    free(path);
    free(text);
    finish(&d, &m);
}

static void refused(const char *from, const char *name, const char *tensor, uint64_t off, const void *bytes,
                    size_t n, const char *word)
{
    const char *dir = in_tmp(name);
    size_t count;
    float *x;

    damage(from, dir, tensor, off, bytes, n);
    x = logits_of(dir, &count);
    CHECK_MSG(x == NULL, "%s was not refused", name);
    CHECK_MSG(strstr(err.msg, word) != NULL, "'%s' does not say '%s'", err.msg, word);
    err_clear(&err);
    free(x);
}

static void check_damage(void)
{
    static const uint16_t nan16 = 0x7fc1, huge = 0x7f7f;
    static const uint8_t nan8 = 255;
    const char *q = "examples/tiny-qwen3", *g = "examples/tiny-gptoss";
    const char *expert = "model.layers.2.mlp.experts.5.up_proj.weight";
    const char *scales = "model.layers.1.mlp.experts.down_proj_scales";

    refused(q, "nan-expert", expert, 2 * 77, &nan16, 2, expert);
    refused(q, "nan-norm", "model.layers.0.input_layernorm.weight", 8, &nan16, 2, "input_layernorm");
    refused(q, "nan-head", "model.embed_tokens.weight", 2 * 128 * 37, &nan16, 2, "embed_tokens");
    refused(q, "huge", "model.layers.1.post_attention_layernorm.weight", 0, &huge, 2, "layer 1:");
    refused(g, "nan-scale", scales, 11, &nan8, 1, scales);
}

int main(void)
{
    const char *mx, *back, *fused, *d;

    tmp_open();
    mx = in_tmp("qwen3-mxfp4");
    back = in_tmp("qwen3-back");
    fused = in_tmp("qwen3-fused");
    d = in_tmp("gptoss-bf16");
    quantize("examples/tiny-gptoss", "bf16", d);
    same("examples/tiny-gptoss", d, "MXFP4 and BF16 interleaved, input-major");
    quantize("examples/tiny-qwen3", "mxfp4", mx);
    quantize(mx, "bf16", back);
    same(mx, back, "split MXFP4 and split BF16");
    write_fused("examples/tiny-qwen3", fused);
    same("examples/tiny-qwen3", fused, "split BF16 and fused F32");
    check_damage();
    CHECK_END();
}
