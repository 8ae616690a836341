/* blob.c -- which bytes of which tensors a map is made of, and the stored map that they give. */
#include "load/blob.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "quant/floats.h"

enum { ALIGN = 64 };

void blob_free(struct blob *b)
{
    free(b->item);
    *b = (struct blob){.m = b->m};
}

int blob_add_part(struct blob *b, const struct tensor *t, uint64_t from, uint64_t size, struct err *e)
{
    if (mem_grow(&b->item, &b->cap, b->n + 1, sizeof *b->item, e))
        return -1;
    b->item[b->n++] = (struct blob_item){t, from, size, b->size};
    if (!add_u64(b->size, size, &b->size) || !add_u64(b->size, ALIGN, &b->size))
        return err_set(e, ERR_NOMEM, "tensor '%s' is too large", t->name);
    b->size = b->size / ALIGN * ALIGN;
    return 0;
}

int blob_add(struct blob *b, const struct tensor *t, struct err *e)
{
    return blob_add_part(b, t, 0, t->size, e);
}

int blob_add_linear(struct blob *b, int layer, const char *name, struct err *e)
{
    struct linear_tensors l;
    int i;

    if (!model_linear(b->m, layer, name, &l))
        return err_set(e, ERR_INPUT, "'%s': tensor '%s.weight' is missing", b->m->dir, name);
    for (i = 0; i < STORED_PIECES; i++)
        if (l.piece[i] && blob_add(b, l.piece[i], e))
            return -1;
    return 0;
}

static int blob_by_place(const void *a, const void *b)
{
    const struct blob_item *x = a, *y = b;
    uint64_t px = x->t->begin + x->from, py = y->t->begin + y->from;

    if (x->t->shard != y->t->shard)
        return x->t->shard < y->t->shard ? -1 : 1;
    return px < py ? -1 : px > py;
}

void blob_sort(struct blob *b)
{
    if (b->n)
        qsort(b->item, b->n, sizeof *b->item, blob_by_place);
}

const uint8_t *blob_part(const struct blob *b, const struct tensor *t, uint64_t from)
{
    const struct blob_item want = {.t = t, .from = from}, *i = b->item;
    size_t lo = 0, hi = b->n;

    while (t && lo < hi) { /* the first that begins after it */
        size_t mid = lo + (hi - lo) / 2;

        if (blob_by_place(&b->item[mid], &want) <= 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (!t || lo == 0 || i[lo - 1].t != t || from - i[lo - 1].from >= i[lo - 1].size)
        return NULL;
    return b->bytes + i[lo - 1].at + (from - i[lo - 1].from);
}

const uint8_t *blob_get(const struct blob *b, const struct tensor *t)
{
    return blob_part(b, t, 0);
}

int blob_vector(const struct blob *b, const struct tensor *t, int64_t first, int step, int n, float *dst,
                struct err *e)
{
    const uint8_t *p = blob_get(b, t);
    int i;

    if (!p)
        return err_set(e, ERR_INPUT, "'%s': tensor '%s' is missing", b->m->dir, t ? t->name : "of a layer");
    if (!dtype_is_float(t->dtype))
        return err_set(e, ERR_UNKNOWN, "tensor '%s' has dtype %s where BF16, F16 or F32 is needed", t->name,
                       dtype_name(t->dtype));
    for (i = 0; i < n; i++) {
        dst[i] = float_at(t->dtype, p, (size_t)(first + (int64_t)i * step));
        if (!isfinite(dst[i]))
            return err_set(e, ERR_INPUT, "tensor '%s' holds a value that is not a finite number", t->name);
    }
    return 0;
}

/* The pieces of a map [out][in] where they are in memory, those of one expert if `of` many are together. */
static int blob_describe(const struct blob *b, const struct linear_tensors *l, int layer, int expert, int of,
                         int out, int in, struct stored *s, struct err *e)
{
    const struct tensor *suspect = l->piece[coding_suspect(l->as->format->coding)];
    int i;

    *s = (struct stored){.name = suspect ? suspect->name : NULL};
    for (i = 0; i < STORED_PIECES; i++) {
        const struct tensor *t = l->piece[i];

        if (!t)
            continue;
        s->piece[i].dtype = t->dtype;
        s->piece[i].name = t->name;
        s->piece[i].size = (size_t)slice_bytes(t, of);
        s->piece[i].at = blob_part(b, t, slice_begin(t, of, expert));
        if (!s->piece[i].at)
            return err_set(e, ERR_INPUT, "'%s': layer %d: tensor '%s' was not read", b->m->dir, layer,
                           t->name);
    }
    format_describe(s, l->as, out, in, of > 1 && model_in_out(b->m, l->as->format));
    return 0;
}

int blob_linear(const struct blob *b, int layer, const char *name, int out, int in, struct stored *s,
                struct err *e)
{
    struct linear_tensors l;

    if (!model_linear(b->m, layer, name, &l))
        return err_set(e, ERR_INPUT, "'%s': layer %d: %s is missing", b->m->dir, layer, name);
    return blob_describe(b, &l, layer, 0, 1, out, in, s, e);
}

/* The rows of gate or up among those of both. */
static void half(struct stored *s, enum expert_layout layout, int inter, int which)
{
    bool alternate = layout == EXPERTS_INTERLEAVED;

    s->out = inter;
    s->step = alternate ? 2 : 1;
    s->first = which * (alternate ? 1 : inter);
}

int blob_expert(const struct blob *b, int layer, int expert, struct stored s[3], struct err *e)
{
    const struct arch *a = &b->m->arch;
    bool split = b->m->layout == EXPERTS_SPLIT;
    struct linear_tensors l;
    int i;

    for (i = 0; i < 3; i++) {
        enum part part = i == 2                       ? PART_DOWN
                         : layout_fused(b->m->layout) ? PART_GATE_UP
                         : i                          ? PART_UP
                                                      : PART_GATE;
        int out = part == PART_DOWN ? a->hidden : (part == PART_GATE_UP ? 2 : 1) * a->inter,
            in = part == PART_DOWN ? a->inter : a->hidden;

        if (!model_expert_linear(b->m, layer, expert, part, &l))
            return err_set(e, ERR_INPUT, "'%s': layer %d: an expert tensor is missing", b->m->dir, layer);
        if (blob_describe(b, &l, layer, split ? 0 : expert, split ? 1 : a->experts, out, in, &s[i], e))
            return -1;
        if (part == PART_GATE_UP)
            half(&s[i], b->m->layout, a->inter, i);
    }
    return 0;
}
