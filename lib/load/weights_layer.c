/*
 * weights_layer.c -- a layer's slots become matrices and vectors: which tensors are stacked into which
 * matrix, and where in device memory each vector begins.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "load/weights_private.h"

/* ---- slots by what they become ---- */

enum { STACKED = 3 };

/* Slots that become one matrix and one vector of biases, or one that becomes a vector. */
struct piece_of {
    const struct slot *slot[STACKED];
    int slots;
    int out; /* of all */
    bool bias;
};

static bool same_place(const struct slot *a, const struct slot *b)
{
    return a->in && b->in && a->owner == b->owner && a->at == b->at;
}

/* The pieces of n slots; piece has room for as many. How many. */
static int gather(const struct slot *s, int n, struct piece_of *piece)
{
    int i, k, pieces = 0;

    for (i = 0; i < n; i++) {
        struct piece_of *p;

        if (s[i].owner == OF_INDEXER)
            continue;
        for (k = 0; k < pieces && !same_place(piece[k].slot[0], &s[i]); k++)
            ;
        p = &piece[k];
        if (k == pieces) {
            *p = (struct piece_of){.slots = 0};
            pieces++;
        }
        p->slot[p->slots++] = &s[i];
        p->out += s[i].out;
        p->bias = p->bias || s[i].bias;
    }
    return pieces;
}

/* Those of a layer, with their slots. */
struct layer_pieces {
    struct slot slot[LAYER_SLOTS];
    struct piece_of piece[LAYER_SLOTS];
    int n;
};

static void layer_pieces(struct layer_pieces *l, const struct model *m, int layer)
{
    l->n = gather(l->slot, layer_slots(m, layer, l->slot), l->piece);
}

/* ---- places ---- */

struct place_of {
    struct matrix **m;
    float **b;
};

/* Of a matrix and its biases; of experts, the first one's. */
static struct place_of matrix_place(struct weights_set *set, const struct slot *s)
{
    struct layer_weights *l = &set->layer;
    struct ffn_weights *f = s->owner == OF_DENSE    ? &set->dense
                            : s->owner == OF_SHARED ? &set->shared
                                                    : &set->moe;

    if (s->owner == OF_MIXER)
        return (struct place_of){&l->mixer.m[s->at], &l->mixer.b[s->at]};
    if (s->owner == OF_ROUTER)
        return s->at == ROUTER_LOGITS ? (struct place_of){&l->router, &l->b_router}
                                      : (struct place_of){&l->shared_gate, NULL};
    return s->at == MLP_DOWN ? (struct place_of){f->down, &f->b_down}
                             : (struct place_of){f->gate_up, &f->b_gate_up};
}

static float **vector_place(struct weights_set *set, const struct slot *s)
{
    struct layer_weights *l = &set->layer;

    if (s->owner == OF_LAYER)
        return s->at == LAYER_IN_NORM ? &l->in_norm : &l->post_norm;
    return s->owner == OF_ROUTER ? &l->corr : &l->mixer.v[s->at];
}

/* ---- sizes ---- */

/* Kernels read several numbers at once: every vector begins at a multiple of as many bytes as they want,
 * whatever the lengths before it. */
enum { LINE_FLOATS = 64 };
_Static_assert(LINE_FLOATS * sizeof(float) % VECTOR_ALIGN == 0, "vectors begin where devices want them");

static size_t aligned(size_t floats)
{
    return (floats + LINE_FLOATS - 1) / LINE_FLOATS * LINE_FLOATS;
}

/* Floats of a piece's vector or biases; 0: it has none. */
static size_t floats_of(const struct piece_of *p, const struct arch *a)
{
    size_t copies = p->slot[0]->owner == OF_EXPERTS ? (size_t)a->experts : 1;

    return !p->slot[0]->in || p->bias ? copies * (size_t)p->out : 0;
}

size_t weights_layer_floats(const struct model *m, int layer)
{
    struct layer_pieces l;
    size_t n = 0;
    int i;

    layer_pieces(&l, m, layer);
    for (i = 0; i < l.n; i++)
        n += aligned(floats_of(&l.piece[i], &m->arch));
    return n;
}

/* Rows are padded, and the memory of a GPU comes in large pages. */
static uint64_t matrix_bytes(const struct device *d, int64_t out, int64_t in)
{
    const uint64_t page = d->can.beside ? 2 << 20 : 64;
    uint64_t n = (uint64_t)out * (uint64_t)((in + 63) / 64 * 64) * d->elem_bytes;

    return n < page / 2 ? n : (n + page - 1) / page * page;
}

uint64_t weights_set_bytes(const struct device *d, const struct model *m)
{
    uint64_t most[SLOT_OWNERS][MIXER_MATRICES] = {{0}}, floats = 0,
             all = 0; /* matrices stay from layer to layer */
    struct layer_pieces l;
    int i, k;

    for (i = 0; i < m->arch.layers; i++) {
        layer_pieces(&l, m, i);
        for (k = 0; k < l.n; k++) {
            const struct slot *s = l.piece[k].slot[0];
            uint64_t n = (s->owner == OF_EXPERTS ? (uint64_t)m->arch.experts : 1) *
                         matrix_bytes(d, l.piece[k].out, s->in);

            if (s->in && n > most[s->owner][s->at])
                most[s->owner][s->at] = n;
        }
        if (weights_layer_floats(m, i) > floats)
            floats = weights_layer_floats(m, i);
    }
    for (i = 0; i < SLOT_OWNERS; i++)
        for (k = 0; k < MIXER_MATRICES; k++)
            all += most[i][k];
    return all + floats * sizeof(float);
}

/* ---- vectors: decoded on the host, sent in one piece ---- */

/* Room for n floats; offsets are the same on both sides. */
static float *reserve(struct weights *w, size_t n, float **device)
{
    float *host = w->host_vectors + w->vectors_n;

    *device = w->to->vectors + w->vectors_n;
    w->vectors_n += aligned(n);
    return host;
}

/* The biases of stacked slots; one without has zeros. */
static int stacked_biases(struct weights *w, int layer, const struct piece_of *p, float *dst, struct err *e)
{
    char name[SLOT_NAME + 8];
    int i;

    memset(dst, 0, (size_t)p->out * sizeof *dst);
    for (i = 0; i < p->slots; dst += p->slot[i++]->out) {
        snprintf(name, sizeof name, "%s.bias", p->slot[i]->name);
        if (p->slot[i]->bias &&
            blob_vector(w->blob, model_tensor(w->m, layer, name), 0, 1, p->slot[i]->out, dst, e))
            return -1;
    }
    return 0;
}

/* n values of a vector that has `of` for each expert, from value `first` of expert j on, each step-th. */
static int expert_part(struct weights *w, const struct tensor *t, int j, int of, int first, int step, int n,
                       float *dst, struct err *e)
{
    return blob_vector(w->blob, t, (int64_t)j * of + first, step, n, dst, e);
}

/* Of all experts, gate's before up's. */
static int expert_biases(struct weights *w, int layer, const struct slot *s, float *dst, struct err *e)
{
    bool down = s->at == MLP_DOWN, fused = layout_fused(w->m->layout);
    bool together = w->m->layout != EXPERTS_INTERLEAVED;
    const struct tensor *t = model_expert_bias(w->m, layer,
                                               down    ? PART_DOWN
                                               : fused ? PART_GATE_UP
                                                       : PART_GATE);
    const struct tensor *up = down || fused ? t : model_expert_bias(w->m, layer, PART_UP);
    int n = w->m->arch.inter, of = fused ? 2 * n : n, j;

    if (down)
        return blob_vector(w->blob, t, 0, 1, w->m->arch.experts * s->out, dst, e);
    for (j = 0; j < w->m->arch.experts; j++, dst += 2 * n)
        if (expert_part(w, t, j, of, 0, together ? 1 : 2, n, dst, e) ||
            expert_part(w, up, j, of,
                        !fused     ? 0
                        : together ? n
                                   : 1,
                        together ? 1 : 2, n, dst + n, e))
            return -1;
    return 0;
}

/* No vector of the layer before stays. */
static void forget_vectors(struct weights_set *set)
{
    struct layer_weights *l = &set->layer;
    struct ffn_weights *const ffn[] = {&set->moe, &set->dense, &set->shared};
    int i;

    for (i = 0; i < MIXER_MATRICES; i++)
        l->mixer.b[i] = NULL;
    for (i = 0; i < MIXER_VECTORS; i++)
        l->mixer.v[i] = NULL;
    for (i = 0; i < 3; i++)
        ffn[i]->b_gate_up = ffn[i]->b_down = NULL;
    l->in_norm = l->post_norm = l->b_router = l->corr = NULL;
}

int weights_layer_vectors(struct weights *w, int layer, struct err *e)
{
    const struct ops *op = w->d->ops;
    struct layer_pieces l;
    int i;

    forget_vectors(w->to);
    layer_pieces(&l, w->m, layer);
    w->vectors_n = 0;
    for (i = 0; i < l.n; i++) {
        const struct slot *s = l.piece[i].slot[0];
        size_t n = floats_of(&l.piece[i], &w->m->arch), k;
        float *dst;
        int rc;

        if (!n)
            continue;
        dst = reserve(w, n, s->in ? matrix_place(w->to, s).b : vector_place(w->to, s));
        rc = !s->in ? blob_vector(w->blob, model_tensor(w->m, layer, s->name), 0, 1, s->out, dst, e)
             : s->owner == OF_EXPERTS ? expert_biases(w, layer, s, dst, e)
                                      : stacked_biases(w, layer, &l.piece[i], dst, e);
        if (rc)
            return -1;
        for (k = 0; s->plus_one && k < n; k++)
            dst[k] += 1;
    }
    op->finish_copy(w->d,
                    op->copy_up(w->d, w->to->vectors, w->host_vectors, w->vectors_n * sizeof(float), 0));
    return 0;
}

/* ---- matrices ---- */

static int piece_job(struct weights *w, int layer, const struct piece_of *p, struct matrix_job *job,
                     struct err *e)
{
    const struct slot *s = p->slot[0];
    int i;

    *job =
        (struct matrix_job){.m = matrix_place(w->to, s).m,
                            .parts = p->slots,
                            .paired = s->owner != OF_MIXER && s->owner != OF_ROUTER && s->at == MLP_GATE_UP};
    for (i = 0; i < p->slots; i++) {
        const struct slot *x = p->slot[i];
        int out = x->turned ? x->turned * x->in : x->out, in = x->turned ? x->out / x->turned : x->in;

        if (blob_linear(w->blob, layer, x->name, out, in, &job->part[i], e))
            return -1;
    }
    if (s->turned)
        return latent_join(w, layer, job, e);
    /* a router kept in f32 is meant to be multiplied in f32 */
    if (s->id == SLOT_ROUTER)
        job->f32 = w->m->arch.family->router_f32 || job->part[0].piece[USE_WEIGHT].dtype == DT_F32;
    return 0;
}

int weights_layer_jobs(struct weights *w, int layer, struct matrix_job *job, struct err *e)
{
    struct layer_pieces l;
    int i, n = 0;

    layer_pieces(&l, w->m, layer);
    for (i = 0; i < l.n; i++)
        if (l.piece[i].slot[0]->in && l.piece[i].slot[0]->owner != OF_EXPERTS &&
            piece_job(w, layer, &l.piece[i], &job[n++], e))
            return -1;
    return n;
}

int weights_expert_jobs(struct weights *w, int layer, const int *expert, int n, struct matrix_job *job,
                        struct err *e)
{
    const struct ffn_weights *f = &w->to->moe;
    struct stored s[3];
    int i;

    for (i = 0; i < n; i++, job += 2) {
        if (blob_expert(w->blob, layer, expert[i], s, e))
            return -1;
        job[0] = (struct matrix_job){
            .m = &f->gate_up[expert[i]], .part = {s[0], s[1]}, .parts = 2, .paired = true};
        job[1] = (struct matrix_job){.m = &f->down[expert[i]], .part = {s[2]}, .parts = 1};
    }
    return 0;
}

/* ---- sets ---- */

static int ffn_new(struct ffn_weights *f, int n, int inter, struct err *e)
{
    f->n = n;
    f->inter = inter;
    f->gate_up = mem_new((size_t)n, sizeof *f->gate_up, e);
    f->down = mem_new((size_t)n, sizeof *f->down, e);
    return f->gate_up && f->down ? 0 : -1;
}

static void ffn_weights_free(struct ffn_weights *f, struct device *d)
{
    int j;

    for (j = 0; f->gate_up && f->down && j < f->n; j++) {
        d->ops->matrix_free(d, f->gate_up[j]);
        d->ops->matrix_free(d, f->down[j]);
    }
    free(f->gate_up);
    free(f->down);
}

int weights_set_open(struct weights_set *s, struct device *d, const struct arch *a, size_t floats,
                     struct err *e)
{
    s->vectors = d->ops->buf_new(d, floats * sizeof *s->vectors, e);
    return !s->vectors || ffn_new(&s->moe, a->experts, a->inter, e) ||
                   ffn_new(&s->dense, 1, a->dense_inter, e) || ffn_new(&s->shared, 1, a->shared_inter, e)
               ? -1
               : 0;
}

void weights_set_close(struct weights_set *s, struct device *d)
{
    int i;

    for (i = 0; i < MIXER_MATRICES; i++)
        d->ops->matrix_free(d, s->layer.mixer.m[i]);
    d->ops->matrix_free(d, s->layer.router);
    d->ops->matrix_free(d, s->layer.shared_gate);
    ffn_weights_free(&s->moe, d);
    ffn_weights_free(&s->dense, d);
    ffn_weights_free(&s->shared, d);
    d->ops->buf_free(d, s->vectors);
}
