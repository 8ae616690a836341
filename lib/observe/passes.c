/* passes.c -- where the passes over a corpus begin, from the bytes of a token. */
#include "observe/passes.h"

#include <stdlib.h>
#include <string.h>

int passes_split(struct passes *p, const struct corpus *c, uint64_t bytes_per_token, uint64_t mem_max,
                 struct err *e)
{
    uint64_t held = 0, room = mem_max - mem_max / 4; /* the rest is for the engine's buffers */
    int64_t d;

    memset(p, 0, sizeof *p);
    p->doc = mem_new((size_t)c->docs + 1, sizeof *p->doc, e);
    if (!p->doc)
        return -1;
    for (d = 0; d < c->docs; d++) {
        uint64_t bytes;

        if (!mul_u64((uint64_t)c->doc[d].n, bytes_per_token, &bytes) || !add_u64(held, bytes, &held)) {
            passes_free(p);
            return err_set(e, ERR_NOMEM, "document %lld: its hidden states are too large", (long long)d);
        }
        if (d == 0 || (mem_max && held > room)) {
            p->doc[p->n++] = d;
            held = bytes;
        }
    }
    p->doc[p->n] = c->docs;
    return 0;
}

void passes_free(struct passes *p)
{
    free(p->doc);
    memset(p, 0, sizeof *p);
}

int64_t passes_largest(const struct passes *p, const struct corpus *c)
{
    int64_t most = 0, i;

    for (i = 0; i < p->n; i++) {
        const struct doc *last = &c->doc[p->doc[i + 1] - 1];
        int64_t n = last->first + last->n - c->doc[p->doc[i]].first;

        most = n > most ? n : most;
    }
    return most;
}

uint64_t pass_state_bytes(const struct model *m, const struct precision_row *precision)
{
    return (uint64_t)m->arch.hidden * precision->elem_bytes;
}

int corpus_pass_open(struct corpus_pass *p, const struct corpus *c, int64_t first_doc, int64_t end_doc,
                     struct err *e)
{
    int64_t d;

    memset(p, 0, sizeof *p);
    p->first = mem_new((size_t)(end_doc - first_doc) + 1, sizeof *p->first, e);
    if (!p->first)
        return -1;
    p->first_doc = first_doc;
    p->token = c->doc[first_doc].first;
    for (d = first_doc; d < end_doc; d++)
        p->first[d - first_doc + 1] = p->first[d - first_doc] + c->doc[d].n;
    p->tokens = p->first[end_doc - first_doc];
    p->batch.ids = c->ids + p->token;
    p->batch.first = p->first;
    p->batch.docs = end_doc - first_doc;
    return 0;
}

void corpus_pass_close(struct corpus_pass *p)
{
    free(p->first);
    memset(p, 0, sizeof *p);
}

void cost_add(struct engine_cost *sum, const struct engine_cost *c)
{
    sum->seconds += c->seconds;
    sum->read_seconds += c->read_seconds;
    sum->wait_seconds += c->wait_seconds;
    sum->flops += c->flops;
    sum->bytes_read += c->bytes_read;
    if (c->peak_bytes > sum->peak_bytes)
        sum->peak_bytes = c->peak_bytes;
    if (c->peak_device_bytes > sum->peak_device_bytes)
        sum->peak_device_bytes = c->peak_device_bytes;
}
