/*
 * test_storage.c -- checkpoints in the storage formats of others, made by the libraries that own them: what
 * the model computes, whole and cut; the bytes and the configuration of what is cut, against what an
 * independent script says; and that keeping all experts changes no byte.
 */
#include "forward.h"

#include <cjson/cJSON.h>
#include <dirent.h>

#include "base/json.h"
#include "model/container.h"
#include "model/safetensors.h"
#include "surgery/prune.h"
#include "tmp.h"

/* One checkpoint of them. */
struct fixture {
    const char *name;
    char dir[800];
    cJSON *expect;         /* of expect.json what stands under "pruned" */
    int32_t *tokens;       /* [n] */
    float *logits, *after; /* [n][vocab], before and after the cut */
    int n;
};

/* Valid until the next one. */
static const char *path_of(const char *dir, const char *file)
{
    static char path[1400];

    snprintf(path, sizeof path, "%s/%s", dir, file);
    return path;
}

static cJSON *read_json(const char *dir, const char *file)
{
    cJSON *o = NULL;

    CHECK_MSG(json_read(path_of(dir, file), 16 << 20, &o, &err) == 0, "%s", err.msg);
    return o;
}

static void *golden(const struct st_file *f, const char *name, int *n)
{
    const struct tensor *t = st_find(f, name);
    void *p = t ? malloc((size_t)t->size) : NULL;

    CHECK_MSG(p && st_read(f, t, 0, p, (size_t)t->size, &err) == 0, "%s: %s", name, err.msg);
    if (n)
        *n = t ? (int)t->shape[0] : 0;
    return p;
}

static bool open_fixture(struct fixture *x, const char *dir, const char *name)
{
    struct st_file f = {0};
    cJSON *all;

    *x = (struct fixture){.name = name};
    snprintf(x->dir, sizeof x->dir, "%s/%s", dir, name);
    if (st_open(&f, path_of(x->dir, "golden.safetensors"), &err)) {
        CHECK_MSG(0, "%s", err.msg);
        return false;
    }
    x->tokens = golden(&f, "tokens", &x->n);
    x->logits = golden(&f, "logits", NULL);
    x->after = golden(&f, "logits_pruned", NULL);
    st_close(&f);
    all = read_json(x->dir, "expect.json");
    x->expect = cJSON_DetachItemFromObject(all, "pruned");
    cJSON_Delete(all);
    return x->expect && x->after;
}

static void close_fixture(struct fixture *x)
{
    cJSON_Delete(x->expect);
    free(x->tokens);
    free(x->logits);
    free(x->after);
    err_clear(&err);
}

static void check_logits(const struct fixture *x, const struct model *m, const float *want, const char *what)
{
    const int64_t first[] = {0, x->n};
    struct batch b = {x->tokens, first, 1};
    double worst = 0;
    struct run r;
    float *have;
    int64_t i;

    if (run_open(&r, m, &b, NULL, PREC_F32, 2, 0) == 0) {
        have = all_logits(&r, m);
        for (i = 0; i < (int64_t)x->n * m->arch.vocab; i++) {
            double d = fabs((double)have[i] - (double)want[i]);

            worst = d > worst || isnan(d) ? d : worst;
        }
        printf("%s, %s: logits within %.2g\n", x->name, what, worst);
        CHECK_MSG(worst < 1e-3, "%s, %s: logits differ by %.3g", x->name, what, worst);
        free(have);
    }
    run_close(&r);
}

/* What the independent script has of one tensor: [dtype, shape, sha256]. */
static void check_tensor(const struct fixture *x, const struct model *m, const struct tensor *t)
{
    const cJSON *want = json_member(json_member(x->expect, "tensors"), t->name), *dim;
    void *bytes = malloc((size_t)t->size + 1);
    char hex[65];
    int i = 0;

    CHECK_MSG(want, "%s: %s was to go", x->name, t->name);
    if (want && bytes && checkpoint_read(&m->ckpt, t, 0, bytes, (size_t)t->size, &err) == 0) {
        sha256_hex(bytes, (size_t)t->size, hex);
        cJSON_ArrayForEach(dim, cJSON_GetArrayItem(want, 1))
        {
            CHECK_MSG(i < t->rank && (double)t->shape[i] == dim->valuedouble, "%s: %s: shape", x->name,
                      t->name);
            i++;
        }
        CHECK_MSG(i == t->rank &&
                      strcmp(dtype_name(t->dtype), cJSON_GetArrayItem(want, 0)->valuestring) == 0 &&
                      strcmp(hex, cJSON_GetArrayItem(want, 2)->valuestring) == 0,
                  "%s: %s: other bytes", x->name, t->name);
    }
    free(bytes);
}

/* Configurations by value; a number of draft layers may have become 0. */
static void check_configs(const struct fixture *x, const char *out)
{
    const cJSON *want;

    cJSON_ArrayForEach(want, x->expect)
    {
        cJSON *have = strstr(want->string, ".json") ? read_json(out, want->string) : NULL,
              *mtp = have ? cJSON_GetObjectItem(have, "num_nextn_predict_layers") : NULL, *copy;

        if (!have)
            continue;
        copy = cJSON_Duplicate(want, true);
        if (mtp && mtp->valuedouble == 0)
            cJSON_SetNumberValue(cJSON_GetObjectItem(copy, "num_nextn_predict_layers"), 0);
        CHECK_MSG(cJSON_Compare(have, copy, true), "%s: %s is not as it was to be", x->name, want->string);
        cJSON_Delete(have);
        cJSON_Delete(copy);
    }
}

/* The cut that its plan asks for. */
static void check_cut(const struct fixture *x, const struct model *m, const struct plan *p)
{
    struct prune_options o = {.plan_name = "plan.tsv", .verify = true};
    const char *out = anew_dir("cut");
    struct prune_report report;
    struct model cut;
    size_t i;

    if (prune_model(m, p, out, &o, &report, &err) || model_open(&cut, out, NULL, &err)) {
        CHECK_MSG(0, "%s: %s", x->name, err.msg);
        return;
    }
    CHECK((int)cut.ckpt.n == cJSON_GetArraySize(json_member(x->expect, "tensors")));
    for (i = 0; i < cut.ckpt.n; i++)
        check_tensor(x, &cut, cut.ckpt.tensor[i]);
    check_configs(x, out);
    check_logits(x, &cut, x->after, "cut");
    model_close(&cut);
}

/* The plan that keeps everything. */
static void check_whole(const struct fixture *x, const struct model *m, struct plan *p)
{
    struct prune_options o = {.plan_name = "all.tsv"};
    const char *out = anew_dir("all");
    struct prune_report report;
    struct model all;
    size_t i, n;
    int k;

    for (k = 0; k < p->n_layers * m->arch.experts; k++)
        p->row[k].keep = true;
    if (prune_model(m, p, out, &o, &report, &err) || model_open(&all, out, NULL, &err)) {
        CHECK_MSG(0, "%s: %s", x->name, err.msg);
        return;
    }
    CHECK(all.ckpt.n == m->ckpt.n);
    for (i = 0; i < all.ckpt.n; i++) {
        const struct tensor *t = all.ckpt.tensor[i], *s = checkpoint_find(&m->ckpt, t->name);
        char *a = malloc((size_t)t->size + 1), *b = malloc((size_t)t->size + 1);

        CHECK_MSG(s && s->size == t->size && s->dtype == t->dtype &&
                      checkpoint_read(&all.ckpt, t, 0, a, (size_t)t->size, &err) == 0 &&
                      checkpoint_read(&m->ckpt, s, 0, b, (size_t)t->size, &err) == 0 &&
                      memcmp(a, b, (size_t)t->size) == 0,
                  "%s: %s: other bytes", x->name, t->name);
        free(a);
        free(b);
    }
    n = m->config_n < all.config_n ? m->config_n : all.config_n;
    CHECK_MSG(m->config_n == all.config_n && memcmp(m->config_text, all.config_text, n) == 0,
              "%s: config.json changed", x->name);
    model_close(&all);
}

static void check_fixture(const char *dir, const char *name)
{
    struct fixture x;
    struct model m;
    struct plan p;

    if (open_fixture(&x, dir, name)) {
        if (model_open(&m, x.dir, NULL, &err)) {
            CHECK_MSG(0, "%s: %s", name, err.msg);
        } else {
            check_logits(&x, &m, x.logits, "whole");
            if (plan_read(&p, path_of(x.dir, "plan.tsv"), &err) == 0) {
                check_cut(&x, &m, &p);
                check_whole(&x, &m, &p);
                plan_free(&p);
            }
            model_close(&m);
        }
        CHECK_MSG(!err.kind, "%s: %s", name, err.msg);
    }
    close_fixture(&x);
}

/* Whether the tests are asked for this one: MOE_STORAGE names one of them. */
static bool is_wanted(const char *dir, const char *name)
{
    const char *only = getenv("MOE_STORAGE");

    char file[400];

    snprintf(file, sizeof file, "%s/config.json", name);
    return path_exists(path_of(dir, file)) && (!only || strcmp(only, name) == 0);
}

static int check_folder(const char *dir)
{
    char **name;
    size_t n, i;
    int found = 0;

    if (dir_list(dir, &name, &n, &err))
        return 0;
    for (i = 0; i < n; i++)
        if (is_wanted(dir, name[i])) {
            check_fixture(dir, name[i]);
            found++;
        }
    dir_free(name, n);
    return found;
}

int main(void)
{
    char dir[512];

    snprintf(dir, sizeof dir, "%s/formats", shared_dir());
    if (!path_is_dir(dir))
        CHECK_SKIP("no formats beside the checkout");
    tmp_open();
    CHECK(check_folder(dir) > 0);
    CHECK_END();
}
