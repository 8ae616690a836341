/* pyjson.c -- numbers as they were written, tojson, str() and repr(). */
#include "text/pyjson.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/json.h"

/* ---- numbers ---- */

/* The members or items of a container and of its text, side by side. */
static int keep_in(cJSON *v, struct js *s, struct str *scratch)
{
    bool object = cJSON_IsObject(v);
    cJSON *c = v->child, *d;

    js_open(s, object ? '{' : '[');
    while (object ? js_key(s, scratch) : js_item(s)) {
        size_t from, to;

        if (!c)
            return js_fail(s, "more members than were parsed");
        for (d = v->child; object && d != c; d = d->next)
            if (strcmp(d->string, c->string) == 0)
                return js_fail(s, "the member '%.100s' occurs twice", c->string);
        if (cJSON_IsObject(c) || cJSON_IsArray(c)) {
            js_peek(s);
            if (keep_in(c, s, scratch))
                return -1;
        } else if (js_skip(s, &from, &to)) {
            return -1;
        } else if (cJSON_IsNumber(c)) {
            if (!isfinite(c->valuedouble) && s->start[to - 1] <= '9') /* not NaN or Infinity, in letters */
                return js_fail(s, "the number %.*s is too large", (int)(to - from < 40 ? to - from : 40),
                               s->start + from);
            c->valuestring = mem_strndup(s->start + from, to - from, s->e);
            if (!c->valuestring)
                return -1;
        }
        c = c->next;
    }
    return s->e->kind ? -1 : 0;
}

int py_keep_numbers(cJSON *tree, const char *text, size_t n, const char *what, struct err *e)
{
    struct str scratch = {0};
    struct js s;
    int r;

    if (!cJSON_IsObject(tree) && !cJSON_IsArray(tree))
        return 0;
    r = js_init(&s, text, n, what, e) || keep_in(tree, &s, &scratch) ? -1 : 0;
    str_free(&scratch);
    return r;
}

/* repr() of a float: the shortest digits that give it back, an exponent outside 1e-4 .. 1e16. */
static void add_float(struct str *out, double v)
{
    char buf[40], digits[20];
    int precision, exponent, n = 0, i;
    char *p;

    for (precision = 0; precision < 17; precision++) {
        snprintf(buf, sizeof buf, "%.*e", precision, fabs(v));
        if (strtod(buf, NULL) == fabs(v))
            break;
    }
    for (p = buf; *p != 'e'; p++)
        if (*p != '.')
            digits[n++] = *p;
    exponent = (int)strtol(p + 1, NULL, 10);
    if (signbit(v))
        str_addc(out, '-');
    if (exponent < -4 || exponent >= 16) {
        str_add(out, digits, 1);
        if (n > 1) {
            str_addc(out, '.');
            str_add(out, digits + 1, (size_t)n - 1);
        }
        str_addf(out, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
        return;
    }
    if (exponent < 0) {
        str_adds(out, "0.");
        for (i = -1; i > exponent; i--)
            str_addc(out, '0');
        str_add(out, digits, (size_t)n);
        return;
    }
    for (i = 0; i < n || i <= exponent; i++) {
        if (i == exponent + 1)
            str_addc(out, '.');
        str_addc(out, i < n ? digits[i] : '0');
    }
    if (n <= exponent + 1)
        str_adds(out, ".0");
}

static void add_number(struct str *out, const cJSON *v)
{
    const char *text = v->valuestring;

    if (!isfinite(v->valuedouble))
        str_adds(out, isnan(v->valuedouble) ? "NaN" : v->valuedouble < 0 ? "-Infinity" : "Infinity");
    else if (text ? strpbrk(text, ".eE") != NULL
                  : v->valuedouble != floor(v->valuedouble) || fabs(v->valuedouble) > 9007199254740992.0)
        add_float(out, v->valuedouble);
    else if (text)
        str_adds(out, strcmp(text, "-0") == 0 ? "0" : text);
    else
        str_addf(out, "%.0f", v->valuedouble);
}

/* ---- tojson ---- */

static void add_quoted(struct str *out, const char *s)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";

    str_addc(out, '"');
    for (; *s; s++) {
        const char *k = strchr(from, *s);

        if (k)
            str_addf(out, "\\%c", to[k - from]);
        else if ((unsigned char)*s < 0x20)
            str_addf(out, "\\u%04x", (unsigned)(unsigned char)*s);
        else
            str_addc(out, *s);
    }
    str_addc(out, '"');
}

static void new_line(struct str *out, int depth)
{
    str_addc(out, '\n');
    for (; depth; depth--)
        str_adds(out, "    ");
}

/* depth: of the indentation; -1: all on one line */
static void tojson(struct str *out, const cJSON *v, int depth)
{
    const cJSON *c;
    int inner = depth < 0 ? -1 : depth + 1;

    if (cJSON_IsString(v)) {
        add_quoted(out, v->valuestring);
    } else if (cJSON_IsNumber(v)) {
        add_number(out, v);
    } else if (cJSON_IsObject(v) || cJSON_IsArray(v)) {
        str_addc(out, cJSON_IsObject(v) ? '{' : '[');
        for (c = v->child; c; c = c->next) {
            if (depth >= 0)
                new_line(out, inner);
            if (cJSON_IsObject(v)) {
                add_quoted(out, c->string);
                str_adds(out, ": ");
            }
            tojson(out, c, inner);
            str_adds(out, !c->next ? "" : depth < 0 ? ", " : ",");
        }
        if (depth >= 0 && v->child)
            new_line(out, depth);
        str_addc(out, cJSON_IsObject(v) ? '}' : ']');
    } else {
        str_adds(out, cJSON_IsTrue(v) ? "true" : cJSON_IsFalse(v) ? "false" : "null");
    }
}

void py_tojson(struct str *out, const cJSON *v)
{
    tojson(out, v, -1);
}

void py_tojson_indented(struct str *out, const cJSON *v)
{
    tojson(out, v, 0);
}

/* ---- str() and repr() ---- */

/* str.isprintable() of one character */
static bool printable(utf8proc_int32_t c)
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

static void repr_string(struct str *out, const char *s)
{
    char quote = strchr(s, '\'') && !strchr(s, '"') ? '"' : '\'';
    utf8proc_int32_t c;
    utf8proc_ssize_t len;

    str_addc(out, quote);
    for (; *s; s += len) {
        len = utf8proc_iterate((const utf8proc_uint8_t *)s, -1, &c);
        if (len < 1)
            len = 1;
        if (c == quote || c == '\\')
            str_addf(out, "\\%c", (char)c);
        else if (c == '\n' || c == '\r' || c == '\t')
            str_adds(out, c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t");
        else if (printable(c))
            str_add(out, s, (size_t)len);
        else
            str_addf(out, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)c);
    }
    str_addc(out, quote);
}

static void repr(struct str *out, const cJSON *v)
{
    const cJSON *c;

    if (cJSON_IsString(v)) {
        repr_string(out, v->valuestring);
        return;
    }
    if (!cJSON_IsObject(v) && !cJSON_IsArray(v)) {
        py_str(out, v);
        return;
    }
    str_addc(out, cJSON_IsObject(v) ? '{' : '[');
    for (c = v->child; c; c = c->next) {
        if (cJSON_IsObject(v)) {
            repr_string(out, c->string);
            str_adds(out, ": ");
        }
        repr(out, c);
        str_adds(out, c->next ? ", " : "");
    }
    str_addc(out, cJSON_IsObject(v) ? '}' : ']');
}

void py_str(struct str *out, const cJSON *v)
{
    if (cJSON_IsString(v))
        str_adds(out, v->valuestring);
    else if (cJSON_IsNumber(v))
        add_number(out, v);
    else if (cJSON_IsObject(v) || cJSON_IsArray(v))
        repr(out, v);
    else
        str_adds(out, cJSON_IsTrue(v) ? "True" : cJSON_IsFalse(v) ? "False" : "None");
}

bool py_true(const cJSON *v)
{
    if (!v || cJSON_IsNull(v) || cJSON_IsFalse(v))
        return false;
    if (cJSON_IsString(v))
        return *v->valuestring != 0;
    if (cJSON_IsNumber(v))
        return v->valuedouble != 0;
    return cJSON_IsTrue(v) || v->child != NULL;
}

static bool py_space(utf8proc_int32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
           c == 0x3000;
}

void py_strip(const char **s, size_t *n)
{
    utf8proc_int32_t c;
    utf8proc_ssize_t len;
    size_t k;

    while (*n) {
        len = utf8proc_iterate((const utf8proc_uint8_t *)*s, (utf8proc_ssize_t)*n, &c);
        if (len < 1 || !py_space(c))
            break;
        *s += len;
        *n -= (size_t)len;
    }
    while (*n) {
        for (k = *n - 1; k && ((unsigned char)(*s)[k] & 0xc0) == 0x80;)
            k--;
        len = utf8proc_iterate((const utf8proc_uint8_t *)*s + k, (utf8proc_ssize_t)(*n - k), &c);
        if (len < 1 || !py_space(c))
            break;
        *n = k;
    }
}
