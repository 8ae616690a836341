/*
 * test_families.c -- the forward pass of every family against what transformers computes: tests/fixtures,
 * and the larger fixtures beside the checkout when they are there.
 */
#include "forward.h"

#include <dirent.h>

#include "base/file.h"
#include "base/words.h"
#include "model/safetensors.h"

enum { GOLDEN_DOCS = 3, QUANTITIES = 4 };
static const char *const quantity[] = {"gate", "norm", "contrib", "absmax"};

/* A whole tensor; the caller frees. NULL: absent. */
static void *golden(const struct st_file *f, const char *name)
{
    const struct tensor *t = st_find(f, name);
    void *p = t ? malloc((size_t)t->size) : NULL;

    if (p && st_read(f, t, 0, p, (size_t)t->size, &err)) {
        CHECK_MSG(0, "%s", err.msg);
        free(p);
        return NULL;
    }
    return p;
}

static void *layer_golden(const struct st_file *f, int layer, const char *what)
{
    char name[64];

    snprintf(name, sizeof name, "layer.%d.%s", layer, what);
    return golden(f, name);
}

/* Where the golden's expert ids, which are in no order, name this expert; -1: nowhere. */
static int find_id(const int32_t *row, int k, int32_t id)
{
    int j;

    for (j = 0; j < k; j++)
        if (row[j] == id)
            return j;
    return -1;
}

/* Relative differences of one row, the larger ones so far in worst. */
static void compare_row(const struct run *r, size_t at, float *const want[], size_t golden_at, bool gate_in,
                        double *worst)
{
    double g = (double)r->gate[at], norm = (double)r->norm[at], max = (double)r->max[at];
    double have[QUANTITIES] = {g, norm, g * norm, max};
    int q;

    for (q = 0; q < QUANTITIES; q++) {
        double w = (double)want[q][golden_at], d = fabs(have[q] - w) / w;

        /* a gate on the input: norm and maximum are of the gated output, divided by the gate */
        if (gate_in && (q == 1 || q == 3))
            continue;
        worst[q] = d > worst[q] || isnan(d) ? d : worst[q];
    }
    if (gate_in)
        CHECK(max > 0 && max <= norm);
}

static void compare_layer(const struct run *r, const struct model *m, const struct st_file *f, int layer,
                          const char *fixture)
{
    bool gate_in = m->arch.family->gate_site == GATE_INPUT;
    int32_t *id = layer_golden(f, layer, "expert_id");
    float *want[QUANTITIES];
    double worst[QUANTITIES] = {0};
    int q, j, k = r->topk, wrong = 0;
    int64_t t;

    CHECK_MSG((id != NULL) == (m->arch.layer[layer].ffn == FFN_MOE), "%s: layer %d", fixture, layer);
    for (q = 0; q < QUANTITIES; q++)
        want[q] = layer_golden(f, layer, quantity[q]);
    for (t = 0; id && t < r->tokens; t++)
        for (j = 0; j < k; j++) {
            size_t at = ((size_t)layer * (size_t)r->tokens + (size_t)t) * (size_t)k + (size_t)j;
            int g = find_id(id + t * k, k, r->expert[at]);

            wrong += g < 0 || (j > 0 && r->expert[at] <= r->expert[at - 1]);
            if (g >= 0)
                compare_row(r, at, want, (size_t)(t * k + g), gate_in, worst);
        }
    CHECK_MSG(wrong == 0, "%s: layer %d: %d experts are not the golden's", fixture, layer, wrong);
    for (q = 0; q < QUANTITIES; q++) {
        CHECK_MSG(worst[q] < 1e-4, "%s: layer %d: %s differs by %.3g", fixture, layer, quantity[q], worst[q]);
        free(want[q]);
    }
    free(id);
}

/* What the experts did to the hidden state, where the golden's states say it: without a shared expert, what
 * goes into the experts is what comes out of the layer less what they add. */
static void compare_residual(const struct run *r, const struct model *m, const struct st_file *f, int layer,
                             const char *fixture)
{
    size_t width = (size_t)m->arch.hidden, i;
    char name[32];
    float *d = layer_golden(f, layer, "moe_out"), *out;
    const struct residual_view *got = r->residual + (size_t)layer * (size_t)r->tokens;
    double worst = 0;
    int64_t t;

    snprintf(name, sizeof name, "hidden.%d", layer + 1);
    out = golden(f, name);
    for (t = 0; d && out && !m->arch.shared_inter && t < r->tokens; t++) {
        double hh = 0, hn = 0, nn = 0, turn;

        for (i = 0; i < width; i++) {
            double n = (double)out[(size_t)t * width + i], h = n - (double)d[(size_t)t * width + i];

            hh += h * h;
            hn += h * n;
            nn += n * n;
        }
        turn = 1 - hn / sqrt(hh * nn);
        worst = fmax(worst, fabs((double)got[t].norm / sqrt(hh) - 1));
        worst = fmax(worst, fabs((double)got[t].turn - turn));
    }
    CHECK_MSG(worst < 1e-4, "%s: layer %d: what experts did to the hidden state differs by %.3g", fixture,
              layer, worst);
    free(d);
    free(out);
}

/* Mean nll by the golden's logits. */
static double golden_nll(const float *logits, int vocab, const struct batch *b)
{
    double total = 0;
    int64_t d, t, n = 0;
    int i;

    for (d = 0; d < b->docs; d++)
        for (t = b->first[d]; t + 1 < b->first[d + 1]; t++, n++) {
            const float *z = logits + t * vocab;
            double sum = 0;

            for (i = 0; i < vocab; i++)
                sum += exp((double)z[i]);
            total += log(sum) - (double)z[b->ids[t + 1]];
        }
    return total / (double)n;
}

static double engine_mean_nll(const struct run *r, const struct model *m, const struct batch *b)
{
    float *nll = calloc((size_t)r->tokens, sizeof *nll);
    double total = 0;
    int64_t t, n = 0;

    CHECK_MSG(engine_nll(r->en, m, r->h, b, nll, &err) == 0, "%s", err.msg);
    for (t = 0; t < r->tokens; t++)
        if (!isnan(nll[t])) {
            total += (double)nll[t];
            n++;
        }
    free(nll);
    return total / (double)n;
}

static void compare_f32(const struct model *m, const struct st_file *f, const struct batch *b,
                        const float *want, const char *fixture)
{
    double worst = 0;
    struct run r;
    float *have;
    int64_t i;
    int layer;

    if (run_open(&r, m, b, NULL, PREC_F32, 2, 0) == 0) {
        have = all_logits(&r, m);
        for (i = 0; i < r.tokens * m->arch.vocab; i++) {
            double d = fabs((double)have[i] - (double)want[i]);

            worst = d > worst || isnan(d) ? d : worst;
        }
        printf("%s: logits within %.2g\n", fixture, worst);
        CHECK_MSG(worst < 1e-3, "%s: logits differ by %.3g", fixture, worst);
        for (layer = 0; layer < r.layers; layer++)
            compare_layer(&r, m, f, layer, fixture);
        compare_residual(&r, m, f, layer, fixture);
        CHECK_NEAR(engine_mean_nll(&r, m, b), golden_nll(want, m->arch.vocab, b), 1e-4, 0);
        free(have);
    }
    run_close(&r);
}

static void check_fixture(const char *dir, const char *fixture)
{
    struct st_file f = {0};
    struct model m;
    struct run r;
    int64_t first[GOLDEN_DOCS + 1] = {0};
    struct batch b = {.first = first, .docs = GOLDEN_DOCS};
    int32_t *tokens, *len;
    float *want;
    char path[512];
    int i;

    snprintf(path, sizeof path, "%s/%s/golden.safetensors", dir, fixture);
    CHECK_MSG(st_open(&f, path, &err) == 0, "%s", err.msg);
    snprintf(path, sizeof path, "%s/%s", dir, fixture);
    if (err.kind || model_open(&m, path, NULL, &err)) {
        CHECK_MSG(0, "%s: %s", fixture, err.msg);
        err_clear(&err);
        st_close(&f);
        return;
    }
    b.ids = tokens = golden(&f, "tokens");
    len = golden(&f, "seq_len");
    want = golden(&f, "logits");
    for (i = 0; i < GOLDEN_DOCS; i++)
        first[i + 1] = first[i] + len[i];
    compare_f32(&m, &f, &b, want, fixture);
    if (run_open(&r, &m, &b, NULL, PREC_BF16, 2, 0) == 0) {
        double have = engine_mean_nll(&r, &m, &b), nll = golden_nll(want, m.arch.vocab, &b);

        CHECK_MSG(fabs(have - nll) <= .01 * nll, "%s: nll in bf16 is %g, not %g", fixture, have, nll);
    }
    run_close(&r);
    free(tokens);
    free(len);
    free(want);
    model_close(&m);
    st_close(&f);
}

/* Is it of a family that is not there, or does it ask for what is not computed? */
static bool is_skipped(const char *dir, const char *fixture)
{
    struct model m;
    char path[512];
    bool skipped = ends_with(fixture, "-long");

    snprintf(path, sizeof path, "%s/%s/golden.safetensors", dir, fixture);
    if (!path_exists(path))
        return true;
    snprintf(path, sizeof path, "%s/%s", dir, fixture);
    if (model_open(&m, path, NULL, &err) == 0)
        model_close(&m);
    else if (strstr(err.msg, "moe-inspect --families lists"))
        skipped = true;
    if (skipped)
        printf("skip: %s: %s\n", fixture, *err.msg ? err.msg : "longer than is computed");
    err_clear(&err);
    return skipped;
}

static int check_folder(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *entry;
    int n = 0;

    while (d && (entry = readdir(d)))
        if (!strchr(entry->d_name, '.') && !is_skipped(dir, entry->d_name)) {
            check_fixture(dir, entry->d_name);
            n++;
        }
    if (d)
        closedir(d);
    return n;
}

/* Longer documents than the goldens', so that every mask and block comes up. */
static void check_bytes(const char *fixture)
{
    struct model m;
    int32_t *ids;
    char path[512];

    snprintf(path, sizeof path, "tests/fixtures/%s", fixture);
    if (model_open(&m, path, NULL, &err)) {
        CHECK_MSG(0, "%s", err.msg);
        return;
    }
    ids = some_ids(&m);
    check_invariance(&m, &(struct batch){ids, doc_first, DOCS}, PREC_F32);
    check_invariance(&m, &(struct batch){ids, doc_first, DOCS}, PREC_BF16);
    free(ids);
    model_close(&m);
}

int main(void)
{
    static const char *const folder[] = {"fixtures", "fixtures-2"};
    char shared[512];
    int i;

    CHECK(check_folder("tests/fixtures") >= 24);
    for (i = 0; i < 2; i++) {
        snprintf(shared, sizeof shared, "%s/%s", shared_dir(), folder[i]);
        if (path_exists(shared))
            check_folder(shared);
        else
            printf("skip: no fixtures in %s\n", shared);
    }
    check_bytes("deepseek-v2-groups");
    check_bytes("llama4-wrapper");
    CHECK_END();
}
