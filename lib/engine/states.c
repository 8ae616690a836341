/*
 * states.c -- the hidden states of a pass: on the device, or in host memory with a few device buffers for
 * chunks on their way.
 */
#include "engine/states.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static struct hidden *new_hidden(struct states *s, int64_t tokens, int hidden, struct err *e)
{
    struct hidden *h = mem_new(1, sizeof *h, e);
    size_t bytes = ((size_t)tokens + TILE_ROWS) * s->row; /* of a batch that is in memory: no overflow */

    if (!h)
        return NULL;
    *h = (struct hidden){s->d, s->on_host, NULL, tokens, hidden};
    h->x = s->on_host ? s->d->ops->host_new(s->d, bytes, e) : s->d->ops->buf_new(s->d, bytes, e);
    if (!h->x) {
        free(h);
        return NULL;
    }
    return h;
}

int states_open(struct states *s, struct device *d, bool on_host, int variants, int hidden,
                const int64_t *first, int64_t chunks, struct err *e)
{
    int64_t c;
    int i;

    *s = (struct states){.d = d,
                         .on_host = on_host,
                         .row = (size_t)hidden * d->elem_bytes,
                         .chunks = chunks,
                         .at = STATE_BUFFERS - 1};
    s->h = mem_new((size_t)variants, sizeof *s->h, e);
    s->token = mem_new((size_t)chunks + 1, sizeof *s->token, e);
    s->stored = mem_new((size_t)chunks, sizeof *s->stored, e);
    if (!s->h || !s->token || !s->stored)
        return -1;
    memcpy(s->token, first, ((size_t)chunks + 1) * sizeof *first);
    for (c = 0; c < chunks; c++)
        if (first[c + 1] - first[c] + TILE_ROWS > s->widest)
            s->widest = first[c + 1] - first[c] + TILE_ROWS;
    for (; s->variants < variants; s->variants++)
        if (!(s->h[s->variants] = new_hidden(s, first[chunks], hidden, e)))
            return -1;
    for (i = 0; on_host && i < STATE_BUFFERS; i++)
        if (!(s->buffer[i] = d->ops->buf_new(d, (size_t)variants * (size_t)s->widest * s->row, e)))
            return -1;
    return 0;
}

/* Where a variant's part of a buffer begins. */
static uint8_t *part(const struct states *s, int buffer, int variant)
{
    return s->buffer[buffer] + (size_t)variant * (size_t)s->widest * s->row;
}

static uint8_t *stored_at(const struct states *s, int variant, int64_t token)
{
    return (uint8_t *)s->h[variant]->x + (size_t)token * s->row;
}

static size_t chunk_bytes(const struct states *s, int64_t chunk)
{
    return (size_t)(s->token[chunk + 1] - s->token[chunk]) * s->row;
}

void states_fetch(struct states *s, int64_t chunk, const bool *bring)
{
    int b = (int)(s->visits % STATE_BUFFERS), v;
    /* what was there must have gone down, and so must what comes up: copies down are in order */
    uint64_t after = s->emptied[b] > s->stored[chunk] ? s->emptied[b] : s->stored[chunk];

    if (!s->on_host)
        return;
    s->visits++;
    for (v = 0; v < s->variants; v++)
        if (bring[v])
            s->ready[b] = s->d->ops->copy_up(s->d, part(s, b, v), stored_at(s, v, s->token[chunk]),
                                             chunk_bytes(s, chunk), after);
}

void states_begin(struct states *s, int64_t chunk)
{
    s->here = chunk;
    if (!s->on_host)
        return;
    s->at = (s->at + 1) % STATE_BUFFERS;
    s->d->ops->await_copy(s->d, s->ready[s->at]);
}

void states_end(struct states *s, const bool *keep)
{
    int v;

    for (v = 0; s->on_host && v < s->variants; v++)
        if (keep[v])
            s->stored[s->here] = s->emptied[s->at] = s->d->ops->copy_down(
                s->d, stored_at(s, v, s->token[s->here]), part(s, s->at, v), chunk_bytes(s, s->here));
}

uint8_t *states_at(const struct states *s, int variant, int64_t token)
{
    return s->on_host ? part(s, s->at, variant) + (size_t)(token - s->token[s->here]) * s->row
                      : stored_at(s, variant, token);
}

void states_settle(struct states *s)
{
    int i;

    for (i = 0; i < STATE_BUFFERS; i++) {
        s->d->ops->finish_copy(s->d, s->ready[i]);
        s->d->ops->finish_copy(s->d, s->emptied[i]);
    }
}

void states_copy(struct states *s, int to, int from)
{
    size_t bytes = (size_t)s->token[s->chunks] * s->row;

    states_settle(s);
    if (s->on_host)
        memcpy(s->h[to]->x, s->h[from]->x, bytes);
    else
        s->d->ops->copy(s->d, s->h[to]->x, s->h[from]->x, bytes);
}

void states_take(struct states *s, struct hidden **out)
{
    int v;

    states_settle(s);
    for (v = 0; v < s->variants; v++) {
        out[v] = s->h[v];
        s->h[v] = NULL;
    }
}

void states_close(struct states *s)
{
    int i;

    if (!s->d)
        return;
    states_settle(s);
    for (i = 0; i < s->variants; i++)
        hidden_free(s->h[i]);
    for (i = 0; i < STATE_BUFFERS; i++)
        s->d->ops->buf_free(s->d, s->buffer[i]);
    free(s->h);
    free(s->token);
    free(s->stored);
}
