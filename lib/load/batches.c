/* batches.c -- a layer cut into batches that fit the buffers, and what is packed from each. */
#include "load/batches.h"

#include <stdlib.h>

#include "base/mem.h"

/* An expert of the layer at hand. */
struct place {
    const struct tensor *first; /* of its tensors, in the files; NULL: none is its own */
    int expert;
    uint64_t bytes;
};

static int by_number(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;

    return x < y ? -1 : x > y;
}

/* -1, 0, 1: where two tensors lie. */
static int place_order(const struct tensor *x, const struct tensor *y)
{
    if (!x || !y || x->shard != y->shard)
        return !x || !y ? 0 : x->shard < y->shard ? -1 : 1;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

static int batches_by_place(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    int c = place_order(x->first, y->first);

    return c ? c : by_number(&x->expert, &y->expert);
}

/* Whether a tensor is a matrix of all experts (its scales too), of which each has a slice. */
static bool sliced(const struct tensor_role *r)
{
    return r->role == ROLE_EXPERTS && r->use != USE_BIAS && r->axis >= 0;
}

/* Tensor numbers by layer: those of layer i are list[from[i]] .. list[from[i + 1] - 1]. */
struct by_layer {
    size_t *list, *from;
};

static int sort_layers(struct by_layer *s, const struct model *m, struct err *e)
{
    int layers = m->arch.layers;
    size_t i, *next;

    s->list = mem_new(m->ckpt.n, sizeof *s->list, e);
    s->from = mem_new((size_t)layers + 2, sizeof *s->from, e);
    if (!s->list || !s->from)
        return -1;
    next = s->from + 1; /* counts, then where the next one goes */
    for (i = 0; i < m->ckpt.n; i++)
        if (m->role[i].layer >= 0 && m->role[i].layer < layers)
            next[m->role[i].layer + 1]++;
    for (i = 0; i < (size_t)layers; i++)
        next[i + 1] += next[i];
    for (i = 0; i < m->ckpt.n; i++)
        if (m->role[i].layer >= 0 && m->role[i].layer < layers)
            s->list[next[m->role[i].layer]++] = i;
    return 0;
}

/* Sizes and places of a layer's experts, and the size of what is left. */
static uint64_t batches_measure(const struct model *m, const struct by_layer *s, int layer, struct place *p)
{
    uint64_t rest = 0;
    size_t i;
    int j, n = m->arch.experts;

    for (j = 0; j < n; j++)
        p[j] = (struct place){.expert = j};
    for (i = s->from[layer]; i < s->from[layer + 1]; i++) {
        const struct tensor *t = m->ckpt.tensor[s->list[i]];
        const struct tensor_role *r = &m->role[s->list[i]];

        if (r->role == ROLE_EXPERT) {
            p[r->expert].bytes += t->size;
            if (!p[r->expert].first || place_order(t, p[r->expert].first) < 0)
                p[r->expert].first = t;
        } else if (sliced(r)) {
            for (j = 0; j < n; j++)
                p[j].bytes += t->size / (uint64_t)n;
        } else {
            rest += t->size;
        }
    }
    return rest;
}

static struct read_batch *batch_new(struct batches *g, size_t *cap, int layer, const int *expert,
                                    const struct model *m, struct err *e)
{
    if (mem_grow(&g->batch, cap, g->n + 1, sizeof *g->batch, e))
        return NULL;
    g->batch[g->n] = (struct read_batch){.layer = layer, .expert = expert, .blob.m = m};
    return &g->batch[g->n++];
}

/* Numbers that all experts have in common, for each of n batches. */
static int add_common(struct read_batch *first, size_t n, const struct tensor *t, struct err *e)
{
    size_t i;

    for (i = 0; i < n; i++)
        if (blob_add(&first[i].blob, t, e))
            return -1;
    return 0;
}

/* Batch `of[expert]` of the n from `first` on gets each tensor, or each its slices; the first gets the rest.
 */
static int fill(struct read_batch *first, size_t n, const int *of, const struct model *m,
                const struct by_layer *s, struct err *e)
{
    int layer = first->layer, j;
    size_t i;

    for (i = s->from[layer]; i < s->from[layer + 1]; i++) {
        const struct tensor *t = m->ckpt.tensor[s->list[i]];
        const struct tensor_role *r = &m->role[s->list[i]];
        uint64_t slice = t->size / (uint64_t)m->arch.experts;

        if (r->role == ROLE_EXPERTS && r->axis < 0) {
            if (add_common(first, n, t, e))
                return -1;
            continue;
        }
        if (!sliced(r)) {
            if (blob_add(&first[r->role == ROLE_EXPERT ? of[r->expert] : 0].blob, t, e))
                return -1;
            continue;
        }
        for (j = 0; j < m->arch.experts; j++)
            if (blob_add_part(&first[of[j]].blob, t, slice * (uint64_t)j, slice, e))
                return -1;
    }
    return 0;
}

/* Cuts one layer. order: room for its experts' numbers; p, of: [experts]. */
static int cut_layer(struct batches *g, size_t *cap, const struct model *m, const struct by_layer *s,
                     int layer, uint64_t bytes, int *order, struct place *p, int *of, struct err *e)
{
    bool moe = m->arch.layer[layer].ffn == FFN_MOE;
    uint64_t size = batches_measure(m, s, layer, p);
    size_t first = g->n, i;
    int j, n = moe ? m->arch.experts : 0;
    struct read_batch *now = batch_new(g, cap, layer, order, m, e);

    if (!now)
        return -1;
    qsort(p, (size_t)n, sizeof *p, batches_by_place);
    for (j = 0; j < n; j++) {
        if (bytes && size && size + p[j].bytes > bytes) {
            now = batch_new(g, cap, layer, order + j, m, e);
            if (!now)
                return -1;
            size = 0;
        }
        size += p[j].bytes;
        order[j] = p[j].expert;
        of[p[j].expert] = (int)(g->n - 1 - first);
        now->experts++;
    }
    g->batch[first].rest = true;
    now->last = true;
    if (fill(&g->batch[first], g->n - first, of, m, s, e))
        return -1;
    for (i = first; i < g->n; i++) {
        now = &g->batch[i];
        qsort(order + (now->expert - order), (size_t)now->experts, sizeof *order, by_number);
        blob_sort(&now->blob);
        g->largest = now->blob.size > g->largest ? now->blob.size : g->largest;
        g->most_experts = now->experts > g->most_experts ? now->experts : g->most_experts;
    }
    return 0;
}

int batches_plan(struct batches *g, const struct model *m, uint64_t bytes, struct err *e)
{
    size_t experts = (size_t)m->arch.experts, cap = 0;
    struct place *p = mem_new(experts, sizeof *p, e);
    int *of = mem_new(experts, sizeof *of, e), i, rc = -1;
    struct by_layer s = {0};

    *g = (struct batches){0};
    g->order = mem_new((size_t)m->arch.layers * experts, sizeof *g->order, e);
    if (p && of && g->order && sort_layers(&s, m, e) == 0)
        rc = 0;
    for (i = 0; rc == 0 && i < m->arch.layers; i++)
        rc = cut_layer(g, &cap, m, &s, i, bytes, g->order + (size_t)i * experts, p, of, e);
    free(s.list);
    free(s.from);
    free(p);
    free(of);
    if (rc)
        batches_free(g);
    return rc;
}

void batches_free(struct batches *g)
{
    size_t i;

    for (i = 0; i < g->n; i++)
        blob_free(&g->batch[i].blob);
    free(g->batch);
    free(g->order);
    *g = (struct batches){0};
}
