/*
 * test_golden_observe.c -- statistics against reference values from transformers in float32: random
 * fixtures token by token (golden.safetensors), trained models over the first 60 documents of calib.jsonl.
 */
#include "tmp.h"

#include "model/safetensors.h"
#include "observe/observe.h"
#include "surgery/quantize.h"

/* Powers of g and f behind each moment. */
static const int power[M_MAX][2] = {
    [M_G] = {1, 0},   [M_G2] = {2, 0}, [M_F] = {0, 1},   [M_GF] = {1, 1},
    [M_G2F] = {2, 1}, [M_F2] = {0, 2}, [M_GF2] = {1, 2}, [M_G2F2] = {2, 2},
};

static const struct pass_options one_pass;

static struct engine *f32_engine(void)
{
    const struct engine_options o = {.device = on_gpu() ? "cuda" : "cpu", .precision = PREC_F32};
    struct engine *en = NULL;
    struct err e = {0};

    CHECK_MSG(engine_open(&en, &o, &e) == 0, "%s", e.msg);
    return en;
}

/* A whole tensor of st; the caller frees. Ends the program when it is not there. */
static void *array(const struct st_file *st, const char *name, uint64_t *count)
{
    const struct tensor *t = st_find(st, name);
    struct err e = {0};
    void *p = t ? malloc((size_t)t->size) : NULL;

    if (!p || st_read(st, t, 0, p, (size_t)t->size, &e)) {
        printf("%s: tensor %s: %s\n", st->file.path, name, t ? e.msg : "absent");
        exit(1);
    }
    if (count)
        *count = tensor_count(t);
    return p;
}

static void *layer_array(const struct st_file *st, int layer, const char *what)
{
    char name[64];

    snprintf(name, sizeof name, "layer.%d.%s", layer, what);
    return array(st, name, NULL);
}

/* The golden sequences as documents of one category. */
static void golden_corpus(struct corpus *c, const struct st_file *st)
{
    static char *category[] = {"-"}, *file[] = {"golden"};
    uint64_t tokens, docs, d;
    int32_t *len = array(st, "seq_len", &docs);

    *c = (struct corpus){.ids = array(st, "tokens", &tokens),
                         .category = category,
                         .categories = 1,
                         .shard = 1,
                         .shards = 1,
                         .file = file,
                         .files = 1,
                         .chat = "-",
                         .digest = "0"};
    c->tokens = (int64_t)tokens;
    c->docs = (int64_t)docs;
    c->doc = calloc((size_t)docs, sizeof *c->doc);
    for (d = 0; d < docs; d++)
        c->doc[d] = (struct doc){.first = d ? c->doc[d - 1].first + c->doc[d - 1].n : 0,
                                 .n = len[d],
                                 .half = (int)d % 2,
                                 .line = (int)d};
    free(len);
}

/* The same sums from the reference's token rows. */
static void add_golden(struct expert_stats *cell, const struct corpus *c, const struct st_file *st, int layer,
                       const struct arch *a)
{
    int experts = a->experts, k = a->topk;
    int32_t *id = layer_array(st, layer, "expert_id");
    float *gate = layer_array(st, layer, "gate"), *norm = layer_array(st, layer, "norm"),
          *max = layer_array(st, layer, "absmax"), *contrib = layer_array(st, layer, "contrib");
    bool gate_in = a->family->gate_site == GATE_INPUT;
    int64_t d, i;

    for (d = 0; d < c->docs; d++)
        for (i = c->doc[d].first * k; i < (c->doc[d].first + c->doc[d].n) * k; i++)
            /* a gate on the input: f is the norm of what is added, over the gate */
            stats_add(&cell[c->doc[d].half * experts + id[i]], gate[i],
                      gate_in ? contrib[i] / gate[i] : norm[i], max[i], 0);
    free(id);
    free(gate);
    free(norm);
    free(max);
    free(contrib);
}

/* max false: the golden's maximum is of another quantity. */
static void same_cell(const char *name, int layer, int expert, const struct expert_stats *got,
                      const struct expert_stats *want, bool max)
{
    int j;

    CHECK_MSG(got->n == want->n, "%s layer %d expert %d: n = %d, not %d", name, layer, expert, (int)got->n,
              (int)want->n);
    for (j = 0; j < M_MAX; j++)
        CHECK_MSG(fabs(got->m[j] - want->m[j]) <= 1e-4 * want->m[j],
                  "%s layer %d expert %d: %s = %.9g, not %.9g", name, layer, expert,
                  statistic_column(j)->name, got->m[j], want->m[j]);
    CHECK_MSG(!max || fabs(got->m[M_MAX] - want->m[M_MAX]) <= 1e-4 * want->m[M_MAX],
              "%s layer %d expert %d: max = %.9g, not %.9g", name, layer, expert, got->m[M_MAX],
              want->m[M_MAX]);
}

/* What the matrices of an observation say of an expert alone is what its statistics say. */
static void check_alone(const char *name, const struct stats *s, const struct matrices *m)
{
    int experts = s->model.experts, hidden = s->model.hidden, l, x, c;

    for (l = 0; l < s->n_layers; l++)
        for (x = 0; x < experts; x++) {
            const struct pair_sums *p = &matrices_pairs(m, l, 0)[x * experts + x];
            const double *square = matrices_vector(m, SUM_OUTPUT_SQUARE, l) + (size_t)x * (size_t)hidden;
            const struct expert_stats *h0 = &stats_cell(s, l, 0, 0)[x], *h1 = &stats_cell(s, l, 0, 1)[x];
            const double *norms = matrices_norms(m, l, 0) + (size_t)x * NORM_BINS;
            double sum = 0, n = 0, least = 0;

            for (c = 0; c < hidden; c++)
                sum += square[c];
            for (c = 0; c < NORM_BINS; n += norms[c++]) /* at least the lower edge of each token's bin */
                least += c ? norms[c] * exp2((c - NORM_BINS / 2) / 2.0) : 0;
            CHECK_MSG(p->n == (double)(h0->n + h1->n), "%s layer %d expert %d: n", name, l, x);
            CHECK(n == p->n && least <= h0->m[M_GF] + h1->m[M_GF]);
            CHECK_NEAR(p->weighted, h0->m[M_G2F2] + h1->m[M_G2F2], 0, 1e-9);
            CHECK_NEAR(p->gram, h0->m[M_G2F2] + h1->m[M_G2F2], 0, 1e-9);
            CHECK_NEAR(sum, h0->m[M_F2] + h1->m[M_F2], 0, 1e-5);
        }
    for (l = 0; l < s->n_layers; l++) {
        double entropy = 0;

        for (c = 0; c < ROUTER_BINS; c++)
            entropy += matrices_router(m, R_ENTROPY, l, 0)[c];
        CHECK(entropy == (double)s->part[0].tokens);
    }
}

static void check_nll(const char *name, struct engine *en, const struct model *m, const struct corpus *c,
                      const struct st_file *st)
{
    struct hidden *h = NULL;
    struct corpus_pass p = {0};
    struct err e = {0};
    float *logits = array(st, "logits", NULL), *nll = calloc((size_t)c->tokens, sizeof *nll);
    int64_t d, t;
    int v, vocab = m->arch.vocab;

    CHECK_MSG(corpus_pass_open(&p, c, 0, c->docs, &e) == 0 &&
                  engine_forward(en, m, &p.batch, NULL, NULL, &h, NULL, &e) == 0 &&
                  engine_nll(en, m, h, &p.batch, nll, &e) == 0,
              "%s: %s", name, e.msg);
    for (d = 0; d < c->docs; d++)
        for (t = c->doc[d].first; t < c->doc[d].first + c->doc[d].n - 1; t++) {
            const float *l = logits + t * vocab;
            double sum = 0, want;

            for (v = 0; v < vocab; v++)
                sum += exp(l[v]);
            want = log(sum) - l[c->ids[t + 1]];
            CHECK_MSG(fabs(nll[t] - want) <= 1e-5 * fabs(want) + 1e-5, "%s token %d: nll %.9g, not %.9g",
                      name, (int)t, nll[t], want);
        }
    hidden_free(h);
    corpus_pass_close(&p);
    free(logits);
    free(nll);
}

/* golden: the folder with golden.safetensors; model: the checkpoint, that folder or the same values stored
 * in another way. */
static void check_fixture(const char *name, const char *model, const char *golden_dir)
{
    char path[1000];
    struct st_file st = {0};
    struct corpus c;
    struct model m;
    struct stats s;
    struct matrices mat;
    const struct observe_more more = {.matrices = &mat};
    struct err e = {0};
    struct engine *en = f32_engine();
    struct expert_stats *want;
    int i, half, j;

    CHECK_MSG(model_open(&m, model, NULL, &e) == 0, "%s: %s", name, e.msg);
    snprintf(path, sizeof path, "%s/golden.safetensors", golden_dir);
    CHECK_MSG(st_open(&st, path, &e) == 0, "%s", e.msg);
    if (check_failed)
        return;
    golden_corpus(&c, &st);
    CHECK_MSG(observe_corpus(&s, &more, en, &m, &c, 0, &one_pass, NULL, &e) == 0, "%s: %s", name, e.msg);
    for (i = 0; !check_failed && i < s.n_layers; i++) {
        want = calloc(2 * (size_t)m.arch.experts, sizeof *want);
        add_golden(want, &c, &st, s.layer[i], &m.arch);
        for (half = 0; half < 2; half++)
            for (j = 0; j < m.arch.experts; j++)
                same_cell(name, s.layer[i], j, &stats_cell(&s, i, 0, half)[j],
                          &want[half * m.arch.experts + j], m.arch.family->gate_site == GATE_OUTPUT);
        free(want);
    }
    if (!check_failed)
        check_alone(name, &s, &mat);
    check_nll(name, en, &m, &c, &st);
    stats_free(&s);
    matrices_free(&mat);
    free(c.ids);
    free(c.doc);
    st_close(&st);
    model_close(&m);
    engine_close(en);
}

/* Every folder of dir with a golden in it; returns how many. */
static int fixtures(const char *dir)
{
    struct err e = {0};
    char **names = NULL, *path, *golden_path;
    size_t n = 0, i;
    int checked = 0;

    CHECK_MSG(dir_list(dir, &names, &n, &e) == 0, "%s", e.msg);
    for (i = 0; i < n; i++) {
        path = path_join(dir, names[i], &e);
        golden_path = path_join(path, "golden.safetensors", &e);
        if (path_exists(golden_path)) {
            check_fixture(names[i], path, path);
            checked++;
        }
        free(path);
        free(golden_path);
    }
    dir_free(names, n);
    return checked;
}

/* The MXFP4 fixture with its experts decoded to BF16: the same values, so the same goldens. */
static void bf16_fixture(const char *name)
{
    const struct quantize_options o = {.threads = 1, .command = "test"};
    const char *out = in_tmp("bf16");
    char dir[900];
    struct quantize_report r;
    struct model m;
    struct err e = {0};

    snprintf(dir, sizeof dir, "%s/fixtures/%s", shared_dir(), name);
    CHECK_MSG(model_open(&m, dir, NULL, &e) == 0 && quantize_model(&m, "bf16", out, &o, &r, &e) == 0, "%s",
              e.msg);
    quantize_report_free(&r);
    if (!check_failed) {
        model_close(&m);
        check_fixture("gptoss-bf16", out, dir);
    }
}

/* ---- trained models ---- */

struct golden_sums {
    double *moments; /* [categories][layers][3][3][experts] */
    float *absmax;   /* [layers][experts] */
};

static double golden(const struct golden_sums *g, const struct stats *s, int k, int i, int a, int b, int x)
{
    size_t at = ((((size_t)k * (size_t)s->n_layers + (size_t)i) * 3 + (size_t)a) * 3 + (size_t)b);

    return g->moments[at * (size_t)s->model.experts + (size_t)x];
}

/* Both halves of a category, or with k < 0 all of them. */
static struct expert_stats added(const struct stats *s, int k, int i, int x)
{
    struct expert_stats sum = {0};
    int half, j, q;

    for (q = k < 0 ? 0 : k; q <= (k < 0 ? s->categories - 1 : k); q++)
        for (half = 0; half < 2; half++) {
            const struct expert_stats *c = &stats_cell(s, i, q, half)[x];

            sum.n += c->n;
            for (j = 0; j < M_COUNT; j++)
                sum.m[j] = merged(statistic_column(j)->merge, sum.m[j], c->m[j]);
        }
    return sum;
}

/* Choices of category k that differ. One token whose two best experts are all but tied may go another
 * way in another summation order, and from there on the rest of its document differs a little. */
static double moved_choices(const struct stats *s, const struct golden_sums *g, int k, double *choices)
{
    double moved = 0;
    int i, x;

    for (i = 0; i < s->n_layers; i++)
        for (x = 0; x < s->model.experts; x++) {
            double n = golden(g, s, k, i, 0, 0, x);

            moved += fabs((double)added(s, k, i, x).n - n) / 2;
            *choices += n;
        }
    return moved;
}

/* The largest relative difference of a category's sums, of experts with 50 tokens and more. */
static double worst_sum(const struct stats *s, const struct golden_sums *g, int k)
{
    double worst = 0;
    int i, x, j;

    for (i = 0; i < s->n_layers; i++)
        for (x = 0; x < s->model.experts; x++) {
            struct expert_stats got = added(s, k, i, x);

            for (j = 0; got.n >= 50 && j < M_MAX; j++) {
                double want = golden(g, s, k, i, power[j][0], power[j][1], x);

                worst = fmax(worst, fabs(got.m[j] - want) / want);
            }
        }
    return worst;
}

static double worst_max(const struct stats *s, const struct golden_sums *g)
{
    double worst = 0;
    int i, x, k;

    for (i = 0; i < s->n_layers; i++)
        for (x = 0; x < s->model.experts; x++) {
            struct expert_stats got = added(s, -1, i, x);
            double want = g->absmax[i * s->model.experts + x], n = 0;

            for (k = 0; k < s->categories; k++)
                n += golden(g, s, k, i, 0, 0, x);
            if ((double)got.n == n && n > 0)
                worst = fmax(worst, fabs(got.m[M_MAX] - want) / want);
        }
    return worst;
}

static void compare_sums(const char *name, const struct stats *s, const struct golden_sums *g)
{
    double moved = 0, choices = 0, worst = 0;
    int k, same = 0;

    for (k = 0; k < s->categories; k++) {
        double differ = moved_choices(s, g, k, &choices);

        moved += differ;
        if (differ > 0)
            continue;
        same++;
        worst = fmax(worst, worst_sum(s, g, k));
    }
    printf(
        "%s: %.0f of %.0f choices differ, in %d of %d categories; sums of the others within %.2g, max within "
        "%.2g\n",
        name, moved, choices, s->categories - same, s->categories, worst, worst_max(s, g));
    CHECK(moved <= choices * 1e-4);
    CHECK(same >= s->categories / 2);
    CHECK(worst <= 1e-4);
    CHECK(worst_max(s, g) <= 1e-3);
}

/* ---- pairs of experts ---- */

struct golden_pairs {
    double *n, *weighted, *gram; /* [layers][experts][experts], of all categories */
};

/* Over the pairs that occur at least 50 times, and as often here as there. A signed sum of which all but a
 * hundredth cancels has lost two digits in any order of summation: relative to what cancels, then. */
struct pair_errors {
    double weighted, gram;
    int moved, pairs, cancelled, over; /* over: gram differs by more than 1e-3 of itself */
};

static void compare_pair(const struct pair_sums *p, double n, double weighted, double gram,
                         struct pair_errors *x)
{
    x->moved += p->n != n;
    if (n < 50 || p->n != n)
        return;
    x->pairs++;
    x->cancelled += fabs(gram) < 0.01 * weighted;
    x->over += fabs(p->gram - gram) > 1e-3 * fabs(gram);
    x->weighted = fmax(x->weighted, fabs(p->weighted - weighted) / weighted);
    x->gram = fmax(x->gram, fabs(p->gram - gram) / fmax(fabs(gram), 0.01 * weighted));
}

static void compare_pairs(const char *name, const struct matrices *m, const struct golden_pairs *g)
{
    size_t experts = (size_t)m->head.model.experts, n = experts * experts, k;
    struct pair_errors x = {0};
    int l, c;

    for (l = 0; l < m->head.n_layers; l++)
        for (k = 0; k < n; k++) {
            struct pair_sums sum = {0};
            size_t at = (size_t)l * n + k;

            for (c = 0; c < m->head.categories; c++) {
                const struct pair_sums *p = matrices_pairs(m, l, c) + k;

                sum.n += p->n;
                sum.weighted += p->weighted;
                sum.gram += p->gram;
            }
            compare_pair(&sum, g->n[at], g->weighted[at], g->gram[at], &x);
        }
    printf("%s: %d pairs, %d others differ in their count; a_i a_j within %.2g, gram within %.2g (%d all but "
           "cancel, "
           "of which %d differ by more than 1e-3 of what is left)\n",
           name, x.pairs, x.moved, x.weighted, x.gram, x.cancelled, x.over);
    CHECK(x.moved <= x.pairs / 20);
    CHECK(x.weighted <= 1e-3);
    CHECK(x.gram <= 1e-3);
}

/* The first n lines of a file as a file of its own. */
static void head_of(const char *from, const char *to, int n)
{
    FILE *in = fopen(from, "r"), *out = fopen(to, "w");
    int ch;

    if (!in || !out) {
        perror(in ? to : from);
        exit(1);
    }
    while (n && (ch = getc(in)) != EOF) {
        putc(ch, out);
        n -= ch == '\n';
    }
    fclose(in);
    fclose(out);
}

static void check_trained(const char *name, const char *data)
{
    const struct corpus_options co = {.max_len = 512};
    char path[1000];
    struct golden_sums g;
    struct golden_pairs pairs;
    struct matrices mat;
    const struct observe_more more = {.matrices = &mat};
    struct st_file st = {0};
    struct corpus c;
    struct model m;
    struct stats s;
    struct err e = {0};
    struct engine *en = f32_engine();
    uint64_t count;

    snprintf(path, sizeof path, "%s/models/%s", shared_dir(), name);
    CHECK_MSG(model_open(&m, path, NULL, &e) == 0 && corpus_read(&c, path, &data, 1, &co, &e) == 0, "%s: %s",
              name, e.msg);
    snprintf(path, sizeof path, "%s/models/%s/golden/stats-calib60.safetensors", shared_dir(), name);
    CHECK_MSG(st_open(&st, path, &e) == 0, "%s", e.msg);
    if (check_failed)
        return;
    g.moments = array(&st, "moments", &count);
    g.absmax = array(&st, "absmax", NULL);
    pairs.n = array(&st, "coactivation", NULL);
    pairs.weighted = array(&st, "coactivation_weighted", NULL);
    pairs.gram = array(&st, "gram", NULL);
    CHECK_MSG(observe_corpus(&s, &more, en, &m, &c, 512, &one_pass, NULL, &e) == 0, "%s: %s", name, e.msg);
    CHECK(count == 9 * (uint64_t)c.categories * (uint64_t)m.arch.moe_layers * (uint64_t)m.arch.experts);
    if (!check_failed)
        compare_sums(name, &s, &g), compare_pairs(name, &mat, &pairs);
    stats_free(&s);
    matrices_free(&mat);
    free(pairs.n);
    free(pairs.weighted);
    free(pairs.gram);
    free(g.moments);
    free(g.absmax);
    st_close(&st);
    corpus_free(&c);
    model_close(&m);
    engine_close(en);
}

int main(void)
{
    static const char *const models[] = {"tiny-qwen3", "tiny-gptoss", "pico-qwen3", "pico-gptoss"};
    const char *head;
    char path[1000];
    size_t i;

    tmp_open();
    head = in_tmp("head.jsonl");
    snprintf(path, sizeof path, "%s/data/calib.jsonl", shared_dir());
    CHECK(fixtures("tests/fixtures") >= 24);
    if (access(path, R_OK)) {
        printf("not checked: ../shared is not there\n");
        CHECK_END();
    }
    snprintf(path, sizeof path, "%s/fixtures", shared_dir());
    CHECK(fixtures(path) >= 11);
    bf16_fixture("gptoss-mxfp4");
    snprintf(path, sizeof path, "%s/data/calib.jsonl", shared_dir());
    head_of(path, head, 60);
    for (i = 0; i < sizeof models / sizeof *models && !check_failed; i++) {
        snprintf(path, sizeof path, "%s/models/%s", shared_dir(), models[i]);
        if (access(path, R_OK) == 0)
            check_trained(models[i], head);
        else
            printf("not checked: %s is not there\n", path);
    }
    CHECK_END();
}
