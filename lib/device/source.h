/*
 * source.h -- a matrix as it lies in a checkpoint, and reading rows of it.
 *
 * The matrix is W [out][in] with y = W x. Where its numbers are: stored row r begins at data + r * stride
 * elements; row n of the matrix is stored row first + n * step. With in_out the storage is transposed:
 * element (n, k) is element first + n * step of stored row k. This covers all expert layouts (family.h).
 */
#ifndef MOE_DEVICE_SOURCE_H
#define MOE_DEVICE_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum source_type { SOURCE_BF16, SOURCE_F16, SOURCE_F32, SOURCE_MXFP4, SOURCE_FP8, SOURCES };

struct source {
    enum source_type type;
    const uint8_t *data;
    const uint8_t *scales; /* MXFP4: one byte for 32 elements along the stored row; FP8: f32 of 128 x 128
                              blocks, see fp8.h (never in_out, rows of `in` elements) */
    int out, in;
    bool in_out;
    int first, step;
    int64_t stride; /* elements from one stored row to the next */
    const char
        *name; /* for messages: the tensor that can hold a value that is not finite (MXFP4: the scales) */
};

/*
 * Rows from .. from+n-1 into dst[n][ld], as bf16 (2 bytes an element) or f32. Values are exact except f32
 * and f16 to bf16, which round. false: one of them is NaN or infinite (or an MXFP4 scale is 255, or an FP8
 * code NaN).
 */
bool source_rows(const struct source *s, int from, int n, void *dst, size_t ld, bool bf16);

#endif
