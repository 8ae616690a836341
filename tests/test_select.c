/*
 * test_select.c -- choosing the experts of a layer: greedy removal and swaps against all subsets of small
 * layers, costs of pairs against sums computed here, turns, budgets, stability and coverage.
 */
#include "check.h"

#include "base/file.h"
#include "model/safetensors.h"
#include "score/costs.h"
#include "score/score.h"
#include "score/select.h"
#include "tmp.h"

enum { MAX = 16 };

static uint64_t seed = 1;

/* 0 to 1, the same on every machine. */
static double drawn(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(seed >> 33) / 2147483648.0;
}

/* ---- against all subsets ---- */

static double cost_of(const struct cost *c, int experts, unsigned set)
{
    double sum = 0;
    int i, j;

    for (i = 0; i < experts; i++)
        for (j = 0; set >> i & 1 && j < experts; j++)
            if (set >> j & 1)
                sum += i == j ? c->alone[i] : c->pair ? c->pair[i * experts + j] : 0;
    return sum;
}

/* As select.h says. */
static double value_of(const struct select_task *t, unsigned set)
{
    double worst = -1e300, sum = 0, x;
    int c;

    if (t->costs == 1)
        return cost_of(t->cost, t->experts, set);
    for (c = 0; c < t->costs; c++) {
        x = t->cost[c].scale * cost_of(&t->cost[c], t->experts, set);
        sum += x;
        worst = x > worst ? x : worst;
    }
    return worst + SELECT_MEAN * sum / t->costs;
}

static int bits(unsigned set)
{
    int n = 0;

    for (; set; set &= set - 1)
        n++;
    return n;
}

/* Each group loses as many as the others, and protected experts stay. */
static bool allowed(const struct select_task *t, int keep, unsigned set)
{
    int size = t->experts / t->groups, i;

    if (bits(set) != t->experts - keep)
        return false;
    for (i = 0; i < t->groups; i++)
        if (bits(set >> i * size & ((1u << size) - 1)) != (t->experts - keep) / t->groups)
            return false;
    for (i = 0; i < t->experts; i++)
        if (set >> i & 1 && t->protect && t->protect[i])
            return false;
    return true;
}

static double best_value(const struct select_task *t, int keep)
{
    double best = 1e300;
    unsigned set;

    for (set = 0; set < 1u << t->experts; set++)
        if (allowed(t, keep, set) && value_of(t, set) < best)
            best = value_of(t, set);
    return best;
}

/* Squared lengths of sums of random vectors: like a Gram, with the signs that it has. */
static void fill(struct cost *c, int experts, bool pair, int dim)
{
    double v[MAX][MAX];
    int i, j, k;

    c->scale = 1;
    c->alone = calloc((size_t)experts, sizeof *c->alone);
    c->pair = pair ? calloc((size_t)experts * (size_t)experts, sizeof *c->pair) : NULL;
    for (i = 0; i < experts; i++)
        for (k = 0; k < dim; k++)
            v[i][k] = drawn() - 0.4;
    for (i = 0; i < experts; i++)
        for (j = 0; j < experts; j++) {
            double sum = 0;

            for (k = 0; k < dim; k++)
                sum += v[i][k] * v[j][k];
            if (i == j)
                c->alone[i] = sum;
            if (pair)
                c->pair[i * experts + j] = sum;
        }
}

static unsigned removed(const int *order, int experts, int keep)
{
    unsigned set = 0;
    int i;

    for (i = keep; i < experts; i++)
        set |= 1u << order[i];
    return set;
}

/* The whole order is a permutation, and its beginnings obey the groups wherever these can be equal. */
static void check_order(const struct select_task *t, const int *order)
{
    int n;

    CHECK(removed(order, t->experts, 0) == (1u << t->experts) - 1);
    for (n = t->groups; n < t->experts; n += t->groups) {
        struct select_task free_task = *t;

        free_task.protect = NULL;
        CHECK(allowed(&free_task, n, removed(order, t->experts, n)));
    }
}

static int tries, optimal;
static double excess; /* largest value / best value - 1 */

static void check_task(const struct select_task *t, int keep)
{
    int order[MAX];
    struct selection s;
    struct err e = {0};
    double best = best_value(t, keep), value;
    unsigned set;

    CHECK_MSG(select_order(t, keep, order, &s, &e) == 0, "%s", e.msg);
    set = removed(order, t->experts, keep);
    value = value_of(t, set);
    check_order(t, order);
    CHECK(allowed(t, keep, set));
    CHECK_NEAR(s.final, value, 1e-12, 1e-12);
    CHECK(s.final <= s.greedy && (s.swaps == 0 || s.final < s.greedy));
    CHECK(value >= best - 1e-12);
    tries++;
    optimal += value <= best + 1e-9 * fabs(best);
    if (best > 1e-6)
        excess = fmax(excess, value / best - 1);
}

/* No swap within a group lowers the value. */
static void check_no_swap(const struct select_task *t, int keep)
{
    int order[MAX], i, j;
    struct selection s;
    struct err e = {0};
    unsigned set;

    CHECK(select_order(t, keep, order, &s, &e) == 0);
    set = removed(order, t->experts, keep);
    for (i = 0; i < t->experts; i++)
        for (j = 0; j < t->experts; j++) {
            unsigned other = (set & ~(1u << i)) | 1u << j;

            if (set >> i & 1 && !(set >> j & 1) && allowed(t, keep, other))
                CHECK(value_of(t, other) >= s.final * (1 - 1e-9) - 1e-11);
        }
}

static void test_all_subsets(void)
{
    static const unsigned char protect[8] = {0, 1, 0, 0, 0, 0, 1, 0};
    int round, k, keep;

    for (round = 0; round < 60; round++) {
        struct cost c[3];
        struct select_task t = {.experts = 8, .groups = round % 3 == 2 ? 2 : 1, .cost = c, .costs = 1};

        for (k = 0; k < 3; k++) {
            fill(&c[k], 8, round % 4 != 3, 3 + round % 5);
            c[k].scale = 1 / (1 + drawn());
        }
        t.protect = round % 5 == 4 ? protect : NULL;
        t.costs = round % 2 ? 3 : 1;
        for (keep = 2; keep < 8; keep += t.groups) {
            check_task(&t, keep);
            check_no_swap(&t, keep);
        }
        for (k = 0; k < 3; k++) {
            free(c[k].alone);
            free(c[k].pair);
        }
    }
    printf("greedy and swaps: %d of %d optimal, at most %.1f%% above\n", optimal, tries, 100 * excess);
    CHECK(optimal > tries * 9 / 10);
}

/* ---- costs of pairs ---- */

static const struct model_id four = {"qwen3_moe", 4, 4,    2, 8, "00112233445566778899aabbccddeeff",
                                     0,           0, false};
static const int layers[] = {1, 3};
static char *const categories[] = {"code", "text"};

/*
 * Tokens of two experts each; a = g * norm, inner = g_i g_j <f_i, f_j>:
 *     code  2 tokens {0, 1}: a 1, 2, inner 1      1 token {1, 2}: a 2, 3, inner -3
 *     text  1 token {0, 3}: a 1, 4, inner 2       1 token {2, 3}: a 1, 1, inner 0
 * so that all together, by expert, sums of a^2 are 3, 12, 10, 17 over 3, 3, 2, 2 tokens.
 */
static void small_matrices(struct matrices *m, bool pooled)
{
    static const struct {
        int category, n;
        int32_t expert[2];
        float norm[2], inner;
    } token[] = {{0, 2, {0, 1}, {2, 4}, 1},
                 {0, 1, {1, 2}, {4, 6}, -3},
                 {1, 1, {0, 3}, {2, 8}, 2},
                 {1, 1, {2, 3}, {2, 2}, 0}};
    static const float gate[] = {0.5, 0.5};
    struct stats_part part = {"c0dec0dec0dec0dec0dec0dec0dec0de", 1, 1, 4, 19};
    struct err e = {0};
    size_t i;
    int l, n;

    CHECK_MSG(matrices_new(m, &four, "precision=f32\tmaxlen=512\tchat=-", layers, 2,
                           (char *const *)categories, 2,
                           &(struct matrices_form){.inter = 4, .pooled = pooled}, &e) == 0 &&
                  stats_add_part(&m->head, &part, &e) == 0,
              "%s", e.msg);
    for (l = 0; l < 2; l++)
        for (i = 0; i < sizeof token / sizeof *token; i++)
            for (n = 0; n < token[i].n; n++)
                matrices_add(m, l, pooled ? 0 : token[i].category, 2, token[i].expert, gate, token[i].norm,
                             &token[i].inner);
    matrices_mirror(m);
}

static struct score_options pair_options(const char *criterion, const struct matrices *m, int keep)
{
    return (struct score_options){
        .criterion = criterion_find(criterion), .matrices = m, .keep = keep, .default_weight = 1};
}

static void check_pairs(const struct matrices *m, const char *criterion, const struct weight *w, int weights,
                        const double want[4][4])
{
    struct score_options o = pair_options(criterion, m, 2);
    struct costs c;
    struct err e = {0};
    int i, j;

    o.weight = w;
    o.weights = weights;
    o.default_weight = weights ? 0 : 1;
    CHECK_MSG(costs_new(&c, &m->head, &o, false, &e) == 0 && costs_layer(&c, 1, &e) == 0, "%s", e.msg);
    for (i = 0; i < 4; i++)
        for (j = 0; j < 4; j++)
            CHECK_MSG(fabs((i == j ? c.all.alone[i] : c.all.pair[i * 4 + j]) - want[i][j]) < 1e-14,
                      "%s: (%d, %d) is %g, not %g", criterion, i, j,
                      i == j ? c.all.alone[i] : c.all.pair[i * 4 + j], want[i][j]);
    costs_free(&c);
}

static void test_pair_costs(void)
{
    static const double sum[4][4] = {{3, 4, 0, 4}, {4, 12, 6, 0}, {0, 6, 10, 1}, {4, 0, 1, 17}};
    static const double mean[4][4] = {{1, 2, 0, 4}, {2, 4, 6, 0}, {0, 6, 5, 1}, {4, 0, 1, 8.5}};
    static const double gram[4][4] = {{3, 2, 0, 2}, {2, 12, -3, 0}, {0, -3, 10, 0}, {2, 0, 0, 17}};
    /* code has 6 of the 10 routed tokens, text 4: with equal weights times 5/6 and 5/4 */
    static const double c = 5.0 / 6, t = 5.0 / 4;
    const double even[4][4] = {{2 * c + t, 2 * c, 0, 2 * t},
                               {2 * c, 12 * c, -3 * c, 0},
                               {0, -3 * c, 9 * c + t, 0},
                               {2 * t, 0, 0, 17 * t}};
    const double even_mean[4][4] = {
        {1, 2, 0, 4}, {2, 4, 6, 0}, {0, 6, (9 * c + t) / (c + t), 1}, {4, 0, 1, 8.5}};
    static const double code[4][4] = {{2, 2, 0, 0}, {2, 12, -3, 0}, {0, -3, 9, 0}, {0, 0, 0, 0}};
    static const struct weight both[] = {{"code", 1}, {"text", 1}};
    struct matrices m, pooled;
    struct score_options o;
    struct costs k;
    struct err e = {0};

    small_matrices(&m, false);
    small_matrices(&pooled, true);
    check_pairs(&m, "hope_sum", NULL, 0, sum);
    check_pairs(&m, "hope", NULL, 0, mean);
    check_pairs(&m, "gram", NULL, 0, gram);
    check_pairs(&pooled, "gram", NULL, 0, gram);
    check_pairs(&m, "gram", both, 2, even);
    check_pairs(&m, "hope", both, 2, even_mean);
    check_pairs(&m, "gram", both, 1, code);
    o = pair_options("gram", &pooled, 2);
    CHECK(costs_new(&k, &m.head, &o, true, &e) == -1 && strstr(e.msg, "do not tell categories apart"));
    err_clear(&e);
    o.criterion = criterion_find("reap");
    CHECK(costs_new(&k, &m.head, &o, false, &e) == 0);
    costs_free(&k);
    o = pair_options("hope", NULL, 2);
    CHECK(costs_new(&k, &m.head, &o, false, &e) == -1 && strstr(e.msg, "needs matrices"));
    matrices_free(&m);
    matrices_free(&pooled);
}

/* Ranks of layer 1 and scores, by hand. */
static void test_pair_plan(void)
{
    struct matrices m;
    struct score_options o;
    struct score_report r;
    struct err e = {0};
    struct plan p;
    int i;

    small_matrices(&m, false);
    o = pair_options("gram", &m, 2);
    /* greedy: 0 (3), then 2 (10; 1 costs 12 + 4): 13. Removing 1 and 2 costs 16, 0 and 1 19. Then 1 adds
     * 12 - 6 + 4 = 10, and 3 17 + 4. */
    CHECK_MSG(score_plan(&p, &m.head, &o, &r, &e) == 0, "%s", e.msg);
    CHECK(p.row[0].rank == 4 && p.row[2].rank == 3 && p.row[1].rank == 2 && p.row[3].rank == 1);
    CHECK(p.row[0].score == 3 && p.row[2].score == 10 && p.row[1].score == 10 && p.row[3].score == 21);
    CHECK(p.row[1].keep && p.row[3].keep && !p.row[0].keep && r.swaps == 0);
    CHECK_NEAR(r.lost, 13.0 / 44, 1e-15, 0);
    CHECK(r.zero == 0 && r.twin == NULL && r.overlap == 1);
    plan_free(&p);
    o.over =
        SELECT_WORST; /* text loses 1/22 with expert 0, 1/22 with 2; code all but a little with 1 and 2 */
    CHECK_MSG(score_plan(&p, &m.head, &o, &r, &e) == 0, "%s", e.msg);
    for (i = 0; i < 4; i++)
        CHECK(p.row[i].keep == (i == 1 || i == 3));
    CHECK_STR(r.worst, "code");
    CHECK_NEAR(r.worst_lost, 11.0 / 21, 1e-15, 0);
    plan_free(&p);
    matrices_free(&m);
}

/* ---- worst category, turns, budgets: of scalars ---- */

/* Experts 0 to 7; g f of category c on expert i, one token each. */
static void scalar_stats(struct stats *s, int n_layers, int n_categories,
                         double (*value)(int l, int c, int i))
{
    static const int layer[] = {0, 1, 2, 3, 4, 5};
    static char *const name[] = {"a", "b", "c"};
    struct model_id id = {"qwen3_moe", 8, 8, 2, 8, "00112233445566778899aabbccddeeff", 0, 0, false};
    struct err e = {0};
    int l, c, i;

    CHECK_MSG(stats_new(s, &id, "", layer, n_layers, (char *const *)name, n_categories, &e) == 0, "%s",
              e.msg);
    for (l = 0; l < n_layers; l++)
        for (c = 0; c < n_categories; c++)
            for (i = 0; i < 8; i++)
                if (value(l, c, i) > 0)
                    stats_add(&stats_cell(s, l, c, i % 2)[i], 1, value(l, c, i), 1, 0);
}

/* a lives on the first half with large numbers, b on the second with small ones; c on expert 3 alone. */
static double split_value(int l, int c, int i)
{
    (void)l;
    return c == 0 ? (i < 4 ? 100 + i : 0) : c == 1 ? (i >= 4 ? 1 + i : 0) : i == 3 ? 1e-3 : 0;
}

static void kept_set(const struct plan *p, int l, char out[9])
{
    int i, n = 0;

    for (i = 0; i < 8; i++)
        if (plan_rows(p, l)[i].keep)
            out[n++] = (char)('0' + i);
    out[n] = 0;
}

static void check_kept(const struct stats *s, const struct score_options *o, const char *want,
                       struct score_report *r)
{
    struct err e = {0};
    struct plan p;
    char got[9];

    CHECK_MSG(score_plan(&p, s, o, r, &e) == 0, "%s", e.msg);
    if (e.kind)
        return;
    kept_set(&p, 0, got);
    CHECK_STR(got, want);
    plan_free(&p);
}

static void test_worst(void)
{
    struct score_options o = {.criterion = criterion_find("reap_sum"), .keep = 4, .default_weight = 1};
    struct weight only_a = {"a", 1}, a_and_b[] = {{"a", 1}, {"b", 0.01}};
    struct score_report r;
    struct stats s;

    scalar_stats(&s, 1, 3, split_value);
    check_kept(&s, &o, "0123", &r);
    o.over = SELECT_WORST; /* of a 406, of b 26, of c all in expert 3 */
    check_kept(&s, &o, "2367", &r);
    CHECK_STR(r.worst, "a");
    CHECK_NEAR(r.worst_lost, 201.0 / 406, 1e-15, 0);
    o.weight = &only_a;
    o.weights = 1;
    o.default_weight = 0;
    check_kept(&s, &o, "0123", &r);
    o.weight = a_and_b; /* losing all of b costs 0.01 */
    o.weights = 2;
    check_kept(&s, &o, "0123", &r);
    CHECK_STR(r.worst, "b");
    o = (struct score_options){.criterion = criterion_find("reap_sum"), .keep = 4, .default_weight = 1};
    o.protect_turns = 3; /* a takes 3, b takes 7, c has only 3, a takes 2 */
    check_kept(&s, &o, "1237", &r);
    CHECK(r.protected_turns == 1);
    o.protect_turns = 4; /* a 3, b 7, a 2, b 6 */
    check_kept(&s, &o, "2367", &r);
    CHECK(r.protected_turns == 2);
    o.protect_turns = 5; /* no more than stay */
    check_kept(&s, &o, "2367", &r);
    stats_free(&s);
}

static void test_turns_in_groups(void)
{
    struct score_options o = {.criterion = criterion_find("reap_sum"), .keep = 4, .default_weight = 1};
    struct score_report r;
    struct stats s;

    scalar_stats(&s, 1, 3, split_value);
    s.model.groups = 4; /* 01 23 45 67, each keeps one */
    s.model.topk_group = 2;
    o.protect_turns = 4; /* a 3, b 7, a 1 (2's group is full), b 5 */
    check_kept(&s, &o, "1357", &r);
    CHECK(r.protected_turns == 0);
    stats_free(&s);
}

/* Layer 0 is flat; in layer 1 few experts matter; layer 2 is as layer 1, a thousand times larger. */
static double uneven_value(int l, int c, int i)
{
    double v = l == 0 ? 1 : i < 2 ? 10 : 0.1 * (1 + i);

    return c ? 0 : l == 2 ? 1000 * v : v;
}

static void check_budget(const struct stats *s, struct score_options *o, int a, int b, int c)
{
    struct score_report r;
    struct err e = {0};
    struct plan p;

    CHECK_MSG(score_plan(&p, s, o, &r, &e) == 0, "%s", e.msg);
    if (e.kind)
        return;
    CHECK_MSG(plan_kept(&p, 0) == a && plan_kept(&p, 1) == b && plan_kept(&p, 2) == c,
              "%d %d %d are kept, not %d %d %d", plan_kept(&p, 0), plan_kept(&p, 1), plan_kept(&p, 2), a, b,
              c);
    CHECK(r.keep_min == fmin(a, fmin(b, c)) && r.keep_max == fmax(a, fmax(b, c)));
    plan_free(&p);
}

static void test_budget(void)
{
    struct score_options o = {.criterion = criterion_find("reap_sum"), .keep = 4, .default_weight = 1};
    struct score_report r;
    struct err e = {0};
    struct stats s;
    struct plan p;

    scalar_stats(&s, 3, 1, uneven_value);
    check_budget(&s, &o, 4, 4, 4);
    o.budget = BUDGET_GLOBAL; /* 12 may stay: layers 1 and 2 lose all but their two (top-k), 0 nothing */
    check_budget(&s, &o, 8, 2, 2);
    o.min_keep = 3;
    check_budget(&s, &o, 6, 3, 3);
    o.min_keep = 4;
    check_budget(&s, &o, 4, 4, 4);
    o.min_keep = 5;
    CHECK(score_plan(&p, &s, &o, &r, &e) == -1 &&
          strstr(e.msg, "must keep 15 experts altogether, but only 12"));
    o.min_keep = 1;
    s.model.groups = 2; /* each loses one at a time, and each keeps two at least (top-2 of one group) */
    s.model.topk_group = 1;
    check_budget(&s, &o, 4, 4, 4);
    o.keep = 6;
    check_budget(&s, &o, 8, 6, 4); /* of equals, the later layer first */
    stats_free(&s);
}

/* ---- scores from a file ---- */

static void test_scores(void)
{
    struct score_options o = {.criterion = criterion_find("file"), .keep = 2, .default_weight = 1};
    struct weight w = {"code", 1};
    struct scores in, out;
    struct score_report r;
    struct err e = {0};
    struct stats s;
    struct plan p;
    int i;

    CHECK(scores_new(&in, &four, "aimer\twhat=ever", layers, 2, &e) == 0);
    for (i = 0; i < 8; i++)
        in.score[i] = i == 2 ? -1.0 / 3 : 4 - i;
    CHECK_MSG(scores_write(&in, in_tmp("scores.tsv"), true, &e) == 0 &&
                  scores_read(&out, in_tmp("scores.tsv"), &e) == 0,
              "%s", e.msg);
    CHECK(out.n_layers == 2 && out.layer[1] == 3 && memcmp(in.score, out.score, sizeof(double[8])) == 0);
    CHECK_STR(out.criterion, in.criterion);
    CHECK(stats_new(&s, &four, "", layers, 2, NULL, 0, &e) == 0);
    o.scores = &out;
    CHECK_MSG(score_plan(&p, &s, &o, &r, &e) == 0, "%s", e.msg);
    CHECK(p.row[0].rank == 1 && p.row[1].rank == 2 && p.row[2].rank == 4 && p.row[2].score == -1.0 / 3);
    CHECK_STR(p.criterion, "file\tkeep=2\tof=aimer\\twhat=ever");
    CHECK(r.zero == 0);
    plan_free(&p);
    o.weight = &w;
    o.weights = 1;
    CHECK(score_plan(&p, &s, &o, &r, &e) == -1 && strstr(e.msg, "does not tell categories apart"));
    in.score[5] = NAN;
    err_clear(&e);
    CHECK(scores_write(&in, in_tmp("scores.tsv"), true, &e) == -1 && strstr(e.msg, "layer 3, expert 1"));
    scores_free(&in);
    scores_free(&out);
    stats_free(&s);
}

/* ---- stability, coverage ---- */

static void test_normal(void)
{
    double rho;

    /* orthants above 0: 1/4 + asin(rho) / (2 pi) */
    CHECK_NEAR(jaccard_of(0, 0.5), 1.0 / 3, 1e-12, 0);
    CHECK_NEAR(jaccard_of(0.5, 0.5), 2.0 / 3 / (2 - 2.0 / 3), 1e-9, 0);
    CHECK_NEAR(jaccard_of(0, 0.75), 0.75 / 1.25, 1e-12, 0);
    CHECK_NEAR(jaccard_of(1, 0.75), 1, 0, 0);
    /* P(X > 1, Y > 1) with rho = 0.5 is 0.06251409 (bivariate normal table) */
    CHECK_NEAR(jaccard_of(0.5, 0.158655253931457), 0.394025 / (2 - 0.394025), 2e-5, 0);
    for (rho = 0.05; rho < 1; rho += 0.1)
        CHECK_NEAR(correlation_of(jaccard_of(rho, 0.7), 0.7), rho, 1e-9, 0);
    CHECK(correlation_of(0.1, 0.5) == 0 && correlation_of(1, 0.5) == 1);
}

/* Expert values that differ between the halves by noise of the given size. */
static void noisy_stats(struct stats *s, double noise)
{
    static const int layer[] = {0, 1, 2, 3};
    static char *const name[] = {"a"};
    struct model_id id = {"qwen3_moe", 4, 64, 8, 8, "00112233445566778899aabbccddeeff", 0, 0, false};
    struct err e = {0};
    int l, i, h;

    CHECK(stats_new(s, &id, "", layer, 4, (char *const *)name, 1, &e) == 0);
    for (l = 0; l < 4; l++)
        for (i = 0; i < 64; i++) {
            double value = 10 + drawn() + drawn() + drawn() + drawn();

            for (h = 0; h < 2; h++)
                stats_add(&stats_cell(s, l, 0, h)[i], 1,
                          value + noise * (drawn() + drawn() + drawn() + drawn()), 1, 0);
        }
}

static void test_stability(void)
{
    struct score_options o = {.criterion = criterion_find("reap"), .keep = 32, .default_weight = 1};
    struct stability t;
    struct stats s;
    struct err e = {0};

    noisy_stats(&s, 0);
    CHECK_MSG(stability(&t, &s, &o, 0.95, &e) == 0, "%s", e.msg);
    CHECK(t.halves.jaccard == 1 && t.correlation == 1 && t.needed == 0 && t.whole == 1);
    CHECK(t.tokens[0] == 8 && t.tokens[1] == 8);
    stability_free(&t);
    stats_free(&s);
    noisy_stats(&s, 1); /* as much noise as signal: correlation 1/2, two halves 2/3 */
    CHECK(stability(&t, &s, &o, 0.8, &e) == 0);
    CHECK_NEAR(t.correlation, 0.5, 0.15, 0);
    CHECK_NEAR(t.whole, jaccard_of(2 * t.correlation / (1 + t.correlation), 0.5), 1e-12, 0);
    CHECK_NEAR(t.needed,
               8 * correlation_of(0.8, 0.5) / (1 - correlation_of(0.8, 0.5)) * (1 - t.correlation) /
                   t.correlation,
               0, 1e-9);
    stability_free(&t);
    CHECK(stability(&t, &s, &o, 0.3, &e) == -1 && strstr(e.msg, "is not above chance, which is 0.333"));
    err_clear(&e);
    o.criterion = criterion_find("gram");
    CHECK(stability(&t, &s, &o, 0.95, &e) == -1 && strstr(e.msg, "does not tell the halves"));
    stats_free(&s);
}

static void test_coverage(void)
{
    struct coverage c;
    struct stats s;
    struct err e = {0};

    scalar_stats(&s, 2, 3, split_value); /* a: experts 0 to 3, b: 4 to 7, c: 3 */
    CHECK(coverage(&c, &s, 2, &e) == 0);
    CHECK(c.rows == 4 && c.row[3].category == NULL && c.row[3].experts == 16);
    CHECK_STR(c.row[1].category, "b");
    CHECK(c.row[0].none == 8 && c.row[0].few == 16 && c.row[0].smallest == 0 && c.row[0].median == 0.5);
    CHECK(c.row[2].none == 14 && c.row[2].tokens == 0.5);
    CHECK(c.row[3].none == 0 && c.row[3].few == 14 && c.row[3].smallest == 1 && c.row[3].median == 1);
    CHECK(c.few[0].expert == 0 && c.few[3].expert == 4 && c.few[3].n == 1 && c.few[13].layer == 1);
    coverage_free(&c);
    stats_free(&s);
}

/* ---- trained models ---- */

static double *golden(const struct st_file *st, const char *name)
{
    const struct tensor *t = st_find(st, name);
    struct err e = {0};
    double *p = t ? malloc((size_t)t->size) : NULL;

    CHECK_MSG(p && st_read(st, t, 0, p, (size_t)t->size, &e) == 0, "%s: %s", name, e.msg);
    return p;
}

/* The sums of the reference over all categories; E and the layers from their shape. */
static int golden_matrices(struct matrices *m, const char *model)
{
    static char *const all[] = {"-"};
    struct model_id id = {"qwen3_moe", 0, 0, 2, 8, "00112233445566778899aabbccddeeff", 0, 0, false};
    int layer[64], i;
    struct st_file st;
    struct err e = {0};
    double *n, *a, *g;
    char path[300];

    snprintf(path, sizeof path, "%s/models/%s/golden/stats-calib60.safetensors", shared_dir(), model);
    if (!path_exists(path) || st_open(&st, path, &e))
        return -1;
    id.layers = (int)st_find(&st, "gram")->shape[0];
    id.experts = (int)st_find(&st, "gram")->shape[1];
    for (i = 0; i < id.layers; i++)
        layer[i] = i;
    CHECK(matrices_new(m, &id, "", layer, id.layers, (char *const *)all, 1,
                       &(struct matrices_form){.inter = 1, .pooled = true}, &e) == 0);
    n = golden(&st, "coactivation");
    a = golden(&st, "coactivation_weighted");
    g = golden(&st, "gram");
    for (i = 0; i < id.layers * id.experts * id.experts; i++)
        m->pair[i] = (struct pair_sums){n[i], a[i], g[i]};
    free(n);
    free(a);
    free(g);
    st_close(&st);
    return 0;
}

static void check_trained(const struct matrices *m, const char *criterion, const char *model)
{
    struct score_options o = pair_options(criterion, m, m->head.model.experts / 2);
    struct score_report r;
    struct costs c;
    struct plan p;
    struct err e = {0};
    double all = 0;
    int l, i;

    CHECK_MSG(score_plan(&p, &m->head, &o, &r, &e) == 0, "%s", e.msg);
    CHECK(costs_new(&c, &m->head, &o, false, &e) == 0);
    for (l = 0; l < m->head.n_layers; l++) {
        struct select_task t = {.experts = m->head.model.experts, .groups = 1, .cost = &c.all, .costs = 1};
        double cost = 0;

        CHECK(costs_layer(&c, l, &e) == 0);
        for (i = 0; i < t.experts; i++)
            cost += plan_rows(&p, l)[i].keep ? 0 : plan_rows(&p, l)[i].score;
        if (t.experts <= MAX)
            all = fmax(all, cost / best_value(&t, o.keep) - 1);
    }
    printf("%s, %s at 50%%: %d experts exchanged, cost -%.3f%%, loses %.2f%%, above the optimum %.3f%%\n",
           model, criterion, r.swaps, 100 * r.gained, 100 * r.lost, 100 * all);
    CHECK(all < 1e-9);
    costs_free(&c);
    plan_free(&p);
}

static void test_trained(void)
{
    static const char *const model[] = {"tiny-qwen3", "tiny-gptoss", "pico-qwen3", "pico-gptoss"};
    struct matrices m;
    size_t i;

    for (i = 0; i < sizeof model / sizeof *model; i++)
        if (golden_matrices(&m, model[i]) == 0) {
            check_trained(&m, "hope", model[i]);
            check_trained(&m, "hope_sum", model[i]);
            check_trained(&m, "gram", model[i]);
            matrices_free(&m);
        }
}

/* --matrices FILE: writes the small matrices, for the tests of the program. */
int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--matrices") == 0) {
        struct matrices m;
        struct err e = {0};

        small_matrices(&m, false);
        if (matrices_write(&m, argv[2], false, &e))
            printf("%s\n", e.msg);
        matrices_free(&m);
        return e.kind != ERR_NONE;
    }
    tmp_open();
    test_all_subsets();
    test_pair_costs();
    test_pair_plan();
    test_worst();
    test_turns_in_groups();
    test_budget();
    test_scores();
    test_normal();
    test_stability();
    test_coverage();
    test_trained();
    CHECK_END();
}
