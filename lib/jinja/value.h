/*
 * value.h -- the values of templates, which are Python's, and the rendering that they belong to.
 *
 * A value is two words, passed by value. What it points to lies in the rendering's arena, in the template or
 * in the caller's variables, and never changes (but for namespaces and iterators), so parts are shared, not
 * copied. Any failure leaves by run_fail, straight to jinja_render: no function here returns an error.
 */
#ifndef MOE_JINJA_VALUE_H
#define MOE_JINJA_VALUE_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "jinja/arena.h"

enum kind {
    MISSING, /* no value at all: a variable not yet set, an argument not given */
    UNDEFINED,
    NONE,
    BOOL,
    INT,
    BIG, /* an integer beyond 64 bits: its digits (integers.h) */
    FLOAT,
    STR,
    LIST,
    TUPLE,
    DICT,
    KEYS, /* views of a dict */
    VALUES,
    ITEMS,
    RANGE,
    ITER, /* generators: can be gone through once */
    NAMESPACE,
    MACRO,
    LOOP,
    METHOD,
    FUNCTION,
    CYCLER,
    JOINER,
};

enum { SAFE = 1 }; /* of STR: markupsafe's Markup */
enum {
    OF_NAME = 0,
    OF_MESSAGE = 0x40,
    UNSAFE = 0x80
}; /* of UNDEFINED; else the kind of what has no such member */

struct value {
    uint8_t kind, flags;
    uint32_t n; /* bytes of a string, items of a list, tuple or range */
    union {
        bool b;
        int64_t i;
        double f;
        const char *s;      /* STR, BIG, UNDEFINED: its name or message */
        struct value *item; /* LIST, TUPLE */
        struct dict *dict;  /* DICT, KEYS, VALUES, ITEMS, NAMESPACE */
        struct range *range;
        struct iter *iter; /* ITER; CYCLER, JOINER */
        struct macro *macro;
        struct loop *loop;
        const struct builtin *builtin; /* FUNCTION */
        const struct bound *bound;     /* METHOD */
    };
};

struct dict {
    struct entry {
        struct value key, value;
        uint32_t hash;
    } * entry;
    uint32_t n, cap;
    uint32_t *slot, mask; /* index + 1 by hash, once there are many */
};
struct range {
    int64_t start, step;
};
struct iter {
    struct value *item;
    uint32_t n, at;
};

/* ---- a rendering ---- */

struct frame;
struct run {
    const struct jinja *t;
    struct arena arena;
    struct str *out;
    const char *now;
    struct value *global; /* [symbols] the variables given and the functions that there are; MISSING: none */
    bool *read;           /* [symbols] the template looked there */
    struct frame *frame;  /* variables of the innermost unit */
    struct frame *root;
    uint64_t steps, bytes;
    int depth;    /* of evaluation, which is the C stack's */
    int calls;    /* of macros inside each other */
    size_t start; /* of the output in out */
    int line;     /* of what is being evaluated */
    char *tail,
        *tail_next; /* the end of the text that may grow in place, and what the arena gives next then */
    struct err *e;
    jmp_buf *leave;
};

/* what: Python's name of the exception. */
void run_fail(struct run *r, const char *what, const char *fmt, ...)
    __attribute__((noreturn, format(printf, 3, 4)));
void run_fail_kind(struct run *r, enum err_kind kind, const char *what, const char *fmt, ...)
    __attribute__((noreturn, format(printf, 4, 5)));
/* Memory of the rendering, which is also counted as steps; fails when there is none left. */
void *run_get(struct run *r, size_t n);
/* The n bytes at s with room for more behind them: where s is what was taken last, at the same place. */
char *run_grow(struct run *r, const char *s, uint32_t n, uint32_t more);
void run_spend(struct run *r, uint64_t steps);

/* ---- making ---- */

struct value v_undefined(const char *name, uint32_t n, unsigned flags);
struct value v_message(const char *text); /* undefined, with the message that using it gives */
struct value v_none(void);
struct value v_bool(bool b);
struct value v_int(int64_t i);
struct value v_float(double f);
struct value v_str(const char *s, size_t n); /* by reference */
struct value v_text(const char *s);          /* NUL-terminated */
struct value v_copy(struct run *r, const char *s, size_t n);
struct value v_list(struct run *r, size_t n); /* its items are the caller's to set */
struct value v_tuple(struct run *r, size_t n);
struct value v_iter(struct run *r, struct value list); /* a generator that gives the items of list */
struct value v_dict(struct run *r, uint32_t cap);
/* What was printed into r->out since it held from bytes, taken out of it. */
struct value v_printed(struct run *r, size_t from);

/* ---- dicts and namespaces ---- */

/* A key that cannot be hashed fails with TypeError. A key that is there gets the new value. */
void dict_set(struct run *r, struct dict *d, struct value key, struct value v);
const struct value *dict_get(struct run *r, const struct dict *d, struct value key); /* NULL: absent */
const struct value *dict_find(const struct dict *d, const char *key, uint32_t n);
bool v_hashable(struct value v);
/* The members in the order of their keys. */
const struct entry *entries_sorted(struct run *r, const struct dict *d);

/* ---- what all values can do ---- */

bool v_true(struct value v);
bool v_equal(struct run *r, struct value a, struct value b);
/* -1, 0, 1, or UNORDERED, of NaN; op is for the message of the TypeError. */
enum { UNORDERED = 2 };
int v_compare(struct run *r, struct value a, struct value b, const char *op);
bool v_in(struct run *r, struct value item, struct value in);
const char *v_type(struct value v); /* Python's name of its type */
bool v_iterable(struct value v);
/* The items of anything that can be gone through, as a list; a generator has none left afterwards. */
struct value v_items(struct run *r, struct value v);
int64_t v_length(struct run *r, struct value v);
/* len() is defined */
bool v_sized(struct value v);
bool v_is(struct value v, const char *text); /* a string equal to text */
/* An integer or truth value as a number; anything else fails with TypeError, what names it. */
int64_t v_index(struct run *r, struct value v, const char *what);
bool v_number(struct value v, double *out); /* any number as the nearest double */

/* The error of using an undefined value. */
void v_fail_undefined(struct run *r, struct value v) __attribute__((noreturn));

#endif
