/*
 * gemm.h -- matrix products y = x W^T with W packed once, in tiles of GEMM_ROWS rows.
 *
 * One tile height for everything: a row's result then does not depend on its neighbours, nor on how
 * many rows there are. A tile with fewer rows is padded (whatever stands in the padding changes nothing
 * but the padding). Every call is single-threaded; threads are the caller's, each with its own worker number.
 * Implemented by gemm_onednn.c or gemm_builtin.c: the Makefile takes one.
 */
#ifndef MOE_CPU_GEMM_H
#define MOE_CPU_GEMM_H

#include "device/device.h"

enum { GEMM_ROWS = TILE_ROWS };

/* The maker of linear maps that was built, as struct device_can wants it. */
extern const char *const gemm_products[];

struct gemm;
struct gemm_shape; /* [GEMM_ROWS][k] x [k][n] */

/* PREC_AUTO: bf16 where the processor has bf16 products and the library uses them, else f32. */
int gemm_open(struct gemm **out, enum precision p, int workers, struct err *e);
void gemm_close(struct gemm *g);
const char *gemm_library(const struct gemm *g);
bool gemm_is_bf16(const struct gemm *g);
/* Must run once on every thread that calls the library (the libraries have threads of their own). */
void gemm_thread_start(void);

/* Found or made; owned by g. Not thread-safe. */
int gemm_shape(struct gemm *g, int k, int n, struct gemm_shape **out, struct err *e);
size_t gemm_packed_bytes(const struct gemm_shape *s);
/* Row length in elements that rows[] of gemm_pack must have. Rows that are a power of two apart would fall
 * into the same cache sets: reordering them takes six times as long. */
static inline size_t gemm_ld(int k)
{
    return (size_t)k + 32;
}

/* How many rows of W should be packed at a time: a whole fraction of them, or all. */
int gemm_strip(const struct gemm_shape *s);
/* rows: rows from .. from+n-1 of W, [n][gemm_ld(k)] in the engine's element type, from a multiple of
 * gemm_strip, n that or what is left; packed: gemm_packed_bytes, 64-byte aligned. */
int gemm_pack(struct gemm_shape *s, int worker, const void *rows, int from, int n, void *packed);
/* What is wanted of a product: rows of y, its first n columns, and of x the first k inputs, beyond which it
 * is zero. More may be computed: all of it, unless gemm_parts() says that less is cheaper. */
struct gemm_part {
    int rows, k, n;
};
bool gemm_parts(const struct gemm *g);
/* x [GEMM_ROWS][k] in the element type, y [GEMM_ROWS][n] f32, both contiguous. -1: the library failed. */
int gemm_run(struct gemm_shape *s, int worker, const void *x, const void *packed, struct gemm_part part,
             float *y);

#endif
