/* test_judge.c -- passes, quantiles and standard errors, and the mask of a plan: what needs no engine. */
#include "check.h"

#include "judge/judge.h"
#include "observe/passes.h"

static struct doc doc5[] = {{.first = 0, .n = 10},
                            {.first = 10, .n = 20},
                            {.first = 30, .n = 1},
                            {.first = 31, .n = 50},
                            {.first = 81, .n = 4}};

static struct corpus five(void)
{
    static int32_t ids[85];

    return (struct corpus){.ids = ids, .tokens = 85, .doc = doc5, .docs = 5};
}

static void check_split(uint64_t mem_max, int64_t n, const int64_t *want)
{
    struct corpus c = five();
    struct passes p;
    struct err e = {0};
    int64_t i;

    CHECK(passes_split(&p, &c, 4, mem_max, &e) == 0);
    CHECK_MSG(p.n == n, "mem-max %d: %d passes, not %d", (int)mem_max, (int)p.n, (int)n);
    for (i = 0; i <= n && p.n == n; i++)
        CHECK(p.doc[i] == want[i]);
    passes_free(&p);
}

static void splitting(void)
{
    struct corpus c = five();
    struct passes p;
    struct err e = {0};

    check_split(0, 1, (const int64_t[]){0, 5});
    check_split(453, 1, (const int64_t[]){0, 5});
    check_split(452, 2, (const int64_t[]){0, 4, 5});
    check_split(165, 3, (const int64_t[]){0, 3, 4, 5}); /* 31 tokens fit, 50 do not: alone */
    check_split(1, 5, (const int64_t[]){0, 1, 2, 3, 4, 5});
    CHECK(passes_split(&p, &c, UINT64_MAX / 2, 0, &e) == -1 && e.kind == ERR_NOMEM);
}

static void batches(void)
{
    struct corpus c = five();
    struct corpus_pass p;
    struct err e = {0};

    CHECK(corpus_pass_open(&p, &c, 1, 4, &e) == 0);
    CHECK(p.batch.docs == 3 && p.tokens == 71 && p.token == 10 && p.batch.ids == c.ids + 10);
    CHECK(p.batch.first[0] == 0 && p.batch.first[1] == 20 && p.batch.first[2] == 21 &&
          p.batch.first[3] == 71);
    corpus_pass_close(&p);
}

static void summaries(void)
{
    struct kl_row row[101];
    int64_t each[102];
    struct compare_row r;
    struct err e = {0};
    int i;

    for (i = 0; i <= 101; i++)
        each[i] = i;             /* a document each: as if positions were drawn one by one */
    for (i = 0; i <= 100; i++) { /* 0.00, 0.01 ... 1.00 in a scrambled order */
        int v = i * 37 % 101;

        row[i] = (struct kl_row){
            .kl = (float)v / 100, .nll_ref = 2, .nll = i % 2 ? 2.5f : 2.25f, .same_top = v < 80};
    }
    CHECK(compare_summarize(&r, row, each, 101, &e) == 0);
    CHECK(r.tokens == 101 && r.documents == 101);
    CHECK_NEAR(r.kl_mean, 0.5, 1e-7, 0);
    CHECK_NEAR(r.kl_se, sqrt(0.0858500 / 101), 0, 1e-6); /* variance 101 * 102 / 12 / 10^4 */
    CHECK_NEAR(r.kl_median, 0.5, 1e-7, 0);
    CHECK_NEAR(r.kl_p90, 0.9, 1e-7, 0);
    CHECK_NEAR(r.kl_p99, 0.99, 1e-7, 0);
    CHECK_NEAR(r.kl_p999, 0.999, 1e-7, 0);
    CHECK_NEAR(r.kl_max, 1, 1e-7, 0);
    CHECK_NEAR(r.same_top, 80.0 / 101, 1e-12, 0);
    CHECK_NEAR(r.same_top_se, sqrt(80.0 * 21 / 101 / 101 / 100), 1e-12, 0);
    CHECK_NEAR(r.nll_ref, 202, 0, 0);
    CHECK_NEAR(r.nll, 50 * 2.5 + 51 * 2.25, 0, 0);
    CHECK_NEAR(r.ppl_ratio, exp((50 * 0.5 + 51 * 0.25) / 101), 0, 1e-12);
    CHECK_NEAR(r.rms_dp,
               sqrt((50 * pow(exp(-2.0) - exp(-2.5), 2) + 51 * pow(exp(-2.0) - exp(-2.25), 2)) / 101), 0,
               1e-12);
    /* two values 0.25 apart, 50 and 51 times */
    CHECK_NEAR(r.ppl_ratio_se, r.ppl_ratio * 0.25 * sqrt(50.0 * 51 / 101 / 100 / 101), 0, 1e-12);
    CHECK(compare_summarize(&r, row, each, 1, &e) == 0);
    CHECK(isnan(r.kl_se) && r.kl_median == r.kl_max && isnan(r.ppl_ratio_se));
    CHECK(compare_summarize(&r, row, each, 0, &e) == 0);
    CHECK(r.tokens == 0 && r.kl_mean == 0);
}

/* Documents whose positions are alike count as one observation each. */
static void clusters(void)
{
    struct kl_row row[12];
    static const int64_t first[] = {0, 4, 4, 6, 12};
    static const float value[] = {1, 1, 1, 1, 4, 4, 2, 2, 2, 2, 2, 2};
    struct compare_row r;
    struct err e = {0};
    int i;

    for (i = 0; i < 12; i++)
        row[i] = (struct kl_row){.kl = value[i], .nll_ref = 1, .nll = 1};
    CHECK(compare_summarize(&r, row, first, 4, &e) == 0);
    CHECK(r.documents == 3 && r.tokens == 12);
    CHECK_NEAR(r.kl_mean, 2, 0, 0);
    /* sums less the mean times the length: -4, 4, 0 */
    CHECK_NEAR(r.kl_se, sqrt(3.0 / 2 * 32) / 12, 0, 1e-12);
    CHECK(r.ppl_ratio_se == 0 && r.same_top_se == 0 && r.rms_dp == 0);
    CHECK(compare_summarize(&r, row, first + 2, 2, &e) == 0); /* rows that do not begin at 0 */
    CHECK(r.tokens == 8 && r.kl_median == 2 && r.kl_max == 4);
}

static void masks(void)
{
    struct layer_arch layer[3] = {{.ffn = FFN_MOE}, {.ffn = FFN_DENSE}, {.ffn = FFN_MOE}};
    struct model m = {.dir = "m",
                      .arch = {.layers = 3, .experts = 4, .topk = 2, .moe_layers = 2, .layer = layer}};
    struct model_id id = {.family = "f", .layers = 3, .experts = 4, .topk = 2, .hidden = 8, .digest = "0"};
    static const int good[] = {0, 2}, bad[] = {0, 1};
    static const uint8_t want[] = {1, 0, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1};
    struct plan p;
    struct err e = {0};
    struct mask mask;
    int i, j;

    CHECK(plan_new(&p, &id, "", good, 2, &e) == 0);
    for (i = 0; i < 2; i++)
        for (j = 0; j < 4; j++)
            plan_rows(&p, i)[j].keep = want[8 * i + j];
    CHECK(plan_mask(&mask, &p, &m, &e) == 0 && memcmp(mask.experts, want, sizeof want) == 0 &&
          !mask.channels);
    mask_free(&mask);
    plan_rows(&p, 1)[3].keep = false;
    CHECK(plan_mask(&mask, &p, &m, &e) == -1);
    CHECK_MSG(strstr(e.msg, "keeps 1 experts of layer 2"), "%s", e.msg);
    plan_free(&p);
    err_clear(&e);
    CHECK(plan_new(&p, &id, "", bad, 2, &e) == 0);
    CHECK(plan_mask(&mask, &p, &m, &e) == -1);
    plan_free(&p);
    err_clear(&e);
    CHECK(plan_new(&p, &id, "", good, 1, &e) == 0);
    CHECK(plan_mask(&mask, &p, &m, &e) == -1);
    CHECK_MSG(strstr(e.msg, "1 layers"), "%s", e.msg);
    plan_free(&p);
}

int main(void)
{
    splitting();
    batches();
    summaries();
    clusters();
    masks();
    CHECK_END();
}
