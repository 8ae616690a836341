/*
 * builtin.h -- filters, tests, functions and methods as tables of rows, and how what a call gives becomes
 * what a row takes.
 */
#ifndef MOE_JINJA_BUILTIN_H
#define MOE_JINJA_BUILTIN_H

#include "jinja/value.h"

/* What a call gives. */
struct args {
    struct value *at;
    uint32_t n;
    struct keyword {
        struct value name, value;
    } * key;
    uint32_t keys;
};

enum { MAX_PARAMS = 6 };

/* Tables end with a row without a name. A row with neither function is of a method that changes what it is
 * of, which the sandbox forbids. */
struct builtin {
    const char *name;
    const char *params; /* names separated by spaces, "?" behind those that may be left out (MISSING); "/"
                           before them: not by name; NULL: any takes them */
    struct value (*fn)(struct run *r, struct value self, struct value *a);
    struct value (*any)(struct run *r, struct value self, struct args *a);
};

extern const struct builtin filters[], tests[], functions[];
extern const struct builtin dict_methods[], list_methods[], tuple_methods[], text_methods[];
extern const struct builtin loop_methods[];

const struct builtin *builtin_find(const struct builtin *table, const char *name, size_t n);
struct value builtin_call(struct run *r, const struct builtin *b, struct value self, struct args *a);
/* self|name(a) and self is name(a), of names that are known only now. */
struct value filter_named(struct run *r, struct value name, struct value self, struct args *a);
bool test_named(struct run *r, struct value name, struct value self, struct args *a);

/* Arguments that were not given. */
int64_t arg_int(struct run *r, struct value v, int64_t missing);
bool arg_true(struct value v, bool missing);

/* ---- attributes, subscripts, calls (attribute.c, call.c) ---- */

/* The method of that name of v, whatever it does; NULL: there is none. */
const struct builtin *method_find(struct value v, const char *name, size_t n);
struct value v_attribute(struct run *r, struct value of, struct value name);
struct value v_subscript(struct run *r, struct value of, struct value index);
struct value v_slice(struct run *r, struct value of, struct value from, struct value to, struct value step);
struct value v_bind(struct run *r, const struct builtin *b, struct value self);
struct bound {
    const struct builtin *builtin;
    struct value self;
};
struct value v_call(struct run *r, struct value callee, struct args *a);

/* ---- operators (operators.c) ---- */

struct value v_add(struct run *r, struct value a, struct value b);
struct value v_multiply(struct run *r, struct value a, struct value b);
struct value v_arithmetic(struct run *r, int op, struct value a, struct value b);
struct value v_negate(struct run *r, struct value v);
/* a op b op c is asked pair by pair; op is an enum op. */
bool v_relation(struct run *r, int op, struct value a, struct value b);
/* HTML's five characters by their entities, unless it is SAFE. */
struct value v_escape(struct run *r, struct value v);

/* ---- printing (print.c, json_text.c, formatting.c) ---- */

void print_str(struct run *r, struct value v);  /* str() to r->out */
void print_repr(struct run *r, struct value v); /* repr() */
void print_float(struct str *out, double v);
struct value v_to_text(struct run *r, struct value v); /* str(), or v where it is a string */
struct json_style {
    bool ascii, sorted, indented;
    struct value indent, item, key; /* strings: of one level, between items, between key and value */
};
void print_json(struct run *r, struct value v, const struct json_style *style);
struct value format_percent(struct run *r, struct value format, struct value with);
struct value format_braces(struct run *r, struct value format, struct args *a);

/* strftime of the moment "YYYY-MM-DD[ HH:MM:SS]" (moment.c) */
void print_moment(struct run *r, const char *moment, struct value format);

#endif
