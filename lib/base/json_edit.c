/*
 * json_edit.c -- edits by byte range of JSON that belongs to somebody else.
 */
#include "base/json.h"

#include <stdlib.h>
#include <string.h>

#include "base/json_out.h"

/* Where a member stands: the object's braces, the member's key and its value. */
struct place {
    size_t obj_from;  /* '{' of the object that holds (or would hold) the member */
    size_t last_to;   /* after the last member's value, or after '{' */
    size_t first_key; /* the first member's key, 0 if there is none */
    size_t prev_to;   /* after the value before the member, or after '{' */
    size_t key_from, from, to;
    bool object, found;
};

/* Where the key of the next member begins: after the comma, if the scanner stands before one. */
static size_t key_begin(struct js *s)
{
    const char *p = s->p;

    js_peek(s); /* skips white space */
    p = s->p;
    if (!s->first && *p == ',')
        for (p++; *p && strchr(" \n\t\r", *p);)
            p++;
    return (size_t)(p - s->start);
}

/* One object, from its '{' on: where member `name` stands in it. */
static int find_member(struct js *s, const char *name, struct place *pl)
{
    struct str key = {0};
    size_t key_from, from, to;

    *pl = (struct place){.obj_from = (size_t)(s->p - s->start), .object = true};
    pl->last_to = pl->prev_to = pl->obj_from + 1;
    js_open(s, '{');
    while (key_from = key_begin(s), js_key(s, &key)) {
        if (!pl->first_key)
            pl->first_key = key_from;
        js_skip(s, &from, &to);
        if (strcmp(key.p ? key.p : "", name) == 0) {
            if (pl->found)
                js_fail(s, "'%s' occurs twice", name);
            pl->found = true;
            pl->key_from = key_from;
            pl->from = from;
            pl->to = to;
            pl->prev_to = pl->last_to;
        }
        pl->last_to = to;
    }
    str_free(&key);
    return s->e->kind ? -1 : 0;
}

/* *pl: the last object on the path that exists, or all zero when the one that would hold the member does not.
 */
static int locate(const char *p, size_t n, const char *what, const char *const *path, struct place *pl,
                  struct err *e)
{
    struct js s;

    *pl = (struct place){0};
    if (js_init(&s, p, n, what, e) || js_skip(&s, NULL, NULL) || js_end(&s))
        return -1; /* from here on the text is JSON */
    js_init(&s, p, n, what, e);
    for (; js_peek(&s) == '{'; path++) {
        if (find_member(&s, *path, pl))
            return -1;
        if (!path[1])
            return 0;
        if (!pl->found)
            break;
        s.p = p + pl->from;
        s.first = true;
    }
    *pl = (struct place){0};
    return 0;
}

int json_find(const char *p, size_t n, const char *what, const char *const *path, size_t *from, size_t *to,
              struct err *e)
{
    struct place pl;

    if (locate(p, n, what, path, &pl, e))
        return -1;
    *from = pl.from;
    *to = pl.to;
    return pl.found;
}

static int splice(char **text, size_t *n, size_t from, size_t to, const char *with, size_t wn, struct err *e)
{
    char *out = mem_new(*n - (to - from) + wn + 1, 1, e);

    if (!out)
        return -1;
    memcpy(out, *text, from);
    memcpy(out + from, with, wn);
    memcpy(out + from + wn, *text + to, *n - to);
    free(*text);
    *text = out;
    *n = *n - (to - from) + wn;
    return 1;
}

int json_replace(char **text, size_t *n, const char *what, const char *const *path, const char *value,
                 struct err *e)
{
    struct place pl;

    if (locate(*text, *n, what, path, &pl, e))
        return -1;
    return pl.found ? splice(text, n, pl.from, pl.to, value, strlen(value), e) : 0;
}

int json_set(char **text, size_t *n, const char *what, const char *const *path, const char *value,
             struct err *e)
{
    struct str add = {0};
    struct place pl;
    const char *name;
    int r;

    if (locate(*text, *n, what, path, &pl, e))
        return -1;
    if (pl.found)
        return splice(text, n, pl.from, pl.to, value, strlen(value), e);
    for (name = *path; path[1]; name = *++path)
        ;
    if (!pl.object)
        return err_set(e, ERR_INPUT, "%s: there is no object to put '%s' into", what, name);
    if (pl.first_key) {
        /* the white space before the first member is the indentation of this object */
        str_adds(&add, ",");
        str_add(&add, *text + pl.obj_from + 1, pl.first_key - pl.obj_from - 1);
    }
    json_quote(&add, name, strlen(name));
    str_adds(&add, ": ");
    str_adds(&add, value);
    r = str_ok(&add, e) ? -1 : splice(text, n, pl.last_to, pl.last_to, add.p, add.n, e);
    str_free(&add);
    return r;
}

int json_remove(char **text, size_t *n, const char *what, const char *const *path, struct err *e)
{
    struct place pl;

    if (locate(*text, *n, what, path, &pl, e))
        return -1;
    if (!pl.found)
        return 0;
    if (pl.prev_to > pl.obj_from + 1) /* not the first member: the comma before it goes */
        return splice(text, n, pl.prev_to, pl.to, "", 0, e);
    if (pl.last_to > pl.to) { /* the first of several: the comma after it goes */
        size_t to = pl.to;

        while ((*text)[to] != ',')
            to++;
        for (to++; strchr(" \n\t\r", (*text)[to]);)
            to++;
        return splice(text, n, pl.key_from, to, "", 0, e);
    }
    return splice(text, n, pl.key_from, pl.to, "", 0, e);
}
