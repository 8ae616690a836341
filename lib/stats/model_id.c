/* model_id.c -- the model line of the files: which model, told by shape and digest. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "model/model.h"
#include "stats/fields.h"
#include "stats/stats.h"

enum {
    F_FAMILY,
    F_LAYERS,
    F_EXPERTS,
    F_TOPK,
    F_HIDDEN,
    F_DIGEST,
    NEEDED,
    F_GROUPS = NEEDED,
    F_TOPK_GROUP,
    F_GROUP,
    FIELDS
};
static const char *const key[FIELDS] = {"family", "layers", "experts",    "topk", "hidden",
                                        "digest", "groups", "topk_group", "group"};

static int parse_number(char (*value)[FIELD_MAX], int field, int max, const char *where, int *out,
                        struct err *e)
{
    char what[FIELD_MAX + 200];
    int64_t v;

    snprintf(what, sizeof what, "%s: %s", where, key[field]);
    if (num_i64(value[field], what, 1, max, &v, e))
        return -1;
    *out = (int)v;
    return 0;
}

/* All three fields or none. */
static int parse_groups(struct model_id *id, char (*value)[FIELD_MAX], const char *where, struct err *e)
{
    int i, given = 0;

    for (i = F_GROUPS; i <= F_GROUP; i++)
        given += value[i][0] != 0;
    if (!given)
        return 0;
    if (given < 3)
        return err_set(e, ERR_INPUT, "%s: groups=, topk_group= and group= go together", where);
    if (parse_number(value, F_GROUPS, id->experts, where, &id->groups, e) ||
        parse_number(value, F_TOPK_GROUP, id->groups, where, &id->topk_group, e))
        return -1;
    if (id->groups < 2 || id->experts % id->groups)
        return err_set(e, ERR_INPUT, "%s: %d experts in %d groups make no sense", where, id->experts,
                       id->groups);
    id->group_top2 = strcmp(value[F_GROUP], "top2") == 0;
    if (!id->group_top2 && strcmp(value[F_GROUP], "max") != 0)
        return err_set(e, ERR_INPUT, "%s: group is max or top2, not '%s'", where, value[F_GROUP]);
    return 0;
}

int model_id_parse(struct model_id *id, const char *line, const char *where, struct err *e)
{
    char value[FIELDS][FIELD_MAX];

    *id = (struct model_id){0};
    if (fields_parse_some(line, where, key, value, NEEDED, FIELDS, e))
        return -1;
    if (strlen(value[F_FAMILY]) >= sizeof id->family)
        return err_set(e, ERR_INPUT, "%s: the family's name '%s' is too long", where, value[F_FAMILY]);
    if (!is_hex_digest(value[F_DIGEST]))
        return err_set(e, ERR_INPUT, "%s: digest '%s' is not %d lower-case hexadecimal digits", where,
                       value[F_DIGEST], HASH_HEX - 1);
    if (parse_number(value, F_LAYERS, 65536, where, &id->layers, e) ||
        parse_number(value, F_EXPERTS, 65536, where, &id->experts, e) ||
        parse_number(value, F_TOPK, id->experts, where, &id->topk, e) ||
        parse_number(value, F_HIDDEN, INT_MAX, where, &id->hidden, e))
        return -1;
    memcpy(id->family, value[F_FAMILY], strlen(value[F_FAMILY]) + 1);
    memcpy(id->digest, value[F_DIGEST], sizeof id->digest);
    return parse_groups(id, value, where, e);
}

int model_id_print(const struct model_id *id, char *buf, size_t n)
{
    char groups[80] = "";
    int len;

    if (id->groups > 1)
        snprintf(groups, sizeof groups, "\tgroups=%d\ttopk_group=%d\tgroup=%s", id->groups, id->topk_group,
                 id->group_top2 ? "top2" : "max");
    len = snprintf(buf, n, "family=%s\tlayers=%d\texperts=%d\ttopk=%d\thidden=%d\tdigest=%s%s", id->family,
                   id->layers, id->experts, id->topk, id->hidden, id->digest, groups);
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
                {"hidden", a->hidden, b->hidden},
                {"groups", a->groups, b->groups},
                {"topk_group", a->topk_group, b->topk_group},
                {"top2 groups", a->group_top2, b->group_top2}};
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

int model_id_of(struct model_id *id, const struct model *m, struct err *e)
{
    const struct arch *a = &m->arch;
    size_t n = strlen(a->family->name);

    memset(id, 0, sizeof *id);
    if (n >= sizeof id->family)
        return err_set(e, ERR_UNKNOWN, "the family name '%s' is too long for a statistics file",
                       a->family->name);
    memcpy(id->family, a->family->name, n);
    id->layers = a->layers;
    id->experts = a->experts;
    id->topk = a->topk;
    id->hidden = a->hidden;
    if (a->groups > 1) {
        id->groups = a->groups;
        id->topk_group = a->topk_group;
        id->group_top2 = a->group == GROUP_TOP2;
    }
    return model_digest(m, id->digest, e);
}
