/* test_quant.c -- number formats: bf16, f16 and MXFP4, against definitions written out the slow way. */
#include "check.h"

#include <float.h>

#include "base/isa.h"
#include "quant/bf16.h"
#include "quant/fp8.h"
#include "quant/int4.h"
#include "quant/mxfp4.h"
#include "quant/nvfp4.h"

static const double grid[8] = {0, .5, 1, 1.5, 2, 3, 4, 6};

static uint64_t rng_state = 88172645463325252u;
static uint32_t rng(void)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return (uint32_t)(rng_state >> 32);
}
static double uniform(void)
{
    return (rng() + 0.5) / 4294967296.0;
}
static double gauss(void)
{
    return sqrt(-2 * log(uniform())) * cos(6.283185307179586 * uniform());
}

/* The nearest bf16 by search among the two neighbours, ties to the even one. */
static uint16_t slow_bf16(float f)
{
    uint32_t b;
    uint16_t lo;
    double dl, dh, hi_value;

    memcpy(&b, &f, 4);
    lo = (uint16_t)(b >> 16);
    dl = fabs((double)f - bf16_to_f32(lo));
    hi_value = (lo & 0x7fff) == 0x7f7f ? copysign(0x1p128, f) : bf16_to_f32((uint16_t)(lo + 1));
    dh = fabs(hi_value - (double)f);
    return dl < dh || (dl == dh && !(lo & 1)) ? lo : (uint16_t)(lo + 1);
}

static void test_bf16(void)
{
    static float f[1000], back[1000];
    static uint16_t h[1000];
    int i, wrong = 0;

    CHECK(f32_to_bf16(NAN) == 0x7fc0 || f32_to_bf16(NAN) == 0xffc0);
    CHECK(f32_to_bf16(INFINITY) == 0x7f80);
    CHECK(f32_to_bf16(-INFINITY) == 0xff80);
    CHECK(f32_to_bf16(FLT_MAX) == 0x7f80);
    CHECK(f32_to_bf16(-0.0f) == 0x8000);
    CHECK(f32_to_bf16(1.00390625f) == 0x3f80); /* a tie: to even, down */
    CHECK(f32_to_bf16(1.01171875f) == 0x3f82); /* a tie: to even, up */
    for (i = 0; i < 1000; i++) {
        uint32_t b = rng();

        if ((b & 0x7f800000) == 0x7f800000)
            b &= 0x80ffffff;
        memcpy(&f[i], &b, 4);
    }
    f32_to_bf16_n(f, h, 1000);
    for (i = 0; i < 1000; i++)
        wrong += h[i] != slow_bf16(f[i]);
    CHECK_MSG(wrong == 0, "%d of 1000 f32 to bf16 wrong", wrong);
    bf16_to_f32_n(h, back, 1000);
    for (i = wrong = 0; i < 1000; i++)
        wrong += f32_to_bf16(back[i]) != h[i];
    CHECK_MSG(wrong == 0, "%d of 1000 bf16 to f32 and back wrong", wrong);
}

static void test_f16(void)
{
    uint16_t h[65536];
    static float f[65536];
    int i, wrong = 0;

    for (i = 0; i < 65536; i++)
        h[i] = (uint16_t)i;
    f16_to_f32_n(h, f, 65536);
    for (i = 0; i < 65536; i++) {
        int exp = i >> 10 & 31, man = i & 1023;
        double want = exp == 31 ? (man ? (double)NAN : (double)INFINITY)
                      : exp     ? ldexp(1024 + man, exp - 25)
                                : ldexp(man, -24);

        if (i >> 15)
            want = -want;
        wrong += isnan(want) ? !isnan(f[i]) : (double)f[i] != want || !signbit(f[i]) != !signbit(want);
    }
    CHECK_MSG(wrong == 0, "%d of 65536 f16 wrong", wrong);
}

static void test_decode(void)
{
    uint8_t block[MXFP4_BYTES];
    uint16_t half[MXFP4_BLOCK];
    float full[MXFP4_BLOCK];
    int s, k, wrong = 0;

    for (s = 0; s < 256; s++) {
        uint8_t scale = (uint8_t)s;

        for (k = 0; k < MXFP4_BYTES; k++)
            block[k] = (uint8_t)(2 * k % 16 | (2 * k + 1) % 16 << 4);
        mxfp4_to_f32(block, &scale, 1, full);
        mxfp4_to_bf16(block, &scale, 1, half);
        for (k = 0; k < MXFP4_BLOCK; k++) {
            double want = ldexp(grid[k & 7], s - 127);
            float b = bf16_to_f32(half[k]);

            if (want >= 0x1p128)
                want = INFINITY;
            if (k & 8)
                want = -want;
            if (s == 255)
                wrong += !isnan(full[k]) || !isnan(b);
            else
                wrong += (double)full[k] != want || (double)b != want || !signbit(b) != !signbit(want);
        }
    }
    CHECK_MSG(wrong == 0, "%d of 256 x 32 decoded values wrong", wrong);
    memset(block, 0, sizeof block);
    block[3] = 0x72; /* element 6 in the low nibble, 7 in the high one */
    mxfp4_to_f32(block, (const uint8_t[]){127}, 1, full);
    CHECK(full[6] == 1 && full[7] == 6 && full[5] == 0 && full[8] == 0);
    CHECK(mxfp4_bad_scale((const uint8_t[]){1, 254, 255, 3}, 4) == 2);
    CHECK(mxfp4_bad_scale((const uint8_t[]){1, 254, 0, 3}, 4) == 4);
    CHECK(mxfp4_bad_scale(NULL, 0) == 0);
}

/* Every code against every scale comes back with the same values. */
static void test_round_trip(void)
{
    uint8_t block[MXFP4_BYTES], scale, again[MXFP4_BYTES], scale2;
    float v[MXFP4_BLOCK], w[MXFP4_BLOCK];
    int s, top, k, wrong = 0;
    double err2 = 0, sum2 = 0;

    for (s = 0; s <= 252; s++)
        for (top = 0; top < 8; top++) {
            scale = (uint8_t)s;
            for (k = 0; k < MXFP4_BYTES; k++) /* all codes whose magnitude is at most top */
                block[k] = (uint8_t)(k % (top + 1) | ((k + 5) % (top + 1) | 8) << 4);
            mxfp4_to_f32(block, &scale, 1, v);
            mxfp4_from_f32(v, 1, again, &scale2, &err2, &sum2);
            mxfp4_to_f32(again, &scale2, 1, w);
            for (k = 0; k < MXFP4_BLOCK; k++)
                wrong += v[k] != w[k] || !signbit(v[k]) != !signbit(w[k]);
        }
    CHECK_MSG(wrong == 0, "%d values did not come back", wrong);
    CHECK(err2 == 0);
    CHECK(sum2 > 0);
}

/* One block whose largest element is 6 (so that the scale is 1) and whose second one is v. */
static int code_of(float v)
{
    float x[MXFP4_BLOCK] = {6, v};
    uint8_t block[MXFP4_BYTES], scale;

    mxfp4_from_f32(x, 1, block, &scale, NULL, NULL);
    CHECK(scale == 127);
    return block[0] >> 4;
}

static void test_thresholds(void)
{
    static const struct {
        float tie;
        int below, at, above;
    } t[] = {{.25f, 0, 0, 1}, {.75f, 1, 2, 2}, {1.25f, 2, 2, 3}, {1.75f, 3, 4, 4},
             {2.5f, 4, 4, 5}, {3.5f, 5, 6, 6}, {5, 6, 6, 7}};
    size_t i;

    for (i = 0; i < sizeof t / sizeof *t; i++) {
        CHECK(code_of(nextafterf(t[i].tie, 0)) == t[i].below);
        CHECK(code_of(t[i].tie) == t[i].at);
        CHECK(code_of(nextafterf(t[i].tie, 9)) == t[i].above);
        CHECK(code_of(-t[i].tie) == (t[i].at | 8));
    }
}

/* Error of the best code for each element under the scale byte s, in f64. */
static double error_at(const float *v, int s)
{
    double err = 0;
    int k, c;

    for (k = 0; k < MXFP4_BLOCK; k++) {
        double best = INFINITY;

        for (c = 0; c < 8; c++) {
            double d = fabs((double)v[k]) - ldexp(grid[c], s - 127);

            best = d * d < best ? d * d : best;
        }
        err += best;
    }
    return err;
}

/* The choice between the two exponents, and how far it is from the best of all exponents. */
static void test_scale(void)
{
    double chosen = 0, best_of_all = 0;
    int i, k, s, wrong = 0;

    for (i = 0; i < 3000; i++) {
        float v[MXFP4_BLOCK], amax = 0;
        uint8_t block[MXFP4_BYTES], scale;
        double phase = exp2(uniform()), err2 = 0, sum2 = 0, want = 0, best = INFINITY, e0, e1;
        int ocp;

        for (k = 0; k < MXFP4_BLOCK; k++) {
            double g = gauss();

            v[k] = (float)(phase * (i % 3 == 0   ? g
                                    : i % 3 == 1 ? copysign(log(uniform()), g)
                                                 : g / uniform()));
            amax = fabsf(v[k]) > amax ? fabsf(v[k]) : amax;
            want += (double)v[k] * v[k];
        }
        mxfp4_from_f32(v, 1, block, &scale, &err2, &sum2);
        ocp = (int)floor(log2((double)amax)) - 2 + 127;
        e0 = error_at(v, ocp);
        e1 = error_at(v, ocp + 1);
        wrong += scale != (e1 < e0 ? ocp + 1 : ocp);
        wrong += fabs(err2 - (e1 < e0 ? e1 : e0)) > 1e-12 * e0 || fabs(sum2 - want) > 1e-12 * want;
        for (s = ocp - 6; s < ocp + 8; s++)
            best = error_at(v, s) < best ? error_at(v, s) : best;
        chosen += err2 / sum2;
        best_of_all += best / sum2;
    }
    CHECK_MSG(wrong == 0, "%d of 3000 blocks: not the better of the two scales, or its error", wrong);
    CHECK_MSG(chosen <= best_of_all * 1.0001, "two candidates: %.9g, all exponents: %.9g", chosen / 3000,
              best_of_all / 3000);
    printf("relative squared error: two candidates %.6f, all exponents %.6f\n", chosen / 3000,
           best_of_all / 3000);
}

static void test_edges(void)
{
    float v[2 * MXFP4_BLOCK] = {0}, w[2 * MXFP4_BLOCK];
    uint8_t block[2 * MXFP4_BYTES], scale[2];
    double err2 = 0, sum2 = 0;
    int k, finite = 1;

    memset(block, 0xee, sizeof block);
    v[0] = -0.0f;
    v[32] = 1;
    mxfp4_from_f32(v, 2, block, scale, &err2, &sum2);
    CHECK(scale[0] == 0 && block[0] == 8 && block[15] == 0);
    CHECK(err2 == 0 && sum2 == 1);
    v[1] = FLT_TRUE_MIN; /* far below the smallest element, 2^-128: becomes 0 */
    v[32] = 0x1p-128f;
    mxfp4_from_f32(v, 2, block, scale, NULL, NULL);
    mxfp4_to_f32(block, scale, 2, w);
    CHECK(w[1] == 0 && w[32] == 0x1p-128f);
    for (k = 0; k < MXFP4_BLOCK; k++)
        v[k] = k & 1 ? FLT_MAX : -FLT_MAX;
    mxfp4_from_f32(v, 1, block, scale, NULL, NULL);
    mxfp4_to_f32(block, scale, 1, w);
    for (k = 0; k < MXFP4_BLOCK; k++)
        finite &= isfinite(w[k]) && w[k] == (k & 1 ? 0x1.8p127f : -0x1.8p127f);
    CHECK_MSG(finite, "FLT_MAX must saturate at the largest finite value, got %g", (double)w[1]);
}

/* Whatever set of instructions encodes: the same bytes, and the same sums to the bit. */
static void test_sets(void)
{
    enum { BLOCKS = 4000 };
    static float v[BLOCKS * MXFP4_BLOCK];
    static uint8_t block[2][BLOCKS * MXFP4_BYTES], scale[2][BLOCKS];
    double err[2], sum[2];
    int i, s;

    for (i = 0; i < BLOCKS * MXFP4_BLOCK; i++) {
        int kind = i / MXFP4_BLOCK % 8;

        v[i] = (float)(kind == 0   ? ldexp(gauss(), (int)(rng() % 250) - 125)
                       : kind == 1 ? ldexp(grid[rng() % 8] * (rng() & 1 ? 1 : -1), -i / MXFP4_BLOCK % 120)
                       : kind == 2 ? copysign(0, gauss())
                       : kind == 3 ? ldexp(gauss(), -140)
                                   : gauss() / (kind == 4 ? uniform() : 20));
    }
    for (s = ISA_PLAIN; s < ISA_COUNT; s++) {
        int k = s > ISA_PLAIN;

        isa_limit((enum isa)s);
        err[k] = sum[k] = 0;
        mxfp4_from_f32(v, BLOCKS, block[k], scale[k], &err[k], &sum[k]);
        CHECK_MSG(memcmp(block[0], block[k], sizeof *block) == 0 &&
                      memcmp(scale[0], scale[k], sizeof *scale) == 0,
                  "%s encodes to other bytes", isa_name((enum isa)s));
        CHECK_MSG(err[0] == err[k] && sum[0] == sum[k], "%s sums to other errors", isa_name((enum isa)s));
    }
    isa_limit(ISA_COUNT - 1);
}

/* ---- other formats ---- */

/* Normal, Laplace and Student's t with five degrees of freedom. */
static double draw(int kind)
{
    double g = gauss(), chi = 0;
    int i;

    if (kind == 0)
        return g;
    if (kind == 1)
        return copysign(log(uniform()), g);
    for (i = 0; i < 5; i++) {
        double x = gauss();

        chi += x * x;
    }
    return g / sqrt(chi / 5);
}

/* The nearest E4M3 code to every number, ties to even, by search. */
static void test_e4m3(void)
{
    static float v[20000];
    static uint8_t code[20000];
    double err = 0, sum = 0;
    int i, c, wrong = 0;

    for (i = 0; i < 20000; i++)
        v[i] = i < 1000 ? (float)(i - 500) / 1024 : (float)ldexp(gauss(), (int)(rng() % 22) - 11);
    for (c = 0; c < 126; c++) { /* and what lies between two of them */
        v[2 * c] = (e4m3_value[c] + e4m3_value[c + 1]) / 2;
        v[2 * c + 1] = -e4m3_value[c];
    }
    e4m3_from_f32(v, 1, 20000, code, &err, &sum);
    for (i = 0; i < 20000; i++) {
        double got = fabs(fabs((double)v[i]) - fabs((double)e4m3_value[code[i]]));

        for (c = 0; c < 127; c++) {
            double d = fabs(fabs((double)v[i]) - (double)e4m3_value[c]);

            wrong += d < got || (d == got && c != (code[i] & 127) && !(c & 1));
        }
        wrong += (code[i] >> 7) != !!signbit(v[i]);
    }
    CHECK_MSG(wrong == 0, "%d of 20000 numbers have another E4M3 code", wrong);
}

/* Weighed error of a block of 16 with the scale d, the nearest of the grid for each. */
static double nvfp4_error(const float *v, const float *w, double d)
{
    double err = 0;
    int k, c;

    for (k = 0; k < NVFP4_BLOCK; k++) {
        double best = INFINITY;

        for (c = 0; c < 8; c++) {
            double x = fabs((double)v[k]) - grid[c] * d;

            best = x * x < best ? x * x : best;
        }
        err += best * (double)w[k];
    }
    return err;
}

/* No code of E4M3 is better than the one of the sweep. */
static void test_sweep(void)
{
    int i, k, c, wrong = 0;

    for (i = 0; i < 2000; i++) {
        float v[NVFP4_BLOCK], w[NVFP4_BLOCK], global = i % 4 ? 64 : (float)ldexp(1, (int)(rng() % 20));
        uint8_t code[NVFP4_BLOCK / 2], scale;
        double err2 = 0, sum2 = 0, got, best = INFINITY;

        for (k = 0; k < NVFP4_BLOCK; k++) {
            v[k] = (float)(draw(i % 3) * exp2(4 * uniform() - 2));
            w[k] = i % 2 ? 1 : (float)exp2(6 * uniform());
        }
        nvfp4_row(v, i % 2 ? NULL : w, NVFP4_BLOCK, global, code, &scale, &err2, &sum2);
        got = nvfp4_error(v, w, (double)e4m3_value[scale] / (double)global);
        for (c = 0; c < 127; c++) {
            double err = nvfp4_error(v, w, (double)e4m3_value[c] / (double)global);

            best = err < best ? err : best;
        }
        wrong += got > best * 1.00001;
    }
    CHECK_MSG(wrong == 0, "%d of 2000 blocks have a better scale", wrong);
}

/* Blocks of MXFP4 whose scales lie 17 powers of two apart come back, block for block. */
static void test_cast(void)
{
    float v[18 * MXFP4_BLOCK], most = 0;
    uint8_t code[18 * MXFP4_BYTES], scale[36];
    double err2 = 0, sum2 = 0;
    size_t same;
    int i;

    for (i = 0; i < 18 * MXFP4_BLOCK; i++) {
        v[i] = (float)ldexp(grid[i % 8] * (rng() & 1 ? 1 : -1), -i / MXFP4_BLOCK);
        most = fabsf(v[i]) > most ? fabsf(v[i]) : most;
    }
    same = nvfp4_row(v, NULL, 18 * MXFP4_BLOCK, nvfp4_global(most), code, scale, &err2, &sum2);
    CHECK_MSG(same == 36 && err2 == 0, "%zu of 36 blocks are the same", same);
    CHECK(nvfp4_global(6) == 256 && nvfp4_global(6.1f) == 128 && nvfp4_global(3) == 512 &&
          nvfp4_global(0) == 1);
}

/* The errors that the literature's distributions have: block scales spread over an octave. */
static void test_table(void)
{
    enum { BLOCKS = 20000, N = MXFP4_BLOCK };
    static const double mx[3] = {.01251, .01500, .01491}, nv[3] = {.00660, .00680, .00674};
    double rel[2], err, sum;
    int kind, i, k;

    for (kind = 0; kind < 3; kind++) {
        rel[0] = rel[1] = 0;
        for (i = 0; i < BLOCKS; i++) {
            float v[N];
            uint8_t code[N / 2], scale[2];
            double phase = exp2(uniform());

            for (k = 0; k < N; k++)
                v[k] = (float)(phase * draw(kind));
            err = sum = 0;
            mxfp4_from_f32(v, 1, code, scale, &err, &sum);
            rel[0] += err / (phase * phase);
            err = 0;
            nvfp4_row(v, NULL, N, 64, code, scale, &err, &sum);
            rel[1] += err / (phase * phase);
        }
        sum = BLOCKS * (double)N * (kind == 0 ? 1 : kind == 1 ? 2 : 5. / 3);
        printf("kind %d: MXFP4 %.5f, NVFP4 %.5f\n", kind, rel[0] / sum, rel[1] / sum);
        CHECK_MSG(fabs(rel[0] / sum / mx[kind] - 1) < .02, "MXFP4: %.5f, not %.5f", rel[0] / sum, mx[kind]);
        CHECK_MSG(fabs(rel[1] / sum / nv[kind] - 1) < .02, "NVFP4: %.5f, not %.5f", rel[1] / sum, nv[kind]);
    }
}

static void test_int4(void)
{
    enum { GROUP = 32 };
    int i, k, t, wrong = 0;

    for (i = 0; i < 1000; i++) {
        float v[GROUP], most = 0;
        uint8_t code[GROUP / 2];
        uint16_t scale;
        double err2 = 0, sum2 = 0, got = 0, best = INFINITY;

        for (k = 0; k < GROUP; k++) {
            v[k] = (float)draw(i % 3);
            most = fabsf(v[k]) > most ? fabsf(v[k]) : most;
        }
        int4_row(v, NULL, GROUP, GROUP, code, &scale, &err2, &sum2);
        for (k = 0; k < GROUP; k++) {
            double d = (double)v[k] - ((code[k / 2] >> 4 * (k & 1) & 15) - 8) * (double)bf16_to_f32(scale);

            got += d * d;
        }
        wrong += fabs(got - err2) > 1e-6 * got;
        for (t = 0; t < 21; t++) {
            double s = (double)bf16_to_f32(f32_to_bf16(most / (6.5f + .25f * (float)t))), err = 0;

            for (k = 0; k < GROUP; k++) {
                double q = fmin(7, fmax(-8, nearbyint((double)v[k] / s))), d = (double)v[k] - q * s;

                err += d * d;
            }
            best = err < best ? err : best;
        }
        wrong += got > best * 1.00001;
    }
    CHECK_MSG(wrong == 0, "%d of 1000 groups have a better scale, or another error", wrong);
}

/* Whatever set of instructions encodes: the same bytes and sums. */
static void test_other_sets(void)
{
    enum { N = 128 * 40 };
    static float v[N];
    static struct {
        uint8_t four[N / 2], int4[N / 2], fp8[N], scale[N / 16];
        uint16_t group[N / 128];
        double sum[6];
    } out[2];
    int i, s;

    for (i = 0; i < N; i++)
        v[i] = (float)(draw(i % 3) * exp2(i / 128 - 20));
    for (s = ISA_PLAIN; s < ISA_COUNT; s++) {
        int k = s > ISA_PLAIN;

        isa_limit((enum isa)s);
        memset(&out[k], 0, sizeof out[k]);
        nvfp4_row(v, NULL, N, .01f, out[k].four, out[k].scale, &out[k].sum[0], &out[k].sum[1]);
        int4_row(v, NULL, N, 128, out[k].int4, out[k].group, &out[k].sum[2], &out[k].sum[3]);
        e4m3_from_f32(v, 1.1f, N, out[k].fp8, &out[k].sum[4], &out[k].sum[5]);
        CHECK_MSG(memcmp(&out[0], &out[k], sizeof out[0]) == 0, "%s differs", isa_name((enum isa)s));
    }
    isa_limit(ISA_COUNT - 1);
}

/* Numbers so small that a scale for them has no inverse, and zeros. */
static void test_smallest(void)
{
    float v[32] = {FLT_TRUE_MIN, -FLT_TRUE_MIN, 0x1p-130f};
    uint8_t code[32], scale[2];
    uint16_t half;
    double err2 = 0, sum2 = 0;

    int4_row(v, NULL, 32, 32, code, &half, &err2, &sum2);
    CHECK(half == f32_to_bf16(1) && code[0] == 0x88 && code[15] == 0x88);
    nvfp4_row(v, NULL, 32, nvfp4_global(v[2]), code, scale, &err2, &sum2);
    CHECK(code[8] == 0 && code[7] == 0 && scale[1] == 0);
}

int main(void)
{
    test_bf16();
    test_f16();
    test_decode();
    test_round_trip();
    test_thresholds();
    test_scale();
    test_edges();
    test_sets();
    test_e4m3();
    test_sweep();
    test_cast();
    test_table();
    test_int4();
    test_smallest();
    test_other_sets();
    CHECK_END();
}
