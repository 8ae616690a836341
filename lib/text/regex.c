/*
 * regex.c -- Oniguruma to PCRE2. Patterns of tokenizer.json are written for Oniguruma with Ruby's syntax.
 * Most of what they use means the same in PCRE2 (with UTF and UCP); this file rewrites what does not, and
 * refuses what has not been compared.
 */
#include <stdbool.h>
#include <string.h>

#include "text/split.h"

/* White space in Oniguruma: unlike PCRE2's \s it leaves U+180E out. */
#define SPACE                                                                                                \
    "\\t-\\r \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define NOT_SPACE                                                                                            \
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}"          \
    "\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}"

struct reader {
    const char *p, *pattern, *what;
    struct str *out;
    struct err *e;
    bool in_class;
    bool quantified; /* the last thing was a {n,m} quantifier */
};

static int regex_refuse(const struct reader *r, const char *construct)
{
    return err_set(r->e, ERR_UNKNOWN, "%s: %s in the pattern '%.200s' is not understood", r->what, construct,
                   r->pattern);
}

/* \p{X} and \P{X}: general categories mean the same; the name of a script is one without its extensions. */
static int property(struct reader *r)
{
    size_t n = strcspn(r->p + 3, "}");
    const char *name = r->p + 3;

    if (r->p[2] != '{' || !name[n] || !n ||
        strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_") < n)
        return regex_refuse(r, "a property that is not \\p{Name}");
    str_add(r->out, r->p, 3);
    if (n > 2)
        str_adds(r->out, "sc:");
    str_add(r->out, name, n + 1);
    r->p = name + n + 1;
    return 0;
}

static int hexadecimal(struct reader *r)
{
    static const char digits[] = "0123456789abcdefABCDEF";
    size_t n = r->p[1] == 'u' ? 4 : 2;

    if (r->p[1] == 'x' && r->p[2] == '{') {
        n = strspn(r->p + 3, digits);
        if (!n || r->p[3 + n] != '}')
            return regex_refuse(r, "a malformed \\x{...}");
        str_add(r->out, r->p, n + 4);
        r->p += n + 4;
        return 0;
    }
    if (strspn(r->p + 2, digits) < n)
        return regex_refuse(r, "a \\x or \\u without all its digits");
    str_adds(r->out, "\\x{");
    str_add(r->out, r->p + 2, n);
    str_adds(r->out, "}");
    r->p += 2 + n;
    return 0;
}

static int escape(struct reader *r)
{
    char c = r->p[1], name[] = "the escape \\?";

    if (c == 's' || c == 'S') {
        const char *set = c == 's' ? SPACE : NOT_SPACE;

        str_adds(r->out, r->in_class ? "" : "[");
        str_adds(r->out, set);
        str_adds(r->out, r->in_class ? "" : "]");
        r->p += 2;
        return 0;
    }
    if (c == 'p' || c == 'P')
        return property(r);
    if (c == 'x' || c == 'u')
        return hexadecimal(r);
    if (c == 'd')
        str_adds(r->out, "\\p{Nd}");
    else if (c == 'D')
        str_adds(r->out, "\\P{Nd}");
    else if (c && strchr("rntf", c))
        str_add(r->out, r->p, 2);
    else if (c > ' ' && c < 0x7f &&
             !strchr("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", c))
        str_add(r->out, r->p, 2);
    else {
        name[sizeof name - 2] = c && c > ' ' && c < 0x7f ? c : '?';
        return regex_refuse(r, c ? name : "a backslash at the end");
    }
    r->p += 2;
    return 0;
}

static int group(struct reader *r)
{
    static const char *const known[] = {"(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!", "(?>"};
    size_t i;

    if (r->p[1] == '*')
        return regex_refuse(r, "a group that begins with (*");
    if (r->p[1] != '?') {
        str_addc(r->out, *r->p++);
        return 0;
    }
    for (i = 0; i < sizeof known / sizeof *known; i++)
        if (strncmp(r->p, known[i], strlen(known[i])) == 0) {
            str_adds(r->out, known[i]);
            r->p += strlen(known[i]);
            return 0;
        }
    return regex_refuse(r, "a group of an unknown kind");
}

static int class_char(struct reader *r)
{
    if (*r->p == '[')
        return regex_refuse(r, "a class inside a class");
    if (r->p[0] == '&' && r->p[1] == '&')
        return regex_refuse(r, "an intersection (&&)");
    if (*r->p == ']')
        r->in_class = false;
    str_addc(r->out, *r->p++);
    return 0;
}

static int plain_char(struct reader *r)
{
    bool was_quantified = r->quantified;

    r->quantified = false;
    if (*r->p == '(')
        return group(r);
    if (*r->p == '[') {
        size_t n = r->p[1] == '^' ? 2 : 1;

        if (r->p[n] == ']')
            return regex_refuse(r, "a class that begins with ]");
        str_add(r->out, r->p, n);
        r->p += n;
        r->in_class = true;
        return 0;
    }
    if (*r->p == '{' && r->p[1] == ',')
        return regex_refuse(r, "a quantifier without its first number");
    /* Possessive for one engine, a repetition for the other. */
    if (*r->p == '+' && was_quantified)
        return regex_refuse(r, "a + behind {...}");
    r->quantified = *r->p == '}';
    str_addc(r->out, *r->p++);
    return 0;
}

int regex_translate(const char *pattern, const char *what, struct str *out, struct err *e)
{
    struct reader r = {.p = pattern, .pattern = pattern, .what = what, .out = out, .e = e};
    int bad = 0;

    while (*r.p && !bad) {
        if (*r.p == '\\') {
            r.quantified = false;
            bad = escape(&r);
        } else {
            bad = r.in_class ? class_char(&r) : plain_char(&r);
        }
    }
    if (bad)
        return -1;
    return r.in_class ? regex_refuse(&r, "a class without its ]") : 0;
}
