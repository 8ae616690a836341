/* heads.c -- the maps to the vocabulary that an engine keeps from one call to the next. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "engine/engine_private.h"

static void drop(struct engine *en, struct kept_head *h)
{
    head_weights_free(en->d, &h->w);
    free(h->dir);
    *h = en->head[--en->heads];
}

/* A model opened anew may stand where another one stood. */
static bool heads_same(const struct kept_head *h, const struct model *m)
{
    return h->m == m && strcmp(h->dir, m->dir) == 0;
}

void engine_heads_keep(struct engine *en, const struct judged *of, int n)
{
    int i = en->heads, k;

    while (i-- > 0) {
        for (k = 0; k < n && !heads_same(&en->head[i], of[k].m); k++)
            ;
        if (k == n)
            drop(en, &en->head[i]);
    }
}

int engine_head(struct engine *en, const struct model *m, struct head_weights *out, struct err *e)
{
    struct kept_head *h;
    int i;

    for (i = 0; i < en->heads; i++)
        if (heads_same(&en->head[i], m)) {
            *out = en->head[i].w;
            return 0;
        }
    if (mem_grow(&en->head, &en->heads_cap, (size_t)en->heads + 1, sizeof *en->head, e))
        return -1;
    h = &en->head[en->heads];
    *h = (struct kept_head){.m = m, .dir = mem_strdup(m->dir, e)};
    if (!h->dir || weights_head(en->d, m, &h->w, e)) {
        free(h->dir);
        return -1;
    }
    en->heads++;
    *out = h->w;
    return 0;
}
