/* json.c -- JSON that is read: whole, or by a pull scanner. */
#include "base/json.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/magic.h"

enum { MAX_DEPTH = 200 };

size_t utf8_check(const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t i = 0;

    while (i < n) {
        unsigned char c = p[i];
        size_t more, k;
        unsigned char lo = 0x80, hi = 0xbf; /* allowed range of the second byte */

        if (c < 0x80) {
            i++;
            continue;
        }
        if (c >= 0xc2 && c <= 0xdf)
            more = 1;
        else if (c >= 0xe0 && c <= 0xef)
            more = 2;
        else if (c >= 0xf0 && c <= 0xf4)
            more = 3;
        else
            return i;
        if (c == 0xe0)
            lo = 0xa0;
        else if (c == 0xed)
            hi = 0x9f;
        else if (c == 0xf0)
            lo = 0x90;
        else if (c == 0xf4)
            hi = 0x8f;
        if (n - i <= more || p[i + 1] < lo || p[i + 1] > hi)
            return i;
        for (k = 2; k <= more; k++)
            if ((p[i + k] & 0xc0) != 0x80)
                return i;
        i += more + 1;
    }
    return n;
}

size_t skip_bom(const char *p, size_t n)
{
    return n >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}

/* cJSON decodes \u0000 into a NUL that cuts the string: look for it (an odd run of backslashes before). */
static bool has_nul_escape(const char *p, size_t n)
{
    size_t i;

    for (i = 0; i + 6 <= n; i++) {
        if (p[i] != '\\')
            continue;
        if (p[i + 1] == 'u' && memcmp(p + i + 2, "0000", 4) == 0)
            return true;
        i++; /* an escaped character, a backslash among them */
    }
    return false;
}

static bool too_deep(const char *p, size_t n)
{
    bool in_string = false;
    int depth = 0;
    size_t i;

    for (i = 0; i < n; i++) {
        if (in_string) {
            if (p[i] == '\\')
                i++;
            else if (p[i] == '"')
                in_string = false;
        } else if (p[i] == '"') {
            in_string = true;
        } else if (p[i] == '{' || p[i] == '[') {
            if (++depth > MAX_DEPTH)
                return true;
        } else if (p[i] == '}' || p[i] == ']') {
            depth--;
        }
    }
    return false;
}

/* What Python's json module writes and JSON does not have. */
static const char *const specials[] = {"NaN", "Infinity", "-Infinity"};
enum { SPECIALS = sizeof specials / sizeof *specials };
/* What stands for one of them in a copy that cJSON can read. */
#define SPECIAL_KEY "\001"

static int special_at(const char *p, size_t n)
{
    int i = SPECIALS;

    while (--i >= 0 && (n < strlen(specials[i]) || memcmp(p, specials[i], strlen(specials[i])) != 0))
        ;
    return i;
}

/* Puts a copy in which specials are objects into out; how far the text went when out had `limit` bytes. */
static size_t spell_out(const char *p, size_t n, size_t limit, struct str *out)
{
    bool in_string = false;
    size_t i = 0, k;
    int special;

    while (i < n && out->n < limit) {
        special = in_string ? -1 : special_at(p + i, n - i);
        if (special >= 0) {
            str_addf(out, "{\"" SPECIAL_KEY "\":%d}", special);
            i += strlen(specials[special]);
            continue;
        }
        k = p[i] == '\\' && i + 1 < n ? 2 : 1;
        in_string ^= p[i] == '"';
        str_add(out, p + i, k);
        i += k;
    }
    return i;
}

static void put_specials(cJSON *v)
{
    static const double value[] = {NAN, INFINITY, -INFINITY};

    if (cJSON_IsObject(v) && v->child && strcmp(v->child->string, SPECIAL_KEY) == 0) {
        v->type = cJSON_Number | (v->type & ~0xff);
        v->valuedouble = value[v->child->valueint];
        cJSON_Delete(v->child);
        v->child = NULL;
    }
    for (v = v->child; v; v = v->next)
        put_specials(v);
}

/* The text without specials first: few have any. *bad: where it is no JSON. */
static cJSON *parse(const char *p, size_t n, size_t *bad)
{
    const char *end = NULL;
    cJSON *v = cJSON_ParseWithLengthOpts(p, n, &end, 0);
    struct str copy = {0};

    *bad = end ? (size_t)(end - p) : 0;
    if (v || spell_out(p, n, SIZE_MAX, &copy) < n || copy.n == n || copy.failed)
        goto done;
    v = cJSON_ParseWithLengthOpts(copy.p, copy.n, &end, 0);
    if (v)
        put_specials(v);
    *bad = end ? (size_t)(end - copy.p) : 0;
    str_clear(&copy);
    *bad = spell_out(p, n, *bad, &copy);
done:
    str_free(&copy);
    return v;
}

int json_parse(const char *p, size_t n, const char *what, cJSON **out, struct err *e)
{
    const char *kind = magic_kind(p, n);
    size_t at = utf8_check(p, n);

    *out = NULL;
    if (kind)
        return err_set(e, ERR_INPUT, "%s is %s", what, kind);
    if (at < n)
        return err_set(e, ERR_INPUT, "%s: byte %zu is not UTF-8", what, at);
    if (memchr(p, 0, n) || has_nul_escape(p, n))
        return err_set(e, ERR_INPUT, "%s: contains the character U+0000", what);
    if (too_deep(p, n))
        return err_set(e, ERR_INPUT, "%s: nested deeper than %d", what, MAX_DEPTH);
    *out = parse(p, n, &at);
    if (!*out && strspn(p, " \t\r\n") == n)
        return err_set(e, ERR_INPUT, "%s is empty", what);
    if (!*out)
        return err_set(e, ERR_INPUT, "%s: not JSON at byte %zu", what, at);
    for (; at < n; at++)
        if (!strchr(" \t\r\n", p[at])) {
            cJSON_Delete(*out);
            *out = NULL;
            return err_set(e, ERR_INPUT, "%s: not JSON at byte %zu: text after the value", what, at);
        }
    return 0;
}

int json_read(const char *path, uint64_t max, cJSON **out, struct err *e)
{
    char *text;
    size_t n;
    int r;

    *out = NULL;
    if (file_read(path, max, &text, &n, e))
        return -1;
    r = json_parse(text, n, path, out, e);
    free(text);
    return r;
}

/* ---- pull scanner ---- */

int js_fail(struct js *s, const char *fmt, ...)
{
    char why[300];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    return err_set(s->e, ERR_INPUT, "%s: byte %zu: %s", s->what, (size_t)(s->p - s->start), why);
}

int js_init(struct js *s, const char *p, size_t n, const char *what, struct err *e)
{
    const char *kind = magic_kind(p, n);
    size_t bad = utf8_check(p, n);

    *s = (struct js){.start = p, .p = p, .end = p + n, .what = what, .e = e, .first = true};
    if (kind)
        return err_set(e, ERR_INPUT, "%s is %s", what, kind);
    if (bad < n) {
        s->p = p + bad;
        return js_fail(s, "is not UTF-8");
    }
    s->p += skip_bom(p, n);
    return 0;
}

static bool failed(const struct js *s)
{
    return s->e->kind != ERR_NONE;
}

static void space(struct js *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\t' || *s->p == '\r'))
        s->p++;
}

char js_peek(struct js *s)
{
    if (failed(s))
        return 0;
    space(s);
    if (s->p >= s->end)
        return 0;
    if (*s->p == '-' || (*s->p >= '0' && *s->p <= '9'))
        return '0';
    return *s->p;
}

int js_open(struct js *s, char bracket)
{
    if (js_peek(s) != bracket)
        return js_fail(s, "expected '%c'", bracket);
    s->p++;
    s->first = true;
    return 0;
}

/* The comma rules that objects and arrays share: true when an element follows. */
static bool more(struct js *s, char close)
{
    char c = js_peek(s);

    if (failed(s))
        return false;
    if (c == close) {
        s->p++;
        s->first = false;
        return false;
    }
    if (!s->first) {
        if (c != ',') {
            js_fail(s, c ? "expected ',' or '%c'" : "the text ends before '%c'", close);
            return false;
        }
        s->p++;
        if (js_peek(s) == close) {
            js_fail(s, "a comma before '%c'", close);
            return false;
        }
    } else if (!c) {
        js_fail(s, "the text ends before '%c'", close);
        return false;
    }
    s->first = false;
    return true;
}

bool js_key(struct js *s, struct str *key)
{
    if (!more(s, '}') || js_string(s, key))
        return false;
    if (js_peek(s) != ':') {
        js_fail(s, "expected ':'");
        return false;
    }
    s->p++;
    return true;
}

bool js_item(struct js *s)
{
    return more(s, ']');
}

static int hex4(struct js *s, unsigned *out)
{
    int i;

    *out = 0;
    for (i = 0; i < 4; i++, s->p++) {
        char c = s->p < s->end ? *s->p : 0;
        unsigned d;

        if (c >= '0' && c <= '9')
            d = (unsigned)(c - '0');
        else if (c >= 'a' && c <= 'f')
            d = (unsigned)(c - 'a') + 10;
        else if (c >= 'A' && c <= 'F')
            d = (unsigned)(c - 'A') + 10;
        else
            return js_fail(s, "a \\u escape needs four hexadecimal digits");
        *out = *out << 4 | d;
    }
    return 0;
}

static void add_utf8(struct str *o, unsigned c)
{
    char b[4];
    size_t n = 0;

    if (c < 0x80) {
        b[n++] = (char)c;
    } else if (c < 0x800) {
        b[n++] = (char)(0xc0 | c >> 6);
        b[n++] = (char)(0x80 | (c & 63));
    } else if (c < 0x10000) {
        b[n++] = (char)(0xe0 | c >> 12);
        b[n++] = (char)(0x80 | (c >> 6 & 63));
        b[n++] = (char)(0x80 | (c & 63));
    } else {
        b[n++] = (char)(0xf0 | c >> 18);
        b[n++] = (char)(0x80 | (c >> 12 & 63));
        b[n++] = (char)(0x80 | (c >> 6 & 63));
        b[n++] = (char)(0x80 | (c & 63));
    }
    str_add(o, b, n);
}

static int escape(struct js *s, struct str *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char c = s->p < s->end ? *s->p++ : 0;
    const char *k = c ? strchr(from, c) : NULL;
    unsigned hi, lo;

    if (k) {
        str_addc(out, to[k - from]);
        return 0;
    }
    if (c != 'u')
        return js_fail(s, "unknown escape");
    if (hex4(s, &hi))
        return -1;
    if (hi >= 0xd800 && hi < 0xdc00 && s->end - s->p >= 6 && s->p[0] == '\\' && s->p[1] == 'u') {
        s->p += 2;
        if (hex4(s, &lo))
            return -1;
        if (lo < 0xdc00 || lo > 0xdfff)
            return js_fail(s, "half of a surrogate pair");
        hi = 0x10000 + ((hi - 0xd800) << 10) + (lo - 0xdc00);
    }
    if (hi >= 0xd800 && hi < 0xe000)
        return js_fail(s, "half of a surrogate pair");
    if (hi == 0)
        return js_fail(s, "contains the character U+0000");
    add_utf8(out, hi);
    return 0;
}

int js_string(struct js *s, struct str *out)
{
    str_clear(out);
    if (js_peek(s) != '"')
        return js_fail(s, "expected a string");
    s->p++;
    for (;;) {
        const char *from = s->p;

        while (s->p < s->end && *s->p != '"' && *s->p != '\\' && (unsigned char)*s->p >= 0x20)
            s->p++;
        str_add(out, from, (size_t)(s->p - from));
        if (s->p >= s->end)
            return js_fail(s, "the text ends inside a string");
        if (*s->p == '"') {
            s->p++;
            return str_ok(out, s->e);
        }
        if (*s->p++ != '\\')
            return js_fail(s, "a control character inside a string");
        if (escape(s, out))
            return -1;
    }
}

static const char *digits(const char *p, const char *end)
{
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return p;
}

/* A number's extent by the grammar of RFC 8259; *is_int when it has neither point nor exponent. */
static int number(struct js *s, const char **from, bool *is_int)
{
    const char *p, *q;

    if (js_peek(s) != '0')
        return js_fail(s, "expected a number");
    *from = s->p;
    p = s->p + (*s->p == '-');
    q = digits(p, s->end);
    if (q == p)
        return js_fail(s, "expected a number");
    if (*p == '0' && q > p + 1)
        return js_fail(s, "a number with a leading zero");
    p = q;
    if (p < s->end && *p == '.' && (p = digits(q + 1, s->end)) == q + 1)
        return js_fail(s, "a number without a digit after its point");
    if (p < s->end && (*p == 'e' || *p == 'E')) {
        const char *x = p + 1 + (p + 1 < s->end && (p[1] == '+' || p[1] == '-'));

        if ((p = digits(x, s->end)) == x)
            return js_fail(s, "a number without a digit in its exponent");
    }
    *is_int = p == q;
    s->p = p;
    return 0;
}

int js_u64(struct js *s, uint64_t *out)
{
    const char *from;
    bool is_int;
    uint64_t v = 0;

    if (number(s, &from, &is_int))
        return -1;
    if (!is_int || *from == '-')
        return js_fail(s, "expected a whole number, 0 or more");
    for (; from < s->p; from++)
        if (*from < '0' || *from > '9' || !mul_u64(v, 10, &v) || !add_u64(v, (uint64_t)(*from - '0'), &v))
            return js_fail(s, "the number does not fit 64 bits");
    *out = v;
    return 0;
}

int js_double(struct js *s, double *out)
{
    char buf[64], *end;
    const char *from;
    bool is_int;
    size_t n;

    if (number(s, &from, &is_int))
        return -1;
    n = (size_t)(s->p - from);
    if (n >= sizeof buf)
        return js_fail(s, "a number of %zu characters", n);
    memcpy(buf, from, n);
    buf[n] = 0;
    *out = strtod(buf, &end);
    return *end ? js_fail(s, "expected a number") : 0;
}

static int word(struct js *s, const char *w)
{
    size_t n = strlen(w);

    if ((size_t)(s->end - s->p) < n || memcmp(s->p, w, n) != 0)
        return js_fail(s, "expected %s", w);
    s->p += n;
    return 0;
}

int js_bool(struct js *s, bool *out)
{
    char c = js_peek(s);

    *out = c == 't';
    if (c != 't' && c != 'f')
        return js_fail(s, "expected true or false");
    return word(s, c == 't' ? "true" : "false");
}

static int skip(struct js *s, struct str *scratch, int depth)
{
    const char *from;
    bool is_int;
    int special = js_peek(s) && !s->strict ? special_at(s->p, (size_t)(s->end - s->p)) : -1;

    if (special >= 0)
        return word(s, specials[special]);
    if (depth > MAX_DEPTH)
        return js_fail(s, "nested deeper than %d", MAX_DEPTH);
    switch (js_peek(s)) {
    case '{':
        js_open(s, '{');
        while (js_key(s, scratch))
            if (skip(s, scratch, depth + 1))
                return -1;
        return failed(s) ? -1 : 0;
    case '[':
        js_open(s, '[');
        while (js_item(s))
            if (skip(s, scratch, depth + 1))
                return -1;
        return failed(s) ? -1 : 0;
    case '"':
        return js_string(s, scratch);
    case 't':
        return word(s, "true");
    case 'f':
        return word(s, "false");
    case 'n':
        return word(s, "null");
    case '0':
        return number(s, &from, &is_int);
    default:
        return js_fail(s, "expected a value");
    }
}

int js_skip(struct js *s, size_t *from, size_t *to)
{
    struct str scratch = {0};
    int r;

    js_peek(s);
    if (from)
        *from = (size_t)(s->p - s->start);
    r = skip(s, &scratch, 0);
    str_free(&scratch);
    /* what follows a value is a comma or a bracket, as after any element */
    s->first = false;
    if (to)
        *to = (size_t)(s->p - s->start);
    return r;
}

int js_end(struct js *s)
{
    if (failed(s))
        return -1;
    space(s);
    return s->p < s->end ? js_fail(s, "text after the value") : 0;
}
