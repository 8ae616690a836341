/*
 * simd.h -- 16 floats at a time, for the hot loops of the CPU backend.
 *
 * v16 is the compilers' generic vector: one register with AVX-512, two with AVX2, four with SSE or NEON. The
 * files that include this one are compiled for each instruction set (Makefile, SETS), with multiply-adds
 * fused where the set has them; sets.c chooses among the results. The order of every sum is fixed by the code
 * (16 lanes, then v16_sum), so a result depends on the set only through fused multiply-adds and the fast_
 * helpers.
 */
#ifndef MOE_CPU_SIMD_H
#define MOE_CPU_SIMD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* What a register of the set holds. The compilers cut a v16 that is larger into pieces, and keep an array of
 * such in memory: products use registers. */
#if defined(__AVX512F__)
#define REGISTER 16
#elif defined(__AVX2__)
#define REGISTER 8
#else
#define REGISTER 4
#endif
/* Whether the fast_ helpers below are instructions: AVX-512 with conversion to bf16. */
#ifdef __AVX512BF16__
#define FAST_CPU 1
#else
#define FAST_CPU 0
#endif
#define INLINE static inline __attribute__((always_inline, unused))

enum { LANES = 16 };
typedef float v16 __attribute__((vector_size(64)));
typedef int32_t v16i __attribute__((vector_size(64)));
typedef float v16_mem __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint16_t v16h_mem __attribute__((vector_size(32), aligned(2), may_alias));
typedef uint32_t v16u __attribute__((vector_size(64)));

INLINE v16 v16_load(const float *p)
{
    return *(const v16_mem *)p;
}

INLINE void v16_store(float *p, v16 v)
{
    *(v16_mem *)p = v;
}

INLINE v16 v16_all(float f)
{
    return (v16){0} + f;
}

/* m is the result of a comparison: all bits or none in each lane. */
INLINE v16 v16_select(v16i m, v16 yes, v16 no)
{
    return (v16)((m & (v16i)yes) | (~m & (v16i)no));
}

/* As x86 does it: a NaN in b is kept, one in a is not. */
INLINE v16 v16_max(v16 a, v16 b)
{
    return v16_select(a > b, a, b);
}

INLINE v16 v16_min(v16 a, v16 b)
{
    return v16_select(a < b, a, b);
}

INLINE v16 v16_abs(v16 a)
{
    return (v16)((v16i)a & 0x7fffffff);
}

/* v with its lanes 8, 4, 2 or 1 places on: four steps of these and an operation reduce all lanes. */
#define V16_MOVED(v, n)                                                                                      \
    __builtin_shufflevector(v, v, (n), 1 ^ (n), 2 ^ (n), 3 ^ (n), 4 ^ (n), 5 ^ (n), 6 ^ (n), 7 ^ (n),        \
                            8 ^ (n), 9 ^ (n), 10 ^ (n), 11 ^ (n), 12 ^ (n), 13 ^ (n), 14 ^ (n), 15 ^ (n))

/* Pairwise, in one order. */
INLINE float v16_sum(v16 v)
{
    v = v + V16_MOVED(v, 8);
    v = v + V16_MOVED(v, 4);
    v = v + V16_MOVED(v, 2);
    v = v + V16_MOVED(v, 1);
    return v[0];
}

INLINE float v16_highest(v16 v)
{
    v = v16_max(v, V16_MOVED(v, 8));
    v = v16_max(v, V16_MOVED(v, 4));
    v = v16_max(v, V16_MOVED(v, 2));
    v = v16_max(v, V16_MOVED(v, 1));
    return v[0];
}

/* bf16, round to nearest even. Infinities stay; a NaN may become another NaN. */
INLINE void v16_store_bf16(uint16_t *p, v16 v)
{
    v16u b = (v16u)v, r = (b + 0x7fff + (b >> 16 & 1)) >> 16;
    v16u nan = (v16u)(v != v);

    *(v16h_mem *)p = __builtin_convertvector((r & ~nan) | (nan & 0x7fc0), v16h_mem);
}

INLINE v16 v16_load_bf16(const uint16_t *p)
{
    return (v16)(__builtin_convertvector(*(const v16h_mem *)p, v16u) << 16);
}

/*
 * e^x within about 1 ulp for -87.3 <= x <= 88; 0 below (so -infinity gives 0), e^88 above; NaN stays.
 * x = n ln 2 + r with |r| <= ln 2 / 2; the polynomial is that of Cephes' expf (Moshier).
 */
INLINE v16 v16_exp(v16 x)
{
    const float magic = 0x1.8p23f; /* adding it rounds to an integer, which then stands in the low bits */
    v16i tiny = x < -87.3f;
    v16 t, n, r, p;

    x = v16_select(x > 88.0f, v16_all(88.0f), x);
    x = v16_select(tiny, v16_all(-87.3f), x);
    t = x * 1.44269504088896341f + magic;
    n = t - magic;
    r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    p = v16_all(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    p = (v16)((v16i)p + (v16i)((v16u)t << 23)); /* times 2^n: magic's own low bits are zero */
    return v16_select(tiny, v16_all(0), p);
}

#if FAST_CPU
/* What the compiler does not make of the generic vectors. */
INLINE v16 fast_max(v16 a, v16 b)
{
    v16 r;

    __asm__("vmaxps %2, %1, %0" : "=v"(r) : "v"(a), "v"(b));
    return r;
}

INLINE void fast_store_bf16(uint16_t *p, v16 v)
{
    v16h_mem h;

    __asm__("vcvtneps2bf16 %1, %0" : "=v"(h) : "v"(v));
    *(v16h_mem *)p = h;
}

/* 2^x to 3e-6 of itself, 0 or infinite where f32 ends: a least-squares polynomial above the integer below. */
INLINE v16 fast_exp2(v16 x)
{
    v16 r, p;

    __asm__("vreduceps $9, %1, %0" : "=v"(r) : "v"(x)); /* x less the integer below */
    p = r * 1.353417e-2f + 5.201147e-2f;
    p = p * r + 2.4144275e-1f;
    p = p * r + 6.9300384e-1f;
    p = p * r + 1.00000259f;
    __asm__("vscalefps %2, %1, %0" : "=v"(r) : "v"(p), "v"(x));
    return r;
}
#else
#define fast_max        v16_max
#define fast_store_bf16 v16_store_bf16
#define fast_exp2(x)    v16_exp((x)*0.69314718f)
#endif

/* The first n < LANES lanes; the others are zero, or not stored. */
INLINE v16 v16_load_part(const float *p, int n)
{
    float a[LANES] = {0};

    memcpy(a, p, (size_t)n * sizeof *p);
    return v16_load(a);
}

INLINE void v16_store_part(float *p, v16 v, int n)
{
    float a[LANES];

    v16_store(a, v);
    memcpy(p, a, (size_t)n * sizeof *p);
}

/* FAST: BF16 in a function that uses the fast_ helpers; HALF: the better of the two that there is. */
enum elem { F32, BF16, FAST, HALF = FAST_CPU ? FAST : BF16 };

/* n <= LANES elements, f32 or bf16, from element i of p on. */
INLINE v16 elem_load(const void *p, size_t i, int n, const enum elem bf16)
{
    uint16_t h[LANES] = {0};

    if (!bf16)
        return n == LANES ? v16_load((const float *)p + i) : v16_load_part((const float *)p + i, n);
    if (n == LANES)
        return v16_load_bf16((const uint16_t *)p + i);
    memcpy(h, (const uint16_t *)p + i, (size_t)n * sizeof *h);
    return v16_load_bf16(h);
}

INLINE void elem_store(void *p, size_t i, v16 v, int n, const enum elem bf16)
{
    uint16_t h[LANES];

    if (!bf16 && n == LANES) {
        v16_store((float *)p + i, v);
    } else if (!bf16) {
        v16_store_part((float *)p + i, v, n);
    } else if (n == LANES && bf16 == FAST) {
        fast_store_bf16((uint16_t *)p + i, v);
    } else if (n == LANES) {
        v16_store_bf16((uint16_t *)p + i, v);
    } else {
        v16_store_bf16(h, v);
        memcpy((uint16_t *)p + i, h, (size_t)n * sizeof *h);
    }
}

/* How many lanes of a row of n are left at i. */
INLINE int lanes_at(int i, int n)
{
    return n - i < LANES ? n - i : LANES;
}

/* Of 32 registers QUAD x 4 collect sums, of 16 QUAD x 2. */
enum { QUAD = 4, WIDE = REGISTER == 16 ? 4 : 2 };
typedef float reg __attribute__((vector_size(4 * REGISTER)));
typedef float reg_mem __attribute__((vector_size(4 * REGISTER), aligned(4), may_alias));

/* c [QUAD][REGISTER * w] (+)= a [QUAD][k] b [k][REGISTER * w], w <= WIDE; the sums stay in registers. */
INLINE void outer(const float *a, size_t lda, const float *b, size_t ldb, int k, float *c, size_t ldc,
                  const int w, bool add)
{
    reg s[QUAD][WIDE] = {{{0}}};
    int i, j, p;

    for (i = 0; i < QUAD && add; i++)
        for (j = 0; j < w; j++)
            s[i][j] = *(const reg_mem *)(c + (size_t)i * ldc + j * REGISTER);
    for (p = 0; p < k; p++) {
        reg col[WIDE];

        for (j = 0; j < w; j++)
            col[j] = *(const reg_mem *)(b + (size_t)p * ldb + j * REGISTER);
        for (i = 0; i < QUAD; i++)
            for (j = 0; j < w; j++)
                s[i][j] += a[(size_t)i * lda + (size_t)p] * col[j];
    }
    for (i = 0; i < QUAD; i++)
        for (j = 0; j < w; j++)
            *(reg_mem *)(c + (size_t)i * ldc + j * REGISTER) = s[i][j];
}

/* The same for n columns, a multiple of LANES, as wide at a time as there are registers for. */
INLINE void outer_row(const float *a, size_t lda, const float *b, size_t ldb, int k, float *c, size_t ldc,
                      int n, bool add)
{
    int j = 0;

    for (; j + WIDE * REGISTER <= n; j += WIDE * REGISTER)
        outer(a, lda, b + j, ldb, k, c + j, ldc, WIDE, add);
    for (; j + 2 * REGISTER <= n; j += 2 * REGISTER)
        outer(a, lda, b + j, ldb, k, c + j, ldc, 2, add);
    for (; j < n; j += REGISTER)
        outer(a, lda, b + j, ldb, k, c + j, ldc, 1, add);
}

#endif
