#include "stats/matrices.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

const char *const expert_sum_name[EXPERT_SUMS] = {"output_sum", "output_gated_sum", "output_square_sum",
                                                  "input_square_sum", "inner_square_sum"};

const char *const router_count_name[R_COUNT] = {"router_entropy", "router_margin", "near_misses"};

static int blocks(const struct matrices *m)
{
    return m->pooled ? 1 : m->head.categories;
}

uint64_t matrices_bytes(int experts, int hidden, int inter, int layers, int categories, bool pooled)
{
    uint64_t pairs = (uint64_t)experts * (uint64_t)experts * sizeof(struct pair_sums), vectors;
    uint64_t views = (2 * ROUTER_BINS + (uint64_t)experts) * sizeof(double);

    if (!mul_u64(pairs, pooled ? 1 : (uint64_t)categories, &pairs) ||
        !mul_u64(4 * (uint64_t)hidden + (uint64_t)inter, (uint64_t)experts * sizeof(double), &vectors) ||
        !mul_u64(views, (uint64_t)categories, &views) || !add_u64(pairs, vectors, &pairs) ||
        !add_u64(pairs, views, &pairs) || !mul_u64(pairs, (uint64_t)layers, &pairs))
        return UINT64_MAX;
    return pairs;
}

int matrices_width(const struct matrices *m, enum expert_sum v)
{
    return expert_sum_width(v, m->head.model.hidden, m->inter);
}

int matrices_router_width(const struct matrices *m, enum router_count r)
{
    return r == R_NEAR ? m->head.model.experts : ROUTER_BINS;
}

/* Room for the sums of a head that is filled. */
static int new_sums(struct matrices *m, struct err *e)
{
    const struct stats *s = &m->head;
    size_t rows = (size_t)s->n_layers * (size_t)s->model.experts, pairs;
    int v;

    if (matrices_bytes(s->model.experts, s->model.hidden, m->inter, s->n_layers, s->categories, m->pooled) >
        SIZE_MAX / 2)
        return err_set(e, ERR_NOMEM, "too many layers, categories and experts");
    pairs = rows * (size_t)blocks(m) * (size_t)s->model.experts;
    m->pair = mem_new(pairs, sizeof *m->pair, e);
    for (v = 0; v < EXPERT_SUMS && m->pair; v++) {
        m->vector[v] = mem_new(rows * (size_t)matrices_width(m, v), sizeof(double), e);
        if (!m->vector[v])
            return -1;
    }
    rows = (size_t)s->n_layers * (size_t)s->categories;
    for (v = 0; v < R_COUNT && m->pair; v++) {
        m->router[v] = mem_new(rows * (size_t)matrices_router_width(m, v), sizeof(double), e);
        if (!m->router[v])
            return -1;
    }
    return m->pair ? 0 : -1;
}

int matrices_new(struct matrices *m, const struct model_id *id, const char *run, const int *layer,
                 int n_layers, char *const *category, int categories, int inter, bool pooled, struct err *e)
{
    *m = (struct matrices){.inter = inter, .pooled = pooled};
    if (stats_head_new(&m->head, id, run, layer, n_layers, category, categories, e) == 0 &&
        new_sums(m, e) == 0)
        return 0;
    matrices_free(m);
    return -1;
}

void matrices_free(struct matrices *m)
{
    int v;

    stats_free(&m->head);
    free(m->pair);
    for (v = 0; v < EXPERT_SUMS; v++)
        free(m->vector[v]);
    for (v = 0; v < R_COUNT; v++)
        free(m->router[v]);
    *m = (struct matrices){0};
}

struct pair_sums *matrices_pairs(const struct matrices *m, int layer_index, int category)
{
    size_t block = (size_t)layer_index * (size_t)blocks(m) + (m->pooled ? 0 : (size_t)category);

    return m->pair + block * (size_t)m->head.model.experts * (size_t)m->head.model.experts;
}

double *matrices_vector(const struct matrices *m, enum expert_sum v, int layer_index)
{
    return m->vector[v] + (size_t)layer_index * (size_t)m->head.model.experts * (size_t)matrices_width(m, v);
}

double *matrices_router(const struct matrices *m, enum router_count r, int layer_index, int category)
{
    size_t row = (size_t)layer_index * (size_t)m->head.categories + (size_t)category;

    return m->router[r] + row * (size_t)matrices_router_width(m, r);
}

static int bin(double v)
{
    return v < 0 ? 0 : v < ROUTER_BINS - 1 ? (int)v : ROUTER_BINS - 1;
}

void matrices_add_view(struct matrices *m, int layer_index, int category, double entropy, double margin,
                       int nearest)
{
    double most = log(m->head.model.experts);

    matrices_router(m, R_ENTROPY, layer_index, category)[bin(entropy / most * ROUTER_BINS)]++;
    if (nearest < 0)
        return;
    matrices_router(m, R_MARGIN, layer_index, category)[margin < 0 ? 0 : bin(1 + 8 * margin)]++;
    matrices_router(m, R_NEAR, layer_index, category)[nearest]++;
}

void matrices_add(struct matrices *m, int layer_index, int category, int k, const int32_t *expert,
                  const float *gate, const float *norm, const float *inner)
{
    struct pair_sums *pair = matrices_pairs(m, layer_index, category);
    int i, j;

    for (i = 0; i < k; i++) {
        struct pair_sums *row = pair + (size_t)expert[i] * (size_t)m->head.model.experts;
        double a = (double)gate[i] * norm[i];

        row[expert[i]].n++;
        row[expert[i]].weighted += a * a;
        row[expert[i]].gram += a * a;
        for (j = i + 1; j < k; j++) {
            row[expert[j]].n++;
            row[expert[j]].weighted += a * ((double)gate[j] * norm[j]);
            row[expert[j]].gram += *inner++;
        }
    }
}

void matrices_mirror(struct matrices *m)
{
    size_t experts = (size_t)m->head.model.experts, i, j;
    int l, c;

    for (l = 0; l < m->head.n_layers; l++)
        for (c = 0; c < blocks(m); c++) {
            struct pair_sums *pair = matrices_pairs(m, l, c);

            for (i = 1; i < experts; i++)
                for (j = 0; j < i; j++)
                    pair[i * experts + j] = pair[j * experts + i];
        }
}

/* ---- merging ---- */

static void add_pairs(struct matrices *to, int to_category, const struct matrices *from, int from_category)
{
    size_t n = (size_t)to->head.model.experts * (size_t)to->head.model.experts, i;
    int l;

    for (l = 0; l < to->head.n_layers; l++) {
        struct pair_sums *a = matrices_pairs(to, l, to_category);
        const struct pair_sums *b = matrices_pairs(from, l, from_category);

        for (i = 0; i < n; i++) {
            a[i].n += b[i].n;
            a[i].weighted += b[i].weighted;
            a[i].gram += b[i].gram;
        }
    }
}

static void add_views(struct matrices *to, int to_category, const struct matrices *from, int from_category)
{
    int l, r, i;

    for (l = 0; l < to->head.n_layers; l++)
        for (r = 0; r < R_COUNT; r++)
            for (i = 0; i < matrices_router_width(to, r); i++)
                matrices_router(to, r, l, to_category)[i] += matrices_router(from, r, l, from_category)[i];
}

static void add_all(struct matrices *to, const struct matrices *from)
{
    size_t n, i;
    int c, at = 0, v;

    for (c = 0; c < from->head.categories; c++) {
        while (strcmp(to->head.category[at], from->head.category[c]) != 0)
            at++;
        add_views(to, at, from, c);
        if (!to->pooled || c == 0)
            add_pairs(to, at, from, c);
    }
    for (v = 0; v < EXPERT_SUMS; v++) {
        n = (size_t)to->head.n_layers * (size_t)to->head.model.experts * (size_t)matrices_width(to, v);
        for (i = 0; i < n; i++)
            to->vector[v][i] += from->vector[v][i];
    }
}

int matrices_merge(struct matrices *a, const struct matrices *b, struct err *e)
{
    struct matrices sum = {.inter = a->inter, .pooled = a->pooled};

    if (a->pooled != b->pooled)
        return err_set(e, ERR_INPUT, "pairs are %s here and %s in those before it (--pool-pairs)",
                       b->pooled ? "pooled over categories" : "by category",
                       a->pooled ? "pooled over categories" : "by category");
    if (a->inter != b->inter)
        return err_set(e, ERR_INPUT, "its experts are %d wide, those before it %d", b->inter, a->inter);
    if (stats_head_merge(&sum.head, &a->head, &b->head, e))
        return -1;
    if (new_sums(&sum, e)) {
        matrices_free(&sum);
        return -1;
    }
    add_all(&sum, a);
    add_all(&sum, b);
    matrices_free(a);
    *a = sum;
    return 0;
}
