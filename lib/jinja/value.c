/* value.c -- making values, truth, length and items of them; failing. */
#include "jinja/value.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "jinja/loop.h"
#include "jinja/characters.h"

/* ---- failing ---- */

static void run_say(struct run *r, enum err_kind kind, const char *what, const char *fmt, va_list ap)
{
    char text[700];

    vsnprintf(text, sizeof text, fmt, ap);
    text[utf8_whole(text, strlen(text))] = 0;
    err_set(r->e, kind, "line %d: %s: %s", r->line, what, text);
}

void run_fail(struct run *r, const char *what, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    run_say(r, ERR_INPUT, what, fmt, ap);
    va_end(ap);
    longjmp(*r->leave, 1);
}

void run_fail_kind(struct run *r, enum err_kind kind, const char *what, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    run_say(r, kind, what, fmt, ap);
    va_end(ap);
    longjmp(*r->leave, 1);
}

void run_spend(struct run *r, uint64_t steps)
{
    if (steps > r->steps)
        run_fail(r, "TimeoutError", "the template takes too many steps");
    r->steps -= steps;
    if (r->out->failed)
        run_fail_kind(r, ERR_NOMEM, "MemoryError", "out of memory: the rendered text");
    if (r->out->n - r->start > r->bytes)
        run_fail(r, "MemoryError", "the template prints more than %llu bytes", (unsigned long long)r->bytes);
}

void *run_get(struct run *r, size_t n)
{
    void *p;

    run_spend(r, n / 64);
    p = arena_get(&r->arena, n);
    if (!p)
        run_fail_kind(r, r->arena.limit - r->arena.used < n ? ERR_INPUT : ERR_NOMEM, "MemoryError",
                      "the template takes too much memory");
    return p;
}

char *run_grow(struct run *r, const char *s, uint32_t n, uint32_t more)
{
    size_t room = (size_t)(r->arena.next - r->tail), need = more > room ? more - room : 0;
    char *p = (char *)s;

    if (r->tail && s + n == r->tail && r->arena.next == r->tail_next && need <= r->arena.left) {
        if (need)
            run_get(r, need);
    } else {
        p = run_get(r, (size_t)n + more);
        memcpy(p, s, n);
    }
    r->tail = p + n + more;
    r->tail_next = r->arena.next;
    return p;
}

void v_fail_undefined(struct run *r, struct value v)
{
    struct value of = {.kind = v.flags & 0x3f};

    if (v.flags & UNSAFE)
        run_fail(r, "SecurityError", "access to attribute '%.*s' of '%s' object is unsafe", (int)v.n, v.s,
                 v_type(of));
    if (v.flags & OF_MESSAGE)
        run_fail(r, "UndefinedError", "%.*s", (int)v.n, v.s);
    if (v.flags == OF_NAME)
        run_fail(r, "UndefinedError", "'%.*s' is undefined", (int)v.n, v.s);
    run_fail(r, "UndefinedError", "'%s object' has no attribute '%.*s'", v_type(of), (int)v.n, v.s);
}

/* ---- making ---- */

struct value v_undefined(const char *name, uint32_t n, unsigned flags)
{
    return (struct value){.kind = UNDEFINED, .flags = (uint8_t)flags, .n = n, .s = name};
}

struct value v_message(const char *text)
{
    return v_undefined(text, (uint32_t)strlen(text), OF_MESSAGE);
}

struct value v_none(void)
{
    return (struct value){.kind = NONE};
}

struct value v_bool(bool b)
{
    return (struct value){.kind = BOOL, .i = b};
}

struct value v_int(int64_t i)
{
    return (struct value){.kind = INT, .i = i};
}

struct value v_float(double f)
{
    return (struct value){.kind = FLOAT, .f = f};
}

struct value v_str(const char *s, size_t n)
{
    return (struct value){.kind = STR, .n = (uint32_t)n, .s = s};
}

struct value v_text(const char *s)
{
    return v_str(s, strlen(s));
}

struct value v_copy(struct run *r, const char *s, size_t n)
{
    char *p;

    if (n > UINT32_MAX)
        run_fail(r, "MemoryError", "a string of 4 GiB");
    p = run_get(r, n);
    memcpy(p, s, n);
    return v_str(p, n);
}

static struct value sequence(struct run *r, enum kind kind, size_t n)
{
    struct value v = {.kind = (uint8_t)kind, .n = (uint32_t)n};

    if (n > UINT32_MAX / sizeof v)
        run_fail(r, "MemoryError", "a list of %zu items", n);
    v.item = run_get(r, n * sizeof v);
    return v;
}

struct value v_list(struct run *r, size_t n)
{
    return sequence(r, LIST, n);
}

struct value v_tuple(struct run *r, size_t n)
{
    return sequence(r, TUPLE, n);
}

struct value v_iter(struct run *r, struct value list)
{
    struct iter *it = run_get(r, sizeof *it);

    *it = (struct iter){list.item, list.n, 0};
    return (struct value){.kind = ITER, .iter = it};
}

struct value v_dict(struct run *r, uint32_t cap)
{
    struct dict *d = run_get(r, sizeof *d);

    *d = (struct dict){.cap = cap};
    d->entry = run_get(r, cap * sizeof *d->entry);
    return (struct value){.kind = DICT, .dict = d};
}

struct value v_printed(struct run *r, size_t from)
{
    struct value v;

    run_spend(r, 0);
    v = r->out->n > from ? v_copy(r, r->out->p + from, r->out->n - from) : v_str("", 0);
    r->out->n = from;
    return v;
}

/* ---- what all values can do ---- */

bool v_true(struct value v)
{
    switch (v.kind) {
    case MISSING:
    case UNDEFINED:
    case NONE:
        return false;
    case BOOL:
    case INT:
        return v.i != 0;
    case FLOAT:
        return v.f != 0;
    case STR:
    case LIST:
    case TUPLE:
    case RANGE:
        return v.n > 0;
    case DICT:
    case KEYS:
    case VALUES:
    case ITEMS:
        return v.dict->n > 0;
    default:
        return true;
    }
}

const char *v_type(struct value v)
{
    static const char *const name[] = {[MISSING] = "missing",
                                       [UNDEFINED] = "Undefined",
                                       [NONE] = "NoneType",
                                       [BOOL] = "bool",
                                       [INT] = "int",
                                       [BIG] = "int",
                                       [FLOAT] = "float",
                                       [STR] = "str",
                                       [LIST] = "list",
                                       [TUPLE] = "tuple",
                                       [DICT] = "dict",
                                       [KEYS] = "dict_keys",
                                       [VALUES] = "dict_values",
                                       [ITEMS] = "dict_items",
                                       [RANGE] = "range",
                                       [ITER] = "generator",
                                       [NAMESPACE] = "Namespace",
                                       [MACRO] = "Macro",
                                       [LOOP] = "LoopContext",
                                       [METHOD] = "builtin_function_or_method",
                                       [FUNCTION] = "function",
                                       [CYCLER] = "Cycler",
                                       [JOINER] = "Joiner"};

    return v.kind == STR && (v.flags & SAFE) ? "Markup" : name[v.kind];
}

bool v_iterable(struct value v)
{
    return v.kind == UNDEFINED || (v.kind >= STR && v.kind <= ITER) || v.kind == LOOP;
}

static struct value characters(struct run *r, struct value s)
{
    struct value list = v_list(r, utf8_count(s.s, s.n));
    uint32_t i, at = 0, n;

    for (i = 0; i < list.n; i++, at += n) {
        n = utf8_length(s.s + at, s.n - at);
        list.item[i] = v_str(s.s + at, n);
        list.item[i].flags = s.flags;
    }
    return list;
}

static struct value members(struct run *r, struct value v)
{
    struct value list = v_list(r, v.dict->n);
    uint32_t i;

    for (i = 0; i < list.n; i++) {
        const struct entry *e = &v.dict->entry[i];

        if (v.kind == ITEMS) {
            list.item[i] = v_tuple(r, 2);
            list.item[i].item[0] = e->key;
            list.item[i].item[1] = e->value;
        } else {
            list.item[i] = v.kind == VALUES ? e->value : e->key;
        }
    }
    return list;
}

struct value v_items(struct run *r, struct value v)
{
    struct value list = {.kind = LIST};
    uint32_t i;

    switch (v.kind) {
    case UNDEFINED:
        if (v.flags & UNSAFE)
            v_fail_undefined(r, v);
        return list;
    case LIST:
    case TUPLE:
        v.kind = LIST;
        return v;
    case STR:
        return characters(r, v);
    case DICT:
    case KEYS:
    case VALUES:
    case ITEMS:
        return members(r, v);
    case RANGE:
        list = v_list(r, v.n);
        for (i = 0; i < v.n; i++)
            list.item[i] = v_int(v.range->start + i * v.range->step);
        return list;
    case ITER:
        list.n = v.iter->n - v.iter->at;
        list.item = v.iter->item + v.iter->at;
        v.iter->at = v.iter->n;
        return list;
    case LOOP:
        return loop_rest(r, v.loop);
    default:
        run_fail(r, "TypeError", "'%s' object is not iterable", v_type(v));
    }
}

bool v_sized(struct value v)
{
    return v.kind == UNDEFINED || (v.kind >= STR && v.kind <= RANGE) || v.kind == LOOP;
}

int64_t v_length(struct run *r, struct value v)
{
    if (!v_sized(v))
        run_fail(r, "TypeError", "object of type '%s' has no len()", v_type(v));
    switch (v.kind) {
    case UNDEFINED:
        return 0;
    case STR:
        run_spend(r, v.n / 1024);
        return (int64_t)utf8_count(v.s, v.n);
    case LIST:
    case TUPLE:
    case RANGE:
        return v.n;
    case LOOP:
        return loop_length(r, v.loop);
    default:
        return v.dict->n;
    }
}

bool v_is(struct value v, const char *text)
{
    return v.kind == STR && v.n == strlen(text) && memcmp(v.s, text, v.n) == 0;
}

int64_t v_index(struct run *r, struct value v, const char *what)
{
    if (v.kind == UNDEFINED)
        v_fail_undefined(r, v);
    if (v.kind == BIG)
        run_fail(r, "OverflowError", "%s: Python int too large to convert to C ssize_t", what);
    if (v.kind != INT && v.kind != BOOL)
        run_fail(r, "TypeError", "%s: '%s' object cannot be interpreted as an integer", what, v_type(v));
    return v.i;
}
