/*
 * format_rows.h -- private to quant: the rows of the table, and what they share.
 */
#ifndef MOE_QUANT_FORMAT_ROWS_H
#define MOE_QUANT_FORMAT_ROWS_H

#include "quant/format.h"

/* The plain one is the last. ROW(x) is format_x, of format_x.c or of the file of its kind. */
/* clang-format off */
#define FORMATS(ROW) \
    ROW(fp8_block) \
    ROW(fp8_powers) \
    ROW(fp8_whole) \
    ROW(fp8_whole_inv) \
    ROW(fp8_nibbles) \
    ROW(fp8_ct) \
    ROW(mxfp8_ct) \
    ROW(mxfp4_oss) \
    ROW(mxfp4_ct) \
    ROW(nvfp4_ct) \
    ROW(ct_int8) \
    ROW(ct_int8_zeros) \
    ROW(ct_packed) \
    ROW(ct_packed_zeros) \
    ROW(ct_packed_ordered) \
    ROW(ct_packed_zeros_ordered) \
    ROW(modelopt_fp8) \
    ROW(modelopt_nvfp4) \
    ROW(modelopt_mxfp8) \
    ROW(modelopt_mxfp4) \
    ROW(gptq) \
    ROW(gptq_v2) \
    ROW(awq) \
    ROW(ggml) \
    ROW(plain)
/* clang-format on */
#define FORMAT_ROW(name) extern const struct format format_##name;
FORMATS(FORMAT_ROW)
#undef FORMAT_ROW

/* Whether the text under key is value. */
bool config_says(const struct cJSON *config, const char *key, const char *value);
/* Whether it is one of values (ends with NULL), or there is none, or null. */
bool config_allows(const struct cJSON *config, const char *key, const char *const *values);

/* Both layouts of MXFP4 have one encoder. */
#define MXFP4_ENCODER                                                                                        \
    .target = "mxfp4",                                                                                       \
    .about = "MXFP4 (blocks of 32 E2M1 values with one E8M0 scale), each scale the better of two "           \
             "by squared error",                                                                             \
    .block = {1, MXFP4_BLOCK, 4}, .weight = DT_U8, .scale = DT_U8, .weighs = true, .rows = mxfp4_encode_rows
void mxfp4_encode_rows(struct encode_rows *r);

#endif
