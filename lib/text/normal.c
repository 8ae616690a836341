/* normal.c -- NFC by the tables of Unicode 9, as the reference has it; steps read and done. */
/* normal.c -- normalizers. */
#include "text/normal.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/json.h"
#include "text/unicode.h"

/*
 * ---- NFC ----
 *
 * The reference normalizes by the tables of Unicode 9. What a character of it becomes has not changed since;
 * those that are younger are as nothing to it: they stay as they are, and nothing moves or joins across them.
 */

static bool is_stable(const struct normalizer *m, utf8proc_int32_t c)
{
    return m->stable[c >> 3] >> (c & 7) & 1;
}

static void set_unstable(struct normalizer *m, utf8proc_int32_t c)
{
    m->stable[c >> 3] &= (unsigned char)~(1u << (c & 7));
}

/* An old character, by its decomposition: one that occurs behind the first place of it may join the one
 * before, one whose composed decomposition differs changes. */
static void find_unstable(struct normalizer *m, utf8proc_int32_t c)
{
    const utf8proc_property_t *p = utf8proc_get_property(c);
    utf8proc_int32_t d[32];
    utf8proc_ssize_t n, k;
    int boundary = 0;

    if (p->combining_class)
        set_unstable(m, c);
    if (p->decomp_seqindex == UINT16_MAX && !(c >= 0xac00 && c <= 0xd7a3))
        return;
    n = utf8proc_decompose_char(c, d, 32, UTF8PROC_DECOMPOSE, &boundary);
    for (k = 1; k < n; k++)
        set_unstable(m, d[k]);
    if (n < 1 || n > 32 || utf8proc_normalize_utf32(d, n, UTF8PROC_COMPOSE | UTF8PROC_STABLE) != 1 ||
        d[0] != c)
        set_unstable(m, c);
}

/* The code points that are their own NFC, have combining class 0 and never join the one before them: a text
 * can be cut before each of them and normalized part by part. */
static int find_stable(struct normalizer *m, struct err *e)
{
    size_t i;

    m->stable = mem_new(UNICODE_END / 8, 1, e);
    if (!m->stable)
        return -1;
    memset(m->stable, 0xff, UNICODE_END / 8);
    for (i = 0; i < unicode_categories_n; i++) {
        uint32_t c = unicode_categories[i] >> 8,
                 to = i + 1 < unicode_categories_n ? unicode_categories[i + 1] >> 8 : UNICODE_END;

        if (!(unicode_categories[i] & UNICODE_YOUNG) && c != 0xf0000 && c != 0x100000) /* private use */
            for (; c < to; c++)
                find_unstable(m, (utf8proc_int32_t)c);
    }
    return 0;
}

/* The first byte from i on that does not begin a stable character; i is at a character. */
static size_t skip_stable(const struct normalizer *m, const char *s, size_t n, size_t i)
{
    utf8proc_int32_t c;
    utf8proc_ssize_t len;

    for (; i < n; i += (size_t)len) {
        if ((unsigned char)s[i] < 0x80) {
            len = 1;
            continue;
        }
        len = utf8proc_iterate((const utf8proc_uint8_t *)s + i, (utf8proc_ssize_t)(n - i), &c);
        if (len < 1 || !is_stable(m, c))
            break;
    }
    return i;
}

static size_t skip_unstable(const struct normalizer *m, const char *s, size_t n, size_t i)
{
    utf8proc_int32_t c;
    utf8proc_ssize_t len;

    for (; i < n; i += (size_t)len) {
        len = utf8proc_iterate((const utf8proc_uint8_t *)s + i, (utf8proc_ssize_t)(n - i), &c);
        if (len < 1 || is_stable(m, c))
            break;
    }
    return i;
}

static size_t step_back(const char *s, size_t i)
{
    do
        i--;
    while (i && ((unsigned char)s[i] & 0xc0) == 0x80);
    return i;
}

/* Where the part to normalize begins whose first unstable character is at i: at the one before, which it may
 * join. */
static size_t part_from(const char *s, size_t done, size_t i)
{
    utf8proc_int32_t c;
    size_t from;

    if (i == done)
        return i;
    from = step_back(s, i);
    utf8proc_iterate((const utf8proc_uint8_t *)s + from, (utf8proc_ssize_t)(i - from), &c);
    return unicode_young((uint32_t)c) ? i : from;
}

/* Puts the marks d[0..n) in canonical order: by class, those of one class as they came. utf8proc's own
 * sorting takes the square of n. */
static void sort_marks(utf8proc_int32_t *d, utf8proc_int32_t *scratch, size_t n)
{
    size_t place[257] = {0}, i;

    for (i = 0; i < n; i++)
        place[utf8proc_get_property(d[i])->combining_class + 1]++;
    for (i = 1; i < 257; i++)
        place[i] += place[i - 1];
    memcpy(scratch, d, n * sizeof *d);
    for (i = 0; i < n; i++)
        d[place[utf8proc_get_property(scratch[i])->combining_class]++] = scratch[i];
}

static void sort_all_marks(utf8proc_int32_t *d, utf8proc_int32_t *scratch, size_t n)
{
    size_t from, to;

    for (from = 0; from < n; from = to + 1) {
        bool sorted = true;

        for (to = from; to < n && utf8proc_get_property(d[to])->combining_class; to++)
            sorted = sorted && (to == from || utf8proc_get_property(d[to - 1])->combining_class <=
                                                  utf8proc_get_property(d[to])->combining_class);
        if (!sorted)
            sort_marks(d + from, scratch, to - from);
    }
}

enum { LONGEST = 4 }; /* canonical decomposition of a character */

/* Appends NFC of s, all of it old characters. */
static void compose(const char *s, size_t n, struct str *out)
{
    utf8proc_int32_t small[2 * 64 * LONGEST], *d = small;
    size_t room = LONGEST * n, count = 0;
    utf8proc_ssize_t k;
    const char *end = s + n;
    int boundary = 0;

    if (room > 64 * LONGEST && !(d = malloc(2 * room * sizeof *d))) {
        out->failed = true;
        return;
    }
    while (s < end)
        count += (size_t)utf8proc_decompose_char((utf8proc_int32_t)utf8_next(&s), d + count, LONGEST,
                                                 UTF8PROC_DECOMPOSE, &boundary);
    sort_all_marks(d, d + room, count);
    k = utf8proc_normalize_utf32(d, (utf8proc_ssize_t)count, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    for (count = 0; (utf8proc_ssize_t)count < k; count++) {
        utf8proc_uint8_t bytes[4];

        str_add(out, bytes, (size_t)utf8proc_encode_char(d[count], bytes));
    }
    if (d != small)
        free(d);
}

/* Appends NFC(s) to out, except that nothing is done, and false returned, if s is all stable. */
static bool nfc(const struct normalizer *m, const char *s, size_t n, struct str *out)
{
    size_t i = skip_stable(m, s, n, 0), done = 0;

    if (i >= n)
        return false;
    while (i < n) {
        size_t from = part_from(s, done, i), to = skip_unstable(m, s, n, i);

        str_add(out, s + done, from - done);
        compose(s + from, to - from, out);
        done = to;
        i = skip_stable(m, s, n, to);
    }
    str_add(out, s + done, n - done);
    return true;
}

/* ---- the steps ---- */

static void replace_all(const struct normal_step *st, const char *s, size_t n, struct str *out)
{
    size_t len = strlen(st->what), i = 0, from = 0;

    while (i + len <= n) {
        if (memcmp(s + i, st->what, len) != 0) {
            i++;
            continue;
        }
        str_add(out, s + from, i - from);
        str_adds(out, st->with);
        from = i += len;
    }
    str_add(out, s + from, n - from);
}

int normalize(const struct normalizer *m, const char *s, size_t n, struct str *a, struct str *b,
              const char **out, size_t *out_n, struct err *e)
{
    int i;

    *out = s;
    *out_n = n;
    for (i = 0; i < m->steps && *out_n; i++) {
        const struct normal_step *st = &m->step[i];
        struct str *to = i % 2 ? b : a;

        str_clear(to);
        if (st->kind == NORMAL_NFC) {
            if (!nfc(m, *out, *out_n, to))
                continue;
        } else if (st->kind == NORMAL_PREPEND) {
            str_adds(to, st->with);
            str_add(to, *out, *out_n);
        } else {
            replace_all(st, *out, *out_n, to);
        }
        if (str_ok(to, e))
            return -1;
        *out = to->p ? to->p : s;
        *out_n = to->n;
    }
    return 0;
}

/* ---- reading ---- */

static int add_step(struct normalizer *m, int kind, const char *what, const char *with, struct err *e)
{
    struct normal_step *st = &m->step[m->steps++];

    *st = (struct normal_step){.kind = kind};
    if ((what && !(st->what = mem_strdup(what, e))) || (with && !(st->with = mem_strdup(with, e))))
        return -1;
    return kind == NORMAL_NFC && !m->stable ? find_stable(m, e) : 0;
}

int normalizer_read(struct normalizer *m, const cJSON *json, const char *file, struct err *e)
{
    const char *type = cJSON_GetStringValue(json_member(json, "type"));
    const cJSON *item;

    if (!json || cJSON_IsNull(json))
        return 0;
    if (!type)
        return err_set(e, ERR_UNKNOWN, "%s: a normalizer without a type", file);
    if (m->steps == NORMAL_STEPS)
        return err_set(e, ERR_UNKNOWN, "%s: more than %d normalizers", file, NORMAL_STEPS);
    if (strcmp(type, "Sequence") == 0) {
        cJSON_ArrayForEach(item, json_member(json, "normalizers"))
        {
            if (normalizer_read(m, item, file, e))
                return -1;
        }
        return 0;
    }
    if (strcmp(type, "NFC") == 0)
        return add_step(m, NORMAL_NFC, NULL, NULL, e);
    if (strcmp(type, "Prepend") == 0) {
        const char *with = cJSON_GetStringValue(json_member(json, "prepend"));

        return with ? add_step(m, NORMAL_PREPEND, NULL, with, e)
                    : err_set(e, ERR_INPUT, "%s: the normalizer Prepend has no string 'prepend'", file);
    }
    if (strcmp(type, "Replace") == 0) {
        const cJSON *pattern = json_member(json, "pattern");
        const char *what = cJSON_GetStringValue(json_member(pattern, "String"));
        const char *with = cJSON_GetStringValue(json_member(json, "content"));

        if (!what || !*what || !with)
            return err_set(e, ERR_UNKNOWN, "%s: the normalizer Replace is understood with a string only",
                           file);
        return add_step(m, NORMAL_REPLACE, what, with, e);
    }
    return err_set(e, ERR_UNKNOWN, "%s: the normalizer '%s' is not understood", file, type);
}

void normalizer_free(struct normalizer *m)
{
    int i;

    for (i = 0; i < m->steps; i++) {
        free(m->step[i].what);
        free(m->step[i].with);
    }
    free(m->stable);
    *m = (struct normalizer){0};
}
