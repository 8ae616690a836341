/* characters.c -- UTF-8, and characters as Python's str sees them. */
#include "jinja/characters.h"

#include <string.h>
#include <utf8proc.h>

/* ---- UTF-8 ---- */

static bool inside(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

size_t utf8_count(const char *s, size_t n)
{
    size_t i, count = 0;

    for (i = 0; i < n; i++)
        count += !inside(s[i]);
    return count;
}

uint32_t utf8_length(const char *s, size_t n)
{
    uint32_t k = 1;

    while (k < n && inside(s[k]))
        k++;
    return k;
}

uint32_t utf8_last(const char *s, size_t n)
{
    uint32_t k = 1;

    while (k < n && inside(s[n - k]))
        k++;
    return k;
}

size_t utf8_at(const char *s, size_t n, size_t i)
{
    size_t at;

    for (at = 0; at < n && i > 0; i--)
        at += utf8_length(s + at, n - at);
    return at;
}

size_t utf8_whole(const char *s, size_t n)
{
    static const unsigned char first[] = {0, 0, 0xc0, 0xe0, 0xf0};
    uint32_t k = n ? utf8_last(s, n) : 0;
    unsigned char c = n ? (unsigned char)s[n - k] : 0;
    int want = c < first[2] ? 1 : c < first[3] ? 2 : c < first[4] ? 3 : 4;

    return k < (uint32_t)want ? n - k : n;
}

/* By hand, since utf8proc refuses lone surrogates. */
int32_t utf8_get(const char *s, size_t n)
{
    uint32_t k = utf8_length(s, n), i;
    unsigned char c = (unsigned char)*s;
    int32_t v = k == 1 ? c : c & (0x7f >> k);

    for (i = 1; i < k; i++)
        v = v << 6 | (s[i] & 0x3f);
    return v;
}

const char *utf8_find(const char *s, size_t n, const char *what, size_t m)
{
    const char *p = s, *end = s + n;

    if (!m)
        return s;
    while ((size_t)(end - p) >= m && (p = memchr(p, *what, (size_t)(end - p) - m + 1))) {
        if (memcmp(p, what, m) == 0)
            return p;
        p++;
    }
    return NULL;
}

void utf8_add(struct str *out, int32_t c)
{
    static const unsigned char first[] = {0, 0, 0xc0, 0xe0, 0xf0};
    int k = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4, i;

    str_addc(out, (char)(first[k - (k == 1)] | c >> 6 * (k - 1)));
    for (i = k - 2; i >= 0; i--)
        str_addc(out, (char)(0x80 | (c >> 6 * i & 0x3f)));
}

/* ---- properties ---- */

bool uni_space(int32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
           c == 0x3000;
}

bool uni_alpha(int32_t c)
{
    utf8proc_category_t k = utf8proc_category(c);

    return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

bool uni_word(int32_t c)
{
    utf8proc_category_t k = utf8proc_category(c);

    return c == '_' || uni_alpha(c) || (k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO);
}

bool uni_decimal(int32_t c)
{
    return utf8proc_category(c) == UTF8PROC_CATEGORY_ND;
}

/* Of the numbers that are no decimals only those written raised, lowered or circled are digits. */
bool uni_digit(int32_t c)
{
    return uni_decimal(c) || c == 0xb2 || c == 0xb3 || c == 0xb9 || c == 0x2070 ||
           (c >= 0x2074 && c <= 0x2079) || (c >= 0x2080 && c <= 0x2089) || (c >= 0x2460 && c <= 0x2468) ||
           (c >= 0x2474 && c <= 0x247c) || (c >= 0x2488 && c <= 0x2490);
}

bool uni_numeric(int32_t c)
{
    utf8proc_category_t k = utf8proc_category(c);

    return k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO;
}

bool uni_upper(int32_t c)
{
    return utf8proc_isupper(c) && !uni_title(c);
}

bool uni_lower(int32_t c)
{
    return utf8proc_islower(c);
}

bool uni_title(int32_t c)
{
    return utf8proc_category(c) == UTF8PROC_CATEGORY_LT;
}

bool uni_cased(int32_t c)
{
    return uni_upper(c) || uni_lower(c) || uni_title(c);
}

bool uni_printable(int32_t c)
{
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return false;
    case UTF8PROC_CATEGORY_ZS:
        return c == ' ';
    default:
        return true;
    }
}

/* ---- case ---- */

/* What becomes more than one character: SpecialCasing.txt of Unicode, the rows without a condition. */
static const struct special {
    int32_t from, upper[3], title[3];
} special[] = {
    {0xdf, {0x53, 0x53}, {0x53, 0x73}},
    {0x149, {0x2bc, 0x4e}, {0x2bc, 0x4e}},
    {0x1f0, {0x4a, 0x30c}, {0x4a, 0x30c}},
    {0x390, {0x399, 0x308, 0x301}, {0x399, 0x308, 0x301}},
    {0x3b0, {0x3a5, 0x308, 0x301}, {0x3a5, 0x308, 0x301}},
    {0x587, {0x535, 0x552}, {0x535, 0x582}},
    {0x1e96, {0x48, 0x331}, {0x48, 0x331}},
    {0x1e97, {0x54, 0x308}, {0x54, 0x308}},
    {0x1e98, {0x57, 0x30a}, {0x57, 0x30a}},
    {0x1e99, {0x59, 0x30a}, {0x59, 0x30a}},
    {0x1e9a, {0x41, 0x2be}, {0x41, 0x2be}},
    {0x1f50, {0x3a5, 0x313}, {0x3a5, 0x313}},
    {0x1f52, {0x3a5, 0x313, 0x300}, {0x3a5, 0x313, 0x300}},
    {0x1f54, {0x3a5, 0x313, 0x301}, {0x3a5, 0x313, 0x301}},
    {0x1f56, {0x3a5, 0x313, 0x342}, {0x3a5, 0x313, 0x342}},
    {0x1f80, {0x1f08, 0x399}, {0x1f88}},
    {0x1f81, {0x1f09, 0x399}, {0x1f89}},
    {0x1f82, {0x1f0a, 0x399}, {0x1f8a}},
    {0x1f83, {0x1f0b, 0x399}, {0x1f8b}},
    {0x1f84, {0x1f0c, 0x399}, {0x1f8c}},
    {0x1f85, {0x1f0d, 0x399}, {0x1f8d}},
    {0x1f86, {0x1f0e, 0x399}, {0x1f8e}},
    {0x1f87, {0x1f0f, 0x399}, {0x1f8f}},
    {0x1f88, {0x1f08, 0x399}, {0x1f88}},
    {0x1f89, {0x1f09, 0x399}, {0x1f89}},
    {0x1f8a, {0x1f0a, 0x399}, {0x1f8a}},
    {0x1f8b, {0x1f0b, 0x399}, {0x1f8b}},
    {0x1f8c, {0x1f0c, 0x399}, {0x1f8c}},
    {0x1f8d, {0x1f0d, 0x399}, {0x1f8d}},
    {0x1f8e, {0x1f0e, 0x399}, {0x1f8e}},
    {0x1f8f, {0x1f0f, 0x399}, {0x1f8f}},
    {0x1f90, {0x1f28, 0x399}, {0x1f98}},
    {0x1f91, {0x1f29, 0x399}, {0x1f99}},
    {0x1f92, {0x1f2a, 0x399}, {0x1f9a}},
    {0x1f93, {0x1f2b, 0x399}, {0x1f9b}},
    {0x1f94, {0x1f2c, 0x399}, {0x1f9c}},
    {0x1f95, {0x1f2d, 0x399}, {0x1f9d}},
    {0x1f96, {0x1f2e, 0x399}, {0x1f9e}},
    {0x1f97, {0x1f2f, 0x399}, {0x1f9f}},
    {0x1f98, {0x1f28, 0x399}, {0x1f98}},
    {0x1f99, {0x1f29, 0x399}, {0x1f99}},
    {0x1f9a, {0x1f2a, 0x399}, {0x1f9a}},
    {0x1f9b, {0x1f2b, 0x399}, {0x1f9b}},
    {0x1f9c, {0x1f2c, 0x399}, {0x1f9c}},
    {0x1f9d, {0x1f2d, 0x399}, {0x1f9d}},
    {0x1f9e, {0x1f2e, 0x399}, {0x1f9e}},
    {0x1f9f, {0x1f2f, 0x399}, {0x1f9f}},
    {0x1fa0, {0x1f68, 0x399}, {0x1fa8}},
    {0x1fa1, {0x1f69, 0x399}, {0x1fa9}},
    {0x1fa2, {0x1f6a, 0x399}, {0x1faa}},
    {0x1fa3, {0x1f6b, 0x399}, {0x1fab}},
    {0x1fa4, {0x1f6c, 0x399}, {0x1fac}},
    {0x1fa5, {0x1f6d, 0x399}, {0x1fad}},
    {0x1fa6, {0x1f6e, 0x399}, {0x1fae}},
    {0x1fa7, {0x1f6f, 0x399}, {0x1faf}},
    {0x1fa8, {0x1f68, 0x399}, {0x1fa8}},
    {0x1fa9, {0x1f69, 0x399}, {0x1fa9}},
    {0x1faa, {0x1f6a, 0x399}, {0x1faa}},
    {0x1fab, {0x1f6b, 0x399}, {0x1fab}},
    {0x1fac, {0x1f6c, 0x399}, {0x1fac}},
    {0x1fad, {0x1f6d, 0x399}, {0x1fad}},
    {0x1fae, {0x1f6e, 0x399}, {0x1fae}},
    {0x1faf, {0x1f6f, 0x399}, {0x1faf}},
    {0x1fb2, {0x1fba, 0x399}, {0x1fba, 0x345}},
    {0x1fb3, {0x391, 0x399}, {0x1fbc}},
    {0x1fb4, {0x386, 0x399}, {0x386, 0x345}},
    {0x1fb6, {0x391, 0x342}, {0x391, 0x342}},
    {0x1fb7, {0x391, 0x342, 0x399}, {0x391, 0x342, 0x345}},
    {0x1fbc, {0x391, 0x399}, {0x1fbc}},
    {0x1fc2, {0x1fca, 0x399}, {0x1fca, 0x345}},
    {0x1fc3, {0x397, 0x399}, {0x1fcc}},
    {0x1fc4, {0x389, 0x399}, {0x389, 0x345}},
    {0x1fc6, {0x397, 0x342}, {0x397, 0x342}},
    {0x1fc7, {0x397, 0x342, 0x399}, {0x397, 0x342, 0x345}},
    {0x1fcc, {0x397, 0x399}, {0x1fcc}},
    {0x1fd2, {0x399, 0x308, 0x300}, {0x399, 0x308, 0x300}},
    {0x1fd3, {0x399, 0x308, 0x301}, {0x399, 0x308, 0x301}},
    {0x1fd6, {0x399, 0x342}, {0x399, 0x342}},
    {0x1fd7, {0x399, 0x308, 0x342}, {0x399, 0x308, 0x342}},
    {0x1fe2, {0x3a5, 0x308, 0x300}, {0x3a5, 0x308, 0x300}},
    {0x1fe3, {0x3a5, 0x308, 0x301}, {0x3a5, 0x308, 0x301}},
    {0x1fe4, {0x3a1, 0x313}, {0x3a1, 0x313}},
    {0x1fe6, {0x3a5, 0x342}, {0x3a5, 0x342}},
    {0x1fe7, {0x3a5, 0x308, 0x342}, {0x3a5, 0x308, 0x342}},
    {0x1ff2, {0x1ffa, 0x399}, {0x1ffa, 0x345}},
    {0x1ff3, {0x3a9, 0x399}, {0x1ffc}},
    {0x1ff4, {0x38f, 0x399}, {0x38f, 0x345}},
    {0x1ff6, {0x3a9, 0x342}, {0x3a9, 0x342}},
    {0x1ff7, {0x3a9, 0x342, 0x399}, {0x3a9, 0x342, 0x345}},
    {0x1ffc, {0x3a9, 0x399}, {0x1ffc}},
    {0xfb00, {0x46, 0x46}, {0x46, 0x66}},
    {0xfb01, {0x46, 0x49}, {0x46, 0x69}},
    {0xfb02, {0x46, 0x4c}, {0x46, 0x6c}},
    {0xfb03, {0x46, 0x46, 0x49}, {0x46, 0x66, 0x69}},
    {0xfb04, {0x46, 0x46, 0x4c}, {0x46, 0x66, 0x6c}},
    {0xfb05, {0x53, 0x54}, {0x53, 0x74}},
    {0xfb06, {0x53, 0x54}, {0x53, 0x74}},
    {0xfb13, {0x544, 0x546}, {0x544, 0x576}},
    {0xfb14, {0x544, 0x535}, {0x544, 0x565}},
    {0xfb15, {0x544, 0x53b}, {0x544, 0x56b}},
    {0xfb16, {0x54e, 0x546}, {0x54e, 0x576}},
    {0xfb17, {0x544, 0x53d}, {0x544, 0x56d}},
};

static const struct special *find_special(int32_t c)
{
    size_t low = 0, high = sizeof special / sizeof *special;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (special[middle].from == c)
            return &special[middle];
        if (special[middle].from < c)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static void add_some(struct str *out, const int32_t c[3])
{
    int i;

    for (i = 0; i < 3 && c[i]; i++)
        utf8_add(out, c[i]);
}

static void add_upper(struct str *out, int32_t c)
{
    const struct special *s = c < 0x80 ? NULL : find_special(c);

    if (s)
        add_some(out, s->upper);
    else
        utf8_add(out, utf8proc_toupper(c));
}

void uni_add_title(struct str *out, int32_t c)
{
    const struct special *s = c < 0x80 ? NULL : find_special(c);

    if (s)
        add_some(out, s->title);
    else
        utf8_add(out, utf8proc_totitle(c));
}

/* The next character on one side that has a case or is not passed over (an apostrophe, a mark). */
static bool cased_near(const char *s, size_t n, size_t at, bool after)
{
    size_t i = after ? at + utf8_length(s + at, n - at) : at;

    while (after ? i < n : i > 0) {
        utf8proc_category_t k;
        int32_t c;

        if (!after)
            i -= utf8_last(s, i);
        c = utf8_get(s + i, n - i);
        if (after)
            i += utf8_length(s + i, n - i);
        k = utf8proc_category(c);
        if (uni_cased(c))
            return true;
        if (c != '\'' && c != '.' && c != ':' && c != '^' && c != '`' && c != 0xb7 && c != 0x2019 &&
            k != UTF8PROC_CATEGORY_MN && k != UTF8PROC_CATEGORY_ME && k != UTF8PROC_CATEGORY_CF &&
            k != UTF8PROC_CATEGORY_LM && k != UTF8PROC_CATEGORY_SK)
            return false;
    }
    return false;
}

void uni_add_lower(struct str *out, const char *s, size_t n, size_t at)
{
    int32_t c = utf8_get(s + at, n - at);

    if (c == 0x3a3) { /* at the end of a word the other sigma */
        utf8_add(out, cased_near(s, n, at, false) && !cased_near(s, n, at, true) ? 0x3c2 : 0x3c3);
    } else if (c == 0x130) {
        utf8_add(out, 'i');
        utf8_add(out, 0x307);
    } else {
        utf8_add(out, utf8proc_tolower(c));
    }
}

static void add_fold(struct str *out, int32_t c)
{
    utf8proc_int32_t to[4];
    utf8proc_ssize_t n = utf8proc_decompose_char(c, to, 4, UTF8PROC_CASEFOLD, NULL), i;

    for (i = 0; i < n && i < 4; i++)
        utf8_add(out, to[i]);
}

void uni_add_case(struct str *out, const char *s, size_t n, enum uni_case how)
{
    size_t i;

    for (i = 0; i < n; i += utf8_length(s + i, n - i)) {
        int32_t c = utf8_get(s + i, n - i);

        if (how == TO_UPPER || (how == TO_SWAPPED && uni_lower(c)))
            add_upper(out, c);
        else if (how == TO_LOWER || (how == TO_SWAPPED && uni_upper(c)))
            uni_add_lower(out, s, n, i);
        else if (how == TO_FOLD)
            add_fold(out, c);
        else
            utf8_add(out, c);
    }
}
