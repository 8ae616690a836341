/* corpus_told.c -- what chat templates made of conversations: counts, and the first of each kind. */
#include "text/corpus_told.h"

#include <stdlib.h>

int told_add(struct corpus_told *t, const struct chat_result *result, const char *where, struct err *e)
{
    int i;

    t->conversations++;
    if (result->raised.kind && !t->refused++) {
        t->refused_first = mem_printf(e, "%s: %s", where, result->raised.msg);
        if (!t->refused_first)
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
    for (i = 0; i < LOST_KINDS; i++)
        free(t->lost_first[i]);
    *t = (struct corpus_told){0};
}
