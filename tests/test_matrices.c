/*
 * test_matrices.c -- files of matrices: the same bytes, the sums of hand-made tokens, merging, what is
 * refused.
 */
#include "tmp.h"

#include "model/safetensors.h"
#include "stats/matrices.h"

enum { EXPERTS = 4, TOPK = 2, HIDDEN = 3, INTER = 2, SHARED = 5 };

static char *categories[] = {"c\tc", "prose"};

static struct model_id model(void)
{
    struct model_id id = {.family = "qwen3_moe",
                          .layers = 12,
                          .experts = EXPERTS,
                          .topk = TOPK,
                          .hidden = HIDDEN,
                          .digest = "0123456789abcdef0123456789abcdef"};

    return id;
}

/* Layers 2 and 10, whose names sort the other way round; tokens of the experts (shard) and 3. */
static void sample_of(struct matrices *m, int shard, char *const *category, int n,
                      const struct matrices_form *f)
{
    static const int layer[] = {2, 10};
    const struct model_id id = model();
    struct stats_part part = {"fedcba9876543210fedcba9876543210", shard, 2, 3, 40};
    const int32_t expert[] = {shard, 3};
    const float gate[] = {0.5f, 0.25f}, norm[] = {2, 8}, inner[] = {-1.5f};
    struct err e = {0};
    int l, c, v, i;

    CHECK_MSG(matrices_new(m, &id, "precision=f32\tmaxlen=8\tchat=-", layer, 2, category, n, f, &e) == 0 &&
                  stats_add_part(&m->head, &part, &e) == 0,
              "%s", e.msg);
    for (l = 0; l < 2; l++) {
        for (c = 0; c < n; c++)
            for (i = 0; i <= c + l; i++)
                matrices_add(m, l, c, TOPK, expert, gate, norm, inner),
                    matrices_add_view(m, l, c, 1.0, 0.3, 2), matrices_add_view(m, l, c, 0, -1, -1);
        for (v = 0; v < EXPERT_SUMS; v++)
            for (i = 0; i < EXPERTS * matrices_width(m, v); i++)
                matrices_vector(m, v, l)[i] =
                    (shard + v + 0.125 * i) * (v <= SUM_OUTPUT_GATED && i % 2 ? -1 : 1);
    }
    for (i = 0; i < 2 * m->shared; i++)
        m->shared_squares[i] = shard + i;
    matrices_mirror(m);
}

static void sample(struct matrices *m, int shard, char *const *category, int n, bool pooled)
{
    sample_of(m, shard, category, n, &(struct matrices_form){.inter = INTER, .pooled = pooled});
}

static void write_to(const struct matrices *m, const char *path)
{
    struct err e = {0};

    unlink(path);
    CHECK_MSG(matrices_write(m, path, true, &e) == 0, "%s", e.msg);
}

static void read_from(struct matrices *m, const char *path)
{
    struct err e = {0};

    CHECK_MSG(matrices_read(m, path, &e) == 0, "%s", e.msg);
}

static bool same_file(const char *a, const char *b)
{
    struct err e = {0};
    char *x = NULL, *y = NULL;
    size_t n, k;
    bool same = file_read(a, UINT64_MAX, &x, &n, &e) == 0 && file_read(b, UINT64_MAX, &y, &k, &e) == 0 &&
                n == k && memcmp(x, y, n) == 0;

    free(x);
    free(y);
    return same;
}

static void test_sums(void)
{
    struct matrices m, back;
    const struct pair_sums *p;

    sample(&m, 1, categories, 2, false);
    p = matrices_pairs(&m, 1, 1); /* three tokens */
    CHECK(p[1 * EXPERTS + 3].n == 3 && p[3 * EXPERTS + 1].n == 3 && p[3 * EXPERTS + 3].n == 3);
    CHECK(p[1 * EXPERTS + 3].weighted == 3 * 1 * 2 && p[1 * EXPERTS + 1].weighted == 3);
    CHECK(p[3 * EXPERTS + 1].gram == 3 * -1.5 && p[3 * EXPERTS + 3].gram == 3 * 4);
    CHECK(p[0].n == 0 && p[2].n == 0);
    /* three tokens of entropy 1 of ln 4, 0.3 from the next; three of which all experts were chosen */
    CHECK(matrices_router(&m, R_ENTROPY, 1, 1)[46] == 3 && matrices_router(&m, R_ENTROPY, 1, 1)[0] == 3);
    CHECK(matrices_router(&m, R_MARGIN, 1, 1)[3] == 3 && matrices_router(&m, R_MARGIN, 1, 1)[0] == 0);
    CHECK(matrices_router(&m, R_NEAR, 1, 1)[2] == 3 && matrices_router(&m, R_NEAR, 1, 0)[2] == 2);
    write_to(&m, in_tmp("a.mat"));
    read_from(&back, in_tmp("a.mat"));
    CHECK(back.inter == INTER && !back.pooled && back.head.parts == 1 && back.head.n_layers == 2);
    CHECK(back.head.layer[1] == 10);
    CHECK_STR(back.head.category[0], "c\tc");
    CHECK_STR(back.head.run, m.head.run);
    CHECK(memcmp(matrices_pairs(&back, 0, 0), matrices_pairs(&m, 0, 0),
                 2 * 2 * EXPERTS * EXPERTS * sizeof *p) == 0);
    CHECK(matrices_vector(&back, SUM_INNER_SQUARE, 1)[EXPERTS * INTER - 1] ==
          1 + SUM_INNER_SQUARE + 0.125 * 7);
    write_to(&back, in_tmp("b.mat"));
    CHECK(same_file(in_tmp("a.mat"), in_tmp("b.mat")));
    matrices_free(&m);
    matrices_free(&back);
}

/* Tokens by the size of what an expert adds. */
static void test_norms(void)
{
    static const struct {
        double a;
        int bin;
    } want[] = {{0, 0},      {1e-9, 0},   {0x1p-16, 0}, {0x1.7p-16, 1}, {0.99, 31},  {1, 32},
                {1.414, 32}, {1.415, 33}, {2, 34},      {65535, 63},    {0x1p30, 63}};
    struct matrices m, back;
    size_t i;

    for (i = 0; i < sizeof want / sizeof *want; i++)
        CHECK_MSG(norm_bin(want[i].a) == want[i].bin, "%g is in bin %d", want[i].a, norm_bin(want[i].a));
    sample(&m, 1, categories, 2, true);
    CHECK(matrices_norms(&m, 1, 1)[1 * NORM_BINS + 32] == 3 &&
          matrices_norms(&m, 1, 0)[3 * NORM_BINS + 34] == 2);
    CHECK(matrices_norms(&m, 0, 0)[1 * NORM_BINS + 33] == 0);
    write_to(&m, in_tmp("a.mat"));
    read_from(&back, in_tmp("a.mat"));
    CHECK(memcmp(m.norms, back.norms, 2 * 2 * EXPERTS * NORM_BINS * sizeof *m.norms) == 0);
    matrices_free(&m);
    matrices_free(&back);
}

/* A file of an earlier version is read, written and merged with what it has. */
static void test_editions(void)
{
    const struct matrices_form now = {.inter = INTER, .shared = SHARED};
    char names[STATISTIC_NAMES];
    struct matrices a, b, back;
    struct err e = {0};

    sample_of(&a, 1, categories, 2, &now);
    sample_of(&b, 2, categories, 2, &now);
    write_to(&a, in_tmp("a.mat"));
    read_from(&back, in_tmp("a.mat"));
    CHECK(back.head.edition == EDITION && back.shared == SHARED && matrices_shared(&back, 1)[4] == 1 + 5 + 4);
    CHECK_MSG(matrices_merge(&back, &b, &e) == 0, "%s", e.msg);
    CHECK(matrices_shared(&back, 1)[4] == 1 + 2 + 2 * (5 + 4));
    CHECK(matrices_norms(&back, 1, 1)[3 * NORM_BINS + 34] == 6);
    matrices_free(&back);
    matrices_free(&b);
    sample(&b, 2, categories, 2, false);
    b.head.edition = 1;
    write_to(&b, in_tmp("b.mat"));
    read_from(&back, in_tmp("b.mat"));
    CHECK(back.head.edition == 1 && back.shared == 0 && !back.norms && back.vector[SUM_INNER_SQUARE]);
    write_to(&back, in_tmp("c.mat"));
    CHECK(same_file(in_tmp("b.mat"), in_tmp("c.mat")));
    CHECK_MSG(matrices_merge(&a, &back, &e) == 0, "%s", e.msg);
    CHECK(a.head.edition == 1 && a.shared == 0 && !a.norms);
    CHECK(matrices_vector(&a, SUM_OUTPUT, 0)[0] == 3);
    matrices_free(&b);
    sample(&b, 1, categories, 2, false);
    b.head.edition = 1;
    b.head.part[0].digest[0] = '0';
    CHECK_MSG(matrices_merge(&a, &b, &e) == 0 && a.head.parts == 3, "%s", e.msg);
    statistics_after(names, 1, true);
    CHECK_STR(names, "inner_gated_square_sum, gated_norm_counts, shared_inner_square_sum");
    matrices_free(&a);
    matrices_free(&b);
    matrices_free(&back);
    sample(&a, 1, categories, 2, false);
    sample_of(&b, 2, categories, 2, &now);
    CHECK(matrices_merge(&a, &b, &e) == -1 && strstr(e.msg, "its shared expert is 5 wide"));
    matrices_free(&a);
    matrices_free(&b);
}

static void test_merge(void)
{
    struct matrices a, b, pooled, other;
    struct err e = {0};

    sample(&a, 1, categories, 1, false);
    sample(&b, 2, categories + 1, 1, false);
    sample(&pooled, 2, categories, 2, true);
    CHECK(matrices_merge(&a, &pooled, &e) == -1 && strstr(e.msg, "pooled"));
    err_clear(&e);
    CHECK(matrices_merge(&a, &a, &e) == -1 && strstr(e.msg, "twice"));
    err_clear(&e);
    sample(&other, 2, categories, 2, false);
    other.head.model.digest[0] = 'f';
    CHECK(matrices_merge(&a, &other, &e) == -1 && strstr(e.msg, "another model"));
    matrices_free(&other);
    err_clear(&e);
    CHECK_MSG(matrices_merge(&a, &b, &e) == 0, "%s", e.msg);
    CHECK(a.head.categories == 2 && a.head.parts == 2);
    CHECK(matrices_pairs(&a, 0, 0)[1 * EXPERTS + 3].n == 1 &&
          matrices_pairs(&a, 0, 0)[2 * EXPERTS + 3].n == 0);
    CHECK(matrices_pairs(&a, 0, 1)[1 * EXPERTS + 3].n == 0 &&
          matrices_pairs(&a, 0, 1)[2 * EXPERTS + 3].n == 1);
    CHECK(matrices_vector(&a, SUM_OUTPUT, 0)[0] == 3);
    CHECK(matrices_router(&a, R_NEAR, 1, 0)[2] == 2 && matrices_router(&a, R_NEAR, 1, 1)[2] == 2);
    matrices_free(&b);
    sample(&b, 1, categories, 2, true);
    CHECK_MSG(matrices_merge(&b, &pooled, &e) == 0, "%s", e.msg);
    CHECK(matrices_router(&b, R_NEAR, 1, 1)[2] == 6);
    CHECK(matrices_pairs(&b, 1, 1)[3 * EXPERTS + 3].n == 10 && b.head.categories == 2);
    matrices_free(&a);
    matrices_free(&b);
    matrices_free(&pooled);
}

/* ---- what is refused ---- */

static void refused(const char *path, const char *why)
{
    struct matrices m;
    struct err e = {0};

    CHECK_MSG(matrices_read(&m, path, &e) == -1 && strstr(e.msg, why), "%s: '%s', expected '%s'", path, e.msg,
              why);
    matrices_free(&m);
}

/* The sample with one double changed. */
static void refused_value(const char *tensor, size_t index, double v, const char *why)
{
    struct matrices m;
    struct st_file st;
    struct err e = {0};
    const struct tensor *t;
    FILE *f;

    sample(&m, 1, categories, 2, false);
    write_to(&m, in_tmp("bad.mat"));
    matrices_free(&m);
    CHECK_MSG(st_open(&st, in_tmp("bad.mat"), &e) == 0, "%s", e.msg);
    t = st_find(&st, tensor);
    f = fopen(in_tmp("bad.mat"), "r+");
    CHECK(t && f && fseek(f, (long)(t->begin + index * sizeof v), SEEK_SET) == 0 &&
          fwrite(&v, sizeof v, 1, f) == 1);
    fclose(f);
    st_close(&st);
    refused(in_tmp("bad.mat"), why);
}

/* The sample with some text of its header replaced by another of the same length. */
static void refused_header(const char *from, const char *to, const char *why)
{
    struct matrices m;
    struct err e = {0};
    char *text, *p;
    size_t n, i;

    sample(&m, 1, categories, 2, false);
    write_to(&m, in_tmp("bad.mat"));
    matrices_free(&m);
    CHECK(file_read(in_tmp("bad.mat"), UINT64_MAX, &text, &n, &e) == 0 && strlen(from) == strlen(to));
    for (p = NULL, i = 8; !p && i + strlen(from) < n; i++)
        p = memcmp(text + i, from, strlen(from)) == 0 ? text + i : NULL;
    CHECK_MSG(p != NULL, "'%s' is not in the header", from);
    if (p)
        memcpy(p, to, strlen(to));
    CHECK(file_write(anew("bad.mat"), text, n, false, &e) == 0);
    free(text);
    refused(in_tmp("bad.mat"), why);
}

static void test_refused(void)
{
    static const char *const counts[] = {"layers.2.coactivation", "layers.2.router_entropy",
                                         "layers.2.router_margin", "layers.2.near_misses",
                                         "layers.2.gated_norm_counts"};
    static const char *const sums[] = {"layers.2.coactivation_weighted", "layers.2.output_square_sum",
                                       "layers.2.input_square_sum", "layers.2.inner_square_sum",
                                       "layers.2.inner_gated_square_sum"};
    struct matrices m;
    struct err e = {0};
    size_t n, i;
    char *text;

    sample(&m, 1, categories, 2, false);
    write_to(&m, in_tmp("a.mat"));
    CHECK(file_read(in_tmp("a.mat"), UINT64_MAX, &text, &n, &e) == 0);
    CHECK(file_write(anew("bad.mat"), text, n - 8, false, &e) == 0);
    free(text);
    refused(in_tmp("bad.mat"), "truncated");
    refused(in_tmp("absent.mat"), "absent.mat");
    refused_value("layers.10.gram", 1, NAN, "not finite");
    refused_value("layers.10.output_sum", 1, INFINITY, "not finite");
    for (i = 0; i < sizeof counts / sizeof *counts; i++)
        refused_value(counts[i], 0, 0.5, "no count");
    for (i = 0; i < sizeof sums / sizeof *sums; i++)
        refused_value(sums[i], 0, -1, "negative");
    refused_value("layers.2.gram", 7, -2, "differ");
    refused_header("moe-matrices 1", "moe-matrices 2", "another version");
    refused_header("moe-matrices 1", "something else", "no file of matrices");
    refused_header("\"run\":", "\"nur\":", "no \"run\"");
    refused_header("by category", "by whatever", "pairs");
    refused_header("hidden=3", "hidden=4", "not those of its model line");
    refused_header("layers.2.gram", "layers.2.gran", "tensor layers.2.gran is not known to this version");
    refused_header("layers.2.gram", "layers.3.gram", "layers.2.gram is missing");
    refused_header("layers.10.gated_norm_counts", "layers.11.gated_norm_counts",
                   "layers.10.gated_norm_counts is missing");
    refused_header("shard=1/2", "shard=3/2", "part 1");
    refused_header("c\\\\tc", "c\\\\xc", "category");
    m.vector[SUM_OUTPUT][0] = NAN;
    CHECK(matrices_write(&m, in_tmp("nan.mat"), true, &e) == -1 && strstr(e.msg, "output_sum"));
    CHECK(access(in_tmp("nan.mat"), F_OK) == -1);
    matrices_free(&m);
}

int main(void)
{
    tmp_open();
    test_sums();
    test_norms();
    test_editions();
    test_merge();
    test_refused();
    CHECK_END();
}
