/*
 * products.cu -- the makers of matrix products, of which each matrix has one from when its shape is known.
 * One more is a file, a row here, and, if it wants weights in another layout, that in struct matrix and
 * pack.cu.
 */
#include "products.h"

#include <string.h>

/* Best first; the last one takes any matrix. */
static const struct maker *const makers[] = {&maker_wgmma, &maker_mma, &maker_plain};
enum { MAKERS = sizeof makers / sizeof *makers };

const char *const cuda_products[MAKERS + 1] = {maker_wgmma.name, maker_mma.name, maker_plain.name, NULL};

int cuda_products_prefer(struct cuda *c, const char *name, struct err *e)
{
    c->prefer = NULL;
    for (const struct maker *m : makers)
        if (name && strcmp(m->name, name) == 0)
            c->prefer = m;
    if (name && !c->prefer)
        return err_set(e, ERR_USAGE, "CUDA has no products '%s': it has %s, %s and %s", name, makers[0]->name,
                       makers[1]->name, makers[2]->name);
    return 0;
}

const struct maker *cuda_maker(const struct cuda *c, const struct matrix *m)
{
    const struct maker *const *by = makers;

    if (c->prefer && c->prefer->takes(c, m))
        return c->prefer;
    while (!(*by)->takes(c, m))
        by++;
    return *by;
}

int cuda_gemm_columns(const struct maker *by, const struct gemm *g)
{
    return (int)ceil_div(g->out, by->tile(g));
}

void cuda_gemm(struct cuda *c, const struct maker *by, const struct gemm *g)
{
    if (g->out == 0 || (g->tiles.count ? g->tiles.most == 0 : g->n == 0))
        return;
    by->run(c, g);
    cuda_launched(c, "gemm");
}
