/*
 * dtype.h -- how numbers lie in a file: the dtypes of tensors, each a block of so many elements in so many
 * bytes.
 */
#ifndef MOE_QUANT_DTYPE_H
#define MOE_QUANT_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Blocks of ggml, which GGUF files have beside F32, F16 and BF16: name, type number there, elements, bytes.
 * What is in them: ggml.h. From ggml.h and ggml-common.h of ggml.
 */
/* clang-format off */
#define GGML_BLOCKS(BLOCK)                                                             \
    BLOCK(Q4_0, 2, 32, 18) BLOCK(Q4_1, 3, 32, 20) BLOCK(Q5_0, 6, 32, 22)               \
    BLOCK(Q5_1, 7, 32, 24) BLOCK(Q8_0, 8, 32, 34) BLOCK(Q8_1, 9, 32, 36)               \
    BLOCK(Q2_K, 10, 256, 84) BLOCK(Q3_K, 11, 256, 110) BLOCK(Q4_K, 12, 256, 144)       \
    BLOCK(Q5_K, 13, 256, 176) BLOCK(Q6_K, 14, 256, 210) BLOCK(Q8_K, 15, 256, 292)      \
    BLOCK(IQ2_XXS, 16, 256, 66) BLOCK(IQ2_XS, 17, 256, 74) BLOCK(IQ3_XXS, 18, 256, 98) \
    BLOCK(IQ1_S, 19, 256, 50) BLOCK(IQ4_NL, 20, 32, 18) BLOCK(IQ3_S, 21, 256, 110)     \
    BLOCK(IQ2_S, 22, 256, 82) BLOCK(IQ4_XS, 23, 256, 136) BLOCK(IQ1_M, 29, 256, 56)    \
    BLOCK(TQ1_0, 34, 256, 54) BLOCK(TQ2_0, 35, 256, 66) BLOCK(MXFP4, 39, 32, 17)       \
    BLOCK(NVFP4, 40, 64, 36) BLOCK(Q1_0, 41, 128, 18) BLOCK(Q2_0, 42, 64, 18)
/* clang-format on */
#define GGML_DTYPE(name, id, elements, bytes) DT_##name,

/* Those of safetensors, in the order of its reference writer, up to DT_U64; then the blocks. */
enum dtype {
    DT_BOOL,
    DT_F4,
    DT_F6_E2M3,
    DT_F6_E3M2,
    DT_U8,
    DT_I8,
    DT_F8_E5M2,
    DT_F8_E4M3,
    DT_F8_E8M0,
    DT_F8_E4M3FNUZ,
    DT_F8_E5M2FNUZ,
    DT_I16,
    DT_U16,
    DT_F16,
    DT_BF16,
    DT_I32,
    DT_U32,
    DT_F32,
    DT_C64,
    DT_F64,
    DT_I64,
    DT_U64,
    GGML_BLOCKS(GGML_DTYPE) DT_COUNT
};
#undef GGML_DTYPE

/* Sets of dtypes, and the one whose numbers need nothing beside them. */
#define DT_BIT(d) (UINT64_C(1) << (d))
#define DT_FLOATS (DT_BIT(DT_BF16) | DT_BIT(DT_F16) | DT_BIT(DT_F32))
#define DT_GGML   (DT_BIT(DT_COUNT) - DT_BIT(DT_Q4_0))

const char *dtype_name(enum dtype d); /* as safetensors or ggml spells it: "BF16", "Q4_K" */
/* A block, which nothing divides. */
unsigned dtype_elements(enum dtype d);
unsigned dtype_bytes(enum dtype d);
/* Bytes of n elements; false when they overflow or are no whole blocks. */
bool dtype_size(enum dtype d, uint64_t n, uint64_t *bytes);
/* The dtypes of a set, for messages: "BF16, F16 or F32". */
void dtype_list(uint64_t set, char text[64]);

static inline bool dtype_is_float(enum dtype d)
{
    return DT_FLOATS >> d & 1;
}

/* What is wrong with the first of n elements, in whole blocks, that is no finite number ("NaN", "infinity"),
 * and which it is; NULL: nothing, or the dtype has no such elements. */
const char *dtype_bad(enum dtype d, const void *p, size_t n, size_t *at);

#endif
