/*
 * test_groups.c -- routers with groups: which numbers of experts may stay, the fields of the model line,
 * plans that keep to it, and the ranks that moe-score gives.
 */
#include "check.h"

#include "score/score.h"
#include "stats/groups.h"

#define DIGEST "0123456789abcdef0123456789abcdef"
#define PLAIN  "family=f\tlayers=2\texperts=8\ttopk=3\thidden=4\tdigest=" DIGEST

static void test_allowed(void)
{
    static const struct {
        struct expert_groups g;
        const char *keep; /* '1': this number, from 1 on, may stay */
    } want[] = {
        {{8, 2, 1, 1, false}, "11111111"},
        {{8, 2, 1, 1, true}, "01111111"},
        {{8, 2, 2, 1, true}, "00010101"},
        {{8, 2, 2, 1, false}, "00010101"},
        {{8, 3, 2, 1, false}, "00000101"},
        {{8, 3, 2, 2, false}, "01010101"}, /* two stay: both of them are used */
        {{8, 3, 4, 2, true}, "00000001"},
        {{8, 8, 2, 1, false}, "00000001"}, /* makes no sense, but all may stay */
        {{12, 2, 3, 1, true}, "000001001001"},
    };
    size_t i;
    int keep, below, above;

    for (i = 0; i < sizeof want / sizeof *want; i++)
        for (keep = 0; keep <= want[i].g.experts + 1; keep++) {
            bool allowed = keep > 0 && keep <= want[i].g.experts && want[i].keep[keep - 1] == '1';
            struct err e = {0};

            CHECK_MSG(groups_allow(&want[i].g, keep) == allowed, "case %zu, %d", i, keep);
            CHECK((groups_check(&want[i].g, keep, ERR_USAGE, &e) == 0) == allowed);
            CHECK(e.kind == (allowed ? ERR_NONE : ERR_USAGE));
        }
    groups_near(&want[2].g, 5, &below, &above);
    CHECK(below == 4 && above == 6);
    groups_near(&want[2].g, 4, &below, &above);
    CHECK(below == 0 && above == 6);
    groups_near(&want[2].g, 8, &below, &above);
    CHECK(below == 6 && above == 0);
}

static void test_model_line(void)
{
    static const struct {
        const char *fields, *error;
    } bad[] = {
        {"\tgroups=2", "go together"},
        {"\ttopk_group=1\tgroup=max", "go together"},
        {"\tgroups=1\ttopk_group=1\tgroup=max", "make no sense"},
        {"\tgroups=3\ttopk_group=1\tgroup=max", "8 experts in 3 groups"},
        {"\tgroups=16\ttopk_group=1\tgroup=max", "groups: 16 is outside 1 to 8"},
        {"\tgroups=4\ttopk_group=5\tgroup=max", "topk_group: 5 is outside 1 to 4"},
        {"\tgroups=4\ttopk_group=2\tgroup=sum", "max or top2, not 'sum'"},
        {"\tgroups=4\tgroups=4\ttopk_group=2\tgroup=max", "groups stands twice"},
    };
    static const char grouped[] = PLAIN "\tgroups=4\ttopk_group=2\tgroup=top2";
    struct model_id id, other;
    struct err e = {0};
    char text[256];
    size_t i;

    CHECK(model_id_parse(&id, PLAIN, "line", &e) == 0 && id.groups == 0 && groups_of(&id).groups == 1);
    CHECK(model_id_print(&id, text, sizeof text) > 0);
    CHECK_STR(text, PLAIN);
    CHECK(model_id_parse(&other, grouped, "line", &e) == 0);
    CHECK(other.groups == 4 && other.topk_group == 2 && other.group_top2);
    CHECK(model_id_print(&other, text, sizeof text) > 0);
    CHECK_STR(text, grouped);
    CHECK(model_id_check(&other, "a", &other, "b", &e) == 0);
    CHECK(model_id_check(&id, "a", &other, "b", &e) == -1 && strstr(e.msg, "groups 0, not 4"));
    for (i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(text, sizeof text, "%s%s", PLAIN, bad[i].fields);
        err_clear(&e);
        CHECK_MSG(model_id_parse(&id, text, "line", &e) == -1 && strstr(e.msg, bad[i].error), "'%s' for '%s'",
                  e.msg, bad[i].fields);
    }
}

/* Two layers of 12 experts in 3 groups; expert j scores 12 - j in the first and j + 1 in the second. */
static int make(struct stats *s, struct err *e)
{
    struct model_id id = {.family = "f",
                          .layers = 2,
                          .experts = 12,
                          .topk = 2,
                          .hidden = 4,
                          .digest = DIGEST,
                          .groups = 3,
                          .topk_group = 1,
                          .group_top2 = true};
    static const int layer[] = {0, 1};
    char *category[] = {"-"};
    int l, j;

    if (stats_new(s, &id, "precision=f32", layer, 2, category, 1, e))
        return -1;
    for (l = 0; l < 2; l++)
        for (j = 0; j < 12; j++)
            stats_add(&stats_cell(s, l, 0, 0)[j], 1, l ? j + 1 : 12 - j, 1, 0);
    return 0;
}

static void test_plan(void)
{
    static const int ranks[] = {1, 4, 7, 10, 2, 5, 8, 11, 3, 6, 9, 12};
    struct score_options o = {.criterion = criterion_find("reap"), .keep = 6, .default_weight = 1};
    struct expert_groups g;
    struct score_report r;
    struct err e = {0};
    struct stats s;
    struct plan p;
    int j;

    CHECK(make(&s, &e) == 0);
    CHECK_MSG(score_plan(&p, &s, &o, &r, &e) == 0, "%s", e.msg);
    if (e.kind)
        return;
    g = groups_of(&p.model);
    CHECK(groups_check_plan(&g, &p, &e) == 0);
    for (j = 0; j < 12; j++) {
        CHECK_MSG(plan_rows(&p, 0)[j].rank == ranks[j], "expert %d has rank %d", j, plan_rows(&p, 0)[j].rank);
        CHECK(plan_rows(&p, 0)[j].keep == (j % 4 < 2) && plan_rows(&p, 1)[j].keep == (j % 4 >= 2));
    }
    CHECK(r.better_keep == 0); /* 4 and 8 would be, without groups */
    plan_rows(&p, 1)[0].keep = true;
    CHECK(groups_check_plan(&g, &p, &e) == -1 &&
          strstr(e.msg, "layer 1 of the plan keeps 3 of the experts 0 to 3 but 2 of 4 to 7"));
    plan_free(&p);
    o.keep = 8;
    err_clear(&e);
    CHECK(score_plan(&p, &s, &o, &r, &e) == -1 && e.kind == ERR_USAGE && strstr(e.msg, "are 6 and 9"));
    stats_free(&s);
}

int main(void)
{
    test_allowed();
    test_model_line();
    test_plan();
    CHECK_END();
}
