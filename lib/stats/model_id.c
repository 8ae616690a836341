#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "stats/fields.h"
#include "stats/stats.h"

int model_id_parse(struct model_id *id, const char *line, const char *where, struct err *e)
{
    static const char *const key[] = {"family", "layers", "experts", "topk", "hidden", "digest"};
    char value[6][FIELD_MAX], what[4][FIELD_MAX + 200];
    int64_t n[4];
    int i;

    *id = (struct model_id){0};
    if (fields_parse(line, where, key, value, 6, e))
        return -1;
    if (strlen(value[0]) >= sizeof id->family)
        return err_set(e, ERR_INPUT, "%s: the family's name '%s' is too long", where, value[0]);
    if (!is_hex_digest(value[5]))
        return err_set(e, ERR_INPUT, "%s: digest '%s' is not %d lower-case hexadecimal digits", where,
                       value[5], HASH_HEX - 1);
    for (i = 0; i < 4; i++) {
        snprintf(what[i], sizeof what[i], "%s: %s", where, key[i + 1]);
        if (num_i64(value[i + 1], what[i], 1, i < 2 ? 65536 : i == 2 ? n[1] : INT_MAX, &n[i], e))
            return -1;
    }
    memcpy(id->family, value[0], strlen(value[0]) + 1);
    memcpy(id->digest, value[5], sizeof id->digest);
    id->layers = (int)n[0];
    id->experts = (int)n[1];
    id->topk = (int)n[2];
    id->hidden = (int)n[3];
    return 0;
}

int model_id_print(const struct model_id *id, char *buf, size_t n)
{
    int len = snprintf(buf, n, "family=%s\tlayers=%d\texperts=%d\ttopk=%d\thidden=%d\tdigest=%s", id->family,
                       id->layers, id->experts, id->topk, id->hidden, id->digest);

    return len < 0 || (size_t)len >= n ? -1 : len;
}

int model_id_check(const struct model_id *a, const char *what_a, const struct model_id *b, const char *what_b,
                   struct err *e)
{
    const struct {
        const char *name;
        int a, b;
    } size[] = {{"layers", a->layers, b->layers},
                {"experts", a->experts, b->experts},
                {"topk", a->topk, b->topk},
                {"hidden", a->hidden, b->hidden}};
    size_t i;

    if (strcmp(a->family, b->family) != 0)
        return err_set(e, ERR_INPUT, "%s was made from another model than %s: family %s, not %s", what_a,
                       what_b, a->family, b->family);
    for (i = 0; i < sizeof size / sizeof *size; i++)
        if (size[i].a != size[i].b)
            return err_set(e, ERR_INPUT, "%s was made from another model than %s: %s %d, not %d", what_a,
                           what_b, size[i].name, size[i].a, size[i].b);
    if (strcmp(a->digest, b->digest) != 0)
        return err_set(e, ERR_INPUT,
                       "%s was made from another model than %s: the routers differ (digest %s, not %s)",
                       what_a, what_b, a->digest, b->digest);
    return 0;
}
