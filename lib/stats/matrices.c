/* matrices.c -- sums over pairs of experts and over elements, and counts of what routers said, in memory. */
#include "stats/matrices.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* ---- sizes ---- */

struct dims {
    int experts, hidden, categories;
    struct matrices_form f;
};

static struct dims dims_of(const struct matrices *m)
{
    const struct stats *s = &m->head;

    return (struct dims){
        s->model.experts, s->model.hidden, s->categories, {m->inter, m->shared, m->pooled, s->edition}};
}

static int shape_of(const struct dims *d, int which, uint64_t shape[3])
{
    const struct statistic *x = statistic_tensor(which);
    uint64_t experts = (uint64_t)d->experts, categories = (uint64_t)d->categories;

    if (x->edition > d->f.edition)
        return 0;
    switch (x->per) {
    case PER_PAIR:
        shape[0] = d->f.pooled ? 1 : categories;
        shape[1] = shape[2] = experts;
        return 3;
    case PER_ELEMENT:
        shape[0] = experts;
        shape[1] = (uint64_t)expert_sum_width((enum expert_sum)x->which, d->hidden, d->f.inter);
        return 2;
    case PER_NORM:
        shape[0] = categories;
        shape[1] = experts;
        shape[2] = NORM_BINS;
        return 3;
    case PER_SHARED:
        shape[0] = (uint64_t)d->f.shared;
        return d->f.shared > 0;
    default:
        shape[0] = categories;
        shape[1] = x->which == R_NEAR ? experts : ROUTER_BINS;
        return 2;
    }
}

int matrices_shape(const struct matrices *m, int which, uint64_t shape[3])
{
    const struct dims d = dims_of(m);

    return shape_of(&d, which, shape);
}

static bool values_of(const struct dims *d, int which, uint64_t *n)
{
    uint64_t shape[3];
    int rank = shape_of(d, which, shape), i;
    bool fits = true;

    for (*n = rank > 0, i = 0; i < rank; i++)
        fits = fits && mul_u64(*n, shape[i], n);
    return fits;
}

size_t matrices_values(const struct matrices *m, int which)
{
    const struct dims d = dims_of(m);
    uint64_t n;

    values_of(&d, which, &n); /* of what is in memory: it fits */
    return (size_t)n;
}

uint64_t matrices_bytes(int experts, int hidden, int layers, int categories, const struct matrices_form *f)
{
    struct dims d = {experts, hidden, categories, *f};
    uint64_t all = 0, n;
    int which;

    d.f.edition = f->edition ? f->edition : EDITION;
    for (which = 0; which < TENSORS; which++)
        if (!values_of(&d, which, &n) || !mul_u64(n, sizeof(double), &n) || !add_u64(all, n, &all))
            return UINT64_MAX;
    return mul_u64(all, (uint64_t)layers, &all) ? all : UINT64_MAX;
}

int matrices_width(const struct matrices *m, enum expert_sum v)
{
    return expert_sum_width(v, m->head.model.hidden, m->inter);
}

int matrices_router_width(const struct matrices *m, enum router_count r)
{
    return r == R_NEAR ? m->head.model.experts : ROUTER_BINS;
}

size_t matrices_stride(int which)
{
    return statistic_tensor(which)->per == PER_PAIR ? PAIR_SUMS : 1;
}

double *matrices_place(const struct matrices *m, int which, int l)
{
    const struct statistic *x = statistic_tensor(which);

    _Static_assert(sizeof(struct pair_sums) == PAIR_SUMS * sizeof(double),
                   "one number for each enum pair_sum");
    switch (x->per) {
    case PER_PAIR:
        return (double *)(void *)matrices_pairs(m, l, 0) + x->which;
    case PER_ELEMENT:
        return matrices_vector(m, (enum expert_sum)x->which, l);
    case PER_NORM:
        return matrices_norms(m, l, 0);
    case PER_SHARED:
        return matrices_shared(m, l);
    default:
        return matrices_router(m, (enum router_count)x->which, l, 0);
    }
}

/* Where the room for a tensor is kept, that of pairs apart. */
static double **room_of(struct matrices *m, const struct statistic *x)
{
    switch (x->per) {
    case PER_ELEMENT:
        return &m->vector[x->which];
    case PER_NORM:
        return &m->norms;
    case PER_SHARED:
        return &m->shared_squares;
    default:
        return &m->router[x->which];
    }
}

/* Room for the sums of a head that is filled. */
static int new_sums(struct matrices *m, struct err *e)
{
    const struct stats *s = &m->head;
    const struct matrices_form f = {m->inter, m->shared, m->pooled, s->edition};
    size_t layers = (size_t)s->n_layers;
    int which;

    if (matrices_bytes(s->model.experts, s->model.hidden, s->n_layers, s->categories, &f) > SIZE_MAX / 2)
        return err_set(e, ERR_NOMEM, "too many layers, categories and experts");
    for (which = 0; which < TENSORS; which++) {
        const struct statistic *x = statistic_tensor(which);
        size_t n = layers * matrices_values(m, which);
        void *room;

        if (!matrices_values(m, which) || (x->per == PER_PAIR && x->which > 0))
            continue; /* not there; all sums of a pair are together */
        room = mem_new(n, x->per == PER_PAIR ? sizeof(struct pair_sums) : sizeof(double), e);
        if (x->per == PER_PAIR)
            m->pair = room;
        else
            *room_of(m, x) = room;
        if (!room)
            return -1;
    }
    return 0;
}

int matrices_new(struct matrices *m, const struct model_id *id, const char *run, const int *layer,
                 int n_layers, char *const *category, int categories, const struct matrices_form *f,
                 struct err *e)
{
    *m = (struct matrices){.inter = f->inter, .shared = f->shared, .pooled = f->pooled};
    if (stats_head_new(&m->head, id, run, layer, n_layers, category, categories, e) == 0) {
        m->head.edition = f->edition ? f->edition : EDITION;
        if (new_sums(m, e) == 0)
            return 0;
    }
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
    free(m->norms);
    free(m->shared_squares);
    *m = (struct matrices){0};
}

static int blocks(const struct matrices *m)
{
    return m->pooled ? 1 : m->head.categories;
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

double *matrices_norms(const struct matrices *m, int layer_index, int category)
{
    size_t row = (size_t)layer_index * (size_t)m->head.categories + (size_t)category;

    return m->norms + row * (size_t)m->head.model.experts * NORM_BINS;
}

double *matrices_shared(const struct matrices *m, int layer_index)
{
    return m->shared_squares + (size_t)layer_index * (size_t)m->shared;
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
    double *norms = matrices_norms(m, layer_index, category);
    int i, j;

    for (i = 0; i < k; i++) {
        struct pair_sums *row = pair + (size_t)expert[i] * (size_t)m->head.model.experts;
        double a = (double)gate[i] * norm[i];

        row[expert[i]].n++;
        row[expert[i]].weighted += a * a;
        row[expert[i]].gram += a * a;
        norms[expert[i] * NORM_BINS + norm_bin(a)]++;
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

/* Numbers of one category, or of all together, of all layers. */
static void add_block(struct matrices *to, int to_block, const struct matrices *from, int from_block,
                      int which, size_t n)
{
    enum merge_rule rule = statistic_tensor(which)->merge;
    size_t step = matrices_stride(which), i;
    int l;

    for (l = 0; l < to->head.n_layers; l++) {
        double *a = matrices_place(to, which, l) + (size_t)to_block * n * step;
        const double *b = matrices_place(from, which, l) + (size_t)from_block * n * step;

        for (i = 0; i < n * step; i += step)
            a[i] = merged(rule, a[i], b[i]);
    }
}

static void matrices_add_all(struct matrices *to, const struct matrices *from)
{
    int which, c, at;

    for (which = 0; which < TENSORS; which++) {
        enum statistic_per per = statistic_tensor(which)->per;
        size_t n = matrices_values(to, which);

        if (per == PER_ELEMENT || per == PER_SHARED || (per == PER_PAIR && to->pooled)) {
            add_block(to, 0, from, 0, which, n);
            continue;
        }
        for (c = 0, at = 0; c < from->head.categories; c++) {
            while (strcmp(to->head.category[at], from->head.category[c]) != 0)
                at++;
            add_block(to, at, from, c, which, n / (size_t)to->head.categories);
        }
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
    if (a->head.edition == b->head.edition && a->shared != b->shared)
        return err_set(e, ERR_INPUT, "its shared expert is %d wide, that of those before it %d", b->shared,
                       a->shared);
    if (stats_head_merge(&sum.head, &a->head, &b->head, e))
        return -1;
    sum.shared = sum.head.edition == a->head.edition ? a->shared : b->shared;
    if (new_sums(&sum, e)) {
        matrices_free(&sum);
        return -1;
    }
    matrices_add_all(&sum, a);
    matrices_add_all(&sum, b);
    matrices_free(a);
    *a = sum;
    return 0;
}
