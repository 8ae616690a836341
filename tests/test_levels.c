/*
 * test_levels.c -- what a model may be opened for: to be run, to be cut, for its digest. Each variant of a
 * fixture has tensors left out, renamed or added, or another config.json.
 */
#include "tmp.h"

#include <sys/stat.h>

#include "base/json.h"
#include "model/model.h"

#define FIXTURE "tests/fixtures/deepseek-v2-groups"
enum { NAME = 200, LEVELS = 3 };

static struct err err;

struct variant {
    const char *what;
    const char *drop;   /* tensors with this in their names are left out */
    const char *from;   /* tensors with this in their names are called */
    const char *to;     /*   otherwise: this instead of it */
    const char *add;    /* an odd tensor of this name */
    const char *quant;  /* quantization_config */
    int result[LEVELS]; /* as model_open's, by level */
    const char *says;   /* in the refusal, or in cut_only */
};

static void rename_to(char out[NAME], const char *name, const struct variant *v)
{
    const char *at = v->from ? strstr(name, v->from) : NULL;

    snprintf(out, NAME, "%s", name);
    if (at)
        snprintf(out, NAME, "%.*s%s%.60s", (int)(at - name), name, v->to, at + strlen(v->from));
}

static void write_weights(const struct model *m, const char *dir, const struct variant *v)
{
    struct tensor *t = mem_new(m->ckpt.n + 1, sizeof *t, &err);
    char(*name)[NAME] = mem_new(m->ckpt.n, NAME, &err), *path = path_join(dir, "model.safetensors", &err);
    const struct tensor **from = mem_new(m->ckpt.n, sizeof *from, &err);
    struct st_writer w;
    size_t n = 0, i;

    for (i = 0; i < m->ckpt.n; i++) {
        from[n] = m->ckpt.tensor[i];
        if (v->drop && strstr(from[n]->name, v->drop))
            continue;
        t[n] = *from[n];
        rename_to(name[n], from[n]->name, v);
        t[n].name = name[n];
        n++;
    }
    if (v->add)
        t[n] = (struct tensor){.name = v->add, .dtype = DT_F32, .rank = 1, .shape = {1}};
    CHECK_MSG(st_create(&w, path, true, t, n + !!v->add, NULL, NULL, 0, &err) == 0, "%s", err.msg);
    for (i = 0; i < n; i++)
        CHECK(st_copy(&w, m->ckpt.shard[from[i]->shard].file, from[i]->begin, from[i]->size, &err) == 0);
    CHECK(!v->add || st_put(&w, "abcd", 4, &err) == 0);
    CHECK_MSG(st_finish(&w, &err) == 0, "%s", err.msg);
    st_writer_close(&w);
    free(t);
    free(name);
    free(from);
    free(path);
}

static void write_config(const struct model *m, const char *dir, const struct variant *v)
{
    static const char *const at[] = {"quantization_config", NULL};
    char *text = mem_strndup(m->config_text, m->config_n, &err), *path = path_join(dir, "config.json", &err);
    size_t n = m->config_n;

    CHECK(!v->quant || json_set(&text, &n, path, at, v->quant, &err) >= 0);
    CHECK_MSG(file_write(path, text, n, true, &err) == 0, "%s", err.msg);
    free(text);
    free(path);
}

/* What was read is not written again. */
static const char *new_dir(const char *name)
{
    const char *dir = in_tmp(name);

    CHECK(mkdir(dir, 0777) == 0);
    return dir;
}

static void test_variant(const struct model *m, const struct variant *v, const char *digest)
{
    const char *dir = new_dir(v->what);
    int level;

    write_weights(m, dir, v);
    write_config(m, dir, v);
    for (level = 0; level < LEVELS; level++) {
        const struct model_options o = {.level = (enum model_level)level};
        char of_variant[HASH_HEX];
        struct err e = {0};
        struct model x;
        int r = model_open(&x, dir, &o, &e);

        CHECK_MSG(r == v->result[level], "%s: at level %d: %s", v->what, level, r ? e.msg : "accepted");
        if (r) {
            CHECK_MSG(strstr(e.msg, v->says), "%s: at level %d: '%s'", v->what, level, e.msg);
            continue;
        }
        CHECK(e.kind == 0 && (level != MODEL_RUN || !x.cut_only));
        CHECK_MSG(level != MODEL_CUT || !v->result[MODEL_RUN] == !x.cut_only, "%s: %s", v->what,
                  x.cut_only ? x.cut_only : "can be run");
        CHECK_MSG(!x.cut_only || strstr(x.cut_only, v->says), "%s: '%s'", v->what, x.cut_only);
        CHECK(model_digest(&x, of_variant, &e) == 0);
        CHECK_STR(of_variant, digest);
        model_close(&x);
    }
}

static const struct variant variants[] = {
    {.what = "as it is", .says = ""},
    {.what = "an odd tensor of attention",
     .add = "model.layers.1.self_attn.sinks",
     .result = {-1, 0, 0},
     .says = "'model.layers.1.self_attn.sinks' is not understood"},
    {.what = "an odd tensor of no layer",
     .add = "model.extra",
     .result = {-1, 0, 0},
     .says = "'model.extra' is not understood"},
    {.what = "a tensor of attention missing",
     .drop = "layers.1.self_attn.o_proj",
     .result = {-1, 0, 0},
     .says = "o_proj.weight' is missing"},
    {.what = "an odd tensor of a MoE module",
     .add = "model.layers.1.mlp.gate.temperature",
     .result = {-1, -1, 0},
     .says = "'model.layers.1.mlp.gate.temperature' is not understood"},
    {.what = "an odd tensor of an expert",
     .add = "model.layers.1.mlp.experts.0.norm.weight",
     .result = {-1, -1, 0},
     .says = "norm.weight' is not understood"},
    {.what = "an odd tensor of all experts",
     .add = "model.layers.1.mlp.experts.order",
     .result = {-1, -1, 0},
     .says = "'model.layers.1.mlp.experts.order' is not understood"},
    {.what = "an expert too many",
     .add = "model.layers.1.mlp.experts.99.down_proj.weight",
     .result = {-1, -1, 0},
     .says = "belongs to expert 99"},
    {.what = "a matrix of an expert missing",
     .drop = "layers.1.mlp.experts.1.up_proj",
     .result = {-1, -1, 0},
     .says = "experts.1.up_proj.weight' is missing"},
    {.what = "a router missing",
     .drop = "layers.1.mlp.gate.weight",
     .result = {-1, -1, -1},
     .says = "mlp.gate.weight' is missing"},
    {.what = "an unknown number format",
     .from = "_proj.weight",
     .to = "_proj.qweight",
     .quant = "{\"quant_method\": \"frob\"}",
     .result = {-1, 0, 0},
     .says = "config.json': the quantization 'frob' is not read"},
    {.what = "an unknown number format, and an expert without a matrix",
     .from = "_proj.weight",
     .to = "_proj.qweight",
     .drop = "layers.1.mlp.experts.1.up_proj",
     .quant = "{\"quant_method\": \"frob\"}",
     .result = {-1, -1, 0},
     .says = ""},
    {.what = "an unknown number format, and an odd module of an expert",
     .add = "model.layers.1.mlp.experts.1.norm.qweight",
     .quant = "{\"quant_method\": \"frob\"}",
     .result = {-1, -1, 0},
     .says = ""},
    {.what = "an unknown number format of the router",
     .from = "mlp.gate.weight",
     .to = "mlp.gate.qweight",
     .quant = "{\"quant_method\": \"frob\"}",
     .result = {-1, -1, -1},
     .says = ""},
};

/* Files that hold no router may be missing. */
static void test_partial(const struct model *m, const char *digest)
{
    static const struct variant experts = {.drop = "experts"};
    const struct model_options o = {.level = MODEL_DIGEST};
    const char *dir = new_dir("partial");
    char of_rest[HASH_HEX], *from, *to;
    struct str index = {0};
    struct model x;
    size_t i;

    write_weights(m, dir, &experts);
    write_config(m, dir, &experts);
    str_adds(&index, "{\"weight_map\":{");
    for (i = 0; i < m->ckpt.n; i++)
        str_addf(&index, "%s\"%s\":\"%s.safetensors\"", i ? "," : "", m->ckpt.tensor[i]->name,
                 strstr(m->ckpt.tensor[i]->name, "experts") ? "two" : "one");
    str_adds(&index, "}}");
    put_tmp("partial/model.safetensors.index.json", index.p);
    from = path_join(dir, "model.safetensors", &err);
    to = path_join(dir, "one.safetensors", &err);
    CHECK(rename(from, to) == 0);
    CHECK(model_open(&x, dir, NULL, &err) == -1 && strstr(err.msg, "two.safetensors' is missing"));
    err = (struct err){0};
    CHECK_MSG(model_open(&x, dir, &o, &err) == 0 && x.ckpt.missing == 1, "%s", err.msg);
    CHECK(model_digest(&x, of_rest, &err) == 0);
    CHECK_STR(of_rest, digest);
    model_close(&x);
    str_free(&index);
    free(from);
    free(to);
}

int main(void)
{
    char digest[HASH_HEX];
    struct model m;
    size_t i;

    tmp_open();
    CHECK_MSG(model_open(&m, FIXTURE, NULL, &err) == 0 && model_digest(&m, digest, &err) == 0, "%s", err.msg);
    for (i = 0; i < sizeof variants / sizeof *variants; i++)
        test_variant(&m, &variants[i], digest);
    test_partial(&m, digest);
    model_close(&m);
    CHECK_END();
}
