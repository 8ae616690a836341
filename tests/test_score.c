/*
 * test_score.c -- criteria, weights, protection, ranks and plan comparison against values computed by hand
 * from tests/score/good.stats: per half, layer 1 has (n, g, f of every token)
 *
 *     expert   0          1            2         3
 *     code     8 .5 1     2 .5  4      1 1 2     none
 *     text     1 .5 1     2 .25 4      1 1 2     4 .25 2
 *
 * and layer 3 the same with the experts reversed. Both halves are alike. The largest outputs are 1, 2, 1 and
 * 100 in layer 1; 3, 1, 2 and 1 in layer 3.
 */
#include "check.h"

#include "score/pool.h"

static struct stats good;

static void test_criteria(void)
{
    /* tokens (g, f, t): (0.5, 2, 0.25), (0.25, 4, 0.5), (1, 1, 2) */
    static const struct {
        const char *name, *alias;
        double value;
    } want[] = {
        {"reap", "1,1,1", 1},
        {"weighted_ean_sum", "reap_sum", 3},
        {"reap_l2", "S(1,2,2)", 1},
        {"weighted_ean_sum_l2", "0,2,2", 3},
        {"ean_mean", "man", 7.0 / 3},
        {"ean_sum", "ean", 7},
        {"msan", "S(1,0,2)", 7},
        {"expert_frequency", "freq", 3},
        {"weighted_expert_frequency_sum", "weighted_frequency", 1.75},
        {"max", "max_activations", 9},
        {"S(0,0,2)", "0,0,2", 21},
        {"S(0,1,2)", "0,1,2", 7},
        {"S(1,1,2)", "1,1,2", 7.0 / 3},
        {"S(0,2,0)", "0,2,0", 1.3125},
        {"S(0,2,1)", "0,2,1", 1.75},
        {"S(1,2,1)", "1,2,1", 1.75 / 3},
        {"S(1,1,0)", "1,1,0", 1.75 / 3},
        {"S(1,2,0)", "1,2,0", 0.4375},
        {"easy_ep", "easyep", 0.25 * 1 + 0.5 * 1 + 2 * 1},
    };
    struct expert_stats x = {0};
    struct pooled p = {.n = 3}, none = {0};
    const struct criterion *c;
    int n, i;

    stats_add(&x, 0.5, 2, 9, 0.25);
    stats_add(&x, 0.25, 4, 3, 0.5);
    stats_add(&x, 1, 1, 0.5, 2);
    CHECK(x.n == 3 && x.m[M_MAX] == 9);
    memcpy(p.m, x.m, sizeof p.m);
    criterion_table(&n);
    CHECK(n == (int)(sizeof want / sizeof *want) + 3); /* pairs */
    for (i = 0; i < n - 3; i++) {
        c = criterion_find(want[i].name);
        CHECK_MSG(c && c == criterion_find(want[i].alias), "%s is not %s", want[i].name, want[i].alias);
        if (!c)
            continue;
        CHECK_MSG(criterion_value(c, &p) == want[i].value, "%s: %.17g, not %.17g", want[i].name,
                  criterion_value(c, &p), want[i].value);
        CHECK(criterion_value(c, &none) == 0);
    }
    CHECK(!criterion_find("1,0,0") && !criterion_find("0,0,/") && !criterion_find("S(0,1,1") &&
          !criterion_find("reaper") && !criterion_find(""));
    CHECK(criterion_twin(criterion_find("reap")) == criterion_find("weighted_ean_sum"));
    CHECK(criterion_twin(criterion_find("msan")) == criterion_find("S(0,0,2)"));
    CHECK(!criterion_twin(criterion_find("max")) && !criterion_twin(criterion_find("freq")));
}

static struct score_options options(const char *criterion, int keep)
{
    return (struct score_options){.criterion = criterion_find(criterion), .keep = keep, .default_weight = 1};
}

/* ranks: of layer 1's experts, then layer 3's, as digits. */
static void check_plan(const struct score_options *o, const char *ranks, struct score_report *r)
{
    struct err e = {0};
    char got[9] = "";
    struct plan p;
    int i;

    if (score_plan(&p, &good, o, r, &e)) {
        CHECK_MSG(0, "%s", e.msg);
        return;
    }
    for (i = 0; i < 8; i++) {
        got[i] = (char)('0' + p.row[i].rank);
        CHECK(p.row[i].keep == (p.row[i].rank <= o->keep));
    }
    CHECK_STR(got, ranks);
    plan_free(&p);
}

static void test_plain(void)
{
    struct score_options o = options("reap", 3);
    struct score_report r;
    struct err e = {0};
    struct plan p;

    /* reap: 0.5, (16 + 8 / 2) / 8... per token 2 in code and 1 in text: 1.5, 2, 0.5 */
    o.note = "ratio=0.25";
    CHECK_MSG(score_plan(&p, &good, &o, &r, &e) == 0, "%s", e.msg);
    CHECK(p.row[0].score == 0.5 && p.row[1].score == 1.5 && p.row[2].score == 2 && p.row[3].score == 0.5);
    CHECK(p.row[4].score == 0.5 && p.row[5].score == 2 && p.row[6].score == 1.5 && p.row[7].score == 0.5);
    CHECK(p.layer[0] == 1 && p.layer[1] == 3 && p.row[4].layer == 3);
    CHECK_STR(p.criterion, "reap\tkeep=3\tratio=0.25");
    plan_free(&p);
    /* the twin, weighted_ean_sum: 9, 12, 8, 4 drops expert 3 in layer 1 and expert 0 in layer 3; reap drops
     * expert 3 in both (ties drop the higher index): 3 + 2 of 6 agree, chance is 3/4 */
    CHECK_STR(r.twin, "weighted_ean_sum");
    CHECK(r.overlap == 5.0 / 6 && r.disagree && r.zero == 0);
    check_plan(&o, "32143124", &r);
    o = options("freq", 2); /* 18, 8, 4, 8 */
    check_plan(&o, "12432431", &r);
    CHECK(r.twin == NULL && r.overlap == 1 && !r.disagree);
    o = options("max", 1);
    check_plan(&o, "32411324", &r);
    o = options("reap", 5);
    CHECK(score_plan(&p, &good, &o, &r, &e) == -1 && strstr(e.msg, "5 of 4"));
}

static void test_weights(void)
{
    struct weight both[] = {{"code", 3}, {"text", 1}}, tokens[] = {{"code", 22}, {"text", 16}},
                  bad = {"cod", 1};
    struct weight code = {"code", 2}, minus = {"code", -1};
    double w_code = 0.75 * 38 / 22, w_text = 0.25 * 38 / 16;
    struct score_options o = options("reap", 2);
    struct score_report r;
    struct err e = {0};
    struct plan p;

    o.weight = both;
    o.weights = 2;
    o.default_weight = 0;
    CHECK_MSG(score_plan(&p, &good, &o, &r, &e) == 0, "%s", e.msg);
    CHECK_NEAR(p.row[1].score, (w_code * 8 + w_text * 4) / (w_code * 4 + w_text * 4), 0, 1e-15);
    CHECK_NEAR(p.row[3].score, 0.5, 0, 1e-15);
    CHECK_STR(p.criterion, "reap\tkeep=2\tweights=code=3,text=1");
    plan_free(&p);
    o.criterion = criterion_find("weighted_ean_sum");
    CHECK(score_plan(&p, &good, &o, &r, &e) == 0);
    CHECK_NEAR(p.row[1].score, w_code * 8 + w_text * 4, 0, 1e-15);
    CHECK_NEAR(p.row[7].score, w_code * 8 + w_text * 1, 0, 1e-15);
    plan_free(&p);
    o.weight = tokens; /* in proportion to the tokens: as without weights */
    CHECK(score_plan(&p, &good, &o, &r, &e) == 0);
    CHECK_NEAR(p.row[1].score, 12, 0, 1e-15);
    plan_free(&p);
    o = options("reap", 2);
    o.weight = &code;
    o.weights = 1;
    o.default_weight = 0; /* code alone: .5, 2, 2, none */
    check_plan(&o, "31244123", &r);
    CHECK(r.zero == 2);
    o.criterion = criterion_find("max"); /* text, with its 100, weighs nothing */
    check_plan(&o, "21344213", &r);
    o.default_weight = 1;
    check_plan(&o, "32411324", &r);
    o.weight = &bad;
    CHECK(score_plan(&p, &good, &o, &r, &e) == -1 && e.kind == ERR_USAGE);
    CHECK_STR(e.msg, "no category 'cod' in the statistics: there are 'code', 'text'");
    err_clear(&e);
    o.weight = &minus;
    CHECK(score_plan(&p, &good, &o, &r, &e) == -1 && strstr(e.msg, "at least 0"));
}

static void test_protection(void)
{
    struct score_options o = options("reap", 2);
    struct score_report r;
    struct err e = {0};
    struct plan p;

    o.protect_super = true; /* expert 3 of layer 1; layer 3 is in the last quarter */
    check_plan(&o, "43213124", &r);
    CHECK(r.protected_super == 1 && r.protected_top == 0);
    o.protect_super = false;
    o.protect_top = 1; /* code: expert 0 (reversed: 3); text: expert 3 (reversed: 0); both score .5 */
    check_plan(&o, "14321342", &r);
    CHECK(r.protected_top == 4);
    o.protect_super = true;
    check_plan(&o, "14321342", &r);
    CHECK(r.protected_super == 1 && r.protected_top == 3);
    o.keep = 1;
    CHECK(score_plan(&p, &good, &o, &r, &e) == -1 && e.kind == ERR_USAGE);
    CHECK_STR(e.msg, "layer 1: 2 experts are protected, but only 1 stay: protect fewer, or keep more");
}

static void test_diff(void)
{
    static const int layer[] = {0, 1};
    struct model_id id = {"m", 2, 4, 2, 8, "00112233445566778899aabbccddeeff", 0, 0, false};
    static const int rank_a[] = {1, 2, 3, 4, 1, 2, 3, 4}, rank_b[] = {1, 2, 3, 4, 4, 3, 2, 1};
    struct err e = {0};
    struct plan a, b;
    struct plan_diff d;
    int i;

    CHECK(plan_new(&a, &id, "", layer, 2, &e) == 0 && plan_new(&b, &id, "", layer, 2, &e) == 0);
    for (i = 0; i < 8; i++) {
        a.row[i].rank = rank_a[i];
        b.row[i].rank = rank_b[i];
        a.row[i].keep = rank_a[i] <= 3;
        b.row[i].keep = rank_b[i] <= 3;
    }
    CHECK_MSG(plan_diff(&d, &a, &b, &e) == 0, "%s", e.msg);
    CHECK(d.n == 2 && d.layer[0].both == 3 && d.layer[1].both == 2);
    CHECK_NEAR(d.layer[0].spearman, 1, 1e-15, 0);
    CHECK_NEAR(d.layer[1].spearman, -1, 1e-15, 0);
    CHECK(d.layer[0].jaccard == 1 && d.layer[1].jaccard == 0.5);
    CHECK(d.kept_a == 6 && d.kept_b == 6 && d.both == 5 && d.jaccard == 5.0 / 7);
    CHECK_NEAR(d.spearman, 0, 1e-15, 0);
    plan_diff_free(&d);
    b.layer[1] = 7;
    CHECK(plan_diff(&d, &a, &b, &e) == -1 && strstr(e.msg, "different layers"));
    err_clear(&e);
    b.model.topk = 3;
    CHECK(plan_diff(&d, &a, &b, &e) == -1 && strstr(e.msg, "topk 2, not 3"));
    plan_free(&a);
    plan_free(&b);
}

static void test_better_keep(void)
{
    CHECK(score_better_keep(128, 8, 96) == 0);
    CHECK(score_better_keep(128, 8, 90) == 88);
    CHECK(score_better_keep(128, 8, 93) == 96);
    CHECK(score_better_keep(128, 8, 100) == 104); /* as near: keep more */
    CHECK(score_better_keep(128, 8, 127) == 120); /* 128 would be nothing */
    CHECK(score_better_keep(32, 4, 24) == 0);
    CHECK(score_better_keep(32, 4, 28) == 0);
    CHECK(score_better_keep(32, 4, 26) == 28);
    CHECK(score_better_keep(32, 4, 3) == 4);
    CHECK(score_better_keep(32, 4, 32) == 0);
    CHECK(score_better_keep(60, 4, 45) == 44);
    CHECK(score_better_keep(62, 4, 45) == 0);
}

int main(void)
{
    struct err e = {0};

    if (stats_read(&good, "tests/score/good.stats", &e)) {
        printf("%s\n", e.msg);
        return 1;
    }
    test_criteria();
    test_plain();
    test_weights();
    test_protection();
    test_diff();
    test_better_keep();
    stats_free(&good);
    CHECK_END();
}
