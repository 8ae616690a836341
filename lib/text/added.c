/* added.c -- the leftmost, longest added token, by search in a sorted list. */
#include "text/added.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/mem.h"

int added_add(struct added_set *a, const char *content, size_t n, const struct added_token *like,
              struct err *e)
{
    struct added_token *t;
    size_t i;

    if (!n)
        return 0;
    for (i = 0; i < a->n; i++)
        if (a->token[i].n == n && memcmp(a->token[i].content, content, n) == 0)
            return 0;
    if (mem_grow(&a->token, &a->cap, a->n + 1, sizeof *a->token, e))
        return -1;
    t = &a->token[a->n];
    *t = *like;
    t->n = n;
    t->content = mem_strndup(content, n, e);
    if (!t->content)
        return -1;
    a->n++;
    return 0;
}

/* By bytes, a prefix before what it begins. */
static int by_content(const void *x, const void *y)
{
    const struct added_token *a = x, *b = y;
    int c = memcmp(a->content, b->content, a->n < b->n ? a->n : b->n);

    return c ? c : a->n < b->n ? -1 : a->n > b->n;
}

void added_ready(struct added_set *a)
{
    size_t i = 0, b;

    if (a->n)
        qsort(a->token, a->n, sizeof *a->token, by_content);
    for (b = 0; b < 256; b++) {
        a->first[b] = i;
        while (i < a->n && (unsigned char)a->token[i].content[0] == b)
            i++;
    }
    a->first[256] = i;
}

void added_free(struct added_set *a)
{
    size_t i;

    for (i = 0; i < a->n; i++)
        free(a->token[i].content);
    free(a->token);
    *a = (struct added_set){0};
}

/* The longest token that s[0..n) begins with, or NULL. The tokens are sorted, so those that share the first
 * d bytes with s are one range, which every further byte narrows. */
static const struct added_token *longest(const struct added_set *a, const char *s, size_t n)
{
    size_t lo = a->first[(unsigned char)s[0]], hi = a->first[(unsigned char)s[0] + 1], d;
    const struct added_token *best = NULL;

    for (d = 1; lo < hi; d++) {
        if (a->token[lo].n == d)
            best = &a->token[lo++];
        if (d == n)
            break;
        while (lo < hi && (unsigned char)a->token[lo].content[d] < (unsigned char)s[d])
            lo++;
        while (lo < hi && (unsigned char)a->token[hi - 1].content[d] > (unsigned char)s[d])
            hi--;
    }
    return best;
}

static utf8proc_int32_t char_at(const char *s, size_t n, size_t i, size_t *len)
{
    utf8proc_int32_t c = -1;
    utf8proc_ssize_t k = utf8proc_iterate((const utf8proc_uint8_t *)s + i, (utf8proc_ssize_t)(n - i), &c);

    *len = k > 0 ? (size_t)k : 1;
    return c;
}

static size_t char_before(const char *s, size_t i)
{
    do
        i--;
    while (i && ((unsigned char)s[i] & 0xc0) == 0x80);
    return i;
}

/* \w of Unicode's regular expressions (UTS 18): alphabetic, marks, decimal digits, connectors, joiners. */
static bool is_word(utf8proc_int32_t c)
{
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default: /* the joiners, and the circled and squared letters */
        return c == 0x200c || c == 0x200d || (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) ||
               (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189);
    }
}

static bool is_space(utf8proc_int32_t c)
{
    return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
           c == 0x3000;
}

static bool stands_alone(const char *s, size_t n, size_t from, size_t to)
{
    size_t len;

    return (from == 0 || !is_word(char_at(s, n, char_before(s, from), &len))) &&
           (to == n || !is_word(char_at(s, n, to, &len)));
}

bool added_next(const struct added_set *a, struct added_walk *w, size_t *from, size_t *to, int32_t *id)
{
    size_t len;

    if (w->done >= w->n && w->scan >= w->n)
        return false;
    *from = w->done;
    while (w->scan < w->n) {
        unsigned char b = (unsigned char)w->s[w->scan];
        const struct added_token *t =
            a->first[b] < a->first[b + 1] ? longest(a, w->s + w->scan, w->n - w->scan) : NULL;
        size_t start = w->scan, stop;

        if (!t) {
            w->scan++;
            continue;
        }
        w->scan = stop = start + t->n;
        if (t->single_word && !stands_alone(w->s, w->n, start, stop))
            continue;
        if (t->lstrip)
            while (start > w->done && is_space(char_at(w->s, w->n, char_before(w->s, start), &len)))
                start = char_before(w->s, start);
        if (t->rstrip)
            while (stop < w->n && is_space(char_at(w->s, w->n, stop, &len)))
                stop += len;
        /* a token inside the white space that the one before has taken leaves no gap */
        *to = start > *from ? start : *from;
        w->done = stop;
        *id = t->id;
        return true;
    }
    *to = w->n;
    *id = -1;
    if (w->done >= w->n)
        return false;
    w->done = w->n;
    return true;
}
