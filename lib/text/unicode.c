/* unicode.c -- searches in the tables of Unicode. */
#include "text/unicode.h"

/* In the order of tools/unicode.py. */
const char unicode_category_names[] = "LuLlLtLmLoMnMcMeNdNlNoPcPdPsPePiPfPoSmScSkSoZsZlZpCcCfCsCoCn";

uint8_t unicode_value(const uint32_t *runs, size_t n, uint32_t c)
{
    size_t lo = 0, hi = n;

    while (hi - lo > 1) {
        size_t mid = (lo + hi) / 2;

        if (runs[mid] >> 8 <= c)
            lo = mid;
        else
            hi = mid;
    }
    return (uint8_t)runs[lo];
}

bool unicode_young(uint32_t c)
{
    return unicode_value(unicode_categories, unicode_categories_n, c) & UNICODE_YOUNG;
}
