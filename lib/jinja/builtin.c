/* builtin.c -- finding filters, tests, functions and methods, and giving them their arguments. */
#include "jinja/builtin.h"

#include <string.h>

const struct builtin *builtin_find(const struct builtin *table, const char *name, size_t n)
{
    for (; table->name; table++)
        if (strncmp(table->name, name, n) == 0 && !table->name[n])
            return table;
    return NULL;
}

/* The place of a name among the parameters, or -1. */
static int place_of(const char *params, struct value name)
{
    const char *p = params;
    int i;

    for (i = 0; *p; i++) {
        size_t n = strcspn(p, " ?");

        if (n == name.n && memcmp(p, name.s, n) == 0)
            return i;
        p += n + (p[n] == '?');
        p += *p == ' ';
    }
    return -1;
}

/* How many there are, and how many must be given. */
static uint32_t count_params(const char *params, uint32_t *least)
{
    uint32_t n = 0;
    const char *p;

    *least = 0;
    for (p = params; *p; p += *p == ' ') {
        p += strcspn(p, " ?");
        n++;
        *least += *p != '?';
        p += *p == '?';
    }
    return n;
}

struct value builtin_call(struct run *r, const struct builtin *b, struct value self, struct args *a)
{
    struct value v[MAX_PARAMS] = {{.kind = MISSING}};
    const char *params = b->params;
    bool by_name = params && *params != '/';
    uint32_t n, least, i;

    if (!params)
        return b->any(r, self, a);
    params += !by_name;
    n = count_params(params, &least);
    if (a->n > n)
        run_fail(r, "TypeError", "%s() takes at most %u arguments (%u given)", b->name, n, a->n);
    if (a->n)
        memcpy(v, a->at, a->n * sizeof *v);
    for (i = 0; i < a->keys; i++) {
        int k = by_name ? place_of(params, a->key[i].name) : -1;

        if (k < 0)
            run_fail(r, "TypeError", "%s() got an unexpected keyword argument '%.*s'", b->name,
                     (int)a->key[i].name.n, a->key[i].name.s);
        if (v[k].kind != MISSING)
            run_fail(r, "TypeError", "%s() got multiple values for argument '%.*s'", b->name,
                     (int)a->key[i].name.n, a->key[i].name.s);
        v[k] = a->key[i].value;
    }
    for (i = 0; i < least; i++)
        if (v[i].kind == MISSING)
            run_fail(r, "TypeError", "%s() takes at least %u arguments", b->name, least);
    return b->fn(r, self, v);
}

struct value filter_named(struct run *r, struct value name, struct value self, struct args *a)
{
    const struct builtin *b = name.kind == STR ? builtin_find(filters, name.s, name.n) : NULL;

    if (!b)
        run_fail(r, "TemplateRuntimeError", "No filter named '%.*s'.", name.kind == STR ? (int)name.n : 0,
                 name.s);
    return builtin_call(r, b, self, a);
}

bool test_named(struct run *r, struct value name, struct value self, struct args *a)
{
    const struct builtin *b = name.kind == STR ? builtin_find(tests, name.s, name.n) : NULL;

    if (!b)
        run_fail(r, "TemplateRuntimeError", "No test named '%.*s'.", name.kind == STR ? (int)name.n : 0,
                 name.s);
    return v_true(builtin_call(r, b, self, a));
}

int64_t arg_int(struct run *r, struct value v, int64_t missing)
{
    return v.kind == MISSING ? missing : v_index(r, v, "an argument");
}

bool arg_true(struct value v, bool missing)
{
    return v.kind == MISSING ? missing : v_true(v);
}
