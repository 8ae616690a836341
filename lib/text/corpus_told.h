/* corpus_told.h -- what people are told of a corpus: of its conversations, and of documents that come twice.
 */
#ifndef MOE_TEXT_CORPUS_TOLD_H
#define MOE_TEXT_CORPUS_TOLD_H

#include "base/map.h"
#include "text/corpus.h"

/* Counts the result of the conversation at where; -1: out of memory. */
int told_add(struct corpus_told *t, const struct chat_result *result, const char *where, struct err *e);
void told_free(struct corpus_told *t);

/* Counts the last document of c, which has these ids, if it was there before. seen: those before, by their
 * tokens. -1: out of memory. */
int told_repeat(struct corpus *c, struct map *seen, const struct ids *ids, struct err *e);

#endif
