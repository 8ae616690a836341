/*
 * cutting.c -- how a pass is cut and where its hidden states are kept. Documents go in chunks of whole
 * documents through attention; within a chunk the experts take pieces of tokens, so that no buffer grows with
 * the length of a document but those of attention. What does not fit on the device is known before anything
 * is computed.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "base/num.h"
#include "engine/mixing.h"

enum {
    CHUNK_MIN = 256,
    CACHE_BYTES = 2 << 20,
    BUFFER_BYTES = 768 << 20,
    DEVICE_BUFFER_BYTES = 1536 << 20,
    DEVICE_TILE = 128,      /* rows of a product's tile where there are thousands of them at once */
    DEVICE_FIXED = 96 << 20 /* what the operations hold whatever the chunk */
};

/* Bytes that a token takes on its way through the experts, and through attention. */
static int64_t piece_row(const struct pass *p)
{
    return ffn_row(p->a, p->d->elem_bytes) + watch_row(p);
}

static int64_t chunk_row(const struct pass *p)
{
    return mixing_row(p->a, p->d->elem_bytes);
}

/* Tokens that go through an operation at once when nobody says otherwise: enough for every expert to get full
 * tiles, few enough for the buffers to stay small. */
static int64_t wanted(const struct pass *p)
{
    const struct engine_options *o = &p->en->o;
    const struct arch *a = p->a;
    /* of the experts' results, the largest part */
    int64_t result = (int64_t)a->topk * a->hidden * (int64_t)p->d->elem_bytes;
    int64_t cache = (p->d->threads > 2 ? p->d->threads : 2) * (int64_t)CACHE_BYTES / result;
    int64_t tile = TILE_ROWS * (int64_t)a->experts / a->topk, most = BUFFER_BYTES, n;

    if (o->chunk_tokens) /* results are numbered with 31 bits */
        return o->chunk_tokens < INT32_MAX / a->topk ? o->chunk_tokens : INT32_MAX / a->topk;
    if (p->d->can.beside) {
        cache = 0;
        tile = DEVICE_TILE * (int64_t)a->experts / a->topk;
        most = DEVICE_BUFFER_BYTES;
    } else if (o->mem_max && o->mem_max / 4 < (uint64_t)most) {
        most = (int64_t)(o->mem_max / 4);
    }
    /* what stays in the caches, if that gives every expert two tiles; else eight, so that the last one, which
     * is half empty on average, weighs little */
    n = cache >= 2 * tile ? cache : 8 * tile;
    most /= piece_row(p) + chunk_row(p);
    n = n < most ? n : most;
    return n < CHUNK_MIN ? CHUNK_MIN : n;
}

/* ---- device memory ---- */

struct need {
    uint64_t fixed, states; /* states: all of them, on the device */
    int64_t longest, tokens;
};

static uint64_t buffers(const struct pass *p, const struct need *need, int64_t n, bool on_host)
{
    int64_t wide = need->longest > n ? need->longest : n;
    uint64_t state = (uint64_t)p->a->hidden * p->d->elem_bytes;

    n = need->tokens < n ? need->tokens : n;
    wide = (need->tokens < wide ? need->tokens : wide) + TILE_ROWS;
    return (uint64_t)(n + TILE_ROWS) * (uint64_t)piece_row(p) + (uint64_t)wide * (uint64_t)chunk_row(p) +
           (on_host ? STATE_BUFFERS * (uint64_t)p->variants * (uint64_t)wide * state : need->states);
}

/* The most tokens, from `least` to `most`, whose buffers fit into room; 0: not even the least do. */
static int64_t fit(const struct pass *p, const struct need *need, int64_t least, int64_t most, bool on_host,
                   uint64_t room)
{
    if (buffers(p, need, least, on_host) > room)
        return 0;
    while (least < most) {
        int64_t mid = least + (most - least + 1) / 2;

        if (buffers(p, need, mid, on_host) <= room)
            least = mid;
        else
            most = mid - 1;
    }
    return least;
}

static int no_room(const struct pass *p, const struct need *need, int64_t least, uint64_t limit,
                   uint64_t held, struct err *e)
{
    char all[32], some[32], weights[32], have[32];

    num_bytes(held + need->fixed + buffers(p, need, least, p->on_host), all);
    num_bytes(buffers(p, need, least, p->on_host), some);
    num_bytes(need->fixed, weights);
    num_bytes(limit, have);
    return err_set(
        e, ERR_NOMEM,
        "device memory: %s are needed, of which %s for two layers of weights and %s for chunks of whole "
        "documents of up to %lld tokens, and there are %s%s",
        all, weights, some, (long long)need->longest, have, p->en->o.device_mem ? " (--gpu-mem)" : "");
}

/* Chooses p->piece and p->on_host. */
static int budget(struct pass *p, const struct need *need, struct err *e)
{
    int64_t most = wanted(p), least = p->en->o.chunk_tokens || most < CHUNK_MIN ? most : CHUNK_MIN;
    int64_t good = p->en->o.chunk_tokens ? most : most / 4 < least ? least : most / 4;
    bool must = p->en->o.states_on_host;
    struct device_memory m;
    uint64_t limit, room;
    int drop;

    p->piece = most;
    p->on_host = must;
    p->op->memory(p->d, &m);
    if (m.free == UINT64_MAX)
        return 0;
    p->op->trim(p->d);
    for (drop = 0; drop < 2; drop++) {
        if (drop && p->d == p->en->d) /* the heads that are kept stand in the way */
            engine_heads_keep(p->en, NULL, 0);
        p->op->memory(p->d, &m);
        limit = p->en->o.device_mem ? p->en->o.device_mem : m.held + m.free - m.free / 16;
        room = limit > m.held + need->fixed ? limit - m.held - need->fixed : 0;
        p->on_host = must;
        if (!must && (p->piece = fit(p, need, good, most, false, room)) > 0)
            return 0;
        p->on_host = !p->d->can.unified || must;
        if ((p->piece = fit(p, need, least, most, p->on_host, room)) > 0)
            return 0;
    }
    return no_room(p, need, least, limit, m.held, e);
}

static uint64_t fixed_bytes(struct pass *p, const struct model *m)
{
    return weights_bytes(p->d, m) + DEVICE_FIXED + ffn_channel_bytes(p) + watch_sum_bytes(p);
}

uint64_t pass_device_bytes(struct pass *p, const struct model *m, uint64_t *held)
{
    uint64_t wide = (uint64_t)(p->widest + TILE_ROWS), row = (uint64_t)p->a->hidden * p->d->elem_bytes;
    int64_t tokens = p->b->docs ? p->b->first[p->b->docs] : 0, longest = 0, i;
    uint64_t n = fixed_bytes(p, m) - (p->d->can.beside ? 0 : DEVICE_FIXED);

    for (i = 0; i < p->b->docs; i++)
        longest =
            p->b->first[i + 1] - p->b->first[i] > longest ? p->b->first[i + 1] - p->b->first[i] : longest;
    for (i = 0; i < p->a->ropes; i++)
        n += (uint64_t)longest * (uint64_t)p->a->rope[i].rot * sizeof(float);
    *held = (uint64_t)p->piece * (uint64_t)ffn_held(p->a, p->d->elem_bytes) +
            (uint64_t)p->widest * (uint64_t)mixing_held(p->a, p->d->elem_bytes);
    n += (uint64_t)(p->piece + TILE_ROWS) * (uint64_t)piece_row(p) + wide * (uint64_t)chunk_row(p);
    return n +
           (uint64_t)p->variants * row * (p->on_host ? STATE_BUFFERS * wide : (uint64_t)(tokens + TILE_ROWS));
}

/* ---- chunks ---- */

static int cut_chunks(struct pass *p, struct err *e)
{
    const struct batch *b = p->b;
    int64_t i, docs = 0, most = 0, c;

    p->chunk = mem_new((size_t)b->docs + 1, sizeof *p->chunk, e);
    if (!p->chunk)
        return -1;
    for (i = 0; i < b->docs; i++, docs++) {
        int64_t from = b->first[p->chunk[p->chunks]];

        if (docs > 0 && b->first[i + 1] - from > p->piece) {
            p->chunk[++p->chunks] = i;
            docs = 0;
            from = b->first[i];
        }
        if (b->first[i + 1] - from > p->widest)
            p->widest = b->first[i + 1] - from;
        if (docs + 1 > most)
            most = docs + 1;
    }
    if (b->docs)
        p->chunk[++p->chunks] = b->docs;
    if (p->piece > p->widest)
        p->piece = p->widest;
    p->first = mem_new((size_t)most + 1, sizeof *p->first, e);
    p->token = mem_new((size_t)p->chunks + 1, sizeof *p->token, e);
    for (c = 0; p->token && c <= p->chunks; c++)
        p->token[c] = b->docs ? b->first[p->chunk[c]] : 0;
    return p->first && p->token ? 0 : -1;
}

int pass_plan(struct pass *p, const struct model *m, struct err *e)
{
    const struct arch *a = p->a;
    struct need need = {.tokens = p->b->docs ? p->b->first[p->b->docs] : 0};
    uint64_t row = (uint64_t)a->hidden * p->d->elem_bytes * (uint64_t)p->variants, bytes;
    int64_t i;

    for (i = 0; i < p->b->docs; i++)
        if (p->b->first[i + 1] - p->b->first[i] > need.longest)
            need.longest = p->b->first[i + 1] - p->b->first[i];
    bytes = (uint64_t)need.tokens * row;
    if (p->en->o.mem_max && bytes > p->en->o.mem_max)
        return err_set(e, ERR_USAGE,
                       "%lld tokens need %.4g MB for their hidden states, more than --mem-max allows",
                       (long long)need.tokens, (double)bytes * 1e-6);
    need.states = bytes + TILE_ROWS * row;
    need.fixed = fixed_bytes(p, m);
    for (i = 0; i < a->ropes; i++)
        need.fixed += (uint64_t)need.longest * (uint64_t)a->rope[i].rot * sizeof(float);
    return budget(p, &need, e) || cut_chunks(p, e) ? -1 : 0;
}
