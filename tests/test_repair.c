/*
 * test_repair.c -- repair: least squares against a solution known beforehand, its file, and fits on the
 * models in examples/: the error that is reported is the error that is there.
 */
#include "tmp.h"

#include "judge/least_squares.h"
#include "judge/repair.h"

static uint64_t seed = 7;

static double drawn(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(seed >> 33) / 2147483648.0 - 0.5;
}

/* M = B'B of random B, v = M x: without a ridge x comes back; with one, (M + r D) x' = v. */
static void test_least_squares(void)
{
    enum { N = 7, ROWS = 12, WIDTH = 3 };
    double b[ROWS][N] = {{0}}, m[N * N] = {0}, x[N * WIDTH], v[N * WIDTH] = {0}, got[N * WIDTH];
    struct err e = {0};
    int i, j, k;

    for (i = 0; i < ROWS; i++)
        for (j = 0; j < N; j++)
            b[i][j] = j == 4 ? 0 : drawn(); /* the fifth has no token */
    for (i = 0; i < N; i++)
        for (j = 0; j < N; j++)
            for (k = 0; k < ROWS; k++)
                m[i * N + j] += b[k][i] * b[k][j];
    for (i = 0; i < N * WIDTH; i++)
        x[i] = i / WIDTH == 4 ? 0 : drawn();
    for (i = 0; i < N; i++)
        for (j = 0; j < N; j++)
            for (k = 0; k < WIDTH; k++)
                v[i * WIDTH + k] += m[i * N + j] * x[j * WIDTH + k];
    memcpy(got, v, sizeof got);
    CHECK_MSG(ridge_solve(m, N, 0, got, WIDTH, &e) == 0, "%s", e.msg);
    for (i = 0; i < N * WIDTH; i++)
        CHECK_NEAR(got[i], x[i], 1e-9, 0);
    memcpy(got, v, sizeof got);
    CHECK(ridge_solve(m, N, 0.5, got, WIDTH, &e) == 0);
    for (i = 0; i < N; i++)
        for (k = 0; k < WIDTH; k++) {
            double sum = 0.5 * m[i * N + i] * got[i * WIDTH + k];

            for (j = 0; j < N; j++)
                sum += m[i * N + j] * got[j * WIDTH + k];
            CHECK_NEAR(sum, v[i * WIDTH + k], 1e-12, 0);
        }
}

/* Two experts that give the same. */
static void test_twins(void)
{
    static const double twin[4] = {1, 1, 1, 1};
    double rhs[2] = {1, 1};
    struct err e = {0};

    CHECK(ridge_solve(twin, 2, 0, rhs, 1, &e) == -1 && strstr(e.msg, "a larger ridge helps"));
    rhs[0] = rhs[1] = 1;
    err_clear(&e);
    CHECK(ridge_solve(twin, 2, 1, rhs, 1, &e) == 0);
    CHECK_NEAR(rhs[0], 1.0 / 3, 1e-15, 0);
}

static void test_file(void)
{
    static const struct model_id id = {"gpt_oss", 4, 3,    2, 5, "00112233445566778899aabbccddeeff",
                                       0,         0, false};
    static const int layer[] = {1, 3};
    const char *path = in_tmp("x.repair");
    struct repair a, b;
    struct err e = {0};
    int bias, i;

    for (bias = 0; bias < 2; bias++) {
        int n = 2 * 3 * (bias ? 5 : 1);

        CHECK(repair_new(&a, &id, "gram\tkeep=2", layer, 2, bias, &e) == 0 && a.value[0] == !bias);
        for (i = 0; i < n; i++)
            a.value[i] = (float)drawn();
        CHECK_MSG(repair_write(&a, anew("x.repair"), false, &e) == 0 && repair_read(&b, path, &e) == 0, "%s",
                  e.msg);
        CHECK(b.bias == bias && b.n_layers == 2 && b.layer[0] == 1 && b.layer[1] == 3 && b.width == a.width);
        CHECK(memcmp(a.value, b.value, (size_t)n * sizeof *a.value) == 0);
        CHECK_STR(b.plan, a.plan);
        CHECK(model_id_check(&a.model, "a", &b.model, "b", &e) == 0);
        CHECK(repair_value(&b, 1, 2) == b.value + n - a.width);
        repair_free(&b);
        a.value[1] = NAN;
        CHECK(repair_write(&a, anew("x.repair"), false, &e) == 0);
        CHECK(repair_read(&b, path, &e) == -1 && strstr(e.msg, "not a finite number"));
        err_clear(&e);
        repair_free(&a);
    }
}

/* Every token of two documents of one category. */
static void small_corpus(struct corpus *c)
{
    static char *category[] = {"-"}, *file[] = {"made up"};
    static struct doc doc[4];
    static int32_t ids[4 * 48];
    int i;

    for (i = 0; i < 4 * 48; i++)
        ids[i] = (int32_t)((i * 37 + i / 48 * 11) % 500);
    for (i = 0; i < 4; i++)
        doc[i] = (struct doc){.first = i * 48, .n = 48, .half = i % 2, .line = i};
    *c = (struct corpus){.ids = ids,
                         .category = category,
                         .categories = 1,
                         .file = file,
                         .files = 1,
                         .chat = "-",
                         .digest = "0",
                         .tokens = 4 * 48,
                         .docs = 4,
                         .doc = doc};
}

/* The first half of the experts stays. */
static int half_plan(struct plan *p, const struct model *m, struct err *e)
{
    int layer[64], n = 0, l, i;
    struct model_id id;

    for (l = 0; l < m->arch.layers; l++)
        if (m->arch.layer[l].ffn == FFN_MOE)
            layer[n++] = l;
    if (model_id_of(&id, m, e) || plan_new(p, &id, "by hand", layer, n, e))
        return -1;
    for (l = 0; l < n; l++)
        for (i = 0; i < id.experts; i++)
            plan_rows(p, l)[i] = (struct plan_row){layer[l], i, i < id.experts / 2, 0, i + 1};
    return 0;
}

/* Bytes that a forward pass reads. */
static uint64_t one_pass(struct engine *en, const struct model *m, const struct corpus *c)
{
    struct engine_cost cost = {0};
    struct err e = {0};
    struct corpus_pass p;

    CHECK(corpus_pass_open(&p, c, 0, c->docs, &e) == 0);
    CHECK_MSG(engine_forward(en, m, &p.batch, NULL, NULL, NULL, &cost, &e) == 0, "%s", e.msg);
    corpus_pass_close(&p);
    return cost.bytes_read;
}

static void check_model(const char *dir, bool bias)
{
    const struct engine_options o = {.device = "cpu", .precision = PREC_F32};
    const struct pass_options once = {0}, passes = {.mem_max = 200000}; /* a document each */
    struct repair one, many, held;
    struct repair_report r, again;
    struct engine *en;
    struct corpus c;
    struct model m;
    struct plan p;
    struct err e = {0};
    int l, i, changed = 0;
    size_t n;

    small_corpus(&c);
    if (model_open(&m, dir, NULL, &e) || engine_open(&en, &o, &e) || half_plan(&p, &m, &e) ||
        judge_repair(&one, &r, en, &m, &p, &c, 0.01, &once, &e)) {
        CHECK_MSG(0, "%s: %s", dir, e.msg);
        return;
    }
    CHECK(one.bias == bias && r.layers == m.arch.moe_layers && one.n_layers == r.layers);
    for (l = 0; l < r.layers; l++) {
        CHECK(r.layer[l].before > 0 && r.layer[l].repaired == (r.layer[l].held < r.layer[l].before));
        for (i = 0; i < m.arch.experts; i++) {
            float v = *repair_value(&one, l, i), none = bias ? 0 : 1;

            changed += v != none;
            CHECK(i < m.arch.experts / 2 || v == none);
        }
    }
    CHECK(changed > 0 || r.repaired == 0);
    CHECK(r.cost.bytes_read == one_pass(en, &m, &c)); /* every layer is read once */
    /* the same in many passes; a huge ridge changes nothing */
    n = (size_t)one.n_layers * (size_t)m.arch.experts * (size_t)one.width * sizeof *one.value;
    CHECK_MSG(judge_repair(&many, &again, en, &m, &p, &c, 0.01, &passes, &e) == 0, "%s", e.msg);
    CHECK(memcmp(one.value, many.value, n) == 0);
    repair_report_free(&again);
    CHECK(judge_repair(&held, &again, en, &m, &p, &c, 1e12, &once, &e) == 0);
    for (i = 0; i < one.n_layers * m.arch.experts * one.width; i++)
        if (fabs((double)held.value[i] - !bias) > 1e-6)
            break;
    CHECK(i == one.n_layers * m.arch.experts * one.width);
    c.docs = 1;
    c.tokens = 48;
    repair_report_free(&again);
    repair_free(&many);
    CHECK(judge_repair(&many, &again, en, &m, &p, &c, 0.01, &once, &e) == -1 &&
          strstr(e.msg, "one for each half"));
    repair_free(&one);
    repair_free(&held);
    repair_report_free(&r);
    plan_free(&p);
    engine_close(en);
    model_close(&m);
}

int main(void)
{
    tmp_open();
    test_least_squares();
    test_twins();
    test_file();
    check_model("examples/tiny-qwen3", false);
    check_model("examples/tiny-gptoss", true);
    CHECK_END();
}
