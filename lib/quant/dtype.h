/*
 * dtype.h -- how numbers lie in a file: the dtypes of tensors, each a block of so many elements in so many
 * bytes.
 */
#ifndef MOE_QUANT_DTYPE_H
#define MOE_QUANT_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Those of safetensors, in the order of its reference writer. Blocks of other containers follow them: a dtype
 * may be 256 elements in 144 bytes. */
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
    DT_COUNT
};

/* Sets of dtypes, and the one whose numbers need nothing beside them. */
#define DT_BIT(d) (UINT64_C(1) << (d))
#define DT_FLOATS (DT_BIT(DT_BF16) | DT_BIT(DT_F16) | DT_BIT(DT_F32))

const char *dtype_name(enum dtype d); /* as safetensors spells it: "BF16" */
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

/* What is wrong with the first of n elements that is no finite number ("NaN", "infinity"), and which it is;
 * NULL: nothing, or the dtype has no such elements. */
const char *dtype_bad(enum dtype d, const void *p, size_t n, size_t *at);

#endif
