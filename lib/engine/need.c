/* need.c -- what a forward pass takes, told before it: work, bytes to read, memory. */
#include <stdlib.h>

#include "base/mem.h"
#include "engine/mixing.h"

enum { STAGE_BYTES = 2 * (16 << 20) }; /* rows of the embedding on their way to the states */

static uint64_t stored_size(const struct linear_tensors *l)
{
    uint64_t n = 0;
    int i;

    for (i = 0; i < STORED_PIECES; i++)
        n += l->piece[i] ? l->piece[i]->size : 0;
    return n;
}

static void count_reads(struct engine_need *x, const struct model *m, const struct batches *g)
{
    struct linear_tensors embedding, head;
    size_t i, k;

    for (i = 0; i < g->n; i++)
        for (k = 0; k < g->batch[i].blob.n; k++)
            x->layer_bytes += g->batch[i].blob.item[k].size;
    model_linear(m, -1, model_slot(m, SLOT_EMBEDDING).name, &embedding);
    x->embedding_bytes = stored_size(&embedding);
    x->head_bytes =
        model_linear(m, -1, model_slot(m, SLOT_HEAD).name, &head) ? stored_size(&head) : x->embedding_bytes;
}

static void count_flops(struct engine_need *x, const struct arch *a, const struct batch *b, int variants)
{
    int64_t n = b->docs ? b->first[b->docs] : 0;
    int i;

    for (i = 0; i < a->layers; i++)
        x->flops +=
            variants * (mixing_flops(a, &a->layer[i], b->first, b->docs) + ffn_flops(a, &a->layer[i], n));
    x->head_flops = 2.0 * (double)n * a->hidden * a->vocab;
}

/* Host memory beside what the device takes. */
static uint64_t host_bytes(const struct pass *p, uint64_t ring, uint64_t states)
{
    uint64_t watched = p->observer ? (uint64_t)p->piece * (uint64_t)watch_row(p) : 0;

    return ring + watched + (p->on_host ? states : 0);
}

static void count_memory(struct engine_need *x, struct pass *p, const struct model *m,
                         const struct batches *g)
{
    uint64_t elem = p->d->elem_bytes, ring = g->largest * (uint64_t)weights_ring(p->d);
    uint64_t tokens = (uint64_t)(p->b->docs ? p->b->first[p->b->docs] : 0);
    uint64_t row = (uint64_t)p->a->hidden * elem, states = tokens * row * (uint64_t)p->variants;
    uint64_t stage = tokens * row < STAGE_BYTES ? tokens * row : STAGE_BYTES;
    uint64_t packed = (uint64_t)p->a->vocab * row, later = weights_bytes(p->d, m), embedding, held;
    struct device_memory memory;

    embedding = x->embedding_bytes + (p->on_host ? 0 : stage);
    x->device = pass_device_bytes(p, m, &held);
    x->host = host_bytes(p, ring, states);
    x->head_device = (p->on_host ? 0 : states) + packed;
    x->head_host = ring + (p->on_host ? states : 0) + x->head_bytes;
    p->op->memory(p->d, &memory);
    if (memory.free != UINT64_MAX) { /* the embedding is read while the first layers are */
        x->host += embedding;
        return;
    }
    /* when a layer is packed and operations begin, the embedding is gone */
    later += held;
    x->host += x->device - later + (embedding > later ? embedding : later);
    x->head_host += x->head_device;
    x->device = x->head_device = 0;
}

int engine_need(struct engine *en, const struct model *m, const struct batch *b, int variants,
                const struct observer *observer, struct engine_need *out, struct err *e)
{
    struct variant *variant = mem_new((size_t)variants, sizeof *variant, e);
    struct pass p = pass_of(en, m, b, variant, variants, observer);
    struct batches g = {0};
    int rc = -1;

    *out = (struct engine_need){0};
    if (variant && weights_plan(&g, en->d, m, e) == 0 && pass_plan(&p, m, e) == 0) {
        count_reads(out, m, &g);
        count_flops(out, &m->arch, b, variants);
        count_memory(out, &p, m, &g);
        rc = 0;
    }
    batches_free(&g);
    pass_free(&p);
    free(variant);
    return rc;
}
