#include "load/blob.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "quant/bf16.h"

enum { ALIGN = 64, NAME_LEN = 256 };

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

static const struct tensor *linear_piece(const struct model *m, int layer, const char *name,
                                         const char *suffix)
{
    char full[NAME_LEN];
    int n = snprintf(full, sizeof full, "%s.%s", name, suffix);

    return n > 0 && n < NAME_LEN ? model_tensor(m, layer, full) : NULL;
}

int blob_add_linear(struct blob *b, int layer, const char *name, struct err *e)
{
    const struct tensor *t = linear_piece(b->m, layer, name, "weight"), *s;

    if (t) {
        s = t->dtype == DT_F8_E4M3 ? linear_piece(b->m, layer, name, "weight_scale_inv") : NULL;
        return blob_add(b, t, e) || (s && blob_add(b, s, e)) ? -1 : 0;
    }
    t = linear_piece(b->m, layer, name, "weight_packed");
    s = linear_piece(b->m, layer, name, "weight_scale");
    if (!t || !s)
        return err_set(e, ERR_INPUT, "'%s': tensor '%s.weight' is missing", b->m->dir, name);
    return blob_add(b, t, e) || blob_add(b, s, e) ? -1 : 0;
}

static int by_place(const void *a, const void *b)
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
        qsort(b->item, b->n, sizeof *b->item, by_place);
}

const uint8_t *blob_part(const struct blob *b, const struct tensor *t, uint64_t from)
{
    const struct blob_item want = {.t = t, .from = from}, *i = b->item;
    size_t lo = 0, hi = b->n;

    while (t && lo < hi) { /* the first that begins after it */
        size_t mid = lo + (hi - lo) / 2;

        if (by_place(&b->item[mid], &want) <= 0)
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

static int float_type(const struct tensor *t, enum source_type *type, struct err *e)
{
    switch (t->dtype) {
    case DT_BF16:
        *type = SOURCE_BF16;
        return 0;
    case DT_F16:
        *type = SOURCE_F16;
        return 0;
    case DT_F32:
        *type = SOURCE_F32;
        return 0;
    default:
        return err_set(e, ERR_UNKNOWN, "tensor '%s' has dtype %s where BF16, F16 or F32 is needed", t->name,
                       dtype_name(t->dtype));
    }
}

int blob_vector(const struct blob *b, const struct tensor *t, int64_t first, int step, int n, float *dst,
                struct err *e)
{
    const uint8_t *p = blob_get(b, t);
    enum source_type type;
    int i;

    if (!p)
        return err_set(e, ERR_INPUT, "'%s': tensor '%s' is missing", b->m->dir, t ? t->name : "of a layer");
    if (float_type(t, &type, e))
        return -1;
    for (i = 0; i < n; i++) {
        int64_t at = first + (int64_t)i * step;

        dst[i] = type == SOURCE_F32    ? ((const float *)(const void *)p)[at]
                 : type == SOURCE_BF16 ? bf16_to_f32(((const uint16_t *)(const void *)p)[at])
                                       : f16_to_f32(((const uint16_t *)(const void *)p)[at]);
        if (!isfinite(dst[i]))
            return err_set(e, ERR_INPUT, "tensor '%s' holds a value that is not a finite number", t->name);
    }
    return 0;
}

static int missing(const struct blob *b, int layer, const char *what, struct err *e)
{
    return err_set(e, ERR_INPUT, "'%s': layer %d: %s is missing", b->m->dir, layer, what);
}

/* The scales of block-scaled FP8. */
static int block_scales(const struct blob *b, int layer, const char *name, struct source *s, struct err *e)
{
    const struct tensor *t = linear_piece(b->m, layer, name, "weight_scale_inv");

    s->type = SOURCE_FP8;
    s->scales = blob_get(b, t);
    if (!s->scales)
        return err_set(e, ERR_INPUT, "'%s': tensor '%s.weight_scale_inv' is missing", b->m->dir, name);
    if (t->dtype != DT_F32)
        return err_set(e, ERR_UNKNOWN, "tensor '%s' has dtype %s where F32 is needed", t->name,
                       dtype_name(t->dtype));
    return 0;
}

int blob_linear(const struct blob *b, int layer, const char *name, int out, int in, struct source *s,
                struct err *e)
{
    const struct tensor *t = linear_piece(b->m, layer, name, "weight"), *scale = NULL;

    *s = (struct source){.out = out, .in = in, .step = 1, .stride = in};
    if (t) {
        if (t->dtype == DT_F8_E4M3 ? block_scales(b, layer, name, s, e) : float_type(t, &s->type, e))
            return -1;
    } else {
        t = linear_piece(b->m, layer, name, "weight_packed");
        scale = linear_piece(b->m, layer, name, "weight_scale");
        s->type = SOURCE_MXFP4;
        s->scales = blob_get(b, scale);
        if (!s->scales)
            return missing(b, layer, name, e);
    }
    s->data = blob_get(b, t);
    if (!s->data)
        return missing(b, layer, name, e);
    s->name = scale ? scale->name : t->name;
    return 0;
}

/* The part of a tensor [experts][...] that belongs to one. */
static const uint8_t *expert_slice(const struct blob *b, const struct tensor *t, int expert)
{
    return t ? blob_part(b, t, t->size / (uint64_t)b->m->arch.experts * (uint64_t)expert) : NULL;
}

/* Of a model that is MXFP4 otherwise, some linears may have been left as they were. */
static int split_expert(const struct blob *b, int layer, int expert, struct source s[3], struct err *e)
{
    const struct arch *a = &b->m->arch;
    const char *const part[] = {a->family->expert_gate, a->family->expert_up, a->family->expert_down};
    char name[NAME_LEN];
    int i;

    for (i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%s.experts.%d.%s", b->m->ffn_module, expert, part[i]);
        if (blob_linear(b, layer, name, i == 2 ? a->hidden : a->inter, i == 2 ? a->inter : a->hidden, &s[i],
                        e))
            return -1;
    }
    return 0;
}

static int fused_expert(const struct blob *b, int layer, int expert, struct source s[3], struct err *e)
{
    const struct arch *a = &b->m->arch;
    enum expert_layout layout = b->m->layout;
    bool mxfp4 = layout == EXPERTS_MXFP4;
    bool in_out = layout == EXPERTS_INTERLEAVED_IO || layout == EXPERTS_CONCAT_IO;
    bool together = layout == EXPERTS_FUSED || layout == EXPERTS_CONCAT_IO;
    int i;

    for (i = 0; i < 3; i++) {
        enum part part = i == 2 ? PART_DOWN : PART_GATE_UP;
        const struct tensor *t =
            model_expert_tensor(b->m, layer, 0, part, mxfp4 ? PIECE_BLOCKS : PIECE_WEIGHT);
        const struct tensor *scale = model_expert_tensor(b->m, layer, 0, part, PIECE_SCALE);

        if (!t)
            return missing(b, layer, "an expert tensor", e);
        if (mxfp4)
            s[i].type = SOURCE_MXFP4;
        else if (float_type(t, &s[i].type, e))
            return -1;
        s[i].data = expert_slice(b, t, expert);
        s[i].scales = mxfp4 ? expert_slice(b, scale, expert) : NULL;
        if (!s[i].data || (mxfp4 && !s[i].scales))
            return missing(b, layer, t->name, e);
        s[i].name = mxfp4 ? scale->name : t->name;
        s[i].in_out = in_out;
        if (in_out)
            s[i].stride = i == 2 ? a->hidden : 2 * (int64_t)a->inter;
        if (i < 2) {
            s[i].first = together ? i * a->inter : i;
            s[i].step = together ? 1 : 2;
        }
    }
    return 0;
}

int blob_expert(const struct blob *b, int layer, int expert, struct source s[3], struct err *e)
{
    const struct arch *a = &b->m->arch;
    int i;

    for (i = 0; i < 3; i++) {
        int out = i == 2 ? a->hidden : a->inter, in = i == 2 ? a->inter : a->hidden;

        s[i] = (struct source){.out = out, .in = in, .step = 1, .stride = in};
    }
    if (b->m->layout == EXPERTS_SPLIT || b->m->layout == EXPERTS_SPLIT_MXFP4)
        return split_expert(b, layer, expert, s, e);
    return fused_expert(b, layer, expert, s, e);
}
