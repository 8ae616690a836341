/* num.c -- numbers that people type, and how numbers are printed. */
#include "base/num.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int num_i64(const char *text, const char *what, int64_t min, int64_t max, int64_t *out, struct err *e)
{
    char *end;
    long long v;

    errno = 0;
    v = strtoll(text, &end, 10);
    if (end == text || *end || isspace((unsigned char)*text))
        return err_set(e, ERR_INPUT, "%s: '%s' is not a whole number", what, text);
    if (errno == ERANGE || v < min || v > max)
        return err_set(e, ERR_INPUT, "%s: %s is outside %lld to %lld", what, text, (long long)min,
                       (long long)max);
    *out = v;
    return 0;
}

/* Only digits, sign, point, exponent (and inf, nan in files): strtod also takes hexadecimal. */
int num_double(const char *text, const char *what, double min, double max, double *out, struct err *e)
{
    char *end;
    double v = strtod(text, &end);

    if (end == text || *end || isspace((unsigned char)*text) || strpbrk(text, "xX"))
        return err_set(e, ERR_INPUT, "%s: '%s' is not a number", what, text);
    if (!(v >= min && v <= max))
        return err_set(e, ERR_INPUT, "%s: %s is outside %g to %g", what, text, min, max);
    *out = v;
    return 0;
}

int num_size(const char *text, const char *what, uint64_t *out, struct err *e)
{
    static const struct {
        const char *unit;
        double bytes;
    } units[] = {{"", 1},      {"B", 1},       {"K", 1e3},      {"kB", 1e3},     {"KB", 1e3},
                 {"M", 1e6},   {"MB", 1e6},    {"G", 1e9},      {"GB", 1e9},     {"T", 1e12},
                 {"TB", 1e12}, {"KiB", 1024.}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40}};
    char *end;
    double v = strtod(text, &end);
    size_t i;

    if (end == text || !isdigit((unsigned char)*text) || strpbrk(text, "xX"))
        return err_set(e, ERR_INPUT, "%s: '%s' is not a size such as 16GB or 11.2GiB", what, text);
    while (*end == ' ')
        end++;
    for (i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(end, units[i].unit) == 0 && v * units[i].bytes < 9e18) {
            *out = (uint64_t)(v * units[i].bytes + 0.5);
            return 0;
        }
    return err_set(e, ERR_INPUT, "%s: '%s' is not a size such as 16GB or 11.2GiB", what, text);
}

int num_ratio(const char *text, const char *what, int64_t n, int64_t *out, struct err *e)
{
    const char *p = text;
    __extension__ unsigned __int128 digits = 0, scale = 1;
    bool any = false, percent;

    for (; isdigit((unsigned char)*p); p++, any = true)
        digits = digits * 10 + (unsigned)(*p - '0');
    if (*p == '.')
        for (p++; isdigit((unsigned char)*p); p++, any = true) {
            digits = digits * 10 + (unsigned)(*p - '0');
            scale *= 10;
        }
    percent = *p == '%';
    if (percent) {
        scale *= 100;
        p++;
    }
    if (!any || *p || p - text > 20)
        return err_set(e, ERR_INPUT, "%s: '%s' is not a ratio such as 0.25 or 25%%", what, text);
    if (digits >= scale)
        return err_set(e, ERR_INPUT, "%s: %s would remove everything: a ratio lies between 0 and 1", what,
                       text);
    *out = (int64_t)(digits * (uint64_t)n / scale);
    return 0;
}

char *num_shortest(double v, char buf[32])
{
    int digits = 6;

    do
        snprintf(buf, 32, "%.*g", digits, v);
    while (digits++ < 17 && strtod(buf, NULL) != v);
    return buf;
}

char *num_bytes(uint64_t bytes, char buf[32])
{
    static const char *const unit[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    double v = (double)bytes;
    int i = 0;

    while (v >= 999.95 && i < 6) {
        v /= 1000;
        i++;
    }
    snprintf(buf, 32, i == 0 ? "%.0f %s" : v < 100 ? "%.2f %s" : "%.1f %s", v, unit[i]);
    return buf;
}

char *num_thousands(int64_t n, char buf[32])
{
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%lld", (long long)(n < 0 ? -n : n)), i, o = 0;

    if (n < 0)
        buf[o++] = '-';
    for (i = 0; i < len; i++) {
        if (i && (len - i) % 3 == 0)
            buf[o++] = ',';
        buf[o++] = digits[i];
    }
    buf[o] = 0;
    return buf;
}
