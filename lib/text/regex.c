/* regex.c -- classes of characters from the sets of a pattern, and the pattern over them. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/regex.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "text/unicode.h"

enum { CLASSES = 256 };

int regex_add_set(struct regex_parts *p, struct charset *set, const char *what, struct err *e)
{
    int i;

    for (i = 0; i < p->sets && !charset_equal(&p->set[i], set); i++)
        ;
    if (i == p->sets && i < REGEX_SETS)
        p->set[p->sets++] = *set;
    else
        charset_free(set);
    if (i == REGEX_SETS)
        return err_set(e, ERR_UNKNOWN, "%s: a pattern with more than %d sets of characters", what,
                       REGEX_SETS);
    str_addc(&p->out, 1);
    str_addc(&p->used, (char)i);
    return 0;
}

void regex_parts_free(struct regex_parts *p)
{
    int i;

    for (i = 0; i < p->sets; i++)
        charset_free(&p->set[i]);
    str_free(&p->out);
    str_free(&p->used);
}

/* ---- classes ---- */

struct change {
    uint32_t at;
    int set;
};

static int by_place(const void *a, const void *b)
{
    const struct change *x = a, *y = b;

    return (x->at > y->at) - (x->at < y->at);
}

/* Where some set begins or ends, in order; [*n]. */
static struct change *changes_of(const struct regex_parts *p, size_t *n, struct err *e)
{
    struct change *all = NULL;
    size_t cap = 0, k;
    int i;

    *n = 0;
    for (i = 0; i < p->sets; i++) {
        if (mem_grow(&all, &cap, *n + p->set[i].n + 1, sizeof *all, e)) {
            free(all);
            return NULL;
        }
        for (k = 0; k < p->set[i].n; k++)
            all[(*n)++] = (struct change){p->set[i].edge[k], i};
    }
    if (*n)
        qsort(all, *n, sizeof *all, by_place);
    return all ? all : mem_new(1, sizeof *all, e);
}

/* member[k]: the sets that the characters of class k are in, as bits. Returns how many classes; 0: too many.
 */
static int classify(const struct change *change, size_t n, uint8_t *class_of, uint64_t member[CLASSES])
{
    uint64_t sets = 0;
    uint32_t from = 0;
    size_t i = 0;
    int classes = 0, k;

    while (from < UNICODE_END) {
        uint32_t to;

        for (; i < n && change[i].at == from; i++)
            sets ^= UINT64_C(1) << change[i].set;
        to = i < n ? change[i].at : UNICODE_END;
        for (k = 0; k < classes && member[k] != sets; k++)
            ;
        if (k == CLASSES)
            return 0;
        if (k == classes)
            member[classes++] = sets;
        memset(class_of + from, k, to - from);
        from = to;
    }
    return classes;
}

/* ---- the pattern over classes ---- */

/* A set as the bytes that are its classes. */
static void write_set(struct str *out, int set, const uint64_t *member, int classes)
{
    bool any = false;
    int k;

    for (k = 0; k < classes; k++)
        if (member[k] >> set & 1) {
            str_addf(out, "%s\\x%02x", any ? "" : "[", (unsigned)k);
            any = true;
        }
    str_adds(out, any ? "]" : "[^\\x00-\\xff]");
}

static void write_pattern(struct str *out, const struct regex_parts *p, const uint64_t *member, int classes)
{
    size_t i, place = 0;

    for (i = 0; i < p->out.n; i++)
        if (p->out.p[i] == 1)
            write_set(out, p->used.p[place++], member, classes);
        else
            str_addc(out, p->out.p[i]);
}

static int compile_pattern(struct regex *r, const char *over_classes, const char *pattern, const char *what,
                           struct err *e)
{
    PCRE2_UCHAR why[160];
    PCRE2_SIZE at;
    int error;

    r->code = pcre2_compile((PCRE2_SPTR)over_classes, PCRE2_ZERO_TERMINATED, 0, &error, &at, NULL);
    if (!r->code) {
        pcre2_get_error_message(error, why, sizeof why);
        return err_set(e, ERR_UNKNOWN, "%s: pattern '%.200s': %s", what, pattern, (char *)why);
    }
    pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE); /* where it cannot, the interpreter matches */
    return 0;
}

static int compile(struct regex *r, const struct regex_parts *p, const char *pattern, const char *what,
                   struct err *e)
{
    uint64_t member[CLASSES];
    struct str out = {0};
    struct change *change;
    int classes, bad = -1;
    size_t n;

    r->class_of = mem_new(UNICODE_END, 1, e);
    change = r->class_of ? changes_of(p, &n, e) : NULL;
    if (!change)
        return -1;
    classes = classify(change, n, r->class_of, member);
    free(change);
    if (!classes)
        return err_set(e, ERR_UNKNOWN, "%s: the pattern '%.200s' has too many kinds of characters", what,
                       pattern);
    write_pattern(&out, p, member, classes);
    if (str_ok(&out, e) == 0)
        bad = compile_pattern(r, out.p ? out.p : "", pattern, what, e);
    str_free(&out);
    return bad;
}

int regex_compile(struct regex *r, const char *pattern, const char *what, struct err *e)
{
    struct regex_parts p = {0};
    int bad;

    *r = (struct regex){0};
    bad = regex_parse(&p, pattern, what, e) || str_ok(&p.used, e) || compile(r, &p, pattern, what, e);
    regex_parts_free(&p);
    if (bad)
        regex_free(r);
    return bad ? -1 : 0;
}

int regex_literal(struct regex *r, const char *text, const char *what, struct err *e)
{
    struct regex_parts p = {0};
    const char *at = text;
    int bad = 0;

    *r = (struct regex){0};
    while (*at && !bad) {
        struct charset one = {0};
        uint32_t c = utf8_next(&at);

        bad = charset_add(&one, c, c, e) || regex_add_set(&p, &one, what, e);
    }
    bad = bad || str_ok(&p.out, e) || str_ok(&p.used, e) || compile(r, &p, text, what, e);
    regex_parts_free(&p);
    if (bad)
        regex_free(r);
    return bad ? -1 : 0;
}

void regex_free(struct regex *r)
{
    pcre2_code_free(r->code);
    free(r->class_of);
    *r = (struct regex){0};
}
