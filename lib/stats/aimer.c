#include "stats/aimer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "quant/bf16.h"
#include "quant/fp8.h"
#include "quant/mxfp4.h"
#include "quant/hot.h"

enum { PIECE = 1 << 18, LANES = 16, NAME_LEN = 256 }; /* elements read at once; sums side by side */

struct sums {
    double count, abs, square;
};

/* The weights of one matrix of one expert: elements first .. first+n-1 of t. */
struct matrix_ref {
    const struct tensor *t, *scale; /* scale: MXFP4 and FP8 */
    uint64_t first, n;
    uint64_t in; /* FP8: elements of a row */
};

struct worker {
    uint8_t *raw; /* [PIECE * 4] */
    uint8_t *scale;
    size_t scale_cap;
    float *value; /* [PIECE] */
    struct err err;
};

struct aimer {
    const struct model *m;
    int layer;
    double *score; /* [experts] of the layer */
    struct worker *worker;
};

/* ---- adding up ---- */

HOT(static void, add_values, (struct sums * s, const float *v, size_t n), (s, v, n))
{
    double abs[LANES] = {0}, square[LANES] = {0};
    size_t i, k;

    for (i = 0; i + LANES <= n; i += LANES)
        for (k = 0; k < LANES; k++) {
            abs[k] += fabs((double)v[i + k]);
            square[k] += (double)v[i + k] * (double)v[i + k];
        }
    for (; i < n; i++) {
        abs[0] += fabs((double)v[i]);
        square[0] += (double)v[i] * (double)v[i];
    }
    for (k = 0; k < LANES; k++) {
        s->abs += abs[k];
        s->square += square[k];
    }
    s->count += (double)n;
}

/* Elements at .. at+n-1 of the tensor: whole blocks of MXFP4, whole rows of FP8. */
static int read_values(struct worker *w, const struct model *m, const struct matrix_ref *x, uint64_t at,
                       size_t n, struct err *e)
{
    unsigned bits = x->t->dtype == DT_U8 ? 4 : dtype_bits(x->t->dtype);

    if (checkpoint_read(&m->ckpt, x->t, at * bits / 8, w->raw, n * bits / 8, e))
        return -1;
    switch (x->t->dtype) {
    case DT_BF16:
        bf16_to_f32_n((const uint16_t *)(const void *)w->raw, w->value, n);
        return 0;
    case DT_F16:
        f16_to_f32_n((const uint16_t *)(const void *)w->raw, w->value, n);
        return 0;
    case DT_F32:
        memcpy(w->value, w->raw, n * sizeof *w->value);
        return 0;
    case DT_F8_E4M3:
        fp8_to_f32(w->raw, (const float *)(const void *)w->scale, (size_t)(at / x->in), n / (size_t)x->in,
                   (size_t)x->in, w->value);
        return 0;
    default:
        mxfp4_to_f32(w->raw, w->scale + (at - x->first) / MXFP4_BLOCK, n / MXFP4_BLOCK, w->value);
        return 0;
    }
}

/* All the scales that a matrix needs. */
static int read_scales(struct worker *w, const struct model *m, const struct matrix_ref *x, struct err *e)
{
    bool fp8 = x->t->dtype == DT_F8_E4M3;
    uint64_t from = fp8 ? 0 : x->first / MXFP4_BLOCK, n = fp8 ? x->scale->size : x->n / MXFP4_BLOCK;

    if (mem_grow(&w->scale, &w->scale_cap, n, 1, e))
        return -1;
    return checkpoint_read(&m->ckpt, x->scale, from, w->scale, n, e);
}

static int add_matrix(struct sums *s, struct worker *w, const struct model *m, const struct matrix_ref *x,
                      struct err *e)
{
    uint64_t piece = x->in ? PIECE / x->in * x->in : PIECE, at, n;

    if (piece == 0)
        return err_set(e, ERR_UNKNOWN, "tensor '%s' has rows that are too long", x->t->name);
    if (x->scale && read_scales(w, m, x, e))
        return -1;
    for (at = 0; at < x->n; at += n) {
        n = x->n - at < piece ? x->n - at : piece;
        if (check_cancelled(e) || read_values(w, m, x, x->first + at, (size_t)n, e))
            return -1;
        add_values(s, w->value, (size_t)n);
    }
    if (!isfinite(s->square))
        return err_set(e, ERR_INPUT, "tensor '%s' holds a value that is not a finite number",
                       x->t->dtype == DT_U8 ? x->scale->name : x->t->name);
    return 0;
}

/* ---- finding the matrices ---- */

static const struct tensor *split_piece(const struct model *m, int layer, int expert, const char *part,
                                        const char *suffix)
{
    char name[NAME_LEN];
    int n = snprintf(name, sizeof name, "experts.%d.%s.%s", expert, part, suffix);

    return n > 0 && n < NAME_LEN ? model_ffn_tensor(m, layer, name) : NULL;
}

static int check_format(const struct matrix_ref *x, const struct model *m, int layer, struct err *e)
{
    enum dtype d = x->t ? x->t->dtype : DT_BF16;
    bool scaled = d == DT_U8 || d == DT_F8_E4M3;

    if (!x->t || (scaled && !x->scale))
        return err_set(e, ERR_INPUT, "'%s': layer %d: an expert's weight is missing, or its scales", m->dir,
                       layer);
    if (scaled || d == DT_BF16 || d == DT_F16 || d == DT_F32)
        return 0;
    return err_set(e, ERR_UNKNOWN, "tensor '%s' has dtype %s, which is not read", x->t->name, dtype_name(d));
}

/* Of a model that is MXFP4 otherwise, some linears may have been left as they were. */
static void split_matrix(struct matrix_ref *x, const struct model *m, int layer, int expert, const char *part)
{
    *x = (struct matrix_ref){.t = split_piece(m, layer, expert, part, "weight")};
    if (x->t) {
        if (x->t->dtype == DT_F8_E4M3) {
            x->scale = split_piece(m, layer, expert, part, "weight_scale_inv");
            x->in = x->t->shape[1];
        }
    } else {
        x->t = split_piece(m, layer, expert, part, "weight_packed");
        x->scale = split_piece(m, layer, expert, part, "weight_scale");
    }
    if (x->t)
        x->n = tensor_count(x->t) * (x->t->dtype == DT_U8 ? 2 : 1);
}

static void fused_matrix(struct matrix_ref *x, const struct model *m, int layer, int expert, enum part part)
{
    bool mxfp4 = m->layout == EXPERTS_MXFP4;

    *x = (struct matrix_ref){.t = model_expert_tensor(m, layer, 0, part, mxfp4 ? PIECE_BLOCKS : PIECE_WEIGHT),
                             .scale = mxfp4 ? model_expert_tensor(m, layer, 0, part, PIECE_SCALE) : NULL};
    if (x->t)
        x->n = tensor_count(x->t) * (mxfp4 ? 2 : 1) / (uint64_t)m->arch.experts;
    x->first = x->n * (uint64_t)expert;
}

static int expert_score(const struct aimer *a, int expert, struct worker *w, struct err *e)
{
    const struct family *f = a->m->arch.family;
    const char *const part[] = {f->expert_gate, f->expert_up, f->expert_down};
    bool split = a->m->layout == EXPERTS_SPLIT || a->m->layout == EXPERTS_SPLIT_MXFP4;
    struct sums s = {0};
    struct matrix_ref x;
    int i;

    for (i = 0; i < (split ? 3 : 2); i++) {
        if (split)
            split_matrix(&x, a->m, a->layer, expert, part[i]);
        else
            fused_matrix(&x, a->m, a->layer, expert, i ? PART_DOWN : PART_GATE_UP);
        if (check_format(&x, a->m, a->layer, e) || add_matrix(&s, w, a->m, &x, e))
            return -1;
    }
    a->score[expert] = s.abs > 0 ? sqrt(s.square * s.count) / s.abs : 0;
    return 0;
}

/* ---- all experts ---- */

static void expert_task(void *ctx, long task, int worker)
{
    const struct aimer *a = ctx;
    struct worker *w = &a->worker[worker];

    if (!w->err.kind)
        expert_score(a, (int)task, w, &w->err);
}

static int run_layers(struct aimer *a, struct scores *s, struct pool *pool,
                      void (*progress)(void *ctx, double fraction), void *ctx, struct err *e)
{
    int l, i;

    for (l = 0; l < s->n_layers; l++) {
        a->layer = s->layer[l];
        a->score = s->score + (size_t)l * (size_t)s->model.experts;
        pool_run(pool, s->model.experts, expert_task, a);
        for (i = 0; i < pool_threads(pool); i++)
            if (a->worker[i].err.kind)
                return err_set(e, a->worker[i].err.kind, "%s", a->worker[i].err.msg);
        if (progress)
            progress(ctx, (double)(l + 1) / s->n_layers);
    }
    return 0;
}

static int new_scores(struct scores *s, const struct model *m, struct err *e)
{
    int *layer = mem_new((size_t)m->arch.layers, sizeof *layer, e), n = 0, i, status;
    struct model_id id;

    if (!layer)
        return -1;
    for (i = 0; i < m->arch.layers; i++)
        if (m->arch.layer[i].ffn == FFN_MOE)
            layer[n++] = i;
    status = model_id_of(&id, m, e) || scores_new(s, &id, "aimer", layer, n, e) ? -1 : 0;
    free(layer);
    return status;
}

int aimer_scores(struct scores *s, const struct model *m, struct pool *pool,
                 void (*progress)(void *ctx, double fraction), void *ctx, struct err *e)
{
    int threads = pool_threads(pool), status = 0, i;
    struct aimer a = {.m = m, .worker = mem_new((size_t)threads, sizeof *a.worker, e)};

    *s = (struct scores){0};
    if (!a.worker)
        return -1;
    for (i = 0; i < threads && status == 0; i++) {
        a.worker[i].raw = mem_new_aligned(PIECE, sizeof(float), e);
        a.worker[i].value = mem_new_aligned(PIECE, sizeof(float), e);
        status = a.worker[i].raw && a.worker[i].value ? 0 : -1;
    }
    if (status == 0)
        status = new_scores(s, m, e) || run_layers(&a, s, pool, progress, ctx, e) ? -1 : 0;
    if (status)
        scores_free(s);
    for (i = 0; i < threads; i++) {
        free(a.worker[i].raw);
        free(a.worker[i].value);
        free(a.worker[i].scale);
    }
    free(a.worker);
    return status;
}
