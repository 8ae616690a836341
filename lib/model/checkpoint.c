/*
 * checkpoint.c -- the tensors of a model, whichever container they are in.
 */
#include "model/checkpoint.h"

#include <stdlib.h>
#include <string.h>

#include "model/container.h"

static int by_tensor(const void *a, const void *b)
{
    return strcmp((*(const struct tensor *const *)a)->name, (*(const struct tensor *const *)b)->name);
}

int checkpoint_open(struct checkpoint *c, const char *path, const struct container *const *containers,
                    struct err *e)
{
    int r = -1;

    *c = (struct checkpoint){.container = container_of(path, containers), .dir = mem_strdup(path, e)};
    if (!c->container)
        err_set(e, ERR_INPUT, "'%s' is no model", path);
    else if (c->dir)
        r = c->container->open(c, e);
    if (r)
        checkpoint_close(c);
    return r;
}

int checkpoint_config(const struct checkpoint *c, char **text, size_t *n, char **what, struct err *e)
{
    return c->container->config(c, text, n, what, e);
}

int checkpoint_tensors(struct checkpoint *c, const struct arch *a, bool partial, struct err *e)
{
    return c->container->tensors(c, a, partial, e);
}

int checkpoint_take(struct checkpoint *c, struct tensor *t, size_t n, struct err *e)
{
    const struct tensor **all = realloc(c->tensor, (c->n + n + 1) * sizeof *all);
    size_t i;

    if (!all)
        return err_set(e, ERR_NOMEM, "no memory for the names of %zu tensors", c->n + n);
    c->tensor = all;
    for (i = 0; i < n; i++) {
        t[i].shard = c->shards - 1;
        c->tensor_bytes += t[i].size;
        c->tensor[c->n++] = &t[i];
    }
    return 0;
}

int checkpoint_sort(struct checkpoint *c, struct err *e)
{
    size_t k;

    qsort(c->tensor, c->n, sizeof *c->tensor, by_tensor);
    for (k = 1; k < c->n; k++)
        if (strcmp(c->tensor[k - 1]->name, c->tensor[k]->name) == 0)
            return err_set(e, ERR_INPUT, "tensor '%s' is in '%s' and in '%s' of '%s'", c->tensor[k]->name,
                           c->shard_name[c->tensor[k - 1]->shard], c->shard_name[c->tensor[k]->shard],
                           c->dir);
    return 0;
}

const char *checkpoint_meta(const struct checkpoint *c, const char *key)
{
    return c->container->meta(c, key);
}

size_t checkpoint_from(const struct checkpoint *c, const char *name)
{
    size_t lo = 0, hi = c->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (strcmp(c->tensor[mid]->name, name) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

ptrdiff_t checkpoint_index(const struct checkpoint *c, const char *name)
{
    size_t i = checkpoint_from(c, name);

    return i < c->n && strcmp(c->tensor[i]->name, name) == 0 ? (ptrdiff_t)i : -1;
}

const struct tensor *checkpoint_find(const struct checkpoint *c, const char *name)
{
    ptrdiff_t i = checkpoint_index(c, name);

    return i < 0 ? NULL : c->tensor[i];
}

int checkpoint_read(const struct checkpoint *c, const struct tensor *t, uint64_t off, void *dst, size_t n,
                    struct err *e)
{
    return rfile_read(c->shard[t->shard].file, t->begin + off, dst, n, e);
}

void checkpoint_close(struct checkpoint *c)
{
    int i;

    if (c->container)
        c->container->close(c);
    for (i = 0; c->shard_name && i < c->shards; i++)
        free(c->shard_name[i]);
    free(c->shard);
    free(c->shard_name);
    free(c->tensor);
    free(c->dir);
    *c = (struct checkpoint){0};
}
