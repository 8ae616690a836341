/*
 * unicode.h -- what a character is, by Unicode 16.0 whatever is installed: its general category, its script,
 * and whether it is older than 9.0. The tables are made by tools/unicode.py.
 */
#ifndef MOE_TEXT_UNICODE_H
#define MOE_TEXT_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { UNICODE_END = 0x110000 }; /* one more than the last code point */

/* Runs of one value: its first code point << 8 | value. The value of categories is an index of
 * unicode_category_names, with UNICODE_YOUNG if Unicode 9.0 has no such character; that of scripts one of
 * unicode_script_names. */
enum { UNICODE_YOUNG = 0x80 };
extern const uint32_t unicode_categories[], unicode_scripts[];
extern const size_t unicode_categories_n, unicode_scripts_n;
extern const char *const unicode_script_names[];
extern const size_t unicode_script_names_n;
extern const char unicode_category_names[]; /* two letters each */

/* The value of a code point among runs. */
uint8_t unicode_value(const uint32_t *runs, size_t n, uint32_t c);
/* No character of Unicode 9.0. */
bool unicode_young(uint32_t c);

/* A character of valid UTF-8 at *s; *s goes behind it. */
static inline uint32_t utf8_next(const char **s)
{
    const unsigned char *p = (const unsigned char *)*s;

    if (p[0] < 0x80) {
        *s += 1;
        return p[0];
    }
    if (p[0] < 0xe0) {
        *s += 2;
        return (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu);
    }
    if (p[0] < 0xf0) {
        *s += 3;
        return (p[0] & 0xfu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
    }
    *s += 4;
    return (p[0] & 7u) << 18 | (p[1] & 0x3fu) << 12 | (p[2] & 0x3fu) << 6 | (p[3] & 0x3fu);
}

#endif
