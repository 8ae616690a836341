/* json_out.c -- JSON text, written member by member. */
#include "base/json_out.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/num.h"

/* c as an escape, if it needs one. */
static const char *escape_of(unsigned char c, char buf[8])
{
    static const char plain[] = "\"\\\n\t\r", letter[] = "\"\\ntr";
    const char *at = c ? strchr(plain, c) : NULL;

    if (at)
        snprintf(buf, 8, "\\%c", letter[at - plain]);
    else if (c < 0x20)
        snprintf(buf, 8, "\\u%04x", (unsigned)c);
    else
        return NULL;
    return buf;
}

void json_quote(struct str *s, const char *text, size_t n)
{
    size_t i, from = 0, good = utf8_check(text, n);
    char buf[8];

    str_addc(s, '"');
    for (i = 0; i < n; i++) {
        const char *as = i == good ? "\xef\xbf\xbd" : escape_of((unsigned char)text[i], buf);

        if (!as)
            continue;
        str_add(s, text + from, i - from);
        str_adds(s, as);
        from = i + 1;
        if (i == good)
            good = from + utf8_check(text + from, n - from);
    }
    str_add(s, text + from, n - from);
    str_addc(s, '"');
}

static void new_line(struct json_out *j, int depth)
{
    str_addc(&j->s, '\n');
    for (depth += j->base; j->pretty && depth > 0; depth--)
        str_adds(&j->s, "  ");
}

/* What stands before a value: the comma after the one before it, and its name. */
static void begin(struct json_out *j, const char *name, bool row)
{
    if (j->depth) {
        if (j->some)
            str_addc(&j->s, ',');
        if (j->pretty || row)
            new_line(j, j->depth);
        j->rows = j->pretty || row;
    }
    j->some = true;
    if (name) {
        json_quote(&j->s, name, strlen(name));
        str_adds(&j->s, j->pretty ? ": " : ":");
    }
}

void jo_open(struct json_out *j, const char *name, char bracket)
{
    bool in_array = j->depth && (j->arrays >> (j->depth - 1) & 1);

    begin(j, name, in_array && bracket == '{');
    str_addc(&j->s, bracket);
    j->arrays &= ~(UINT64_C(1) << j->depth);
    j->arrays |= (uint64_t)(bracket == '[') << j->depth++;
    j->some = j->rows = false;
}

void jo_close(struct json_out *j)
{
    bool array = j->arrays >> --j->depth & 1;

    if (j->rows)
        new_line(j, j->depth);
    str_addc(&j->s, array ? ']' : '}');
    j->some = true;
    /* What it stands in: a row of an array, or a member. */
    j->rows = j->depth && (j->pretty || (!array && (j->arrays >> (j->depth - 1) & 1)));
}

void jo_string(struct json_out *j, const char *name, const char *text)
{
    begin(j, name, false);
    if (text)
        json_quote(&j->s, text, strlen(text));
    else
        str_adds(&j->s, "null");
}

void jo_bool(struct json_out *j, const char *name, bool v)
{
    jo_printf(j, name, "%s", v ? "true" : "false");
}

void jo_int(struct json_out *j, const char *name, int64_t v)
{
    char buf[24];

    snprintf(buf, sizeof buf, "%lld", (long long)v);
    begin(j, name, false);
    str_adds(&j->s, buf);
}

void jo_uint(struct json_out *j, const char *name, uint64_t v)
{
    jo_printf(j, name, "%llu", (unsigned long long)v);
}

void jo_double(struct json_out *j, const char *name, double v)
{
    char buf[32];

    jo_printf(j, name, "%s", isfinite(v) ? num_shortest(v, buf) : "null");
}

void jo_null(struct json_out *j, const char *name)
{
    jo_string(j, name, NULL);
}

void jo_printf(struct json_out *j, const char *name, const char *fmt, ...)
{
    va_list ap;

    begin(j, name, false);
    va_start(ap, fmt);
    str_addv(&j->s, fmt, ap);
    va_end(ap);
}
