/*
 * test_by_layer.c -- layers whose heads are not those of the others: a model whose second layer has twice
 * the heads and half the key-value heads computes what its uniform twin does, since the heads that are more
 * count for nothing and the twin's key-value heads are equal.
 */
#include "forward.h"

#include <sys/stat.h>

#include "base/mem.h"
#include "model/slots.h"
#include "tmp.h"

enum { LAYER = 1 };

/* The parts of a tensor, in units of `each` bytes, one after the other; -1: zeros. */
struct part_list {
    size_t each;
    int n, part[8];
};

static struct part_list parts_of(const struct model *m, size_t i, bool own)
{
    const struct tensor *t = m->ckpt.tensor[i];
    const struct attention_arch *a = &m->arch.layer[LAYER].attn;
    size_t heads = (size_t)a->heads * (size_t)a->head_dim * 2;
    struct slot s = {0};

    if (m->role[i].layer == LAYER && slot_of(m, i, &s) && (s.id == SLOT_K || s.id == SLOT_V))
        return own ? (struct part_list){t->size / 2, 1, {0}} : (struct part_list){t->size / 2, 2, {0, 0}};
    if (own && s.id == SLOT_Q)
        return (struct part_list){t->size / 2, 4, {0, 1, 1, 0}};
    if (own && s.id == SLOT_O && t->rank == 2) /* row by row */
        return (struct part_list){heads, 2, {0, -1}};
    return (struct part_list){t->size, 1, {0}};
}

static void write_tensor(const struct model *m, size_t i, struct part_list p, FILE *f)
{
    const struct tensor *t = m->ckpt.tensor[i];
    unsigned char *bytes = malloc((size_t)t->size), *zeros = calloc(1, p.each);
    bool rows = p.n == 2 && p.part[1] < 0;
    size_t at;
    int k;

    CHECK_MSG(checkpoint_read(&m->ckpt, t, 0, bytes, (size_t)t->size, &err) == 0, "%s", err.msg);
    for (at = 0; at < (rows ? t->size : 1); at += p.each)
        for (k = 0; k < p.n; k++)
            fwrite(p.part[k] < 0 ? zeros : bytes + at + (size_t)p.part[k] * p.each, 1, p.each, f);
    free(bytes);
    free(zeros);
}

/* The first dimension of a tensor, or of the output projection the second, is as many times what it was. */
static void write_header(const struct model *m, bool own, FILE *f)
{
    uint64_t begin = 0, n;
    struct str s = {0};
    size_t i;
    int k;

    for (i = 0; i < m->ckpt.n; i++) {
        const struct tensor *t = m->ckpt.tensor[i];
        struct part_list p = parts_of(m, i, own);
        bool rows = p.n == 2 && p.part[1] < 0;
        uint64_t size = rows ? 2 * t->size : p.each * (uint64_t)p.n;

        str_addf(&s, "%c\"%s\":{\"dtype\":\"%s\",\"shape\":[", i ? ',' : '{', t->name, dtype_name(t->dtype));
        for (k = 0; k < t->rank; k++)
            str_addf(&s, "%s%llu", k ? "," : "",
                     (unsigned long long)(k == rows ? t->shape[k] * size / t->size : t->shape[k]));
        str_addf(&s, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)begin,
                 (unsigned long long)(begin + size));
        begin += size;
    }
    str_addc(&s, '}');
    while (s.n % 8)
        str_addc(&s, ' ');
    n = s.n;
    fwrite(&n, 8, 1, f);
    fwrite(s.p, 1, s.n, f);
    str_free(&s);
}

static void write_model(const struct model *m, bool own, const char *dir)
{
    char path[TMP_PATH + 32];
    FILE *f;
    size_t i;

    CHECK(mkdir(dir, 0777) == 0);
    snprintf(path, sizeof path, "%s/config.json", dir);
    CHECK(file_write(path, m->config_text, m->config_n, false, &err) == 0);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    f = fopen(path, "wb");
    CHECK(f != NULL);
    write_header(m, own, f);
    for (i = 0; i < m->ckpt.n; i++)
        write_tensor(m, i, parts_of(m, i, own), f);
    fclose(f);
}

static void compare(const struct model *twin, const struct model *own, enum precision p, double most)
{
    int32_t *ids = some_ids(own);
    const int64_t first[] = {0, 37, 38, 90};
    const struct batch b = {ids, first, 3};
    struct run x, y;
    double worst = 0;
    int64_t i, n = first[3] * own->arch.vocab;

    if (run_open(&x, twin, &b, NULL, p, 2, 0) == 0 && run_open(&y, own, &b, NULL, p, 2, 0) == 0) {
        float *u = all_logits(&x, twin), *v = all_logits(&y, own);

        for (i = 0; i < n; i++)
            worst = fmax(worst, fabs((double)u[i] - (double)v[i]));
        CHECK_MSG(worst <= most, "logits differ by %.3g", worst);
        free(u);
        free(v);
        run_close(&x);
        run_close(&y);
    }
    free(ids);
}

/* A rope that turns nothing, beside the model's own, is as good as none. */
static void check_ropes(const char *dir)
{
    struct model none, still;
    struct rope *r;
    size_t n = 1;

    CHECK(model_open(&none, dir, NULL, &err) == 0 && model_open(&still, dir, NULL, &err) == 0);
    CHECK(none.arch.ropes == 1 && mem_grow(&still.arch.rope, &n, 2, sizeof *r, &err) == 0);
    still.arch.rope[1] = still.arch.rope[0];
    still.arch.ropes = 2;
    r = &still.arch.rope[1];
    r->rot -= 2; /* the tables' rows are not as long as the other's */
    r->scaling = 1;
    r->inv_freq = calloc((size_t)r->rot / 2, sizeof *r->inv_freq);
    still.arch.layer[LAYER].attn.rope = 1;
    none.arch.layer[LAYER].attn.rope = -1;
    compare(&none, &still, PREC_F32, 1e-6);
    model_close(&none);
    model_close(&still);
}

int main(void)
{
    const struct model_options cut = {.level = MODEL_CUT};
    struct model m, twin, own;

    tmp_open();
    CHECK_MSG(model_open(&m, "tests/fixtures/qwen3-yarn", NULL, &err) == 0, "%s", err.msg);
    write_model(&m, false, in_tmp("twin"));
    write_model(&m, true, in_tmp("own"));
    CHECK_MSG(model_open(&twin, in_tmp("twin"), NULL, &err) == 0, "%s", err.msg);
    /* config.json has no words for it */
    CHECK_MSG(model_open(&own, in_tmp("own"), &cut, &err) == 0, "%s", err.msg);
    CHECK(own.cut_only && strstr(own.cut_only, "q_proj"));
    own.arch.layer[LAYER].attn.heads *= 2;
    own.arch.layer[LAYER].attn.kv_heads /= 2;
    compare(&twin, &own, PREC_F32, 1e-5);
    compare(&twin, &own, PREC_BF16, .05);
    model_close(&m);
    model_close(&twin);
    model_close(&own);
    check_ropes("tests/fixtures/qwen3-yarn");
    CHECK_END();
}
