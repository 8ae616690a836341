/*
 * codings.h -- what pack.cu makes numbers of, coding by coding: codes, scales and zero points of a stored
 * map. Rows are counted from row0 on.
 */
#ifndef MOE_KERNELS_CODINGS_H
#define MOE_KERNELS_CODINGS_H

#include <cuda_fp8.h>

#include "quant/stored.h"

/* Where the row of a piece is that stored row s.row0 + row belongs to. */
static __device__ __forceinline__ const uint8_t *row_of(const struct stored &s, enum piece_use use, int row)
{
    const struct stored_piece &p = s.piece[use];

    return p.at + ((s.row0 + row) / p.per - s.row0 / p.per) * (int64_t)p.row;
}

static __device__ __forceinline__ float plain(enum dtype type, const uint8_t *p, int64_t i)
{
    return type == DT_F32    ? ((const float *)(const void *)p)[i]
           : type == DT_BF16 ? __bfloat162float(((const __nv_bfloat16 *)(const void *)p)[i])
                             : __half2float(((const __half *)(const void *)p)[i]);
}

/* The scale of element col of a row. */
static __device__ __forceinline__ float scale_of(const struct stored &s, int row, int col)
{
    return plain(s.piece[USE_SCALE].dtype, row_of(s, USE_SCALE, row), col / s.block);
}

/* 2^(byte - 127) times an e2m1 code. */
static __device__ __forceinline__ float mxfp4(int code, int scale)
{
    int m = code & 7;
    float v = m < 2 ? .5f * (float)m : ldexpf(1.0f + .5f * (float)(m & 1), m / 2 - 1);

    v = scale == 255 ? NAN : ldexpf(v, scale - 127);
    return code & 8 ? -v : v;
}

static __device__ __forceinline__ float e4m3(uint8_t code)
{
    return __half2float(__half(__nv_cvt_fp8_to_halfraw(code, __NV_E4M3)));
}

/* The factor of the whole map. */
static __device__ __forceinline__ float factor_of(const struct stored &s)
{
    const struct stored_piece &p = s.piece[USE_GLOBAL];

    return p.at ? plain(p.dtype, p.at, 0) : 1;
}

/* 2^(byte - 127), the smallest of which is no normal number. */
static __device__ __forceinline__ float power(int byte)
{
    return byte == 255 ? NAN : __uint_as_float(byte ? (uint32_t)byte << 23 : 1u << 22);
}

/* The scale of an element of NVFP4: that of its block and the one of the map. */
static __device__ __forceinline__ float nvfp4_scale(const struct stored &s, int row, int col)
{
    float scale = e4m3(row_of(s, USE_SCALE, row)[col / s.block]), all = factor_of(s);

    return isinf(all) ? NAN : s.divides ? scale / all : scale * all;
}

/* Where both codes of a byte are: neighbours in a row, or in a column where two rows share one. */
static __device__ __forceinline__ int nibble(const struct stored &s, int row, int col)
{
    const uint8_t *p = row_of(s, USE_WEIGHT, row);

    return s.piece[USE_WEIGHT].per == 2 ? p[col] >> 4 * ((s.row0 + row) & 1) & 15
                                        : p[col / 2] >> 4 * (col & 1) & 15;
}

/* Code `col` of a row of packed integers. */
static __device__ __forceinline__ int packed_code(const struct stored &s, int row, int col)
{
    const uint8_t *p = row_of(s, USE_WEIGHT, row);
    int64_t at = (int64_t)col * s.bits;
    int shift = (int)(at % 8);
    unsigned v = p[at / 8];

    if (shift + s.bits > 8)
        v |= (unsigned)p[at / 8 + 1] << 8;
    return (int)(v >> shift & ((1u << s.bits) - 1));
}

/* Their zero point: packed down a column, that of 32 rows beginning a word. */
static __device__ __forceinline__ int packed_zero(const struct stored &s, int row, int group)
{
    const uint32_t *words = (const uint32_t *)(const void *)row_of(s, USE_ZERO, row);
    int at = (s.row0 + row) % 32 * s.bits, groups;
    uint64_t v;

    if (!s.piece[USE_ZERO].at)
        return 1 << (s.bits - 1);
    groups = (int)(s.piece[USE_ZERO].row / 4) / s.bits;
    v = words[at / 32 * groups + group];
    if (at % 32 + s.bits > 32)
        v |= (uint64_t)words[(at / 32 + 1) * groups + group] << 32;
    return (int)(v >> at % 32 & ((1u << s.bits) - 1));
}

static __device__ float packed(const struct stored &s, int row, int col)
{
    int size = s.piece[USE_SCALE].dtype == DT_F32 ? 4 : 2, group = col / s.block;

    if (s.piece[USE_ORDER].at)
        group = ((const int32_t *)(const void *)s.piece[USE_ORDER].at)[col];
    if (group < 0 || (size_t)group >= s.piece[USE_SCALE].row / size)
        return NAN;
    return (float)(packed_code(s, row, col) - packed_zero(s, row, group)) *
           plain(s.piece[USE_SCALE].dtype, row_of(s, USE_SCALE, row), group);
}

static __device__ __forceinline__ float int8(const struct stored &s, int row, int col)
{
    int zero = s.piece[USE_ZERO].at ? (int8_t)row_of(s, USE_ZERO, row)[col / s.block] : 0;

    return (float)((int8_t)row_of(s, USE_WEIGHT, row)[col] - zero) * scale_of(s, row, col);
}
#endif
