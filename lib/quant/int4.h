/*
 * int4.h -- groups of numbers to integers of 4 bits with a scale of BF16 for each group, symmetric: value =
 * (code - 8) scale, codes 0 to 15.
 */
#ifndef MOE_QUANT_INT4_H
#define MOE_QUANT_INT4_H

#include <stddef.h>
#include <stdint.h>

enum { INT4_GROUP = 128 }; /* at most */

/*
 * A row of n numbers, whole groups of `group` (a multiple of 8), to n / 2 bytes, the first code in the low
 * nibble, and n / group scales. Each scale is the best by squared error, weighed by energy[n] if that is not
 * NULL, of 21 that take the largest magnitude to 6.5 to 11.5 steps. *err2 and *sum2 get sum (v - q)^2 and sum
 * v^2 added, unweighed.
 */
void int4_row(const float *src, const float *energy, size_t n, size_t group, uint8_t *codes, uint16_t *scales,
              double *err2, double *sum2);

#endif
