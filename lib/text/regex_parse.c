/*
 * regex_parse.c -- the sets of characters in a pattern, and the syntax between them. What has not been
 * compared with the reference's engine is refused.
 */
#include <stdbool.h>
#include <string.h>

#include "text/regex.h"
#include "text/unicode.h"

enum { MAX_DEPTH = 32 };

struct reader {
    const char *p, *pattern, *what;
    struct regex_parts *parts;
    struct err *e;
    bool ignore_case[MAX_DEPTH]; /* of the groups that are open */
    int depth;
    bool quantified;   /* the last thing was a {n,m} quantifier */
    uint32_t previous; /* the letter just read where case does not matter, or 0 */
};

static int refuse(const struct reader *r, const char *construct)
{
    return err_set(r->e, ERR_UNKNOWN, "%s: %s in the pattern '%.200s' is not understood", r->what, construct,
                   r->pattern);
}

/* ---- sets ---- */

/* White space in Oniguruma. */
static int add_space(struct charset *a, struct err *e)
{
    static const uint32_t from_to[][2] = {
        {9, 13},          {0x20, 0x20},     {0x85, 0x85},     {0xa0, 0xa0},     {0x1680, 0x1680},
        {0x2000, 0x200a}, {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}};
    size_t i;

    for (i = 0; i < sizeof from_to / sizeof *from_to; i++)
        if (charset_add(a, from_to[i][0], from_to[i][1], e))
            return -1;
    return 0;
}

/* \p{X} and \P{X} */
static int property(struct reader *r, struct charset *a)
{
    size_t n = strcspn(r->p + 3, "}");
    const char *name = r->p + 3;
    int known;

    if (r->p[2] != '{' || !name[n] || !n ||
        strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_") < n)
        return refuse(r, "a property that is not \\p{Name}");
    known = charset_property(a, name, n, r->e);
    if (known == 0)
        return refuse(r, "a property that is neither a category nor a script");
    if (known < 0 || (r->p[1] == 'P' && charset_invert(a, r->e)))
        return -1;
    r->p = name + n + 1;
    return 0;
}

static int hexadecimal(struct reader *r, uint32_t *c)
{
    static const char digits[] = "0123456789abcdefABCDEF";
    bool braces = r->p[1] == 'x' && r->p[2] == '{';
    const char *from = r->p + (braces ? 3 : 2);
    size_t n = strspn(from, digits), want = r->p[1] == 'u' ? 4 : 2, i;

    if (braces ? !n || n > 6 || from[n] != '}' : n < want)
        return refuse(r, "a malformed \\x or \\u");
    n = braces ? n : want;
    for (*c = 0, i = 0; i < n; i++)
        *c = *c << 4 | (from[i] <= '9' ? (uint32_t)(from[i] - '0') : (uint32_t)((from[i] | 0x20) - 'a' + 10));
    if (*c >= UNICODE_END)
        return refuse(r, "a character beyond Unicode");
    r->p = from + n + braces;
    return 0;
}

/* An escape that is one character. */
static int escaped_char(struct reader *r, uint32_t *c)
{
    static const char letters[] = "rntf", meant[] = "\r\n\t\f";
    char name[] = "the escape \\?", given = r->p[1];
    const char *letter = given ? strchr(letters, given) : NULL;

    if (given == 'x' || given == 'u')
        return hexadecimal(r, c);
    if (letter)
        *c = (uint32_t)meant[letter - letters];
    else if (given > ' ' && given < 0x7f &&
             !strchr("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", given))
        *c = (uint32_t)given;
    else {
        name[sizeof name - 2] = given > ' ' && given < 0x7f ? given : '?';
        return refuse(r, given ? name : "a backslash at the end");
    }
    r->p += 2;
    return 0;
}

/* 1: the escape at r->p is a set of many characters, which a has now; 0: it is not; -1. */
static int escaped_set(struct reader *r, struct charset *a)
{
    struct charset b = {0};
    char c = r->p[1];
    int bad;

    if (!c || !strchr("sSdDpP", c))
        return 0;
    if (c == 'p' || c == 'P')
        bad = property(r, &b);
    else {
        bad = c == 's' || c == 'S' ? add_space(&b, r->e) : charset_property(&b, "Nd", 2, r->e) < 0;
        bad = bad || ((c == 'S' || c == 'D') && charset_invert(&b, r->e));
        r->p += 2;
    }
    bad = bad || charset_join(a, &b, r->e);
    charset_free(&b);
    return bad ? -1 : 1;
}

/* Where case does not matter: letters of ASCII, and the two others that are theirs. */
static int fold(struct reader *r, struct charset *a)
{
    static const uint32_t others[][2] = {{'k', 0x212a}, {'s', 0x17f}};
    struct charset letters = {0};
    uint32_t c;
    size_t i;

    if (a->n && a->edge[a->n - 1] > 0x80)
        return refuse(r, "a character beyond ASCII where case does not matter,");
    for (c = 'a'; c <= 'z'; c++)
        if ((charset_has(a, c) || charset_has(a, c - 32)) &&
            (charset_add(&letters, c, c, r->e) || charset_add(&letters, c - 32, c - 32, r->e)))
            break;
    for (i = 0; i < 2; i++)
        if (charset_has(&letters, others[i][0]))
            charset_add(&letters, others[i][1], others[i][1], r->e);
    if (!r->e->kind)
        charset_join(a, &letters, r->e);
    charset_free(&letters);
    return r->e->kind ? -1 : 0;
}

static int read_class(struct reader *r, struct charset *a, int depth);

/* A character of a class; a '-' with something behind it makes it the first of a range. */
static int class_range(struct reader *r, struct charset *a)
{
    uint32_t from, to;

    if (*r->p == '\\' ? escaped_char(r, &from) : (from = utf8_next(&r->p), 0))
        return -1;
    to = from;
    if (r->p[0] == '-' && r->p[1] && r->p[1] != ']' && r->p[1] != '[' && strncmp(r->p + 1, "&&", 2) != 0) {
        r->p++;
        if (*r->p == '\\' ? escaped_char(r, &to) : (to = utf8_next(&r->p), 0))
            return -1;
    }
    return to < from ? refuse(r, "a range that runs down") : charset_add(a, from, to, r->e);
}

/* Items up to the ']' or "&&", joined. */
static int class_items(struct reader *r, struct charset *a, int depth)
{
    int many;

    while (*r->p && *r->p != ']' && strncmp(r->p, "&&", 2) != 0) {
        if (*r->p == '[') {
            struct charset inner = {0};
            int bad = read_class(r, &inner, depth + 1) || charset_join(a, &inner, r->e);

            charset_free(&inner);
            if (bad)
                return -1;
            continue;
        }
        many = *r->p == '\\' ? escaped_set(r, a) : 0;
        if (many < 0 || (!many && class_range(r, a)))
            return -1;
    }
    return 0;
}

/* [...], r->p at the bracket. */
static int read_class(struct reader *r, struct charset *a, int depth)
{
    bool inverted = r->p[1] == '^', whole = true;
    int bad = 0;

    if (depth == 8)
        return refuse(r, "a class so deep");
    if (r->p[1] == ':')
        return refuse(r, "a POSIX class");
    r->p += inverted ? 2 : 1;
    if (*r->p == ']')
        return refuse(r, "a class that begins with ]");
    for (; !bad && *r->p && *r->p != ']'; whole = false) {
        struct charset part = {0};

        r->p += whole ? 0 : 2; /* && */
        bad = class_items(r, &part, depth) ||
              (whole ? charset_join(a, &part, r->e) : charset_meet(a, &part, r->e));
        charset_free(&part);
    }
    if (!bad && !*r->p)
        return refuse(r, "a class without its ]");
    r->p += !bad;
    if (bad || (r->ignore_case[r->depth] && fold(r, a)))
        return -1;
    return inverted ? charset_invert(a, r->e) : 0;
}

/* ---- the syntax around ---- */

static int open_group(struct reader *r)
{
    static const char *const known[] = {"(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!", "(?>"};
    size_t i, n = sizeof known / sizeof *known;

    if (r->p[1] == '*')
        return refuse(r, "a group that begins with (*");
    if (r->depth + 1 == MAX_DEPTH)
        return refuse(r, "a group so deep");
    r->ignore_case[r->depth + 1] = r->ignore_case[r->depth];
    r->depth++;
    if (r->p[1] != '?') {
        str_addc(&r->parts->out, *r->p++);
        return 0;
    }
    for (i = 0; i < n && strncmp(r->p, known[i], strlen(known[i])) != 0; i++)
        ;
    if (i == n)
        return refuse(r, "a group of an unknown kind");
    if (i == 1)
        r->ignore_case[r->depth] = true;
    str_adds(&r->parts->out, i == 1 ? "(?:" : known[i]);
    r->p += strlen(known[i]);
    return 0;
}

static int close_group(struct reader *r)
{
    if (r->depth)
        r->depth--;
    str_addc(&r->parts->out, *r->p++);
    return 0;
}

/* {n}, {n,} or {n,m} at r->p: its length, else 0. */
static size_t quantifier(const char *p)
{
    static const char digits[] = "0123456789";
    size_t n = 1 + strspn(p + 1, digits);

    if (n == 1)
        return 0;
    if (p[n] == ',')
        n += 1 + strspn(p + n + 1, digits);
    return p[n] == '}' ? n + 1 : 0;
}

static int repeat(struct reader *r, bool was_quantified)
{
    size_t n = *r->p == '{' ? quantifier(r->p) : 1;

    if (*r->p == '+' && was_quantified)
        return refuse(r, "a + behind {...}"); /* possessive for one engine, a repetition for the other */
    r->quantified = *r->p == '{';
    str_add(&r->parts->out, r->p, n);
    r->p += n;
    return 0;
}

/* ^ and $ are of lines, and a line feed ends one. */
static int anchor(struct reader *r)
{
    bool start = *r->p++ == '^';
    struct charset feed = {0};

    str_adds(&r->parts->out, start ? "(?:\\A|(?<=" : "(?:\\z|(?=");
    if (charset_add(&feed, '\n', '\n', r->e) || regex_add_set(r->parts, &feed, r->what, r->e))
        return -1;
    str_adds(&r->parts->out, start ? ")(?!\\z))" : "))");
    return 0;
}

/* Letters of which two are one character's other case; the reference takes that for them. */
static bool is_ligature(uint32_t a, uint32_t b)
{
    static const char pairs[][3] = {"ss", "st", "ff", "fi", "fl"};
    size_t i;

    for (i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if ((a | 0x20) == (uint32_t)pairs[i][0] && (b | 0x20) == (uint32_t)pairs[i][1])
            return true;
    return false;
}

static int one_char(struct reader *r, struct charset *a)
{
    uint32_t c;

    if (*r->p == '.') {
        r->p++;
        return charset_add(a, '\n', '\n', r->e) || charset_invert(a, r->e) ? -1 : 0;
    }
    if (*r->p == '\\' ? escaped_char(r, &c) : (c = utf8_next(&r->p), 0))
        return -1;
    if (charset_add(a, c, c, r->e))
        return -1;
    if (!r->ignore_case[r->depth])
        return 0;
    if (is_ligature(r->previous, c))
        return refuse(r, "two letters that are also one, where case does not matter,");
    r->previous = c;
    return fold(r, a);
}

static int atom(struct reader *r)
{
    struct charset a = {0};
    uint32_t previous = r->previous;
    int bad;

    r->previous = 0;
    if (*r->p == '[')
        bad = read_class(r, &a, 0);
    else {
        bad = *r->p == '\\' ? escaped_set(r, &a) : 0;
        r->previous = previous;
        bad = bad ? bad < 0 : one_char(r, &a);
    }
    if (bad) {
        charset_free(&a);
        return -1;
    }
    return regex_add_set(r->parts, &a, r->what, r->e);
}

static int step(struct reader *r)
{
    bool was_quantified = r->quantified;

    r->quantified = false;
    if (*r->p == '{' && r->p[1] == ',')
        return refuse(r, "a quantifier without its first number");
    if (strchr("*+?", *r->p) || (*r->p == '{' && quantifier(r->p)))
        return repeat(r, was_quantified);
    if (!strchr("()|^$", *r->p))
        return atom(r);
    r->previous = 0;
    if (*r->p == '(')
        return open_group(r);
    if (*r->p == ')')
        return close_group(r);
    if (*r->p == '^' || *r->p == '$')
        return anchor(r);
    str_addc(&r->parts->out, *r->p++);
    return 0;
}

int regex_parse(struct regex_parts *p, const char *pattern, const char *what, struct err *e)
{
    struct reader r = {.p = pattern, .pattern = pattern, .what = what, .parts = p, .e = e};

    while (*r.p)
        if (step(&r))
            return -1;
    return str_ok(&p->out, e);
}
