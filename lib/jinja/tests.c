/* tests.c -- what "is" asks. */
#include <math.h>

#include "jinja/builtin.h"
#include "jinja/tree.h"

#define ASKS(name, answer)                                                                                   \
    static struct value name(struct run *r, struct value v, struct value *a)                                 \
    {                                                                                                        \
        (void)r, (void)a;                                                                                    \
        return v_bool(answer);                                                                               \
    }
ASKS(defined, v.kind != UNDEFINED)
ASKS(undefined, v.kind == UNDEFINED)
ASKS(none, v.kind == NONE)
ASKS(boolean, v.kind == BOOL)
ASKS(is_false, v.kind == BOOL && !v.i)
ASKS(is_true, v.kind == BOOL && v.i)
ASKS(integer, v.kind == INT || v.kind == BIG)
ASKS(real, v.kind == FLOAT)
ASKS(number, v.kind >= BOOL && v.kind <= FLOAT)
ASKS(string, v.kind == STR)
ASKS(mapping, v.kind == DICT)
ASKS(sequence, v.kind == UNDEFINED || v.kind == STR || v.kind == LIST || v.kind == TUPLE || v.kind == DICT ||
                   v.kind == RANGE)
ASKS(iterable, v_iterable(v))
ASKS(callable, v.kind == MACRO || v.kind == METHOD || v.kind == FUNCTION || v.kind == LOOP ||
                   v.kind == JOINER || v.kind == UNDEFINED)
ASKS(escaped, v.kind == STR && (v.flags & SAFE))
ASKS(equal, v_relation(r, OP_EQ, v, a[0]))
ASKS(unequal, v_relation(r, OP_NE, v, a[0]))
ASKS(greater, v_relation(r, OP_GT, v, a[0]))
ASKS(greater_equal, v_relation(r, OP_GE, v, a[0]))
ASKS(less, v_relation(r, OP_LT, v, a[0]))
ASKS(less_equal, v_relation(r, OP_LE, v, a[0]))
ASKS(in, v_in(r, v, a[0]))
ASKS(is_filter, v.kind == STR && builtin_find(filters, v.s, v.n))
ASKS(is_test, v.kind == STR && builtin_find(tests, v.s, v.n))

static struct value remainder_is(struct run *r, struct value v, struct value by, int64_t is)
{
    return v_bool(v_equal(r, v_arithmetic(r, OP_MOD, v, by), v_int(is)));
}

static struct value odd(struct run *r, struct value v, struct value *a)
{
    (void)a;
    return remainder_is(r, v, v_int(2), 1);
}

static struct value even(struct run *r, struct value v, struct value *a)
{
    (void)a;
    return remainder_is(r, v, v_int(2), 0);
}

static struct value divisible(struct run *r, struct value v, struct value *a)
{
    return remainder_is(r, v, a[0], 0);
}

static struct value cased(struct run *r, struct value v, const char *name)
{
    struct args none = {.n = 0};

    return builtin_call(r, builtin_find(text_methods, name, 7), v_to_text(r, v), &none);
}

static struct value test_lower(struct run *r, struct value v, struct value *a)
{
    (void)a;
    return cased(r, v, "islower");
}

static struct value test_upper(struct run *r, struct value v, struct value *a)
{
    (void)a;
    return cased(r, v, "isupper");
}

/* Python's "is": the same object. Small numbers and strings are shared there, which is what can be told here.
 */
static struct value test_same(struct run *r, struct value v, struct value *a)
{
    if (v.kind != a[0].kind)
        return v_bool(false);
    if (v.kind == LIST || v.kind == TUPLE || v.kind >= DICT)
        return v_bool(v.item == a[0].item && v.n == a[0].n);
    return v_bool(v_equal(r, v, a[0]));
}

const struct builtin tests[] = {{"defined", "", defined, NULL},
                                {"string", "", string, NULL},
                                {"none", "", none, NULL},
                                {"mapping", "", mapping, NULL},
                                {"iterable", "", iterable, NULL},
                                {"sequence", "", sequence, NULL},
                                {"undefined", "", undefined, NULL},
                                {"false", "", is_false, NULL},
                                {"true", "", is_true, NULL},
                                {"boolean", "", boolean, NULL},
                                {"number", "", number, NULL},
                                {"integer", "", integer, NULL},
                                {"float", "", real, NULL},
                                {"odd", "", odd, NULL},
                                {"even", "", even, NULL},
                                {"divisibleby", "num", divisible, NULL},
                                {"lower", "", test_lower, NULL},
                                {"upper", "", test_upper, NULL},
                                {"callable", "/", callable, NULL},
                                {"sameas", "other", test_same, NULL},
                                {"escaped", "", escaped, NULL},
                                {"filter", "", is_filter, NULL},
                                {"test", "", is_test, NULL},
                                {"in", "seq", in, NULL},
                                {"==", "/other", equal, NULL},
                                {"eq", "/other", equal, NULL},
                                {"equalto", "/other", equal, NULL},
                                {"!=", "/other", unequal, NULL},
                                {"ne", "/other", unequal, NULL},
                                {">", "/other", greater, NULL},
                                {"gt", "/other", greater, NULL},
                                {"greaterthan", "/other", greater, NULL},
                                {">=", "/other", greater_equal, NULL},
                                {"ge", "/other", greater_equal, NULL},
                                {"<", "/other", less, NULL},
                                {"lt", "/other", less, NULL},
                                {"lessthan", "/other", less, NULL},
                                {"<=", "/other", less_equal, NULL},
                                {"le", "/other", less_equal, NULL},
                                {NULL, NULL, NULL, NULL}};
