/*
 * integers.h -- integers of any size, as Python's are: INT where 64 bits are enough, BIG (decimal digits,
 * behind a minus) where they are not, so that equal numbers are the same value.
 *
 * Up to 4300 digits, which is as many as Python prints: longer results fail with the ValueError that printing
 * them would raise.
 */
#ifndef MOE_JINJA_INTEGERS_H
#define MOE_JINJA_INTEGERS_H

#include "jinja/value.h"

enum { MAX_DIGITS = 4300, MAX_BITS = 14285 };

bool v_integral(struct value v); /* BOOL, INT or BIG: what the rest takes */

/* The digits of s[0..n), which are digits of base `from` (2 to 36, in either case), in base `to` and without
 * zeros in front, into digits[0..max). How many; 0: they are more. */
size_t digits_convert(char *digits, size_t max, const char *s, size_t n, int from, int to);
struct value v_integer(struct run *r, bool negative, const char *digits, size_t n); /* copied */
struct value v_whole(struct run *r, double x); /* finite; rounded to zero */

struct value integers_add(struct run *r, struct value a, struct value b, bool subtract);
struct value integers_multiply(struct run *r, struct value a, struct value b);
/* Rounded down, and what is left, which has b's sign; either may be NULL. b is not zero. */
void integers_divide(struct run *r, struct value a, struct value b, struct value *quotient,
                     struct value *rest);
double integers_ratio(struct run *r, struct value a, struct value b); /* a / b, the nearest double */
struct value integers_power(struct run *r, struct value a, uint64_t exponent);
int integers_compare(struct run *r, struct value a, struct value b); /* <0, 0, >0 */
/* With a float, exactly; the float is no NaN. */
int integers_compare_real(struct run *r, struct value a, double b);

#endif
