/* family.c -- the table of families. */
#include "model/families/family_rows.h"

#define ROW(name) &family_##name,
static const struct family *const table[] = {FAMILIES(ROW)};
#undef ROW

const struct family *const *family_table(int *n)
{
    *n = (int)(sizeof table / sizeof *table);
    return table;
}

const char *expert_layout_name(enum expert_layout l)
{
    static const char *const name[] = {
        [EXPERTS_SPLIT] = "split",
        [EXPERTS_FUSED] = "fused",
        [EXPERTS_CONCAT] = "fused, input-major",
        [EXPERTS_INTERLEAVED] = "fused, interleaved, input-major",
        [EXPERTS_STACKED] = "stacked",
    };

    return name[l];
}
