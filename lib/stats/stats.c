/* stats.c -- statistics in memory: cells, parts, merging. */
#include "stats/stats.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static int copy_names(struct stats *s, char *const *category, int categories, struct err *e)
{
    int i;

    s->category = mem_new((size_t)categories, sizeof *s->category, e);
    if (!s->category)
        return -1;
    for (i = 0; i < categories; i++) {
        s->category[i] = mem_strdup(category[i], e);
        if (!s->category[i])
            return -1;
        s->categories = i + 1;
        if (!*category[i] || (i && strcmp(category[i - 1], category[i]) >= 0))
            return err_set(e, ERR_INPUT, "categories: '%s' is empty, stands twice or is out of order",
                           category[i]);
    }
    return 0;
}

int stats_head_new(struct stats *s, const struct model_id *id, const char *run, const int *layer,
                   int n_layers, char *const *category, int categories, struct err *e)
{
    int i;

    *s = (struct stats){.model = *id, .edition = EDITION};
    s->run = mem_strdup(run, e);
    s->layer = mem_new((size_t)n_layers, sizeof *s->layer, e);
    if (!s->run || !s->layer || copy_names(s, category, categories, e))
        goto fail;
    for (i = 0; i < n_layers; i++) {
        s->layer[i] = layer[i];
        if (layer[i] < 0 || layer[i] >= id->layers || (i && layer[i] <= layer[i - 1])) {
            err_set(e, ERR_INPUT, "MoE layer %d stands twice, out of order or beyond the model's %d layers",
                    layer[i], id->layers);
            goto fail;
        }
    }
    s->n_layers = n_layers;
    return 0;
fail:
    stats_free(s);
    return -1;
}

static int new_cells(struct stats *s, struct err *e)
{
    uint64_t cells;

    if (!mul_u64((uint64_t)s->n_layers * 2, (uint64_t)s->categories, &cells) ||
        !mul_u64(cells, (uint64_t)s->model.experts, &cells)) {
        err_set(e, ERR_NOMEM, "too many layers, categories and experts");
    } else {
        s->cell = mem_new(cells, sizeof *s->cell, e);
    }
    if (s->cell && s->extras) /* of what is in memory: no overflow */
        s->more = mem_new(cells, (size_t)s->extras * sizeof *s->more, e);
    if (s->cell && (s->more || !s->extras))
        return 0;
    stats_free(s);
    return -1;
}

int stats_new(struct stats *s, const struct model_id *id, const char *run, const int *layer, int n_layers,
              char *const *category, int categories, struct err *e)
{
    return stats_head_new(s, id, run, layer, n_layers, category, categories, e) || new_cells(s, e) ? -1 : 0;
}

struct expert_stats *stats_cell(const struct stats *s, int layer_index, int category, int half)
{
    size_t block = ((size_t)layer_index * (size_t)s->categories + (size_t)category) * 2 + (size_t)half;

    return s->cell + block * (size_t)s->model.experts;
}

/* The order of part lines; equal only if it is the same part. */
static int part_order(const struct stats_part *a, const struct stats_part *b)
{
    int c = strcmp(a->digest, b->digest);

    return c ? c : (a->shard > b->shard) - (a->shard < b->shard);
}

int stats_add_part(struct stats *s, const struct stats_part *p, struct err *e)
{
    struct stats_part *grown;
    int i, at = 0;

    for (i = 0; i < s->parts; i++) {
        const struct stats_part *q = &s->part[i];
        int order = part_order(q, p);

        if (strcmp(q->digest, p->digest) == 0 && q->shards != p->shards)
            return err_set(e, ERR_INPUT,
                           "data %s was cut into %d shards here and into %d there: they overlap", p->digest,
                           q->shards, p->shards);
        if (order == 0)
            return err_set(e, ERR_INPUT, "shard %d/%d of data %s is in it twice", p->shard, p->shards,
                           p->digest);
        if (order < 0)
            at = i + 1;
    }
    grown = realloc(s->part, (size_t)(s->parts + 1) * sizeof *grown);
    if (!grown)
        return err_set(e, ERR_NOMEM, "out of memory: %d parts", s->parts + 1);
    s->part = grown;
    memmove(grown + at + 1, grown + at, (size_t)(s->parts - at) * sizeof *grown);
    grown[at] = *p;
    s->parts++;
    return 0;
}

bool stats_data_twice(const struct stats *s, const struct stats_part *two[2])
{
    int i;

    for (i = 1; i < s->parts; i++) {
        two[0] = &s->part[i - 1];
        two[1] = &s->part[i];
        if (strncmp(two[0]->digest, two[1]->digest, HASH_DATA) == 0 && strcmp(two[0]->digest, two[1]->digest))
            return true;
    }
    return false;
}

void stats_free(struct stats *s)
{
    int i;

    for (i = 0; i < s->categories; i++)
        free(s->category[i]);
    for (i = 0; i < s->extras; i++)
        free(s->extra[i].name);
    free(s->extra);
    free(s->more);
    free(s->category);
    free(s->run);
    free(s->part);
    free(s->layer);
    free(s->cell);
    *s = (struct stats){0};
}

/* ---- merging ---- */

static double *more_of(const struct stats *s, const struct expert_stats *cell)
{
    return s->more + (size_t)(cell - s->cell) * (size_t)s->extras;
}

static void add_cell(struct stats *to, struct expert_stats *a, const struct stats *from,
                     const struct expert_stats *b)
{
    int m;

    a->n += b->n;
    for (m = 0; m < M_COUNT; m++)
        if (stats_have(to, m))
            a->m[m] = merged(statistic_column(m)->merge, a->m[m], b->m[m]);
    for (m = 0; m < to->extras; m++)
        more_of(to, a)[m] = merged(to->extra[m].merge, more_of(to, a)[m], more_of(from, b)[m]);
}

static void add_cells(struct stats *to, int to_category, const struct stats *from, int from_category)
{
    int l, half, x;

    for (l = 0; l < to->n_layers; l++)
        for (half = 0; half < 2; half++)
            for (x = 0; x < to->model.experts; x++)
                add_cell(to, &stats_cell(to, l, to_category, half)[x], from,
                         &stats_cell(from, l, from_category, half)[x]);
}

/* Columns that this version does not know can be merged if both have them. */
static int check_extras(const struct stats *a, const struct stats *b, struct err *e)
{
    int i;

    for (i = 0; i < a->extras && i < b->extras; i++)
        if (strcmp(a->extra[i].name, b->extra[i].name) != 0 || a->extra[i].merge != b->extra[i].merge)
            break;
    if (i == a->extras && i == b->extras)
        return 0;
    return err_set(e, ERR_INPUT, "its columns differ from those before it: column '%s' is in one only",
                   i < b->extras ? b->extra[i].name : a->extra[i].name);
}

static int copy_extras(struct stats *to, const struct stats *from, struct err *e)
{
    int i;

    if (from->extras && !(to->extra = mem_new((size_t)from->extras, sizeof *to->extra, e)))
        return -1;
    for (i = 0; i < from->extras; i++) {
        to->extra[i] = (struct stats_extra){mem_strdup(from->extra[i].name, e), from->extra[i].merge};
        if (!to->extra[i].name)
            return -1;
        to->extras = i + 1;
    }
    return 0;
}

static int check_mergeable(const struct stats *a, const struct stats *b, struct err *e)
{
    if (model_id_check(&b->model, "this file", &a->model, "those before it", e))
        return -1;
    if (strcmp(a->run, b->run) != 0)
        return err_set(e, ERR_INPUT, "observed with other options than those before it: '%s', not '%s'",
                       b->run, a->run);
    if (a->n_layers != b->n_layers || memcmp(a->layer, b->layer, (size_t)a->n_layers * sizeof *a->layer) != 0)
        return err_set(e, ERR_INPUT, "it has other MoE layers than those before it");
    return check_extras(a, b, e);
}

/* Names of both, sorted, each once; the pointers stay theirs. The caller frees the array. */
static char **unite(const struct stats *a, const struct stats *b, int *n, struct err *e)
{
    char **all = mem_new((size_t)(a->categories + b->categories), sizeof *all, e);
    int i = 0, k = 0, c;

    *n = 0;
    while (all && (i < a->categories || k < b->categories)) {
        c = i == a->categories ? 1 : k == b->categories ? -1 : strcmp(a->category[i], b->category[k]);
        all[(*n)++] = c <= 0 ? a->category[i] : b->category[k];
        i += c <= 0;
        k += c >= 0;
    }
    return all;
}

static void stats_add_all(struct stats *sum, const struct stats *s)
{
    int i, to = 0;

    for (i = 0; i < s->categories; i++) {
        while (strcmp(sum->category[to], s->category[i]) != 0)
            to++;
        add_cells(sum, to, s, i);
    }
}

int stats_head_merge(struct stats *sum, const struct stats *a, const struct stats *b, struct err *e)
{
    char **all;
    int n, i, status;

    *sum = (struct stats){0};
    if (check_mergeable(a, b, e))
        return -1;
    all = unite(a, b, &n, e);
    status = all ? stats_head_new(sum, &a->model, a->run, a->layer, a->n_layers, all, n, e) : -1;
    for (i = 0; !status && i < a->parts + b->parts; i++)
        status = stats_add_part(sum, i < a->parts ? &a->part[i] : &b->part[i - a->parts], e);
    free(all);
    sum->edition = a->edition < b->edition ? a->edition : b->edition;
    if (!status)
        status = copy_extras(sum, a, e);
    if (status)
        stats_free(sum);
    return status;
}

int stats_merge(struct stats *a, const struct stats *b, struct err *e)
{
    struct stats sum;

    if (stats_head_merge(&sum, a, b, e) || new_cells(&sum, e))
        return -1;
    stats_add_all(&sum, a);
    stats_add_all(&sum, b);
    stats_free(a);
    *a = sum;
    return 0;
}
