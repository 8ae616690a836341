/*
 * decimal.h -- doubles as decimal text, exactly and fast: a statistics file holds millions of them.
 *
 * Both directions give what printf("%.17g") and strtod give in the C locale, bit for bit. Numbers of
 * ordinary size (1e-4 to 1e17 printed, 19 digits times 10^-27 to 10^27 read) take a path of one 128-bit
 * product or quotient, whose remainder is known exactly, so that it is rounded right; the rest goes through
 * the C library.
 */
#ifndef MOE_STATS_DECIMAL_H
#define MOE_STATS_DECIMAL_H

#include <stddef.h>
#include <stdint.h>

enum { DECIMAL_MAX = 32 }; /* bytes that the longest double takes, with the NUL */

/* As snprintf(buf, DECIMAL_MAX, "%.17g", v); returns the length. */
size_t decimal_print(double v, char buf[DECIMAL_MAX]);
/* Reads digits [. digits] [e [sign] digits], no sign before it. Returns the place after the number, or NULL
 * if none begins at p or it overflows. The text must be NUL-terminated somewhere after it. */
const char *decimal_parse(const char *p, double *v);
/* Decimal digits of an integer below 2^64; as above. */
const char *decimal_parse_u64(const char *p, uint64_t *v);
size_t decimal_print_u64(uint64_t v, char buf[DECIMAL_MAX]);

#endif
