/* integers.c -- schoolbook arithmetic in base 10^9; division is algorithm D (Knuth, TAOCP 2, 4.3.1). */
#include "jinja/integers.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIMB_DIGITS = 9, LIMB = 1000000000 };

struct big {
    bool negative;
    uint32_t n; /* limbs, the last one not zero; 0: zero */
    uint32_t *limb;
};

bool v_integral(struct value v)
{
    return v.kind == INT || v.kind == BOOL || v.kind == BIG;
}

/* ---- digits ---- */

size_t digits_convert(char *digits, size_t max, const char *s, size_t n, int from, int to)
{
    unsigned char number[MAX_BITS]; /* least first */
    size_t used = 0, i, k;

    max = max < sizeof number ? max : sizeof number;
    for (i = 0; i < n; i++) {
        int carry = s[i] <= '9' ? s[i] - '0' : (s[i] | 32) - 'a' + 10;

        for (k = 0; k < used || carry; k++) {
            if (k == max)
                return 0;
            const div_t d = div(carry + (k < used ? number[k] * from : 0), to);

            number[k] = (unsigned char)d.rem;
            carry = d.quot;
            used = k < used ? used : k + 1;
        }
    }
    for (k = 0; k < used; k++)
        digits[k] = "0123456789abcdefghijklmnopqrstuvwxyz"[number[used - 1 - k]];
    if (!used)
        digits[used++] = '0';
    return used;
}

struct value v_integer(struct run *r, bool negative, const char *digits, size_t n)
{
    char text[MAX_DIGITS + 2], *p = text;
    int64_t i;

    while (n > 1 && *digits == '0') {
        digits++;
        n--;
    }
    if (n > MAX_DIGITS)
        run_fail(r, "ValueError", "Exceeds the limit (%d digits) for integer string conversion", MAX_DIGITS);
    if (negative)
        *p++ = '-';
    memcpy(p, digits, n);
    p[n] = 0;
    errno = 0;
    i = strtoll(text, NULL, 10);
    if (!errno)
        return v_int(i);
    return (struct value){.kind = BIG, .n = (uint32_t)(n + negative), .s = v_copy(r, text, n + negative).s};
}

struct value v_whole(struct run *r, double x)
{
    char text[400];
    int n = snprintf(text, sizeof text, "%.0f", fabs(trunc(x)));

    return v_integer(r, x < 0, text, (size_t)n);
}

static struct big big_new(struct run *r, size_t limbs)
{
    struct big b = {.n = (uint32_t)limbs, .limb = run_get(r, (limbs + 1) * sizeof(uint32_t))};

    memset(b.limb, 0, (limbs + 1) * sizeof *b.limb);
    return b;
}

static void big_trim(struct big *b)
{
    while (b->n && !b->limb[b->n - 1])
        b->n--;
    b->negative = b->negative && b->n;
}

static struct big big_of(struct run *r, struct value v)
{
    char text[24];
    const char *s = v.kind == BIG ? v.s : text;
    size_t n = v.kind == BIG ? v.n : (size_t)snprintf(text, sizeof text, "%lld", (long long)v.i), i;
    bool negative = *s == '-';
    struct big b;

    n -= negative;
    s += negative;
    if (n > 2 * MAX_DIGITS)
        run_fail(r, "ValueError", "Exceeds the limit (%d digits) for integer string conversion", MAX_DIGITS);
    b = big_new(r, (n + LIMB_DIGITS - 1) / LIMB_DIGITS);
    for (i = 0; i < n; i++) {
        uint32_t *limb = &b.limb[(n - 1 - i) / LIMB_DIGITS];

        *limb = *limb * 10 + (uint32_t)(s[i] - '0');
    }
    b.negative = negative;
    big_trim(&b);
    return b;
}

static struct value big_value(struct run *r, struct big b)
{
    char text[3 * MAX_DIGITS];
    size_t n = 0;
    uint32_t i;

    big_trim(&b);
    if ((size_t)b.n * LIMB_DIGITS + 1 > sizeof text)
        run_fail(r, "ValueError", "Exceeds the limit (%d digits) for integer string conversion", MAX_DIGITS);
    text[0] = '0';
    for (i = b.n; i-- > 0;)
        n += (size_t)snprintf(text + n, sizeof text - n, "%09u", b.limb[i]);
    return v_integer(r, b.negative, text, n ? n : 1);
}

/* ---- magnitudes ---- */

static int big_order(const struct big *a, const struct big *b)
{
    uint32_t i;

    if (a->n != b->n)
        return a->n < b->n ? -1 : 1;
    for (i = a->n; i-- > 0;)
        if (a->limb[i] != b->limb[i])
            return a->limb[i] < b->limb[i] ? -1 : 1;
    return 0;
}

static struct big big_sum(struct run *r, const struct big *a, const struct big *b)
{
    struct big sum = big_new(r, (size_t)(a->n > b->n ? a->n : b->n) + 1);
    uint32_t i, carry = 0;

    for (i = 0; i < sum.n; i++) {
        carry += (i < a->n ? a->limb[i] : 0) + (i < b->n ? b->limb[i] : 0);
        sum.limb[i] = carry % LIMB;
        carry /= LIMB;
    }
    return sum;
}

/* a - b, a being no less. */
static struct big big_rest(struct run *r, const struct big *a, const struct big *b)
{
    struct big rest = big_new(r, a->n);
    int64_t borrow = 0;
    uint32_t i;

    for (i = 0; i < a->n; i++) {
        borrow += (int64_t)a->limb[i] - (i < b->n ? b->limb[i] : 0);
        rest.limb[i] = (uint32_t)(borrow < 0 ? borrow + LIMB : borrow);
        borrow = borrow < 0 ? -1 : 0;
    }
    return rest;
}

static struct big big_product(struct run *r, const struct big *a, const struct big *b)
{
    struct big p = big_new(r, (size_t)a->n + b->n);
    uint64_t carry;
    uint32_t i, k;

    run_spend(r, (uint64_t)a->n * b->n / 16);
    for (i = 0; i < a->n; i++) {
        carry = 0;
        for (k = 0; k < b->n || carry; k++) {
            carry += p.limb[i + k] + (k < b->n ? (uint64_t)a->limb[i] * b->limb[k] : 0);
            p.limb[i + k] = (uint32_t)(carry % LIMB);
            carry /= LIMB;
        }
    }
    big_trim(&p);
    return p;
}

static struct big big_times(struct run *r, const struct big *a, uint32_t by)
{
    return big_product(r, a, &(struct big){.n = 1, .limb = &by});
}

/* a divided by a limb; *a becomes the quotient. */
static uint32_t big_divide_limb(struct big *a, uint32_t by)
{
    uint64_t rest = 0;
    uint32_t i;

    for (i = a->n; i-- > 0;) {
        rest = rest * LIMB + a->limb[i];
        a->limb[i] = (uint32_t)(rest / by);
        rest %= by;
    }
    big_trim(a);
    return (uint32_t)rest;
}

/* The next limb of the quotient: u[0..n] is divided by v, n limbs, and becomes what is left. */
static uint32_t next_limb(uint32_t *u, const struct big *v)
{
    uint32_t n = v->n, i;
    uint64_t top = (uint64_t)u[n] * LIMB + u[n - 1], q = top / v->limb[n - 1], rest = top % v->limb[n - 1];
    int64_t borrow = 0, carry;

    while (q >= LIMB || q * v->limb[n - 2] > rest * LIMB + u[n - 2]) {
        q--;
        rest += v->limb[n - 1];
        if (rest >= LIMB)
            break;
    }
    for (i = 0; i <= n; i++) {
        borrow += (int64_t)u[i] - (i < n ? (int64_t)(q * v->limb[i]) : 0);
        carry = borrow % LIMB;
        borrow = borrow / LIMB - (carry < 0);
        u[i] = (uint32_t)(carry < 0 ? carry + LIMB : carry);
    }
    if (borrow >= 0)
        return (uint32_t)q;
    for (i = 0, carry = 0; i <= n; i++) { /* one too many */
        carry += (int64_t)u[i] + (i < n ? v->limb[i] : 0);
        u[i] = (uint32_t)(carry % LIMB);
        carry /= LIMB;
    }
    return (uint32_t)q - 1;
}

/* Magnitudes: *rest is what is left. */
static struct big big_quotient(struct run *r, const struct big *a, const struct big *b, struct big *rest)
{
    struct big q, v, u;
    uint32_t by, i;

    if (big_order(a, b) < 0) {
        *rest = *a;
        rest->negative = false;
        return big_new(r, 0);
    }
    by = b->n == 1 ? b->limb[0] : LIMB / (b->limb[b->n - 1] + 1);
    if (b->n == 1) {
        q = big_times(r, a, 1);
        *rest = big_new(r, 1);
        rest->limb[0] = big_divide_limb(&q, by);
        big_trim(rest);
        return q;
    }
    v = big_times(r, b, by);
    u = big_new(r, (size_t)a->n + 1);
    *rest = big_times(r, a, by);
    memcpy(u.limb, rest->limb, rest->n * sizeof *u.limb);
    q = big_new(r, a->n - b->n + 1);
    run_spend(r, (uint64_t)q.n * v.n / 16);
    for (i = q.n; i-- > 0;)
        q.limb[i] = next_limb(u.limb + i, &v);
    big_trim(&q);
    u.n = b->n;
    big_trim(&u);
    big_divide_limb(&u, by);
    *rest = u;
    return q;
}

/* ---- with signs ---- */

struct value integers_add(struct run *r, struct value va, struct value vb, bool subtract)
{
    struct big a = big_of(r, va), b = big_of(r, vb), sum;
    bool less = big_order(&a, &b) < 0, other = b.negative != subtract;

    if (a.negative == other) {
        sum = big_sum(r, &a, &b);
        sum.negative = a.negative;
    } else {
        sum = less ? big_rest(r, &b, &a) : big_rest(r, &a, &b);
        sum.negative = less ? other : a.negative;
    }
    return big_value(r, sum);
}

struct value integers_multiply(struct run *r, struct value va, struct value vb)
{
    struct big a = big_of(r, va), b = big_of(r, vb), p = big_product(r, &a, &b);

    p.negative = a.negative != b.negative;
    return big_value(r, p);
}

void integers_divide(struct run *r, struct value va, struct value vb, struct value *quotient,
                     struct value *rest)
{
    static uint32_t one[] = {1};
    struct big a = big_of(r, va), b = big_of(r, vb), left, q = big_quotient(r, &a, &b, &left);

    q.negative = a.negative != b.negative;
    if (q.negative && left.n) {
        q = big_sum(r, &q, &(struct big){.n = 1, .limb = one});
        q.negative = true;
        left = big_rest(r, &b, &left);
    }
    left.negative = b.negative;
    if (quotient)
        *quotient = big_value(r, q);
    if (rest)
        *rest = big_value(r, left);
}

/* 36 digits of the quotient or more, one more that says that something is left, and strtod, which is exact.
 */
double integers_ratio(struct run *r, struct value va, struct value vb)
{
    enum { SHIFT = 5 };
    struct big a = big_of(r, va), b = big_of(r, vb), wide, rest, q;
    uint32_t more = b.n + SHIFT > a.n ? b.n + SHIFT - a.n : 0, i;
    char text[3 * MAX_DIGITS], *p = text;

    wide = big_new(r, (size_t)a.n + more);
    if (a.n)
        memcpy(wide.limb + more, a.limb, a.n * sizeof *a.limb);
    big_trim(&wide);
    q = big_quotient(r, &wide, &b, &rest);
    for (i = q.n; i-- > 0;)
        p += snprintf(p, (size_t)(text + sizeof text - p), "%09u", q.limb[i]);
    snprintf(p, (size_t)(text + sizeof text - p), "%se-%u",
             p == text ? "0"
             : rest.n  ? ".1"
                       : "",
             more * LIMB_DIGITS);
    return a.negative != b.negative ? -strtod(text, NULL) : strtod(text, NULL);
}

struct value integers_power(struct run *r, struct value base, uint64_t exponent)
{
    struct value v = v_int(1);

    for (;; base = integers_multiply(r, base, base)) {
        if (exponent & 1)
            v = integers_multiply(r, v, base);
        exponent >>= 1;
        if (!exponent)
            return v;
    }
}

int integers_compare(struct run *r, struct value va, struct value vb)
{
    struct big a, b;

    if (va.kind != BIG && vb.kind != BIG)
        return va.i < vb.i ? -1 : va.i > vb.i;
    a = big_of(r, va);
    b = big_of(r, vb);
    if (a.negative != b.negative)
        return a.negative ? -1 : 1;
    return a.negative ? big_order(&b, &a) : big_order(&a, &b);
}

int integers_compare_real(struct run *r, struct value a, double b)
{
    struct value whole;
    int c;

    if (isinf(b))
        return b > 0 ? -1 : 1;
    whole = fabs(b) < 9e18 ? v_int((int64_t)b) : v_whole(r, b);
    c = integers_compare(r, a, whole);
    return c ? c : trunc(b) < b ? -1 : trunc(b) > b;
}
