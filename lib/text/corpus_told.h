/* corpus_told.h -- what chat templates made of conversations, as a corpus counts and tells it. */
#ifndef MOE_TEXT_CORPUS_TOLD_H
#define MOE_TEXT_CORPUS_TOLD_H

#include "text/corpus.h"

/* Counts the result of the conversation at where; -1: out of memory. */
int told_add(struct corpus_told *t, const struct chat_result *result, const char *where, struct err *e);
void told_free(struct corpus_told *t);

#endif
