/* numbers.c -- the spelling of JSON numbers, kept beside their values. */
#include "jinja/numbers.h"

#include <math.h>
#include <string.h>

#include "base/json.h"

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

int json_keep_numbers(cJSON *tree, const char *text, size_t n, const char *what, struct err *e)
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
