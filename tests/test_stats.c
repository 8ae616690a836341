/*
 * test_stats.c -- statistics and plan files: exact numbers, the same bytes, merging, what is refused. With
 * "--big FILE" it writes a file of 12 categories, 64 layers and 256 experts instead (score.bats times its
 * reading).
 */
#include "tmp.h"

#include <float.h>

#include "stats/decimal.h"
#include "stats/plan.h"
#include "stats/stats.h"

static uint64_t seed = 88172645463325252ULL;

static uint64_t draw(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed * 2685821657736338717ULL;
}

static char *slurp(const char *path)
{
    struct err e = {0};
    char *text;
    size_t n;

    if (file_read(path, UINT64_MAX, &text, &n, &e)) {
        CHECK_MSG(0, "%s", e.msg);
        exit(1);
    }
    return text;
}

/* ---- numbers ---- */

static void check_number(double v)
{
    char ours[DECIMAL_MAX], libc[64];
    size_t n = decimal_print(v, ours);
    const char *end;
    double back = -1;

    snprintf(libc, sizeof libc, "%.17g", v);
    end = decimal_parse(ours, &back);
    if (strcmp(ours, libc) != 0 || n != strlen(ours) || !end || *end || memcmp(&back, &v, sizeof v) != 0)
        CHECK_MSG(0, "%s printed as %s, read as %.17g", libc, ours, back);
}

static void check_text(const char *text)
{
    double want = strtod(text, NULL), got = -1;
    const char *end = decimal_parse(text, &got);

    if (!end || *end || memcmp(&want, &got, sizeof want) != 0)
        CHECK_MSG(0, "'%s' read as %.17g, strtod gives %.17g", text, got, want);
}

static void test_random_numbers(void)
{
    char text[80];
    int i;

    for (i = 0; i < 200000; i++) {
        uint64_t u = draw();
        double v;

        switch (i % 4) {
        case 0: /* any finite double */
            u &= ~(1ULL << 63);
            memcpy(&v, &u, sizeof v);
            break;
        case 1: /* sums as they occur */
            v = exp((double)(u >> 11) * 0x1p-53 * 60 - 15);
            break;
        case 2: /* few bits: ties of the 17th digit */
            v = ldexp((double)(u >> 44), (int)(draw() % 80) - 60);
            break;
        default:
            v = (double)(u >> (draw() % 64));
        }
        if (isfinite(v))
            check_number(v);
        snprintf(text, sizeof text, "%llu.%llue%d", (unsigned long long)(draw() >> draw() % 64),
                 (unsigned long long)(draw() >> draw() % 64), (int)(draw() % 70) - 35);
        check_text(text);
    }
}

static void test_numbers(void)
{
    static const char *const good[] = {"0",
                                       "0.1",
                                       "9007199254740993",
                                       "9007199254740992.99999999999999999999",
                                       "0012",
                                       "1e-5",
                                       "1E+5",
                                       "9007199254740993.00000000000000000001",
                                       "0e9",
                                       "1e22",
                                       "4.9e-324",
                                       "1.7976931348623157e308",
                                       "2.5",
                                       "1e23",
                                       "1e-400",
                                       "18446744073709551616"};
    static const char *const bad[] = {"", "-1", "+1", "nan", "inf", ".5", "1.", "1e", "1e+", "1e999", " 1"};
    uint64_t u;
    double v;
    size_t i;
    int k;

    for (i = 0; i < sizeof good / sizeof *good; i++)
        check_text(good[i]);
    for (i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_MSG(!decimal_parse(bad[i], &v), "'%s' was read as a number", bad[i]);
    for (k = -30; k < 30; k++) {
        check_number(pow(10, k));
        check_number(nextafter(pow(10, k), 0));
        check_number(nextafter(pow(10, k), INFINITY));
    }
    check_number(DBL_MAX);
    check_number(DBL_TRUE_MIN);
    CHECK(decimal_parse_u64("18446744073709551615", &u) && u == UINT64_MAX);
    CHECK(!decimal_parse_u64("18446744073709551616", &u));
    CHECK(!decimal_parse_u64("x", &u));
    test_random_numbers();
}

/* ---- statistics ---- */

static const struct model_id id = {"test_moe", 4, 3, 2, 8, "0123456789abcdef0123456789abcdef", 0, 0, false};

static void make(struct stats *s, char *const *category, int categories, const char *digest, int shard)
{
    struct stats_part part = {.shard = shard, .shards = 2, .documents = 10, .tokens = 100};
    static const int layer[] = {1, 3};
    struct err e = {0};
    int l, c, half, x;

    snprintf(part.digest, sizeof part.digest, "%s", digest);
    if (stats_new(s, &id, "precision=f32\tmaxlen=512", layer, 2, category, categories, &e) ||
        stats_add_part(s, &part, &e)) {
        CHECK_MSG(0, "%s", e.msg);
        exit(1);
    }
    for (l = 0; l < 2; l++)
        for (c = 0; c < categories; c++)
            for (half = 0; half < 2; half++)
                for (x = 0; x < 2; x++) { /* the third expert is never used */
                    stats_add(&stats_cell(s, l, c, half)[x], 0.1 * (l + 1), 3.3 + x, 0.7 + half, 0.01);
                    stats_add(&stats_cell(s, l, c, half)[x], 0.3, 1.1 + c, 0.2, 0.5);
                }
}

static bool same_cells(const struct stats *a, const struct stats *b)
{
    size_t n = (size_t)a->n_layers * (size_t)a->categories * 2 * (size_t)a->model.experts;

    return a->n_layers == b->n_layers && a->categories == b->categories &&
           memcmp(a->cell, b->cell, n * sizeof *a->cell) == 0;
}

#define DIGEST_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define DIGEST_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static void test_round_trip(void)
{
    char *names[] = {"a\tb\\c\nd\r", "code", "math"}, *text, *again, hex[HASH_HEX], *end;
    struct stats s, back;
    struct err e = {0};

    make(&s, names, 3, DIGEST_A, 1);
    CHECK_MSG(stats_write(&s, in_tmp("x.stats"), false, &e) == 0, "%s", e.msg);
    CHECK(stats_write(&s, in_tmp("x.stats"), false, &e) == -1 && strstr(e.msg, "exists already"));
    err_clear(&e);
    CHECK_MSG(stats_read(&back, in_tmp("x.stats"), &e) == 0, "%s", e.msg);
    CHECK(same_cells(&s, &back));
    CHECK_STR(back.category[0], names[0]);
    CHECK_STR(back.run, s.run);
    CHECK(memcmp(&back.model, &s.model, sizeof s.model) == 0);
    CHECK(back.layer[0] == 1 && back.layer[1] == 3);
    CHECK(back.parts == 1 && back.part[0].tokens == 100 && back.part[0].shards == 2);
    CHECK(stats_write(&back, in_tmp("y.stats"), false, &e) == 0);
    text = slurp(in_tmp("x.stats"));
    again = slurp(in_tmp("y.stats"));
    CHECK_STR(text, again);
    CHECK(strncmp(text, "#moe-stats 1\n#model\tfamily=test_moe\tlayers=4\t", 45) == 0);
    CHECK(strstr(text, "\n1\ta\\tb\\\\c\\nd\\r\t0\t0\t2\t0.40000000000000002\t") != NULL);
    end = strstr(text, "#end\t");
    hash_once(text, (size_t)(end - text), hex);
    CHECK(strstr(end, hex) && strstr(end, "rows=36\t"));
    free(text);
    free(again);
    stats_free(&s);
    stats_free(&back);
}

static void test_merge(void)
{
    char *ab[] = {"a", "b"}, *bc[] = {"b", "c"};
    struct stats s, t, u;
    struct err e = {0};
    double b_in_s, b_in_t;

    make(&s, ab, 2, DIGEST_B, 1);
    make(&t, bc, 2, DIGEST_A, 2);
    b_in_s = stats_cell(&s, 1, 1, 0)[1].m[M_GF];
    b_in_t = stats_cell(&t, 1, 0, 0)[1].m[M_GF];
    CHECK_MSG(stats_merge(&s, &t, &e) == 0, "%s", e.msg);
    CHECK(s.categories == 3 && s.parts == 2);
    CHECK_STR(s.category[2], "c");
    CHECK_STR(s.part[0].digest, DIGEST_A); /* in order */
    CHECK(stats_cell(&s, 1, 1, 0)[1].m[M_GF] == b_in_s + b_in_t);
    CHECK(stats_cell(&s, 1, 1, 0)[1].n == 4);
    CHECK(stats_cell(&s, 0, 1, 1)[0].m[M_MAX] == 1.7);
    CHECK(stats_merge(&s, &t, &e) == -1 && strstr(e.msg, "twice"));
    err_clear(&e);
    make(&u, ab, 2, DIGEST_A, 1);
    u.part[0].shards = 3;
    CHECK(stats_merge(&s, &u, &e) == -1 && strstr(e.msg, "2 shards here and into 3"));
    err_clear(&e);
    u.run[0] = 'X';
    CHECK(stats_merge(&s, &u, &e) == -1 && strstr(e.msg, "other options"));
    err_clear(&e);
    u.model.digest[0] = 'f';
    CHECK(stats_merge(&s, &u, &e) == -1 && strstr(e.msg, "another model"));
    CHECK(s.parts == 2 && s.categories == 3); /* a refused merge changes nothing */
    stats_free(&s);
    stats_free(&t);
    stats_free(&u);
}

/* What a later version would write: x.stats with more columns, here and in its rows. */
static void add_columns(const char *path, const char *columns, const char *values)
{
    char *text = slurp(in_tmp("x.stats")), *line, hex[HASH_HEX];
    struct str out = {0};
    struct err e = {0};
    const char *v;

    for (line = strtok(text, "\n"); line && strncmp(line, "#end", 4) != 0; line = strtok(NULL, "\n")) {
        bool unused = strstr(line, "\t2\t0\t0\t") != NULL; /* the third expert: all sums are 0 */

        str_addf(&out, "%s%s", line, strncmp(line, "#columns", 8) == 0 ? columns : "");
        for (v = values; *line != '#' && unused && *v; v++)
            str_adds(&out, *v == '\t' ? "\t0" : "");
        str_addf(&out, "%s\n", *line != '#' && !unused ? values : "");
    }
    hash_once(out.p, out.n, hex);
    str_addf(&out, "#end\trows=%d\txxh3=%s\n", 12, hex);
    CHECK(file_write(path, out.p, out.n, false, &e) == 0);
    str_free(&out);
    free(text);
}

static void refused_columns(const char *columns, const char *values, const char *with)
{
    struct err e = {0};
    struct stats s;

    add_columns(anew("later.stats"), columns, values);
    CHECK(stats_read(&s, in_tmp("later.stats"), &e) == -1);
    CHECK_MSG(strstr(e.msg, with), "'%s' does not say '%s'", e.msg, with);
}

/* Columns of a later version are carried along and merged by the rule that they name. */
static void test_later_columns(void)
{
    static const char columns[] = "\tcos:sum\tdeep_3:count\ttop:max", values[] = "\t0.25\t7\t3";
    char *names[] = {"a"}, *text, *again;
    struct stats s, t, plain;
    struct err e = {0};

    make(&s, names, 1, DIGEST_A, 1);
    CHECK(stats_write(&s, anew("x.stats"), false, &e) == 0);
    stats_free(&s);
    add_columns(anew("later.stats"), columns, values);
    CHECK_MSG(stats_read(&s, in_tmp("later.stats"), &e) == 0 &&
                  stats_read(&plain, in_tmp("x.stats"), &e) == 0,
              "%s", e.msg);
    CHECK(s.extras == 3 && s.extra[2].merge == MERGE_MAX && same_cells(&s, &plain));
    CHECK_STR(s.extra[1].name, "deep_3");
    CHECK(s.more[0] == 0.25 && s.more[1] == 7 && s.more[3 * 4 + 2] == 3 && s.more[3 * 2] == 0);
    CHECK(stats_write(&s, in_tmp("back.stats"), true, &e) == 0);
    text = slurp(in_tmp("later.stats"));
    again = slurp(in_tmp("back.stats"));
    CHECK_STR(text, again);
    free(text);
    free(again);
    make(&t, names, 1, DIGEST_B, 1);
    CHECK(stats_merge(&s, &t, &e) == -1 && strstr(e.msg, "column 'cos' is in one only"));
    err_clear(&e);
    CHECK(stats_merge(&t, &s, &e) == -1 && t.extras == 0);
    err_clear(&e);
    stats_free(&t);
    CHECK(stats_read(&t, in_tmp("back.stats"), &e) == 0);
    snprintf(t.part[0].digest, sizeof t.part[0].digest, "%s", DIGEST_B);
    CHECK_MSG(stats_merge(&s, &t, &e) == 0, "%s", e.msg);
    CHECK(s.extras == 3 && s.more[0] == 0.5 && s.more[1] == 14 && s.more[2] == 3);
    stats_free(&s);
    stats_free(&t);
    stats_free(&plain);
    refused_columns("\tcos", "\t1", "column 'cos' is not known to this version");
    refused_columns("\tcos:mean", "\t1", "column 'cos:mean' is not known");
    refused_columns("\t:sum", "\t1", "column ':sum' is not known");
    refused_columns("\ta:sum\ta:max", "\t1\t1", "'a' stands twice");
    refused_columns("\tgf:sum", "\t1", "'gf' stands twice");
    refused_columns("\ta:count", "\t1.5", "column a: '1.5' is not a whole number");
    refused_columns("\ta:sum", "\t-1", "column a: '-1' is not a finite decimal number");
    refused_columns("\ta:sum", "", "too few columns");
    refused_columns("\ta:sum", "\t1\t1", "too many columns");
    refused_columns("\ta:sum\tb:max\tc:max", "\t1\t1\t1\t", "too many columns");
}

/* A file of an earlier version is read, written and merged with what it has. */
static void test_editions(void)
{
    char *names[] = {"a"}, *text, *again, most[STATISTIC_NAMES], none[STATISTIC_NAMES];
    struct stats old, s, back;
    struct err e = {0};

    make(&old, names, 1, DIGEST_A, 1);
    make(&s, names, 1, DIGEST_B, 1);
    CHECK(s.edition == EDITION && stats_have(&s, M_TGF));
    CHECK_NEAR(stats_cell(&s, 0, 0, 0)->m[M_TGF], 0.01 * 0.1 * 3.3 + 0.5 * 0.3 * 1.1, 0, 1e-15);
    old.edition = 1;
    CHECK(stats_write(&old, anew("x.stats"), false, &e) == 0 &&
          stats_read(&back, in_tmp("x.stats"), &e) == 0);
    text = slurp(in_tmp("x.stats"));
    CHECK(strstr(text, "\tg2f2\tmax\n") && !strstr(text, "tgf"));
    CHECK(back.edition == 1 && !stats_have(&back, M_TGF) && stats_cell(&back, 0, 0, 0)->m[M_TGF] == 0);
    CHECK(stats_write(&back, anew("back.stats"), false, &e) == 0);
    again = slurp(in_tmp("back.stats"));
    CHECK_STR(text, again);
    CHECK_MSG(stats_merge(&s, &back, &e) == 0, "%s", e.msg);
    CHECK(s.edition == 1 && stats_cell(&s, 0, 0, 0)->m[M_TGF] == 0);
    CHECK(stats_cell(&s, 0, 0, 0)->m[M_GF] == 2 * stats_cell(&old, 0, 0, 0)->m[M_GF]);
    statistics_after(most, 1, false);
    statistics_after(none, EDITION, false);
    CHECK_STR(most, "tgf");
    CHECK_STR(none, "");
    stats_free(&s);
    stats_free(&back);
    /* carried along by a version that did not know it, behind another that we do not know */
    add_columns(anew("later.stats"), "\tcos:sum\ttgf:sum", "\t0.25\t7");
    CHECK_MSG(stats_read(&s, in_tmp("later.stats"), &e) == 0, "%s", e.msg);
    CHECK(s.edition == EDITION && s.extras == 1 && s.more[0] == 0.25 &&
          stats_cell(&s, 1, 0, 1)->m[M_TGF] == 7);
    refused_columns("\ttgf:max", "\t1", "column 'tgf' is merged by sum, not by max");
    refused_columns("\ttgf:sum\ttgf:sum", "\t1\t1", "'tgf' stands twice");
    stats_free(&s);
    stats_free(&old);
    free(text);
    free(again);
}

static void test_overflow_refused(void)
{
    char *names[] = {"a"};
    struct err e = {0};
    struct stats s;

    make(&s, names, 1, DIGEST_A, 1);
    stats_cell(&s, 1, 0, 1)[2].m[M_F2] = NAN;
    CHECK(stats_write(&s, in_tmp("nan.stats"), false, &e) == -1);
    CHECK_MSG(strstr(e.msg, "layer 3, expert 2") && strstr(e.msg, "f2"), "%s", e.msg);
    CHECK(!path_exists(in_tmp("nan.stats")));
    stats_free(&s);
}

/* ---- plans ---- */

static void test_plan(void)
{
    static const int layer[] = {0, 2};
    struct err e = {0};
    struct plan p, q;
    char *text;
    int i;

    CHECK(plan_new(&p, &id, "reap\tratio=0.25", layer, 2, &e) == 0);
    for (i = 0; i < 6; i++) {
        p.row[i].keep = i % 3 != 1;
        p.row[i].score = 0.1 * i;
        p.row[i].rank = i % 3 + 1;
    }
    CHECK_MSG(plan_write(&p, in_tmp("plan.tsv"), false, &e) == 0, "%s", e.msg);
    CHECK_MSG(plan_read(&q, in_tmp("plan.tsv"), &e) == 0, "%s", e.msg);
    for (i = 0; i < 6; i++)
        CHECK(p.row[i].layer == q.row[i].layer && p.row[i].expert == q.row[i].expert &&
              p.row[i].keep == q.row[i].keep && p.row[i].score == q.row[i].score &&
              p.row[i].rank == q.row[i].rank);
    CHECK_STR(q.criterion, "reap\tratio=0.25");
    CHECK(plan_kept(&q, 1) == 2 && plan_rows(&q, 1)[1].layer == 2);
    CHECK(q.n_layers == 2 && q.layer[1] == 2);
    text = slurp(in_tmp("plan.tsv"));
    CHECK(strstr(text, "#columns\tlayer\texpert\tkeep\tscore\trank\n0\t0\t1\t0\t1\n") != NULL);
    CHECK(strstr(text, "\n#end\trows=6\n") != NULL);
    free(text);
    plan_free(&p);
    plan_free(&q);
}

/* What an editor may do to a plan without changing what it says. */
static void test_edited_plan(void)
{
    static const char edited[] = "#moe-plan 1\r\n# kept by hand\r\n\r\n"
                                 "#model family=test_moe layers=4 experts=3 topk=2 hidden=8 "
                                 "digest=0123456789abcdef0123456789abcdef\r\n"
                                 "  2   1 0 -3.5e-2 2\n2 0 1 1 1\n\n2\t2\t0\t0\t3\t\r\n#end rows=3";
    struct err e = {0};
    struct plan p;

    CHECK(file_write(in_tmp("edited.tsv"), edited, strlen(edited), true, &e) == 0);
    CHECK_MSG(plan_read(&p, in_tmp("edited.tsv"), &e) == 0, "%s", e.msg);
    CHECK(p.n_layers == 1 && p.layer[0] == 2 && plan_kept(&p, 0) == 1);
    CHECK(p.row[1].score == -0.035);
    CHECK_STR(p.criterion, "");
    plan_free(&p);
}

static int write_big(const char *path)
{
    char *names[] = {"agent", "chat",    "code", "de",      "fr",   "legal",
                     "math",  "medical", "news", "science", "tool", "zh"};
    struct model_id big = {"test_moe", 64, 256, 8, 4096, "0123456789abcdef0123456789abcdef", 0, 0, false};
    struct stats_part part = {DIGEST_A, 1, 1, 900, 438301};
    int layer[64], l, c, i, k;
    struct err e = {0};
    struct stats s;

    for (l = 0; l < 64; l++)
        layer[l] = l;
    if (stats_new(&s, &big, "precision=bf16", layer, 64, names, 12, &e) || stats_add_part(&s, &part, &e))
        return printf("%s\n", e.msg);
    for (l = 0; l < 64; l++)
        for (c = 0; c < 24; c++)
            for (i = 0; i < 256; i++)
                for (k = 0; k < 4; k++)
                    stats_add(&stats_cell(&s, l, c / 2, c % 2)[i], (double)(draw() >> 11) * 0x1p-53,
                              (double)(draw() >> 11) * 0x1p-53 * 40 * (l + 1),
                              (double)(draw() >> 40) * 0x1p-20, (double)(draw() >> 11) * 0x1p-53);
    if (stats_write(&s, path, true, &e))
        return printf("%s\n", e.msg);
    stats_free(&s);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--big") == 0)
        return write_big(argv[2]);
    tmp_open();
    test_numbers();
    test_round_trip();
    test_merge();
    test_later_columns();
    test_editions();
    test_overflow_refused();
    test_plan();
    test_edited_plan();
    CHECK_END();
}
