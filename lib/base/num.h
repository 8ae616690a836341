/*
 * num.h -- the one checked parser for numbers that people type or files contain as text, and the way
 * sizes are printed.
 */
#ifndef MOE_BASE_NUM_H
#define MOE_BASE_NUM_H

#include <stdint.h>

#include "base/err.h"

/* what names the thing in messages ("--threads", "plan.tsv line 7, column keep"). The whole text must
 * be a number and lie in [min, max]. Locale-independent. */
int num_i64(const char *text, const char *what, int64_t min, int64_t max, int64_t *out, struct err *e);
int num_double(const char *text, const char *what, double min, double max, double *out, struct err *e);
/* Bytes: a decimal number and an optional unit: B, kB KB K, MB M, GB G, TB T (powers of 1000), KiB MiB
 * GiB TiB (powers of 1024). "16GB", "11.2 GiB", "500000". */
int num_size(const char *text, const char *what, uint64_t *out, struct err *e);
/* floor(n * ratio) with ratio read as the decimal that was typed, not as the nearest double: 0.29 of 100
 * is 29. text like "0.25" or "25%"; 0 <= ratio < 1. */
int num_ratio(const char *text, const char *what, int64_t n, int64_t *out, struct err *e);

/* "13.76 GB" (powers of 1000, three significant digits or more); returns buf. */
char *num_bytes(uint64_t bytes, char buf[32]);
/* "12,345,678"; returns buf. */
char *num_thousands(int64_t n, char buf[32]);
/* The shortest of %.6g to %.17g that reads back as v; returns buf. */
char *num_shortest(double v, char buf[32]);

#endif
