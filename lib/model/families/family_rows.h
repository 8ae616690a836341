/*
 * family_rows.h -- the rows of the table of families. CONTRIBUTING.md says how to add one. In the files that
 * have them key lists stand before the row that uses them; a key that is only known not to matter may stand
 * in own_keys too.
 */
#ifndef MOE_MODEL_FAMILIES_ROWS_H
#define MOE_MODEL_FAMILIES_ROWS_H

#include "model/family.h"

/* In the order in which they are listed. */
#define FAMILIES(ROW)                                                                                        \
    ROW(qwen3_moe)                                                                                           \
    ROW(gpt_oss)                                                                                             \
    ROW(llama4)                                                                                              \
    ROW(mixtral)                                                                                             \
    ROW(deepseek_v2)                                                                                         \
    ROW(deepseek_v3)                                                                                         \
    ROW(ernie4_5_moe)                                                                                        \
    ROW(glm4_moe)                                                                                            \
    ROW(glm4_moe_lite)                                                                                       \
    ROW(minimax_m2)                                                                                          \
    ROW(qwen2_moe)                                                                                           \
    ROW(olmoe)                                                                                               \
    ROW(qwen3_vl_moe)                                                                                        \
    ROW(hy_v3)                                                                                               \
    ROW(deepseek_v32)                                                                                        \
    ROW(glm_moe_dsa)                                                                                         \
    ROW(minimax_m3)                                                                                          \
    ROW(solar_open)                                                                                          \
    ROW(dots1)

#define FAMILY_ROW(name) extern const struct family family_##name;
FAMILIES(FAMILY_ROW)
#undef FAMILY_ROW

/* Ends a list of fixed keys. */
#define FIXED_END                                                                                            \
    {                                                                                                        \
        NULL, NULL                                                                                           \
    }

#endif
