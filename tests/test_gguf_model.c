/*
 * test_gguf_model.c -- GGUF files that llama.cpp's converter made of checkpoints give what these give, bit
 * for bit, and so do they when both are cut, and cut again.
 */
#include "tmp.h"

#include "engine/engine.h"
#include "model/container.h"
#include "surgery/prune.h"

enum { TOKENS = 8 };

static struct err err;

/* How far logits may be apart: the order of q and k within heads is another one where they are permuted; the
 * yarn that GPT-OSS has without a word in config.json is lost on the way. */
static const struct {
    const char *file, *fixture;
    double apart;
} pairs[] = {
    {"kimi-k2.gguf", "deepseek-v3-kimi-k2", 0}, {"glm4-mtp.gguf", "glm4-mtp", 0},
    {"ernie.gguf", "ernie4_5-interval", 0},     {"gptoss.gguf", "gptoss-mxfp4", 0.01},
    {"gptoss-qkv.gguf", "gptoss-bf16", 0},      {"mixtral-00001-of-00004.gguf", "mixtral-window", 1e-5},
};

/* A name that nothing has had. */
static const char *fresh(void)
{
    static int n;
    char name[16];

    snprintf(name, sizeof name, "%d", n++);
    return in_tmp(name);
}

static void open_model(struct model *m, const char *path)
{
    if (model_open(m, path, NULL, &err)) {
        printf("%s: %s\n", path, err.msg);
        exit(1);
    }
}

static float *logits_of(const struct model *m, const int32_t *ids, const int64_t *first, int docs)
{
    const struct engine_options o = {
        .device = on_gpu() ? "cuda" : "cpu", .precision = PREC_F32, .threads = 1};
    const struct batch b = {ids, first, docs};
    float *out = mem_new((size_t)first[docs] * (size_t)m->arch.vocab, sizeof *out, &err);
    struct hidden *h = NULL;
    struct engine *en;

    CHECK_MSG(engine_open(&en, &o, &err) == 0 && engine_forward(en, m, &b, NULL, NULL, &h, NULL, &err) == 0 &&
                  engine_logits(en, m, h, 0, (int)first[docs], out, &err) == 0,
              "%s: %s", m->dir, err.msg);
    hidden_free(h);
    engine_close(en);
    return out;
}

/* Of few enough tokens that no window matters. */
static float *some_logits(const struct model *m)
{
    static const int32_t ids[TOKENS] = {3, 17, 5, 60, 2, 33, 8, 41};
    static const int64_t first[] = {0, 4, TOKENS};

    return logits_of(m, ids, first, 2);
}

/* What llama.cpp makes of files in F32, where it rounds nothing. */
static void test_llama_cpp(const char *name)
{
    char path[TMP_PATH];
    struct st_file golden;
    const struct tensor *t, *z;
    int64_t first[2] = {0, 0};
    float *want, *have;
    double worst = 0;
    struct model m;
    int32_t *ids;
    size_t i;

    snprintf(path, sizeof path, "%s/formats/%s/golden.safetensors", shared_dir(), name);
    CHECK_MSG(st_open(&golden, path, &err) == 0, "%s", err.msg);
    snprintf(path, sizeof path, "%s/formats/%s/model.gguf", shared_dir(), name);
    open_model(&m, path);
    t = st_find(&golden, "tokens");
    z = st_find(&golden, "logits");
    ids = mem_new((size_t)t->size, 1, &err);
    want = mem_new((size_t)z->size, 1, &err);
    first[1] = (int64_t)tensor_count(t);
    CHECK(st_read(&golden, t, 0, ids, (size_t)t->size, &err) == 0 &&
          st_read(&golden, z, 0, want, (size_t)z->size, &err) == 0);
    have = logits_of(&m, ids, first, 1);
    for (i = 0; i < (size_t)tensor_count(z); i++)
        worst = fmax(worst, fabs((double)have[i] - (double)want[i]));
    CHECK_MSG(worst < 1e-4, "%s: logits differ by %.3g", name, worst);
    free(ids);
    free(want);
    free(have);
    model_close(&m);
    st_close(&golden);
}

static void same_results(const struct model *a, const struct model *b, double apart)
{
    size_t n = TOKENS * (size_t)a->arch.vocab, i, wrong = 0;
    float *x = some_logits(a), *y = some_logits(b);
    char da[HASH_HEX], db[HASH_HEX];

    CHECK(a->arch.vocab == b->arch.vocab && a->arch.experts == b->arch.experts);
    for (i = 0; i < n; i++)
        wrong += !(fabs((double)x[i] - (double)y[i]) <= apart);
    CHECK_MSG(!wrong, "%s: %zu other logits", b->dir, wrong);
    CHECK(model_digest(a, da, &err) == 0 && model_digest(b, db, &err) == 0);
    CHECK_STR(da, db);
    free(x);
    free(y);
}

/* Every layer loses another expert, of those groups that there are one each; drop: any at all. */
static void make_plan(struct plan *p, const struct model *m, bool drop)
{
    int *layer = mem_new((size_t)m->arch.layers, sizeof *layer, &err), n = 0, i, j;
    int per = m->arch.experts / m->arch.groups;
    struct model_id id;

    CHECK(model_id_of(&id, m, &err) == 0);
    for (i = 0; i < m->arch.layers; i++)
        if (m->arch.layer[i].ffn == FFN_MOE)
            layer[n++] = i;
    CHECK(plan_new(p, &id, "test", layer, n, &err) == 0);
    for (i = 0; i < n; i++)
        for (j = 0; j < m->arch.experts; j++)
            plan_rows(p, i)[j].keep = !drop || j % per != i % per;
    free(layer);
}

static void cut_to(const struct model *m, bool drop, const char *out)
{
    const struct prune_options o = {.verify = true};
    struct prune_report r;
    struct plan p;

    make_plan(&p, m, drop);
    CHECK_MSG(prune_model(m, &p, out, &o, &r, &err) == 0, "%s: %s", m->dir, err.msg);
    CHECK(r.bytes_verified > 0);
    plan_free(&p);
}

/* A GGUF file that keeps all experts has the tensors of the old one, in one file. */
static void keep_all(const struct model *m)
{
    const char *out = fresh();
    struct model x;
    size_t i, wrong = 0;

    cut_to(m, false, out);
    open_model(&x, out);
    CHECK(x.ckpt.shards == 1 && x.ckpt.n == m->ckpt.n && x.ckpt.tensor_bytes == m->ckpt.tensor_bytes);
    for (i = 0; i < m->ckpt.n && i < x.ckpt.n; i++)
        wrong += strcmp(m->ckpt.tensor[i]->name, x.ckpt.tensor[i]->name) != 0 ||
                 m->ckpt.tensor[i]->size != x.ckpt.tensor[i]->size;
    CHECK(!wrong);
    same_results(m, &x, 0);
    model_close(&x);
}

static void cut_pair(const struct model *a, const struct model *b, int times, double apart)
{
    const char *out_a = fresh(), *out_b = fresh();
    struct model x, y;

    cut_to(a, true, out_a);
    cut_to(b, true, out_b);
    open_model(&x, out_a);
    open_model(&y, out_b);
    CHECK_STR(y.ckpt.container->name, "GGUF");
    same_results(&x, &y, apart);
    CHECK_STR(checkpoint_meta(&x.ckpt, "moe-tools.experts"), checkpoint_meta(&y.ckpt, "moe-tools.experts"));
    CHECK_STR(checkpoint_meta(&x.ckpt, "moe-tools.model"), checkpoint_meta(&y.ckpt, "moe-tools.model"));
    if (times > 1)
        cut_pair(&x, &y, times - 1, apart);
    model_close(&x);
    model_close(&y);
}

int main(void)
{
    char path[TMP_PATH];
    struct model a, b;
    size_t i;

    tmp_open();
    for (i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        snprintf(path, sizeof path, "tests/fixtures/%s", pairs[i].fixture);
        open_model(&a, path);
        snprintf(path, sizeof path, "tests/data/gguf/%s", pairs[i].file);
        open_model(&b, path);
        same_results(&a, &b, pairs[i].apart);
        keep_all(&b);
        cut_pair(&a, &b, 2, pairs[i].apart);
        model_close(&a);
        model_close(&b);
    }
    snprintf(path, sizeof path, "%s/formats/gguf-ernie-f32/model.gguf", shared_dir());
    if (path_exists(path)) {
        test_llama_cpp("gguf-ernie-f32");
        test_llama_cpp("gguf-deepseek2-fused-f32");
    } else {
        printf("no GGUF files beside the checkout: not compared with llama.cpp\n");
    }
    CHECK_END();
}
