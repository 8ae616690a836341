/* charset.c -- sets of code points. */
#include "text/charset.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/unicode.h"

void charset_free(struct charset *a)
{
    free(a->edge);
    *a = (struct charset){0};
}

bool charset_has(const struct charset *a, uint32_t c)
{
    size_t i;

    for (i = 0; i < a->n && a->edge[i] <= c; i++)
        ;
    return i & 1;
}

bool charset_equal(const struct charset *a, const struct charset *b)
{
    return a->n == b->n && (!a->n || memcmp(a->edge, b->edge, a->n * sizeof *a->edge) == 0);
}

static int push(struct charset *a, uint32_t edge, struct err *e)
{
    if (mem_grow(&a->edge, &a->cap, a->n + 1, sizeof *a->edge, e))
        return -1;
    a->edge[a->n++] = edge;
    return 0;
}

/* a becomes what is in at least `need` of a and b. */
static int merge(struct charset *a, const struct charset *b, int need, struct err *e)
{
    struct charset out = {0};
    size_t i = 0, k = 0;

    while (i < a->n || k < b->n) {
        uint32_t at = k == b->n || (i < a->n && a->edge[i] < b->edge[k]) ? a->edge[i] : b->edge[k];
        bool was = out.n & 1, is;

        i += i < a->n && a->edge[i] == at;
        k += k < b->n && b->edge[k] == at;
        is = (int)(i & 1) + (int)(k & 1) >= need;
        if (was != is && push(&out, at, e)) {
            charset_free(&out);
            return -1;
        }
    }
    charset_free(a);
    *a = out;
    return 0;
}

int charset_join(struct charset *a, const struct charset *b, struct err *e)
{
    return merge(a, b, 1, e);
}

int charset_meet(struct charset *a, const struct charset *b, struct err *e)
{
    return merge(a, b, 2, e);
}

int charset_add(struct charset *a, uint32_t from, uint32_t to, struct err *e)
{
    uint32_t edge[] = {from, to + 1};

    if (a->n && a->edge[a->n - 1] < from) /* the usual case: in order */
        return push(a, edge[0], e) || push(a, edge[1], e) ? -1 : 0;
    return merge(a, &(struct charset){edge, 2, 2}, 1, e);
}

int charset_invert(struct charset *a, struct err *e)
{
    bool from_first = a->n && a->edge[0] == 0, to_last = a->n && a->edge[a->n - 1] == UNICODE_END;

    if (to_last)
        a->n--;
    else if (push(a, UNICODE_END, e))
        return -1;
    if (from_first) {
        memmove(a->edge, a->edge + 1, --a->n * sizeof *a->edge);
        return 0;
    }
    if (push(a, 0, e))
        return -1;
    memmove(a->edge + 1, a->edge, (a->n - 1) * sizeof *a->edge);
    a->edge[0] = 0;
    return 0;
}

/* ---- properties ---- */

static bool loosely_equal(const char *a, size_t n, const char *b, size_t b_n)
{
    size_t i = 0, k = 0;

    for (;;) {
        while (i < n && strchr("_- ", a[i]))
            i++;
        while (k < b_n && strchr("_- ", b[k]))
            k++;
        if (i == n || k == b_n)
            return i == n && k == b_n;
        if ((a[i++] | 0x20) != (b[k++] | 0x20))
            return false;
    }
}

/* The runs whose value is one of wanted. */
static int add_runs(struct charset *a, const uint32_t *runs, size_t n, const bool wanted[256], struct err *e)
{
    struct charset out = {0};
    size_t i;
    int bad = 0;

    for (i = 0; i < n && !bad; i++)
        if (wanted[runs[i] & 0xff] != (out.n & 1))
            bad = push(&out, runs[i] >> 8, e);
    if (!bad && out.n & 1)
        bad = push(&out, UNICODE_END, e);
    bad = bad || charset_join(a, &out, e);
    charset_free(&out);
    return bad ? -1 : 1;
}

int charset_property(struct charset *a, const char *name, size_t n, struct err *e)
{
    bool wanted[256] = {false}, any = false;
    const char *category = unicode_category_names;
    size_t i;

    for (i = 0; category[2 * i]; i++)
        if (loosely_equal(name, n, category + 2 * i, 2) || loosely_equal(name, n, category + 2 * i, 1))
            any = wanted[i] = wanted[i | UNICODE_YOUNG] = true;
    if (any)
        return add_runs(a, unicode_categories, unicode_categories_n, wanted, e);
    for (i = 0; i < unicode_script_names_n; i++)
        if (loosely_equal(name, n, unicode_script_names[i], strlen(unicode_script_names[i])))
            any = wanted[i] = true;
    return any ? add_runs(a, unicode_scripts, unicode_scripts_n, wanted, e) : 0;
}
