/* decimal.c -- one product or quotient of 128 bits; what that cannot decide, the C library does. */
#include "stats/decimal.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__extension__ typedef unsigned __int128 u128;

enum { MAX_POW5 = 27 }; /* the last power of five that fits 64 bits */

static const uint64_t pow5[MAX_POW5 + 1] = {
    1ULL,
    5ULL,
    25ULL,
    125ULL,
    625ULL,
    3125ULL,
    15625ULL,
    78125ULL,
    390625ULL,
    1953125ULL,
    9765625ULL,
    48828125ULL,
    244140625ULL,
    1220703125ULL,
    6103515625ULL,
    30517578125ULL,
    152587890625ULL,
    762939453125ULL,
    3814697265625ULL,
    19073486328125ULL,
    95367431640625ULL,
    476837158203125ULL,
    2384185791015625ULL,
    11920928955078125ULL,
    59604644775390625ULL,
    298023223876953125ULL,
    1490116119384765625ULL,
    7450580596923828125ULL,
};

/* (top + a fraction that is not 0 if more) * 2^exp2, rounded to the nearest double, ties to even. The highest
 * bit of top is set, and the result is a normal number. */
static double round_to_double(uint64_t top, bool more, int exp2)
{
    uint64_t m = top >> 11, low = top & 0x7ff, bits;
    double v;

    if (low > 0x400 || (low == 0x400 && (more || (m & 1))))
        m++; /* a carry out of the 53 bits goes into the exponent below, as it should */
    bits = ((uint64_t)(exp2 + 63 + 1023) << 52) + (m - (1ULL << 52));
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* w * 10^q for w > 0, |q| <= MAX_POW5. */
static double scale_decimal(uint64_t w, int q)
{
    uint64_t d;
    u128 num;
    int lw, ld, shift;

    if (q >= 0) {
        num = (u128)w * pow5[q];
        shift = num >> 64 ? __builtin_clzll((uint64_t)(num >> 64)) : 64 + __builtin_clzll((uint64_t)num);
        num <<= shift;
        return round_to_double((uint64_t)(num >> 64), (uint64_t)num != 0, q + 64 - shift);
    }
    d = pow5[-q];
    lw = __builtin_clzll(w);
    ld = __builtin_clzll(d);
    w <<= lw;
    d <<= ld;
    shift = w >= d ? 63 : 64; /* the quotient then has exactly 64 bits */
    num = (u128)w << shift;
    w = (uint64_t)(num / d);
    return round_to_double(w, num != (u128)w * d, q - shift + ld - lw);
}

static bool is_digit(char c)
{
    return (unsigned)(c - '0') < 10;
}

/* Adds the digits at p to *w; *w is only right while *digits, which leaves leading zeros out, is at most 19.
 */
static const char *read_digits(const char *p, uint64_t *w, int *digits)
{
    for (; is_digit(*p); p++) {
        *w = *w * 10 + (unsigned)(*p - '0');
        *digits += *w != 0 || *digits;
    }
    return p;
}

static const char *read_exponent(const char *p, int *q)
{
    bool minus = *p == '-';
    int x = 0;

    p += *p == '-' || *p == '+';
    if (!is_digit(*p))
        return NULL;
    for (; is_digit(*p); p++)
        x = x < 10000 ? x * 10 + (*p - '0') : x;
    *q += minus ? -x : x;
    return p;
}

const char *decimal_parse(const char *start, double *v)
{
    uint64_t w = 0;
    int digits = 0, q = 0;
    const char *p, *point;

    if (!is_digit(*start))
        return NULL;
    p = read_digits(start, &w, &digits);
    if (*p == '.') {
        point = ++p;
        p = read_digits(p, &w, &digits);
        if (p == point || p - point > 10000)
            return NULL;
        q = (int)(point - p);
    }
    if (*p == 'e' || *p == 'E') {
        p = read_exponent(p + 1, &q);
        if (!p)
            return NULL;
    }
    if (digits == 0)
        *v = 0;
    else if (digits <= 19 && q >= -MAX_POW5 && q <= MAX_POW5)
        *v = scale_decimal(w, q);
    else
        *v = strtod(start, NULL);
    return isfinite(*v) ? p : NULL;
}

const char *decimal_parse_u64(const char *p, uint64_t *v)
{
    uint64_t w = 0;

    if (!is_digit(*p))
        return NULL;
    for (; is_digit(*p); p++) {
        unsigned digit = (unsigned)(*p - '0');

        if (w > (UINT64_MAX - digit) / 10)
            return NULL;
        w = w * 10 + digit;
    }
    *v = w;
    return p;
}

size_t decimal_print_u64(uint64_t v, char buf[DECIMAL_MAX])
{
    char rev[20];
    size_t n = 0, i;

    do
        rev[n++] = (char)('0' + v % 10);
    while (v /= 10);
    for (i = 0; i < n; i++)
        buf[i] = rev[n - 1 - i];
    buf[n] = 0;
    return n;
}

/* m * 2^e * 10^p to the nearest integer, ties to even, for 0 <= p <= 21, m < 2^53 and a result below 2^64. */
static uint64_t round_to_integer(uint64_t m, int e, int p)
{
    u128 v = (u128)m * pow5[p], rest, half;
    int shift = e + p;

    if (shift >= 0)
        return (uint64_t)(v << shift);
    rest = v & (((u128)1 << -shift) - 1);
    half = (u128)1 << (-shift - 1);
    v >>= -shift;
    if (rest > half || (rest == half && (v & 1)))
        v++;
    return (uint64_t)v;
}

size_t decimal_print(double v, char buf[DECIMAL_MAX])
{
    const uint64_t ten16 = 10000000000000000ULL, ten17 = 10 * ten16;
    char digits[DECIMAL_MAX];
    uint64_t bits, w;
    size_t n = 0, whole;
    int e, p, used = 17;

    if (!(v >= 1e-4 && v < 1e17)) {
        if (v == 0 && !signbit(v)) {
            memcpy(buf, "0", 2);
            return 1;
        }
        return (size_t)snprintf(buf, DECIMAL_MAX, "%.17g", v);
    }
    memcpy(&bits, &v, sizeof bits);
    e = (int)(bits >> 52) - 1075;
    bits = (bits & ((1ULL << 52) - 1)) | 1ULL << 52;
    /* p makes 17 digits before the point; the logarithm's estimate may be one off */
    p = 16 - (int)floor((e + 52) * 0.30102999566398120);
    w = round_to_integer(bits, e, p);
    if (w >= ten17)
        w = round_to_integer(bits, e, --p);
    else if (w < ten16)
        w = round_to_integer(bits, e, ++p);
    decimal_print_u64(w, digits);
    whole = p <= 16 ? (size_t)(17 - p) : 0; /* digits before the point */
    while (used > (int)whole && used > 1 && digits[used - 1] == '0')
        used--;
    if (whole == 0) {
        memcpy(buf, "0.000", 5);
        n = 2 + (size_t)(p - 17);
    } else {
        memcpy(buf, digits, whole);
        n = whole;
        if (used > (int)whole)
            buf[n++] = '.';
    }
    memcpy(buf + n, digits + whole, (size_t)used - whole);
    n += (size_t)used - whole;
    buf[n] = 0;
    return n;
}
