/*
 * passes.h -- a corpus in passes: as many documents at a time as the memory for hidden states allows.
 *
 * A pass is a run of whole documents in input order, so whoever adds up in token order gets the same sums
 * from one pass as from many.
 */
#ifndef MOE_OBSERVE_PASSES_H
#define MOE_OBSERVE_PASSES_H

#include "engine/engine.h"
#include "text/corpus.h"

struct pass_options {
    uint64_t mem_max; /* bytes: three quarters for what is held of every token of a pass, the rest for the
                         engine's buffers; 0: everything in one pass */
    /* Before each forward pass (a comparison makes one for ref and all its plans, one for each model); may be
     * NULL. */
    void (*begin)(void *ctx, int64_t pass, int64_t passes);
    void *ctx;
};

struct passes {
    int64_t *doc; /* [n + 1]: pass i holds the documents doc[i] .. doc[i+1]-1 */
    int64_t n;
};

/* bytes_per_token: of everything that is held at once for a token. A document that is too large alone
 * gets a pass of its own (which the engine refuses when it is over mem_max). */
int passes_split(struct passes *p, const struct corpus *c, uint64_t bytes_per_token, uint64_t mem_max,
                 struct err *e);
void passes_free(struct passes *p);
/* Tokens of the largest pass. */
int64_t passes_largest(const struct passes *p, const struct corpus *c);
/* Bytes of one token's hidden state. */
uint64_t pass_state_bytes(const struct model *m, const struct precision_row *precision);

/* One pass as the engine wants it. */
struct corpus_pass {
    struct batch batch;
    int64_t *first;           /* storage of batch.first */
    int64_t first_doc, token; /* where in the corpus it begins */
    int64_t tokens;
};
int corpus_pass_open(struct corpus_pass *p, const struct corpus *c, int64_t first_doc, int64_t end_doc,
                     struct err *e);
void corpus_pass_close(struct corpus_pass *p);

/* Adds up times, work and bytes; keeps the larger peak. */
void cost_add(struct engine_cost *sum, const struct engine_cost *c);

#endif
