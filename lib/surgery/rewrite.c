/*
 * rewrite.c -- which tensors the new checkpoint has, and handing them to the writer of its container.
 */
#include "surgery/rewrite.h"

#include <stdlib.h>

int rewrite_open(struct rewrite *rw, const struct model *m, const struct container_meta *meta, size_t n,
                 struct err *e)
{
    *rw = (struct rewrite){.m = m, .w = {.like = &m->ckpt, .meta = meta, .n_meta = n}};
    rw->shard = mem_new((size_t)m->ckpt.shards, sizeof *rw->shard, e);
    return rw->shard ? 0 : -1;
}

struct out_tensor *rewrite_add(struct rewrite *rw, size_t index, struct err *e)
{
    const struct tensor *from = rw->m->ckpt.tensor[index];
    struct out_shard *s = &rw->shard[from->shard];

    if (mem_grow(&s->out, &s->cap, s->n + 1, sizeof *s->out, e))
        return NULL;
    s->out[s->n] = (struct out_tensor){.t = *from, .from = from, .role = &rw->m->role[index]};
    return &s->out[s->n++];
}

const char *rewrite_name(struct rewrite *rw, char *text, struct err *e)
{
    if (!text || mem_grow(&rw->name, &rw->cap_names, rw->names + 1, sizeof *rw->name, e)) {
        free(text);
        return NULL;
    }
    return rw->name[rw->names++] = text;
}

struct place {
    uint64_t begin;
    size_t index;
};

static int rewrite_by_place(const void *a, const void *b)
{
    const struct place *x = a, *y = b;

    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index; /* empty tensors share a place */
}

int rewrite_order(const struct model *m, int shard, size_t **index, size_t *n, struct err *e)
{
    struct place *p = mem_new(m->ckpt.shard[shard].n, sizeof *p, e);
    size_t i;

    *n = 0;
    *index = p ? mem_new(m->ckpt.shard[shard].n, sizeof **index, e) : NULL;
    if (!*index) {
        free(p);
        return -1;
    }
    for (i = 0; i < m->ckpt.n; i++)
        if (m->ckpt.tensor[i]->shard == shard)
            p[(*n)++] = (struct place){m->ckpt.tensor[i]->begin, i};
    qsort(p, *n, sizeof *p, rewrite_by_place);
    for (i = 0; i < *n; i++)
        (*index)[i] = p[i].index;
    free(p);
    return 0;
}

/* All tensors in the order of writing, and how many parameters there are and were. */
static void list_tensors(struct rewrite *rw)
{
    const struct model *m = rw->m;
    struct container_writer *w = &rw->w;
    size_t i;
    int k;

    for (i = 0; i < m->ckpt.n; i++) {
        w->before.stored += tensor_count(m->ckpt.tensor[i]);
        w->before.logical += role_weights(&m->role[i], tensor_count(m->ckpt.tensor[i]));
    }
    for (k = 0; k < m->ckpt.shards; k++)
        for (i = 0; i < rw->shard[k].n; i++) {
            const struct out_tensor *t = &rw->shard[k].out[i];

            w->after.stored += tensor_count(&t->t);
            w->after.logical += role_weights(t->role, tensor_count(&t->t));
            w->tensor[w->n++] = t->t;
        }
    if (rw->same_weights)
        w->after.stored = w->after.logical = w->before.logical;
}

int rewrite_sizes(struct rewrite *rw, struct err *e)
{
    size_t n = 0;
    int k;

    for (k = 0; k < rw->m->ckpt.shards; k++)
        n += rw->shard[k].n;
    rw->w.tensor = mem_new(n, sizeof *rw->w.tensor, e);
    if (!rw->w.tensor)
        return -1;
    list_tensors(rw);
    if (container_sizes(&rw->w, e))
        return -1;
    rw->total = rw->w.tensor_bytes;
    return 0;
}

int rewrite_step(struct rewrite *rw, uint64_t bytes, struct err *e)
{
    rw->done += bytes;
    if (rw->progress)
        rw->progress(rw->progress_ctx, rw->done, rw->total);
    return check_cancelled(e);
}

int rewrite_copy(struct rewrite *rw, const struct tensor *from, uint64_t at, uint64_t n, struct err *e)
{
    return container_copy(&rw->w, from, at, n, e) || rewrite_step(rw, n, e) ? -1 : 0;
}

int rewrite_bytes(struct rewrite *rw, const void *p, size_t n, struct err *e)
{
    return container_put(&rw->w, p, n, e) || rewrite_step(rw, n, e) ? -1 : 0;
}

static int write_tensors(struct rewrite *rw, rewrite_put *put, void *ctx, struct err *e)
{
    size_t i, at = 0;
    int k;

    for (k = 0; k < rw->m->ckpt.shards; k++)
        for (i = 0; i < rw->shard[k].n; i++)
            if (container_next(&rw->w, at++, e) || put(ctx, &rw->shard[k].out[i], e))
                return -1;
    return 0;
}

int rewrite_write(struct rewrite *rw, const char *dir, const char *config, size_t config_n, rewrite_put *put,
                  void *ctx, struct err *e)
{
    rw->w.config = config;
    rw->w.config_n = config_n;
    return container_create(&rw->w, dir, e) || write_tensors(rw, put, ctx, e) || container_finish(&rw->w, e)
               ? -1
               : 0;
}

void rewrite_free(struct rewrite *rw)
{
    size_t i;
    int k;

    container_close_writer(&rw->w);
    free(rw->w.tensor);
    for (k = 0; rw->shard && k < rw->m->ckpt.shards; k++)
        free(rw->shard[k].out);
    for (i = 0; i < rw->names; i++)
        free(rw->name[i]);
    free(rw->name);
    free(rw->shard);
    *rw = (struct rewrite){0};
}
