/* normal.c -- NFC by the tables of Unicode 9, as the reference has it; steps read and done. */
#include "text/normal.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/json.h"

/* ---- NFC ---- */

/* Combining marks of Unicode 10 to 15. The reference normalizes by the tables of Unicode 9, where these are
 * unassigned: nothing moves across them. */
static const struct {
    utf8proc_int32_t from, to;
} young[] = {
    {0x7fd, 0x7fd},     {0x898, 0x89f},     {0x8ca, 0x8d3},     {0x9fe, 0x9fe},     {0xc3c, 0xc3c},
    {0xd3b, 0xd3c},     {0xeba, 0xeba},     {0x1715, 0x1715},   {0x1abf, 0x1ace},   {0x1df6, 0x1dfa},
    {0xa82c, 0xa82c},   {0x10d24, 0x10d27}, {0x10eab, 0x10eac}, {0x10efd, 0x10eff}, {0x10f46, 0x10f50},
    {0x10f82, 0x10f85}, {0x11070, 0x11070}, {0x1133b, 0x1133b}, {0x1145e, 0x1145e}, {0x11839, 0x1183a},
    {0x1193d, 0x1193e}, {0x11943, 0x11943}, {0x119e0, 0x119e0}, {0x11a34, 0x11a34}, {0x11a47, 0x11a47},
    {0x11a99, 0x11a99}, {0x11d42, 0x11d42}, {0x11d44, 0x11d45}, {0x11d97, 0x11d97}, {0x11f41, 0x11f42},
    {0x16ff0, 0x16ff1}, {0x1e08f, 0x1e08f}, {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae}, {0x1e2ec, 0x1e2ef},
    {0x1e4ec, 0x1e4ef},
};

static bool is_young(utf8proc_int32_t c)
{
    size_t i;

    for (i = 0; i < sizeof young / sizeof *young; i++)
        if (c >= young[i].from && c <= young[i].to)
            return true;
    return false;
}

static bool is_stable(const struct normalizer *m, utf8proc_int32_t c)
{
    return c < 0x10000 ? m->stable[c >> 3] >> (c & 7) & 1 : is_young(c);
}

/*
 * The code points that are their own NFC, have combining class 0 and never join the one before them: a text
 * can be cut before each of them and normalized part by part. Found by decomposing every code point: one
 * that occurs behind the first place of a decomposition may join, one whose composed decomposition differs
 * changes.
 */
static int find_stable(struct normalizer *m, struct err *e)
{
    utf8proc_int32_t c, d[32];
    utf8proc_ssize_t n, k;
    int boundary = 0;

    m->stable = mem_new(0x10000 / 8, 1, e);
    if (!m->stable)
        return -1;
    memset(m->stable, 0xff, 0x10000 / 8);
    for (c = 0; c < 0x110000; c++) {
        const utf8proc_property_t *p = utf8proc_get_property(c);
        bool changes = p->combining_class != 0;

        if (c >= 0x30000 && c < 0xe0000)
            continue; /* unassigned, and nothing there decomposes */
        if (p->decomp_seqindex != UINT16_MAX || (c >= 0xac00 && c <= 0xd7a3)) {
            n = utf8proc_decompose_char(c, d, 32, UTF8PROC_DECOMPOSE, &boundary);
            for (k = 1; k < n; k++)
                if (d[k] < 0x10000)
                    m->stable[d[k] >> 3] &= (unsigned char)~(1u << (d[k] & 7));
            if (n < 1 || n > 32 || utf8proc_normalize_utf32(d, n, UTF8PROC_COMPOSE | UTF8PROC_STABLE) != 1 ||
                d[0] != c)
                changes = true;
        }
        if (changes && c < 0x10000 && !is_young(c))
            m->stable[c >> 3] &= (unsigned char)~(1u << (c & 7));
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
    return is_young(c) ? i : from;
}

/* Appends NFC(s) to out, except that nothing is done, and false returned, if s is all stable. */
static bool nfc(const struct normalizer *m, const char *s, size_t n, struct str *out)
{
    size_t i = skip_stable(m, s, n, 0), done = 0;

    if (i >= n)
        return false;
    while (i < n) {
        size_t from = part_from(s, done, i), to = skip_unstable(m, s, n, i);
        utf8proc_uint8_t *composed = NULL;
        utf8proc_ssize_t len;

        str_add(out, s + done, from - done);
        len = utf8proc_map((const utf8proc_uint8_t *)s + from, (utf8proc_ssize_t)(to - from), &composed,
                           UTF8PROC_STABLE | UTF8PROC_COMPOSE);
        if (len < 0)
            out->failed = true; /* the text is valid UTF-8: only memory can lack */
        else
            str_add(out, composed, (size_t)len);
        free(composed);
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
