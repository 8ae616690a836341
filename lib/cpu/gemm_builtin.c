/* gemm_builtin.c -- matrix products of our own (product.h) for everything, where oneDNN is missing. */
#include "cpu/gemm.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "cpu/product.h"

struct gemm_shape {
    int k, n;
    const struct product *product;
    struct gemm_shape *next;
};

struct gemm {
    bool bf16;
    const struct product *product;
    char library[32];
    struct gemm_shape *shapes;
};

const char *const gemm_products[] = {"builtin", NULL};

void gemm_thread_start(void)
{
}

int gemm_open(struct gemm **out, enum precision p, int workers, struct err *e)
{
    enum isa isa = isa_best();
    struct gemm *g = mem_new(1, sizeof *g, e);

    (void)workers;
    *out = g;
    if (!g)
        return -1;
    g->bf16 = p == PREC_BF16 || (p == PREC_AUTO && isa >= ISA_AVX512_BF16);
    g->product = product_of(isa, g->bf16);
    snprintf(g->library, sizeof g->library, "builtin (%s)", isa_name(isa));
    return 0;
}

void gemm_close(struct gemm *g)
{
    struct gemm_shape *s, *next;

    if (!g)
        return;
    for (s = g->shapes; s; s = next) {
        next = s->next;
        free(s);
    }
    free(g);
}

const char *gemm_library(const struct gemm *g)
{
    return g->library;
}

bool gemm_is_bf16(const struct gemm *g)
{
    return g->bf16;
}

bool gemm_parts(const struct gemm *g)
{
    (void)g;
    return true;
}

int gemm_shape(struct gemm *g, int k, int n, struct gemm_shape **out, struct err *e)
{
    struct gemm_shape *s;

    for (s = g->shapes; s; s = s->next)
        if (s->k == k && s->n == n) {
            *out = s;
            return 0;
        }
    s = mem_new(1, sizeof *s, e);
    if (!s)
        return -1;
    *s = (struct gemm_shape){k, n, g->product, g->shapes};
    g->shapes = s;
    *out = s;
    return 0;
}

size_t gemm_packed_bytes(const struct gemm_shape *s)
{
    return s->product->packed_bytes(s->k, s->n);
}

int gemm_strip(const struct gemm_shape *s)
{
    return s->product->strip;
}

int gemm_pack(struct gemm_shape *s, int worker, const void *rows, int from, int n, void *packed)
{
    (void)worker;
    s->product->pack(s->k, n, rows, gemm_ld(s->k),
                     (unsigned char *)packed + s->product->packed_bytes(s->k, from));
    return 0;
}

int gemm_run(struct gemm_shape *s, int worker, const void *x, const void *packed, struct gemm_part part,
             float *y)
{
    (void)worker;
    s->product->run(s->k, s->n, x, packed, part, y);
    return 0;
}
