/* print.c -- str() and repr() of values. */
#include <math.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "jinja/evaluate.h"
#include "jinja/loop.h"
#include "jinja/characters.h"

/* ---- numbers ---- */

/* "1.23e+04": one more in the last digit; false: that is 10. */
static bool next_decimal(char *buf)
{
    char *p = strchr(buf, 'e') - 1;

    for (; p >= buf && (*p == '9' || *p == '.'); p--)
        *p = *p == '9' ? '0' : '.';
    if (p >= buf)
        ++*p;
    return p >= buf;
}

/* The shortest digits that give v back, without a point; returns the exponent of the first. */
static int shortest(double v, char digits[20], int *n)
{
    char buf[40];
    int precision, exponent;
    const char *p;

    for (precision = 0; precision < 17; precision++) {
        snprintf(buf, sizeof buf, "%.*e", precision, fabs(v));
        if (strtod(buf, NULL) == fabs(v))
            break;
        /* Below a power of two doubles are twice as dense as above: the decimal next above may be the one. */
        if (fabs(frexp(v, &exponent)) == .5 && next_decimal(buf) && strtod(buf, NULL) == fabs(v))
            break;
    }
    *n = 0;
    for (p = buf; *p != 'e'; p++)
        if (*p != '.')
            digits[(*n)++] = *p;
    return (int)strtol(p + 1, NULL, 10);
}

static void add_exponential(struct str *out, const char *digits, int n, int exponent)
{
    str_add(out, digits, 1);
    if (n > 1) {
        str_addc(out, '.');
        str_add(out, digits + 1, (size_t)n - 1);
    }
    str_addf(out, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
}

/* repr() of a float: an exponent outside 1e-4 .. 1e16. */
void print_float(struct str *out, double v)
{
    char digits[20];
    int n, i, exponent;

    if (!isfinite(v)) {
        str_adds(out, isnan(v) ? "nan" : v < 0 ? "-inf" : "inf");
        return;
    }
    exponent = shortest(v, digits, &n);
    str_adds(out, signbit(v) ? "-" : "");
    if (exponent < -4 || exponent >= 16) {
        add_exponential(out, digits, n, exponent);
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
    str_adds(out, n <= exponent + 1 ? ".0" : "");
}

/* ---- the others ---- */

static void repr_text(struct run *r, struct value v)
{
    char quote = memchr(v.s, '\'', v.n) && !memchr(v.s, '"', v.n) ? '"' : '\'';
    uint32_t i, n;

    str_adds(r->out, v.flags & SAFE ? "Markup(" : "");
    str_addc(r->out, quote);
    for (i = 0; i < v.n; i += n) {
        int32_t c = utf8_get(v.s + i, v.n - i);

        n = utf8_length(v.s + i, v.n - i);
        if (c == quote || c == '\\')
            str_addf(r->out, "\\%c", (char)c);
        else if (c == '\n' || c == '\r' || c == '\t')
            str_adds(r->out, c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t");
        else if (uni_printable(c))
            str_add(r->out, v.s + i, n);
        else
            str_addf(r->out, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)c);
    }
    str_addc(r->out, quote);
    str_adds(r->out, v.flags & SAFE ? ")" : "");
}

static void repr_members(struct run *r, const struct dict *d)
{
    uint32_t i;

    str_addc(r->out, '{');
    for (i = 0; i < d->n; i++) {
        str_adds(r->out, i ? ", " : "");
        print_repr(r, d->entry[i].key);
        str_adds(r->out, ": ");
        print_repr(r, d->entry[i].value);
    }
    str_addc(r->out, '}');
}

static void repr_items(struct run *r, struct value v)
{
    uint32_t i;

    str_addc(r->out, v.kind == TUPLE ? '(' : '[');
    for (i = 0; i < v.n; i++) {
        str_adds(r->out, i ? ", " : "");
        print_repr(r, v.item[i]);
    }
    str_adds(r->out, v.kind == TUPLE ? (v.n == 1 ? ",)" : ")") : "]");
}

/* What Python prints with an address is printed without. */
static void repr_object(struct run *r, struct value v)
{
    switch (v.kind) {
    case MACRO:
        str_addf(r->out, "<Macro '%.*s'>", (int)v.macro->node->value.n, v.macro->node->value.s);
        break;
    case LOOP:
        str_addf(r->out, "<LoopContext %lld/%lld>", (long long)v.loop->index0 + 1,
                 (long long)loop_length(r, v.loop));
        break;
    case METHOD:
        str_addf(r->out, "<built-in method %s of %s object>", v.bound->builtin->name, v_type(v.bound->self));
        break;
    default:
        str_addf(r->out, "<%s object>", v_type(v));
    }
}

static void print_other(struct run *r, struct value v)
{
    switch (v.kind) {
    case NONE:
        str_adds(r->out, "None");
        break;
    case BOOL:
        str_adds(r->out, v.i ? "True" : "False");
        break;
    case INT:
        str_addf(r->out, "%lld", (long long)v.i);
        break;
    case BIG:
        str_add(r->out, v.s, v.n);
        break;
    case FLOAT:
        print_float(r->out, v.f);
        break;
    case LIST:
    case TUPLE:
        repr_items(r, v);
        break;
    case DICT:
        repr_members(r, v.dict);
        break;
    case KEYS:
    case VALUES:
    case ITEMS:
        str_addf(r->out, "%s(", v_type(v));
        repr_items(r, v_items(r, v));
        str_addc(r->out, ')');
        break;
    case RANGE:
        str_addf(r->out, "range(%lld, %lld", (long long)v.range->start,
                 (long long)(v.range->start + v.n * v.range->step));
        if (v.range->step != 1)
            str_addf(r->out, ", %lld", (long long)v.range->step);
        str_addc(r->out, ')');
        break;
    case NAMESPACE:
        str_adds(r->out, "<Namespace ");
        repr_members(r, v.dict);
        str_addc(r->out, '>');
        break;
    default:
        repr_object(r, v);
    }
}

void print_str(struct run *r, struct value v)
{
    if (v.kind == STR) {
        str_add(r->out, v.s, v.n);
        return;
    }
    if (v.kind == UNDEFINED || v.kind == MISSING)
        return;
    run_deeper(r);
    run_spend(r, 1);
    print_other(r, v);
    r->depth--;
}

void print_repr(struct run *r, struct value v)
{
    if (v.kind == STR)
        repr_text(r, v);
    else if (v.kind == UNDEFINED)
        str_adds(r->out, "Undefined");
    else
        print_str(r, v);
}

struct value v_to_text(struct run *r, struct value v)
{
    size_t from = r->out->n;

    if (v.kind == STR)
        return v;
    print_str(r, v);
    return v_printed(r, from);
}
