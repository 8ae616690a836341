/* literals.c -- what the numbers and strings in a template mean. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "jinja/tree.h"
#include "jinja/characters.h"
#include "jinja/integers.h"

/* ---- numbers ---- */

static void check_digits(struct parse *p, const char *s, int base)
{
    for (; *s; s++) {
        int d = *s <= '9' ? *s - '0' : (*s | 32) - 'a' + 10;

        if (d < 0 || d >= base)
            parse_fail(p, p->line, "'%c' in a number of base %d", *s, base);
    }
}

/* The digits of an integer in a base. */
static struct value whole(struct parse *p, const char *s, int base)
{
    char decimal[MAX_DIGITS + 1], *kept;
    size_t n = digits_convert(decimal, MAX_DIGITS, s, strlen(s), base, 10);
    int64_t v;

    if (!n)
        parse_fail_as(p, p->line, "ValueError", "Exceeds the limit (%d digits) for integer string conversion",
                      MAX_DIGITS);
    decimal[n] = 0;
    errno = 0;
    v = strtoll(decimal, NULL, 10);
    if (!errno)
        return v_int(v);
    kept = parse_get(p, n);
    memcpy(kept, decimal, n);
    return (struct value){.kind = BIG, .n = (uint32_t)n, .s = kept};
}

struct value lex_number(struct parse *p, const char *s, size_t n, bool real)
{
    char *digits = parse_get(p, n + 1);
    size_t i, k = 0;
    int base = 10;

    for (i = 0; i < n; i++)
        if (s[i] != '_')
            digits[k++] = s[i];
    if (real)
        return v_float(strtod(digits, NULL));
    if (k > 2 && *digits == '0' && strchr("xXoObB", digits[1]))
        base = (digits[1] | 32) == 'x' ? 16 : (digits[1] | 32) == 'o' ? 8 : 2;
    digits += base != 10 ? 2 : 0;
    check_digits(p, digits, base);
    return whole(p, digits, base);
}

/* ---- strings ---- */

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* The digits of \x, \u, \U: all must be there. */
static int32_t hex_escape(struct parse *p, const char *s, size_t n, int digits)
{
    int32_t v = 0;
    int i;

    for (i = 0; i < digits; i++) {
        if ((size_t)i >= n || hex(s[i]) < 0 || v > 0x10ffff)
            parse_fail(p, p->line, "a string has a \\ escape that is cut off or no character");
        v = v << 4 | hex(s[i]);
    }
    if (v > 0x10ffff)
        parse_fail(p, p->line, "a string has a \\U escape that is no character");
    return v;
}

/* One literal_escape, after the backslash; returns the bytes of it. */
static size_t literal_escape(struct parse *p, struct str *out, const char *s, size_t n)
{
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    const char *k = memchr(from, *s, sizeof from - 1);
    int digits = *s == 'x' ? 2 : *s == 'u' ? 4 : *s == 'U' ? 8 : 0;
    int32_t v = 0;
    size_t i;

    if (k) {
        str_addc(out, to[k - from]);
        return 1;
    }
    if (*s == '\n')
        return 1;
    if (digits) {
        v = hex_escape(p, s + 1, n - 1, digits);
        p->t->surrogates |= v >= 0xd800 && v < 0xe000;
        utf8_add(out, v);
        return 1 + (size_t)digits;
    }
    for (i = 0; i < 3 && i < n && s[i] >= '0' && s[i] <= '7'; i++)
        v = v * 8 + s[i] - '0';
    if (i) {
        utf8_add(out, v);
        return i;
    }
    if (*s == 'N')
        parse_fail(p, p->line, "a string has a character by its name (\\N), which is not supported");
    str_addc(out, '\\'); /* as Python does with what is no escape */
    return 0;
}

struct value lex_string(struct parse *p, const char *s, size_t n)
{
    struct str out = {.cap =
                          n + 4}; /* what is meant is never longer than how it is spelt: it does not grow */
    size_t i;

    if (!memchr(s, '\\', n))
        return v_str(s, n);
    out.p = parse_get(p, out.cap);
    for (i = 0; i < n;) {
        if (s[i] == '\\' && i + 1 < n)
            i += 1 + literal_escape(p, &out, s + i + 1, n - i - 1);
        else
            str_addc(&out, s[i++]);
    }
    return v_str(out.p, out.n);
}
