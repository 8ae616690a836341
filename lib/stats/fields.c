/* fields.c -- key=value lines, metadata by key, escaped names. */
#include "stats/fields.h"

#include <string.h>

#include "base/hash.h"
#include "model/safetensors.h"

static int find_key(const char *const *key, int n, const char *p, size_t len)
{
    int i;

    for (i = 0; i < n; i++)
        if (strlen(key[i]) == len && memcmp(key[i], p, len) == 0)
            return i;
    return -1;
}

int fields_parse_some(const char *line, const char *where, const char *const *key, char (*value)[FIELD_MAX],
                      int needed, int n, struct err *e)
{
    int i;

    for (i = 0; i < n; i++)
        value[i][0] = 0;
    for (;;) {
        size_t len, eq;

        line += strspn(line, "\t ");
        if (!*line)
            break;
        len = strcspn(line, "\t ");
        eq = strcspn(line, "=\t ");
        i = find_key(key, n, line, eq);
        if (eq == len || i < 0)
            return err_set(e, ERR_INPUT, "%s: unknown field '%.*s'", where, (int)(len < 60 ? len : 60), line);
        if (value[i][0])
            return err_set(e, ERR_INPUT, "%s: %s stands twice", where, key[i]);
        if (len - eq - 1 == 0 || len - eq - 1 >= FIELD_MAX)
            return err_set(e, ERR_INPUT, "%s: %s= needs a value of 1 to %d bytes", where, key[i],
                           FIELD_MAX - 1);
        memcpy(value[i], line + eq + 1, len - eq - 1);
        value[i][len - eq - 1] = 0;
        line += len;
    }
    for (i = 0; i < needed; i++)
        if (!value[i][0])
            return err_set(e, ERR_INPUT, "%s: %s= is missing", where, key[i]);
    return 0;
}

int fields_parse(const char *line, const char *where, const char *const *key, char (*value)[FIELD_MAX], int n,
                 struct err *e)
{
    return fields_parse_some(line, where, key, value, n, n, e);
}

int fields_metadata(const struct st_file *st, const char *format, const char *what, const char *const *key,
                    const char **value, int n, struct err *e)
{
    size_t name = strcspn(format, " ") + 1, i;
    int k;

    for (k = 0; k < n; k++)
        value[k] = NULL;
    for (i = 0; i < st->n_meta; i++)
        for (k = 0; k < n; k++)
            if (strcmp(st->meta_key[i], key[k]) == 0)
                value[k] = st->meta_value[i];
    if (!value[0] || strncmp(value[0], format, name) != 0)
        return err_set(e, ERR_INPUT, "'%s' is %s: its metadata do not say \"format\": \"%s\"", st->file.path,
                       what, format);
    if (strcmp(value[0], format) != 0)
        return err_set(e, ERR_UNKNOWN,
                       "'%s': '%.40s' is another version of the format; this program reads '%s'",
                       st->file.path, value[0], format);
    for (k = 0; k < n; k++)
        if (!value[k])
            return err_set(e, ERR_INPUT, "'%s': its metadata have no \"%s\"", st->file.path, key[k]);
    return 0;
}

bool is_hex_digest(const char *s)
{
    return strlen(s) == HASH_HEX - 1 && strspn(s, "0123456789abcdef") == HASH_HEX - 1;
}

static const char escaped[] = "\\\t\n\r", letter[] = "\\tnr";

void name_escape(struct str *out, const char *name)
{
    for (; *name; name++) {
        const char *which = strchr(escaped, *name);

        if (which) {
            str_addc(out, '\\');
            str_addc(out, letter[which - escaped]);
        } else {
            str_addc(out, *name);
        }
    }
}

bool name_unescape(struct str *out, const char *p, size_t n)
{
    const char *end = p + n, *which;

    str_clear(out);
    if (n == 0 || memchr(p, 0, n))
        return false;
    for (; p < end; p++) {
        if (*p != '\\') {
            str_addc(out, *p);
            continue;
        }
        if (++p == end || !(which = strchr(letter, *p)))
            return false;
        str_addc(out, escaped[which - letter]);
    }
    return true;
}
