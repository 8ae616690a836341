/*
 * test_slots.c -- the one list of a model's tensors: it holds what the files hold, the rows of the mixers
 * agree with it, and a device that lacks an operation is told which layer wants it.
 */
#include "check.h"

#include <dirent.h>
#include <unistd.h>

#include "device/registry.h"
#include "engine/mixing.h"
#include "load/weights_private.h"
#include "model/summary.h"

static struct err err;

/* Scales of the key-value cache, which loaders pass over. */
static bool of_cache(const char *name)
{
    const char *end = strrchr(name, '.');

    return end && (!strcmp(end, ".k_scale") || !strcmp(end, ".v_scale"));
}

/* Elements of tensors that no slot describes. */
static uint64_t beside(const struct model *m)
{
    uint64_t n = 0;
    size_t i;

    for (i = 0; i < m->ckpt.n; i++) {
        const struct tensor *t = m->ckpt.tensor[i];

        if ((m->role[i].role == ROLE_MTP || of_cache(t->name) || !of_language_model(&m->arch, t->name)) &&
            m->role[i].use != USE_SCALE)
            n += tensor_count(t);
    }
    return n;
}

static bool there(const struct model *m, const struct slot *s)
{
    char name[SLOT_NAME + 8];

    snprintf(name, sizeof name, "%s.weight", s->name);
    return !s->optional || model_tensor(m, -1, name);
}

static void check_owner(const char *dir, const struct slot *s)
{
    static const int matrices[SLOT_OWNERS] = {[OF_MIXER] = MIXER_MATRICES,
                                              [OF_ROUTER] = ROUTER_MATRICES,
                                              [OF_DENSE] = MLP_MATRICES,
                                              [OF_SHARED] = MLP_MATRICES,
                                              [OF_EXPERTS] = MLP_MATRICES};
    static const int vectors[SLOT_OWNERS] = {
        [OF_LAYER] = LAYER_VECTORS, [OF_MIXER] = MIXER_VECTORS, [OF_ROUTER] = ROUTER_VECTORS};
    int most = (s->in ? matrices : vectors)[s->owner];

    if (s->owner != OF_INDEXER) /* which is not loaded */
        CHECK_MSG(s->at >= 0 && s->at < most, "%s: %s is number %d of %d", dir, s->name, s->at, most);
}

static void check_aligned(const char *dir, int layer, const char *what, const float *p)
{
    CHECK_MSG((uintptr_t)p % VECTOR_ALIGN == 0, "%s: layer %d: %s begins at %p", dir, layer, what,
              (const void *)p);
}

/* Vectors whose lengths are no multiple of anything do not move what comes after them to an address that
 * kernels cannot read from. */
static void check_vectors(const char *dir, const struct layer_weights *w, int layer)
{
    int k;

    check_aligned(dir, layer, "in_norm", w->in_norm);
    check_aligned(dir, layer, "post_norm", w->post_norm);
    check_aligned(dir, layer, "b_router", w->b_router);
    check_aligned(dir, layer, "corr", w->corr);
    check_aligned(dir, layer, "b_gate_up", w->ffn->b_gate_up);
    check_aligned(dir, layer, "b_down", w->ffn->b_down);
    for (k = 0; k < MIXER_MATRICES; k++)
        check_aligned(dir, layer, "a bias", w->mixer.b[k]);
    for (k = 0; k < MIXER_VECTORS; k++)
        check_aligned(dir, layer, "a vector", w->mixer.v[k]);
}

/* The layers of a model, one after the other. */
static void check_provider(const char *dir)
{
    struct batches g;
    struct reader *r = NULL;
    struct weights *w = NULL;
    const struct layer_weights *lw;
    struct device *d;
    struct model m;
    uint8_t *memory;
    int i;

    CHECK(cpu_backend.open(&d, &(struct device_options){.threads = 1}, &err) == 0);
    CHECK(model_open(&m, dir, NULL, &err) == 0);
    CHECK(weights_plan(&g, d, &m, &err) == 0);
    memory = d->ops->host_new(d, (size_t)g.largest, &err);
    CHECK(memory && reader_open(&r, &g, memory, 1, 1, &err) == 0);
    CHECK(weights_open(&w, d, &m, r, &g, &err) == 0);
    for (i = 0; w && i < m.arch.layers; i++) {
        CHECK_MSG(weights_layer(w, i, &lw, &err) == 0, "%s", err.msg);
        check_vectors(dir, lw, i);
        weights_done(w, i);
    }
    weights_close(w);
    reader_close(r);
    batches_free(&g);
    d->ops->host_free(d, memory);
    model_close(&m);
    d->ops->close(d);
}

/* What a matrix can be made of: matrix_job's parts. */
static void check_stack(const char *dir, const struct slot *s, int k)
{
    size_t parts = 1;
    int i;

    for (i = 0; i < k; i++)
        parts += s[i].in && s[k].in && s[i].owner == s[k].owner && s[i].at == s[k].at;
    CHECK_MSG(parts <= sizeof((struct matrix_job *)0)->part / sizeof(struct stored),
              "%s: %s is part %zu of a matrix", dir, s[k].name, parts);
}

static void check_model(const char *dir)
{
    struct slot s[LAYER_SLOTS];
    struct model_summary sum;
    struct model m;
    uint64_t all = 0;
    int i, k, n;

    CHECK_MSG(model_open(&m, dir, NULL, &err) == 0, "%s", err.msg);
    if (err.kind)
        return;
    n = model_slots(&m, s);
    CHECK(n <= MODEL_SLOTS);
    for (k = 0; k < n; k++)
        all += there(&m, &s[k]) ? slot_elements(&m, &s[k]) : 0;
    for (i = 0; i < m.arch.layers; i++) {
        n = layer_slots(&m, i, s);
        CHECK(n <= LAYER_SLOTS);
        for (k = 0; k < n; k++) {
            check_owner(dir, &s[k]);
            check_stack(dir, s, k);
            all += slot_elements(&m, &s[k]);
        }
    }
    check_provider(dir);
    model_summarize(&m, &sum);
    CHECK_MSG(all + beside(&m) == sum.params, "%s: the slots hold %llu, the files %llu", dir,
              (unsigned long long)(all + beside(&m)), (unsigned long long)sum.params);
    model_close(&m);
}

static void check_all(const char *root)
{
    char path[400];
    struct dirent *d;
    DIR *dir = opendir(root);

    CHECK(dir != NULL);
    while (dir && (d = readdir(dir)) != NULL) {
        snprintf(path, sizeof path, "%s/%.200s/config.json", root, d->d_name);
        if (access(path, R_OK) != 0)
            continue;
        path[strlen(path) - strlen("/config.json")] = '\0';
        check_model(path);
    }
    if (dir)
        closedir(dir);
}

/* Numbers that differ from layer to layer are those of the layer that is asked. */
static void check_by_layer(void)
{
    struct slot s[LAYER_SLOTS];
    struct model m;
    size_t narrow, wide;

    CHECK(model_open(&m, "tests/fixtures/gptoss-bf16", NULL, &err) == 0);
    narrow = weights_layer_floats(&m, 0);
    m.arch.layer[1].attn.heads *= 20; /* and so many sinks */
    m.arch.layer[1].attn.head_dim *= 3;
    layer_slots(&m, 1, s);
    CHECK(s[2].id == SLOT_Q && s[2].out == m.arch.layer[1].attn.heads * m.arch.layer[1].attn.head_dim);
    CHECK(s[2].out == 60 * m.arch.layer[0].attn.heads * m.arch.layer[0].attn.head_dim);
    wide = weights_layer_floats(&m, 1);
    CHECK_MSG(wide > narrow, "%zu, %zu", wide, narrow);
    CHECK(weights_layer_floats(&m, 0) == narrow);
    model_close(&m);
}

static void check_lacking(void)
{
    struct ops ops;
    struct device *d, half;
    struct model m;

    CHECK(cpu_backend.open(&d, &(struct device_options){.threads = 1}, &err) == 0);
    CHECK(model_open(&m, "tests/fixtures/glm4-lite-flash", NULL, &err) == 0);
    half = *d;
    ops = *d->ops;
    half.ops = &ops;
    CHECK(mixing_check(&half, &m.arch, &err) == 0);
    ops.norm_rows = NULL;
    CHECK(mixing_check(&half, &m.arch, &err) == -1);
    CHECK_MSG(strstr(err.msg, "layer 0 (mla") && strstr(err.msg, "'norm_rows'"), "%s", err.msg);
    err_clear(&err);
    m.arch.layer[0].mixer = MIXER_GQA;
    CHECK(mixing_check(&half, &m.arch, &err) == -1);
    CHECK_MSG(strstr(err.msg, "layer 1 (mla") != NULL, "%s", err.msg);
    err_clear(&err);
    model_close(&m);
    d->ops->close(d);
}

int main(void)
{
    check_all("tests/fixtures");
    check_all("examples");
    check_by_layer();
    check_lacking();
    CHECK_END();
}
