/* cpu_source.c -- rows of stored matrices as f32 or bf16 on the host. */
#include "device/source.h"

#include <math.h>
#include <string.h>

#include "quant/bf16.h"
#include "quant/fp8.h"
#include "quant/mxfp4.h"
#include "quant/hot.h"

/* Elements that a conversion goes through at a time when the target type is not the stored one. */
enum { RUN = 256, EDGE = 32 };

/* *ok stays true if all are finite. */
HOT(static void, finite_bf16, (const uint16_t *restrict p, size_t n, bool *restrict ok), (p, n, ok))
{
    uint16_t bad = 0;
    size_t i;

    for (i = 0; i < n; i++)
        bad |= (uint16_t)((p[i] & 0x7f80) == 0x7f80);
    *ok &= !bad;
}

HOT(static void, finite_f32, (const float *restrict p, size_t n, bool *restrict ok), (p, n, ok))
{
    uint32_t bad = 0, b;
    size_t i;

    for (i = 0; i < n; i++) {
        memcpy(&b, &p[i], 4);
        bad |= (b & 0x7f800000) == 0x7f800000;
    }
    *ok &= !bad;
}

/* n stored elements from element at on, as f32 or bf16. */
static void stored_f32(const struct source *s, int64_t at, int n, float *dst)
{
    switch (s->type) {
    case SOURCE_BF16:
        bf16_to_f32_n((const uint16_t *)s->data + at, dst, (size_t)n);
        break;
    case SOURCE_F16:
        f16_to_f32_n((const uint16_t *)s->data + at, dst, (size_t)n);
        break;
    case SOURCE_F32:
        memcpy(dst, (const float *)s->data + at, (size_t)n * 4);
        break;
    case SOURCE_MXFP4:
        mxfp4_to_f32(s->data + at / 2, s->scales + at / MXFP4_BLOCK, (size_t)n / MXFP4_BLOCK, dst);
        break;
    case SOURCE_FP8: /* a whole row */
        fp8_to_f32(s->data + at, (const float *)(const void *)s->scales, (size_t)(at / s->stride), 1,
                   (size_t)n, dst);
        break;
    case SOURCES:
        break;
    }
}

static void stored_bf16(const struct source *s, int64_t at, int n, uint16_t *dst)
{
    float run[RUN];
    int i, c;

    if (s->type == SOURCE_BF16) {
        memcpy(dst, (const uint16_t *)s->data + at, (size_t)n * 2);
        return;
    }
    if (s->type == SOURCE_MXFP4) {
        mxfp4_to_bf16(s->data + at / 2, s->scales + at / MXFP4_BLOCK, (size_t)n / MXFP4_BLOCK, dst);
        return;
    }
    if (s->type == SOURCE_FP8) {
        fp8_to_bf16(s->data + at, (const float *)(const void *)s->scales, (size_t)(at / s->stride), 1,
                    (size_t)n, dst);
        return;
    }
    for (i = 0; i < n; i += c) {
        c = n - i < RUN ? n - i : RUN;
        stored_f32(s, at + i, c, run);
        f32_to_bf16_n(run, dst + i, (size_t)c);
    }
}

/* One element of a transposed matrix; block formats are never stored so. */
static float element(const struct source *s, int64_t at)
{
    if (s->type == SOURCE_F32)
        return ((const float *)s->data)[at];
    if (s->type == SOURCE_F16)
        return f16_to_f32(((const uint16_t *)s->data)[at]);
    return bf16_to_f32(((const uint16_t *)s->data)[at]);
}

static void transposed_rows(const struct source *s, int from, int n, void *dst, size_t ld, bool bf16)
{
    int k0, r, k;

    for (k0 = 0; k0 < s->in; k0 += EDGE)
        for (r = 0; r < n; r++)
            for (k = k0; k < k0 + EDGE && k < s->in; k++) {
                float v = element(s, k * s->stride + s->first + (int64_t)(from + r) * s->step);

                if (bf16)
                    ((uint16_t *)dst)[(size_t)r * ld + (size_t)k] = f32_to_bf16(v);
                else
                    ((float *)dst)[(size_t)r * ld + (size_t)k] = v;
            }
}

bool source_rows(const struct source *s, int from, int n, void *dst, size_t ld, bool bf16)
{
    bool ok = true;
    int r;

    if (s->in_out)
        transposed_rows(s, from, n, dst, ld, bf16);
    for (r = 0; r < n; r++) {
        int64_t at = (s->first + (int64_t)(from + r) * s->step) * s->stride;

        if (bf16) {
            uint16_t *row = (uint16_t *)dst + (size_t)r * ld;

            if (!s->in_out)
                stored_bf16(s, at, s->in, row);
            finite_bf16(row, (size_t)s->in, &ok);
        } else {
            float *row = (float *)dst + (size_t)r * ld;

            if (!s->in_out)
                stored_f32(s, at, s->in, row);
            finite_f32(row, (size_t)s->in, &ok);
        }
    }
    return ok;
}
