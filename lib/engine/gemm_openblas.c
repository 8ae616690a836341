#ifdef MOE_OPENBLAS
/* Matrix products by OpenBLAS (f32 only), where oneDNN is missing. "Packed" is W as it is, without the
 * padding between rows. */
#include "engine/gemm.h"

#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct gemm_shape {
    int k, n;
    struct gemm_shape *next;
};

struct gemm {
    char library[128];
    struct gemm_shape *shapes;
};

void gemm_thread_start(void)
{
}

int gemm_open(struct gemm **out, enum precision p, int workers, struct err *e)
{
    struct gemm *g;

    (void)workers;
    *out = NULL;
    if (p == PREC_BF16)
        return err_set(e, ERR_DEVICE,
                       "built with OpenBLAS, which has no bf16 products: use --precision f32, or build with "
                       "oneDNN installed");
    openblas_set_num_threads(1);
    g = mem_new(1, sizeof *g, e);
    if (!g)
        return -1;
    snprintf(g->library, sizeof g->library, "%s (%s)", openblas_get_config(), openblas_get_corename());
    *out = g;
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
    (void)g;
    return false;
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
    *s = (struct gemm_shape){k, n, g->shapes};
    g->shapes = s;
    *out = s;
    return 0;
}

size_t gemm_packed_bytes(const struct gemm_shape *s)
{
    return (size_t)s->k * (size_t)s->n * sizeof(float);
}

size_t gemm_ld(int k)
{
    return (size_t)k;
}

int gemm_pack(struct gemm_shape *s, int worker, const void *rows, void *packed)
{
    (void)worker;
    memcpy(packed, rows, gemm_packed_bytes(s));
    return 0;
}

int gemm_run(struct gemm_shape *s, int worker, const void *x, const void *packed, float *y)
{
    (void)worker;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, GEMM_ROWS, s->n, s->k, 1, x, s->k, packed, s->k, 0,
                y, s->n);
    return 0;
}

#else
typedef int moe_gemm_openblas_not_built;
#endif
