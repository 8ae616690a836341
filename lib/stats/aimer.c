/* aimer.c -- mean and root mean square of an expert's weights, in whatever way they are stored. */
#include "stats/aimer.h"

#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/mem.h"
#include "quant/hot.h"

enum { PIECE = 1 << 18, LANES = 16 }; /* elements read at once; sums side by side */

struct sums {
    double count, abs, square;
};

struct worker {
    struct stored
        s; /* the matrix at hand; the weight's rows row0 .. are in raw, other pieces whole in rest */
    uint8_t *raw, *rest;
    size_t raw_cap, rest_cap;
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

/* A matrix of one expert; `of` experts are together in its tensors. */
struct matrix_ref {
    const struct model *m;
    struct linear_tensors l;
    int expert, of;
    uint64_t rows;
};

static int read_part(const struct matrix_ref *x, enum piece_use use, uint64_t from, void *dst, size_t n,
                     struct err *e)
{
    const struct tensor *t = x->l.piece[use];

    return checkpoint_read(&x->m->ckpt, t, slice_begin(t, x->of, x->expert) + from, dst, n, e);
}

/* All pieces but the weight. */
static int read_rest(struct worker *w, const struct matrix_ref *x, struct err *e)
{
    size_t at[STORED_PIECES], size = 0;
    int i;

    for (i = USE_WEIGHT + 1; i < STORED_PIECES; i++) {
        at[i] = size;
        if (x->l.piece[i])
            size += ((size_t)slice_bytes(x->l.piece[i], x->of) + 7) / 8 * 8;
    }
    if (mem_grow(&w->rest, &w->rest_cap, size, 1, e))
        return -1;
    for (i = USE_WEIGHT + 1; i < STORED_PIECES; i++) {
        if (!x->l.piece[i])
            continue;
        w->s.piece[i].at = w->rest + at[i];
        if (read_part(x, i, 0, w->rest + at[i], (size_t)slice_bytes(x->l.piece[i], x->of), e))
            return -1;
    }
    return 0;
}

/* n elements from element `at` of the matrix on, as it is stored. */
static int read_values(struct worker *w, const struct matrix_ref *x, uint64_t at, size_t n, struct err *e)
{
    const struct stored_piece *weight = &w->s.piece[USE_WEIGHT];
    uint64_t stride = (uint64_t)w->s.stride, first = at / stride, per = (uint64_t)weight->per, c;
    uint64_t from = first / per * weight->row, to_row = ((at + n - 1) / stride / per + 1) * weight->row;
    uint64_t all = slice_bytes(x->l.piece[USE_WEIGHT], x->of), bytes = (to_row < all ? to_row : all) - from;
    struct stored s = w->s;
    float *to = w->value;
    int i;

    if (mem_grow(&w->raw, &w->raw_cap, (size_t)bytes, 1, e) ||
        read_part(x, USE_WEIGHT, from, w->raw, (size_t)bytes, e))
        return -1;
    for (i = 0; i < STORED_PIECES; i++)
        if (s.piece[i].at)
            s.piece[i].at = stored_row(&w->s, i, (int64_t)first);
    s.piece[USE_WEIGHT].at = w->raw;
    s.row0 = (int)first;
    for (; n; n -= c, at += c, to += c) {
        c = stride - at % stride < n ? stride - at % stride : n;
        stored_span(&s, (int64_t)(at / stride), (int64_t)(at % stride), (int)c, to);
    }
    return 0;
}

static int add_matrix(struct sums *s, struct worker *w, const struct matrix_ref *x, struct err *e)
{
    uint64_t row = (uint64_t)w->s.stride, all = row * x->rows, at, n;
    /* of blocks of rows whole rows */
    uint64_t piece = w->s.piece[USE_SCALE].per > 1 && row <= PIECE ? PIECE / row * row : PIECE;

    for (at = 0; at < all; at += n) {
        n = all - at < piece ? all - at : piece;
        if (check_cancelled(e) || read_values(w, x, at, (size_t)n, e))
            return -1;
        add_values(s, w->value, (size_t)n);
    }
    if (!isfinite(s->square))
        return stored_fault(&w->s, e);
    return 0;
}

/* Finds a matrix [out][in] of an expert, and its pieces but the weight. */
static int open_matrix(const struct aimer *a, struct worker *w, int expert, enum part part,
                       struct matrix_ref *x, struct err *e)
{
    const struct arch *arch = &a->m->arch;
    bool split = a->m->layout == EXPERTS_SPLIT, down = part == PART_DOWN;
    int out = down ? arch->hidden : (part == PART_GATE_UP ? 2 : 1) * arch->inter;
    int in = down ? arch->inter : arch->hidden, i;

    *x = (struct matrix_ref){.m = a->m, .expert = split ? 0 : expert, .of = split ? 1 : arch->experts};
    if (!model_expert_linear(a->m, a->layer, expert, part, &x->l))
        return err_set(e, ERR_INPUT, "'%s': layer %d: an expert's weight is missing", a->m->dir, a->layer);
    w->s = (struct stored){0};
    for (i = 0; i < STORED_PIECES; i++)
        if (x->l.piece[i]) {
            w->s.piece[i].dtype = x->l.piece[i]->dtype;
            w->s.piece[i].name = x->l.piece[i]->name;
        }
    w->s.name = x->l.piece[coding_suspect(x->l.as->format->coding)]->name;
    format_describe(&w->s, x->l.as, out, in, !split && model_in_out(a->m, x->l.as->format));
    x->rows = (uint64_t)(w->s.in_out ? in : out);
    return read_rest(w, x, e);
}

static int expert_score(const struct aimer *a, int expert, struct worker *w, struct err *e)
{
    static const enum part apart[] = {PART_GATE, PART_UP, PART_DOWN}, fused[] = {PART_GATE_UP, PART_DOWN};
    bool each = !layout_fused(a->m->layout);
    struct sums s = {0};
    struct matrix_ref x;
    int i;

    for (i = 0; i < (each ? 3 : 2); i++)
        if (open_matrix(a, w, expert, each ? apart[i] : fused[i], &x, e) || add_matrix(&s, w, &x, e))
            return -1;
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
        a.worker[i].value = mem_new_aligned(PIECE, sizeof(float), e);
        status = a.worker[i].value ? 0 : -1;
    }
    if (status == 0)
        status = new_scores(s, m, e) || run_layers(&a, s, pool, progress, ctx, e) ? -1 : 0;
    if (status)
        scores_free(s);
    for (i = 0; i < threads; i++) {
        free(a.worker[i].raw);
        free(a.worker[i].value);
        free(a.worker[i].rest);
    }
    free(a.worker);
    return status;
}
