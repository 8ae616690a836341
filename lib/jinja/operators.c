/* operators.c -- arithmetic and comparison, as Python has them. */
#include <math.h>
#include <string.h>

#include "jinja/evaluate.h"
#include "jinja/integers.h"

static _Noreturn void unsupported(struct run *r, const char *op, struct value a, struct value b)
{
    if (a.kind == UNDEFINED)
        v_fail_undefined(r, a);
    if (b.kind == UNDEFINED)
        v_fail_undefined(r, b);
    run_fail(r, "TypeError", "unsupported operand type(s) for %s: '%s' and '%s'", op, v_type(a), v_type(b));
}

/* The number as a double; false: it is none. */
static bool real_of(struct run *r, struct value v, double *out)
{
    if (!v_number(v, out))
        return false;
    if (v.kind == BIG && isinf(*out))
        run_fail(r, "OverflowError", "int too large to convert to float");
    return true;
}

/* ---- text and lists ---- */

struct value v_escape(struct run *r, struct value v)
{
    static const char from[] = "&<>\"'";
    static const char *const to[] = {"&amp;", "&lt;", "&gt;", "&#34;", "&#39;"};
    size_t start = r->out->n;
    uint32_t i;

    v = v_to_text(r, v);
    if (v.flags & SAFE)
        return v;
    for (i = 0; i < v.n; i++) {
        const char *k = memchr(from, v.s[i], sizeof from - 1);

        if (k)
            str_adds(r->out, to[k - from]);
        else
            str_addc(r->out, v.s[i]);
    }
    v = v_printed(r, start);
    v.flags = SAFE;
    return v;
}

/* Text that is added to where it ends in the arena grows in place: what is built piece by piece takes no more
 * than its length. */
static struct value join_text(struct run *r, struct value a, struct value b)
{
    struct value v = a;
    char *p;

    if ((uint64_t)a.n + b.n > UINT32_MAX)
        run_fail(r, "MemoryError", "a string of 4 GiB");
    if ((a.flags | b.flags) & SAFE) {
        a = v_escape(r, a);
        b = v_escape(r, b);
        v.flags = SAFE;
    }
    if (!b.n || !a.n) {
        a = b.n ? b : a;
        a.flags = v.flags;
        return a;
    }
    p = run_grow(r, a.s, a.n, b.n);
    memcpy(p + a.n, b.s, b.n);
    v.s = p;
    v.n = a.n + b.n;
    return v;
}

static struct value join_items(struct run *r, struct value a, struct value b)
{
    struct value v = a.kind == TUPLE ? v_tuple(r, (size_t)a.n + b.n) : v_list(r, (size_t)a.n + b.n);

    if (a.n)
        memcpy(v.item, a.item, a.n * sizeof v);
    if (b.n)
        memcpy(v.item + a.n, b.item, b.n * sizeof v);
    return v;
}

static struct value repeat(struct run *r, struct value v, int64_t times)
{
    struct value list = v;
    size_t from = r->out->n;
    int64_t i;

    if (times < 0 || !v.n)
        times = 0;
    if (times > (int64_t)(UINT32_MAX / (v.n + 1)))
        run_fail(r, "MemoryError", "a repetition that is too long");
    if (v.kind == STR) {
        for (i = 0; i < times; i++) {
            run_spend(r, 1);
            str_add(r->out, v.s, v.n);
        }
        list = v_printed(r, from);
        list.flags = v.flags;
        return list;
    }
    list = v.kind == TUPLE ? v_tuple(r, v.n * (size_t)times) : v_list(r, v.n * (size_t)times);
    for (i = 0; i < times; i++)
        memcpy(list.item + v.n * (size_t)i, v.item, v.n * sizeof v);
    return list;
}

/* ---- numbers ---- */

static struct value add_numbers(struct run *r, struct value a, struct value b, bool subtract)
{
    int64_t i;
    double x, y;

    if (v_integral(a) && v_integral(b)) {
        if (a.kind == BIG || b.kind == BIG ||
            (subtract ? __builtin_sub_overflow(a.i, b.i, &i) : __builtin_add_overflow(a.i, b.i, &i)))
            return integers_add(r, a, b, subtract);
        return v_int(i);
    }
    if (!real_of(r, a, &x) || !real_of(r, b, &y))
        unsupported(r, subtract ? "-" : "+", a, b);
    return v_float(subtract ? x - y : x + y);
}

struct value v_add(struct run *r, struct value a, struct value b)
{
    if (a.kind == STR && b.kind == STR)
        return join_text(r, a, b);
    if (a.kind == b.kind && (a.kind == LIST || a.kind == TUPLE))
        return join_items(r, a, b);
    if (b.kind != UNDEFINED && a.kind == STR)
        run_fail(r, "TypeError", "can only concatenate str (not \"%s\") to str", v_type(b));
    return add_numbers(r, a, b, false);
}

static int64_t times_of(struct run *r, struct value v)
{
    if (v.kind == BIG)
        run_fail(r, "OverflowError", "cannot fit 'int' into an index-sized integer");
    return v.i;
}

struct value v_multiply(struct run *r, struct value a, struct value b)
{
    int64_t i;
    double x, y;

    if (v_integral(a) && (b.kind == STR || b.kind == LIST || b.kind == TUPLE))
        return repeat(r, b, times_of(r, a));
    if (v_integral(b) && (a.kind == STR || a.kind == LIST || a.kind == TUPLE))
        return repeat(r, a, times_of(r, b));
    if (v_integral(a) && v_integral(b)) {
        if (a.kind == BIG || b.kind == BIG || __builtin_mul_overflow(a.i, b.i, &i))
            return integers_multiply(r, a, b);
        return v_int(i);
    }
    if (!real_of(r, a, &x) || !real_of(r, b, &y))
        unsupported(r, "*", a, b);
    return v_float(x * y);
}

static bool negative(struct value v)
{
    return v.kind == BIG ? *v.s == '-' : v.i < 0;
}

static struct value power(struct run *r, struct value a, struct value b)
{
    double x, y, power;

    if (v_integral(a) && v_integral(b) && !negative(b)) {
        if (b.kind != BIG)
            return integers_power(r, a, (uint64_t)b.i);
        if (a.kind == BIG || a.i < -1 || a.i > 1)
            run_fail(r, "MemoryError", "a power that is too large");
        return v_int(a.i < 0 && (b.s[b.n - 1] - '0') % 2 == 0 ? 1 : a.i);
    }
    if (!real_of(r, a, &x) || !real_of(r, b, &y))
        unsupported(r, "**", a, b);
    if (x == 0 && y < 0)
        run_fail(r, "ZeroDivisionError", "0.0 cannot be raised to a negative power");
    if (x < 0 && isfinite(x) && isfinite(y) && y != floor(y))
        run_fail(r, "TypeError", "a power that is a complex number");
    power = pow(x, y);
    if (isinf(power) && isfinite(x) && isfinite(y))
        run_fail(r, "OverflowError", "(34, 'Numerical result out of range')");
    return v_float(power);
}

/* Rounded down, with the remainder's sign that of b. */
static struct value divide_whole(struct run *r, int op, struct value a, struct value b)
{
    int64_t quotient, rest;
    struct value v;

    if (a.kind == BIG || b.kind == BIG || (a.i == INT64_MIN && b.i == -1)) {
        integers_divide(r, a, b, op == OP_MOD ? NULL : &v, op == OP_MOD ? &v : NULL);
        return v;
    }
    quotient = a.i / b.i;
    rest = a.i % b.i;
    if (rest && (rest < 0) != (b.i < 0)) {
        rest += b.i;
        quotient--;
    }
    return v_int(op == OP_MOD ? rest : quotient);
}

/* Of integers that doubles do not hold, the quotient that is nearest all the same. */
static struct value divide_true(struct run *r, struct value a, struct value b, double x, double y)
{
    const double exact = 9007199254740992.0;
    double q = x / y;

    if (v_integral(a) && v_integral(b) && (fabs(x) >= exact || fabs(y) >= exact)) {
        q = integers_ratio(r, a, b);
        if (isinf(q))
            run_fail(r, "OverflowError", "integer division result too large for a float");
    }
    return v_float(q);
}

static struct value divide(struct run *r, int op, struct value a, struct value b)
{
    static const char *const sign[] = {[OP_DIV] = "/", [OP_FLOORDIV] = "//", [OP_MOD] = "%"};
    bool whole = v_integral(a) && v_integral(b);
    double x, y, rest;

    if (whole ? !v_number(a, &x) || !v_number(b, &y) : !real_of(r, a, &x) || !real_of(r, b, &y))
        unsupported(r, sign[op], a, b);
    if (y == 0)
        run_fail(r, "ZeroDivisionError", "division by zero");
    if (op == OP_DIV)
        return divide_true(r, a, b, x, y);
    if (whole)
        return divide_whole(r, op, a, b);
    rest = fmod(x, y);
    if (rest != 0 && (rest < 0) != (y < 0))
        rest += y;
    return v_float(op == OP_MOD ? (rest == 0 ? copysign(0, y) : rest) : floor((x - rest) / y + 0.5));
}

struct value v_arithmetic(struct run *r, int op, struct value a, struct value b)
{
    switch (op) {
    case OP_SUB:
        return add_numbers(r, a, b, true);
    case OP_MUL:
        return v_multiply(r, a, b);
    case OP_POW:
        return power(r, a, b);
    default:
        return op == OP_MOD && a.kind == STR ? format_percent(r, a, b) : divide(r, op, a, b);
    }
}

struct value v_negate(struct run *r, struct value v)
{
    if (v.kind == UNDEFINED)
        v_fail_undefined(r, v);
    if (v.kind == FLOAT)
        return v_float(-v.f);
    if (!v_integral(v))
        run_fail(r, "TypeError", "bad operand type for unary -: '%s'", v_type(v));
    return add_numbers(r, v_int(0), v, true);
}

bool v_relation(struct run *r, int op, struct value a, struct value b)
{
    int c;

    switch (op) {
    case OP_EQ:
        return v_equal(r, a, b);
    case OP_NE:
        return !v_equal(r, a, b);
    case OP_LT:
        return v_compare(r, a, b, "<") < 0;
    case OP_LE:
        return v_compare(r, a, b, "<=") <= 0;
    case OP_GT:
        return v_compare(r, a, b, ">") == 1;
    case OP_GE:
        c = v_compare(r, a, b, ">=");
        return c == 0 || c == 1;
    default:
        return v_in(r, a, b) == (op == OP_IN);
    }
}
