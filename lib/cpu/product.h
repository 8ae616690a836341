/*
 * product.h -- private to gemm.h's makers: products of our own, y = x W^T, f32 sums over all inputs in order.
 * Unlike a library's they cost what their rows cost, and little for a call. See gemm.h for the arrays.
 */
#ifndef MOE_CPU_PRODUCT_H
#define MOE_CPU_PRODUCT_H

#include <stddef.h>

#include "base/isa.h"
#include "cpu/gemm.h"

struct product {
    int strip; /* of rows of W, which may be packed one after the other */
    size_t (*packed_bytes)(int k, int n);
    /* n rows of W [n][ld], to the place where those before them end. */
    void (*pack)(int k, int n, const void *rows, size_t ld, void *packed);
    /* y [GEMM_ROWS][n] = x [GEMM_ROWS][k] W^T, of which `part` is wanted: writes at most whole sixteens of
     * rows and columns, the latter within n; reads x in whole sixteens of rows and, within k, thirty-twos of
     * inputs. */
    void (*run)(int k, int n, const void *x, const void *packed, struct gemm_part part, float *y);
};

/* The fastest one of this set of instructions, which the processor must have. */
const struct product *product_of(enum isa isa, bool bf16);

#endif
