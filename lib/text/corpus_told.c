/* corpus_told.c -- what people are told of a corpus: what chat templates made of conversations, documents
 * that come twice; counts, and the first of each kind. */
#include "text/corpus_told.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

int told_add(struct corpus_told *t, const struct chat_result *result, const char *where, struct err *e)
{
    int i;

    t->conversations++;
    if (result->raised.kind && !t->refused++) {
        t->refused_first = mem_printf(e, "%s: %s", where, result->raised.msg);
        if (!t->refused_first)
            return -1;
    }
    if (result->given[0] && !t->given++) {
        t->given_first = mem_printf(e, "'%s' in %s", result->given, where);
        if (!t->given_first)
            return -1;
    }
    for (i = 0; i < LOST_KINDS; i++) {
        if (!(result->lost & 1u << i) || t->lost[i]++)
            continue;
        t->lost_first[i] = mem_strdup(where, e);
        if (!t->lost_first[i])
            return -1;
    }
    return 0;
}

void told_free(struct corpus_told *t)
{
    int i;

    free(t->refused_first);
    free(t->given_first);
    for (i = 0; i < LOST_KINDS; i++)
        free(t->lost_first[i]);
    *t = (struct corpus_told){0};
}

int told_repeat(struct corpus *c, struct map *seen, const struct ids *ids, struct err *e)
{
    char key[HASH_HEX];
    int32_t before;

    if (!ids->n)
        return 0;
    hash_once(ids->id, ids->n * sizeof *ids->id, key);
    before = map_find(seen, key, strlen(key));
    if (before < 0)
        return map_set(seen, key, strlen(key), (int32_t)(c->docs - 1), e);
    if (c->repeated++)
        return 0;
    c->repeat[0].file = c->doc[c->docs - 1].file;
    c->repeat[0].line = c->doc[c->docs - 1].line;
    c->repeat[1].file = c->doc[before].file;
    c->repeat[1].line = c->doc[before].line;
    return 0;
}
