/*
 * latent.c -- k and v of a latent by two matrices, as GGUF files have them, put together into the one that
 * the product is made with.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "load/weights_private.h"

static size_t joined_floats(const struct layer_arch *l)
{
    return (size_t)l->attn.heads * (size_t)(l->latent.nope + l->attn.v_dim) * (size_t)l->latent.kv;
}

int latent_room(struct weights *w, struct err *e)
{
    const struct arch *a = &w->m->arch;
    size_t most = 0, n;
    int i;

    for (i = 0; i < a->layers; i++) {
        n = a->layer[i].latent.kv_two ? joined_floats(&a->layer[i]) : 0;
        most = n > most ? n : most;
    }
    if (!most)
        return 0;
    w->joined = w->d->ops->host_new(w->d, most * sizeof *w->joined, e);
    return w->joined ? 0 : -1;
}

/* Stored rows from .. from+n-1, each of `in` elements, as the columns of dst [in][n]. */
static bool turn_back(const struct stored *s, int from, int n, float *row, float *dst)
{
    bool ok = true;
    int k, i;

    for (k = 0; k < n; k++) {
        ok = stored_rows(s, from + k, 1, row, (size_t)s->in, false) && ok;
        for (i = 0; i < s->in; i++)
            dst[(size_t)i * (size_t)n + (size_t)k] = row[i];
    }
    return ok;
}

int latent_join(struct weights *w, int layer, struct matrix_job *job, struct err *e)
{
    const struct layer_arch *l = &w->m->arch.layer[layer];
    const struct stored *k = &job->part[0], *v = &job->part[1];
    int kv = l->latent.kv, nope = l->latent.nope, v_dim = l->attn.v_dim, h;
    float *row = mem_new((size_t)nope, sizeof *row, e), *dst = w->joined;
    const struct stored *bad = NULL;

    if (!row)
        return -1;
    for (h = 0; h < l->attn.heads && !bad; h++) {
        if (!turn_back(k, h * kv, kv, row, dst))
            bad = k;
        dst += (size_t)nope * (size_t)kv;
        if (!stored_rows(v, h * v_dim, v_dim, dst, (size_t)kv, false))
            bad = v;
        dst += (size_t)v_dim * (size_t)kv;
    }
    free(row);
    if (bad)
        return err_set(e, ERR_INPUT, "tensor '%s' holds a value that is not a finite number", bad->name);
    job->part[0] = stored_floats(DT_F32, w->joined, l->attn.heads * (nope + v_dim), kv, k->name);
    job->parts = 1;
    return 0;
}
