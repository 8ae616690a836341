/* json_text.c -- tojson as transformers has it: json.dumps. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "jinja/evaluate.h"
#include "jinja/characters.h"

struct writing {
    struct run *r;
    const struct json_style *style;
    int depth;
};

static void add_text(const struct writing *w, struct value v)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    struct str *out = w->r->out;
    uint32_t i, n, plain = 0;

    str_addc(out, '"');
    for (i = 0; i < v.n; i += n) {
        unsigned char c = (unsigned char)v.s[i];
        const char *k = c < 0x60 ? memchr(from, c, sizeof from - 1) : NULL;

        n = 1;
        if (c >= 0x20 && !k && (c < 0x7f || !w->style->ascii))
            continue;
        str_add(out, v.s + plain, i - plain);
        if (k) {
            str_addf(out, "\\%c", to[k - from]);
        } else {
            int32_t u = utf8_get(v.s + i, v.n - i);

            n = utf8_length(v.s + i, v.n - i);
            if (u >= 0x10000)
                str_addf(out, "\\u%04x\\u%04x", 0xd800 + ((u - 0x10000) >> 10),
                         0xdc00 + ((u - 0x10000) & 0x3ff));
            else
                str_addf(out, "\\u%04x", (unsigned)u);
        }
        plain = i + n;
    }
    str_add(out, v.s + plain, v.n - plain);
    str_addc(out, '"');
}

static void add_value(struct writing *w, struct value v);

static void json_line(const struct writing *w)
{
    int i;

    if (!w->style->indented)
        return;
    str_addc(w->r->out, '\n');
    for (i = 0; i < w->depth; i++)
        str_add(w->r->out, w->style->indent.s, w->style->indent.n);
}

static void add_float(const struct writing *w, double f)
{
    if (isfinite(f))
        print_float(w->r->out, f);
    else
        str_adds(w->r->out, isnan(f) ? "NaN" : f < 0 ? "-Infinity" : "Infinity");
}

static void add_key(struct writing *w, struct value key)
{
    if (key.kind == STR) {
        add_text(w, key);
        return;
    }
    if (key.kind != INT && key.kind != BIG && key.kind != FLOAT && key.kind != BOOL && key.kind != NONE)
        run_fail(w->r, "TypeError", "keys must be str, int, float, bool or None, not %s", v_type(key));
    str_addc(w->r->out, '"');
    add_value(w, key);
    str_addc(w->r->out, '"');
}

static void add_items(struct writing *w, struct value v)
{
    uint32_t i;

    str_addc(w->r->out, '[');
    w->depth++;
    for (i = 0; i < v.n; i++) {
        if (i)
            str_add(w->r->out, w->style->item.s, w->style->item.n);
        json_line(w);
        add_value(w, v.item[i]);
    }
    w->depth--;
    if (v.n)
        json_line(w);
    str_addc(w->r->out, ']');
}

static void add_members(struct writing *w, const struct dict *d)
{
    const struct entry *e = d->entry;
    uint32_t i;

    if (w->style->sorted)
        e = entries_sorted(w->r, d);
    str_addc(w->r->out, '{');
    w->depth++;
    for (i = 0; i < d->n; i++) {
        if (i)
            str_add(w->r->out, w->style->item.s, w->style->item.n);
        json_line(w);
        add_key(w, e[i].key);
        str_add(w->r->out, w->style->key.s, w->style->key.n);
        add_value(w, e[i].value);
    }
    w->depth--;
    if (d->n)
        json_line(w);
    str_addc(w->r->out, '}');
}

static void add_value(struct writing *w, struct value v)
{
    run_deeper(w->r);
    run_spend(w->r, 1);
    switch (v.kind) {
    case NONE:
        str_adds(w->r->out, "null");
        break;
    case BOOL:
        str_adds(w->r->out, v.i ? "true" : "false");
        break;
    case INT:
    case BIG:
        print_str(w->r, v);
        break;
    case FLOAT:
        add_float(w, v.f);
        break;
    case STR:
        add_text(w, v);
        break;
    case LIST:
    case TUPLE:
        add_items(w, v);
        break;
    case DICT:
        add_members(w, v.dict);
        break;
    default:
        run_fail(w->r, "TypeError", "Object of type %s is not JSON serializable", v_type(v));
    }
    w->r->depth--;
}

void print_json(struct run *r, struct value v, const struct json_style *style)
{
    struct writing w = {r, style, 0};

    add_value(&w, v);
}
