/*
 * products.h -- private to the products: which tile a block works on, and where weights stand.
 */
#ifndef MOE_KERNELS_PRODUCTS_H
#define MOE_KERNELS_PRODUCTS_H

#include "backend.h"

/* A tile of the result: `rows` <= TILE_M sorted rows from `at`, columns from `column`. */
struct block {
    int group, rows, column;
    int64_t at;
    const void *w;
};

/* Tile `row` of the rows; columns are the caller's. */
static __device__ __forceinline__ void block_find(const struct gemm &g, int row, struct block *b)
{
    int64_t left = g.n - (int64_t)row * TILE_M;
    int4 t =
        g.tiles.count ? g.tiles.tile[row] : make_int4(0, row * TILE_M, left < TILE_M ? (int)left : TILE_M, 0);

    b->group = t.x;
    b->at = t.y;
    b->rows = t.z;
    b->w = g.each ? g.each[b->group] : g.w;
}

/* silu(g) * u, or GPT-OSS's clamped (u + 1) * g * sigmoid(1.702 g). */
static __device__ __forceinline__ float activate(float g, float u, enum act_kind act, float limit)
{
    if (act == ACT_SILU_GLU)
        return g / (1.0f + expf(-g)) * u;
    g = g > limit ? limit : g; /* not fminf: a NaN must stay one */
    u = u > limit ? limit : u;
    u = u < -limit ? -limit : u;
    return (u + 1.0f) * (g / (1.0f + expf(g * -1.702f)));
}

/* A way to multiply: whether it takes a matrix, columns of a tile of a product, and the product. */
struct maker {
    const char *name;
    bool (*takes)(const struct cuda *c, const struct matrix *m);
    int (*tile)(const struct gemm *g);
    void (*run)(struct cuda *c, const struct gemm *g);
};

extern const struct maker maker_wgmma, maker_mma, maker_plain;

#endif
