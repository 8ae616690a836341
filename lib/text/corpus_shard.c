/* corpus_shard.c -- part I of N of a corpus, by documents. */
#include <string.h>

#include "text/corpus.h"

int corpus_shard(struct corpus *c, int shard, int shards, struct err *e)
{
    int64_t from = 0, docs = 0, tokens = 0;

    for (from = shard - 1; from < c->docs; from += shards) {
        struct doc *d = &c->doc[docs++];

        *d = c->doc[from];
        memmove(c->ids + tokens, c->ids + d->first, (size_t)d->n * sizeof *c->ids);
        d->first = tokens;
        tokens += d->n;
    }
    if (!docs)
        return err_set(e, ERR_INPUT, "shard %d of %d has no document: there are only %lld", shard, shards,
                       (long long)c->docs);
    c->docs = docs;
    c->tokens = tokens;
    c->shard = shard;
    c->shards = shards;
    for (from = c->truncated = 0; from < docs; from++)
        c->truncated += c->doc[from].cut;
    return 0;
}
