/*
 * test_gemm.c -- the products of gemm.h, and our own (product.h) for each instruction set that there is,
 * against double precision: odd shapes, strips, parts, and rows that must not know each other.
 */
#include "check.h"

#include <math.h>

#include "base/mem.h"
#include "cpu/gemm.h"
#include "quant/bf16.h"

#define EMULATED_TILES "emulated_tiles.h"
#define product_tiles  emulated_tiles
#include "../lib/cpu/product_bf16.c"

static struct err err;

static float noise(void)
{
    static uint32_t s = 1;

    s = s * 1664525u + 1013904223u;
    return (float)(s >> 8) / (float)(1 << 23) - 1;
}

static const struct {
    int k, n;
} shapes[] = {{64, 64}, {256, 192}, {96, 128}, {40, 17}, {2, 1}, {31, 64}, {100, 100}, {33, 48}, {2048, 33}};

static float element(const void *p, size_t i, bool bf16)
{
    return bf16 ? bf16_to_f32(((const uint16_t *)p)[i]) : ((const float *)p)[i];
}

static void put(void *p, size_t i, float v, bool bf16)
{
    if (bf16)
        ((uint16_t *)p)[i] = f32_to_bf16(v);
    else
        ((float *)p)[i] = v;
}

struct one {
    struct gemm_shape *shape; /* NULL: by `own` */
    const struct product *own;
    int k, n;
    bool bf16;
    void *x, *w, *packed; /* x [GEMM_ROWS][k], w [n][gemm_ld(k)] */
    float *y, *one;       /* [GEMM_ROWS][n] */
};

static void pack(const struct one *p)
{
    size_t row = gemm_ld(p->k) * (p->bf16 ? 2 : 4);
    int strip = p->shape ? gemm_strip(p->shape) : p->own->strip, from;

    for (from = 0; from < p->n; from += strip) {
        int n = strip < p->n - from ? strip : p->n - from;
        uint8_t *rows = (uint8_t *)p->w + (size_t)from * row;

        if (p->shape)
            CHECK(gemm_pack(p->shape, 0, rows, from, n, p->packed) == 0);
        else
            p->own->pack(p->k, n, rows, gemm_ld(p->k),
                         (uint8_t *)p->packed + p->own->packed_bytes(p->k, from));
    }
}

static void run(const struct one *p, struct gemm_part part, float *y)
{
    if (p->shape)
        CHECK(gemm_run(p->shape, 0, p->x, p->packed, part, y) == 0);
    else
        p->own->run(p->k, p->n, p->x, p->packed, part, y);
}

static void right(const struct one *p, struct gemm_part part)
{
    double off = 0, all = 0;
    int i, j, c;

    memset(p->y, 0xff, (size_t)GEMM_ROWS * (size_t)p->n * sizeof *p->y);
    run(p, part, p->y);
    for (i = 0; i < part.rows; i++)
        for (j = 0; j < part.n; j++) {
            double z = 0, d;

            for (c = 0; c < p->k; c++)
                z += (double)element(p->x, (size_t)i * (size_t)p->k + (size_t)c, p->bf16) *
                     (double)element(p->w, (size_t)j * gemm_ld(p->k) + (size_t)c, p->bf16);
            d = z - (double)p->y[i * p->n + j];
            off += d * d;
            all += z * z;
        }
    if (!(off <= 1e-10 * all))
        printf("k %d, n %d, part %d x %d x %d: off by %g\n", p->k, p->n, part.rows, part.k, part.n,
               sqrt(off / all));
    CHECK(off <= 1e-10 * all);
}

/* Rows after the first n hold what is no number. */
static void spoil(const struct one *p, int n)
{
    size_t i;

    for (i = (size_t)n * (size_t)p->k; i < (size_t)GEMM_ROWS * (size_t)p->k; i++)
        put(p->x, i, NAN, p->bf16);
}

/* g NULL: by `own` */
static void check_shape(struct gemm *g, const struct product *own, bool bf16, int k, int n)
{
    struct one p = {.own = own, .k = k, .n = n, .bf16 = bf16};
    size_t xn = (size_t)GEMM_ROWS * (size_t)k, wn = (size_t)n * gemm_ld(k),
           yn = (size_t)GEMM_ROWS * (size_t)n, i;
    int half = k / 2 / 32 * 32;

    if (g)
        CHECK(gemm_shape(g, k, n, &p.shape, &err) == 0);
    p.x = mem_new_aligned(xn, 4, &err);
    p.w = mem_new_aligned(wn, 4, &err);
    p.packed = mem_new_aligned(g ? gemm_packed_bytes(p.shape) : own->packed_bytes(k, n), 1, &err);
    p.y = mem_new_aligned(yn, sizeof *p.y, &err);
    p.one = mem_new_aligned(yn, sizeof *p.one, &err);
    for (i = 0; i < xn; i++)
        put(p.x, i, noise(), p.bf16);
    for (i = 0; i < wn; i++)
        put(p.w, i, noise(), p.bf16);
    pack(&p);
    right(&p, (struct gemm_part){GEMM_ROWS, k, n});
    spoil(&p, 37);
    right(&p, (struct gemm_part){37, k, n});
    /* the fourth row alone, in the first place */
    memcpy(p.x, (uint8_t *)p.x + 3 * (size_t)k * (p.bf16 ? 2 : 4), (size_t)k * (p.bf16 ? 2 : 4));
    run(&p, (struct gemm_part){1, k, n}, p.one);
    CHECK(memcmp(p.one, p.y + 3 * n, (size_t)n * sizeof *p.y) == 0);
    for (i = 0; i < 37; i++) {
        int c;

        for (c = half; c < k && half; c++)
            put(p.x, i * (size_t)k + (size_t)c, 0, p.bf16);
    }
    right(&p, (struct gemm_part){37, half ? half : k, n < 33 ? n : 33});
    free(p.x);
    free(p.w);
    free(p.packed);
    free(p.y);
    free(p.one);
}

static void check_shapes(struct gemm *g, const struct product *own, bool bf16)
{
    size_t i;

    for (i = 0; i < sizeof shapes / sizeof *shapes; i++)
        check_shape(g, own, bf16, shapes[i].k, shapes[i].n);
}

static void check_precision(enum precision precision)
{
    struct gemm *g;

    CHECK_MSG(gemm_open(&g, precision, 1, &err) == 0, "%s", err.msg);
    if (!g)
        return;
    CHECK(gemm_is_bf16(g) == (precision == PREC_BF16));
    check_shapes(g, NULL, gemm_is_bf16(g));
    gemm_close(g);
}

int main(void)
{
    int i;

    gemm_thread_start();
    check_precision(PREC_F32);
    check_precision(PREC_BF16);
    for (i = ISA_PLAIN; i <= (int)isa_best(); i++) {
        printf("%s\n", isa_name((enum isa)i));
        check_shapes(NULL, product_of((enum isa)i, false), false);
        check_shapes(NULL, product_of((enum isa)i, true), true);
    }
    check_shapes(NULL, &emulated_tiles, true);
    CHECK(tiles_configured == 0);
    CHECK_END();
}
