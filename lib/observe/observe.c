/* observe.c -- an observer's calls to statistics, matrices and the reservoir, pass by pass. */
#include "observe/resume.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Where the observer stands. */
struct watch {
    struct stats *s;
    struct matrices *mat;   /* NULL: not wanted */
    struct reservoir *rows; /* the same */
    int64_t sampled;        /* of its tokens that passes before this one had */
    bool gated;             /* outputs are weighed already */
    const struct corpus *c;
    const int *index; /* [layers]: which of the statistics' layers, -1: dense */
    int topk;
    int64_t token; /* corpus index of the pass's first token */
    int64_t doc;   /* the document that the next token is likely to be in */
};

/* The document that holds token t of the corpus, looking on from where the last call ended. */
static const struct doc *doc_of(struct watch *w, int64_t t)
{
    const struct doc *doc = w->c->doc;

    if (t < doc[w->doc].first) /* the next layer begins with the pass's first document again */
        while (t < doc[w->doc].first)
            w->doc--;
    while (t >= doc[w->doc].first + doc[w->doc].n)
        w->doc++;
    return &doc[w->doc];
}

static int not_finite(const struct watch *w, int layer, int expert, const struct doc *d, struct err *e)
{
    return err_set(e, ERR_INPUT,
                   "layer %d, expert %d: the gate weight or the output is not a finite number (document at "
                   "%s line %d); weights are damaged, or --precision f32 is needed",
                   layer, expert, w->c->file[d->file], d->line + 1);
}

static int routed(void *ctx, int layer, int64_t first_token, int n, const struct choices *c, struct err *e)
{
    struct watch *w = ctx;
    int t, j;

    for (t = 0; t < n; t++) {
        const struct doc *d = doc_of(w, w->token + first_token + t);
        struct expert_stats *cell = stats_cell(w->s, w->index[layer], d->category, d->half);

        for (j = 0; j < w->topk; j++) {
            size_t i = (size_t)t * (size_t)w->topk + (size_t)j;

            if (!isfinite(c->gate[i]) || !isfinite(c->norm[i]) || !isfinite(c->max[i]) ||
                !isfinite(c->residual[t].turn))
                return not_finite(w, layer, c->expert[i], d, e);
            stats_add(&cell[c->expert[i]], c->gate[i], c->norm[i], c->max[i], c->residual[t].turn);
        }
    }
    return 0;
}

static int pairs(void *ctx, int layer, int64_t first_token, int n, const int32_t *expert, const float *gate,
                 const float *norm, const float *inner, struct err *e)
{
    struct watch *w = ctx;
    size_t k = (size_t)w->topk, at;
    int t;

    (void)e; /* routed() has seen the same numbers; overflows are found when the file is written */
    for (t = 0; t < n; t++) {
        at = (size_t)t * k;
        matrices_add(w->mat, w->index[layer], doc_of(w, w->token + first_token + t)->category, w->topk,
                     expert + at, gate + at, norm + at, inner + (size_t)t * (k * (k - 1) / 2));
    }
    return 0;
}

static void viewed(void *ctx, int layer, int64_t first_token, int n, const struct router_view *view)
{
    struct watch *w = ctx;
    int t;

    for (t = 0; t < n; t++)
        matrices_add_view(w->mat, w->index[layer], doc_of(w, w->token + first_token + t)->category,
                          (double)view[t].entropy, (double)view[t].margin, view[t].nearest);
}

static void sums(void *ctx, int layer, struct layer_sums *to)
{
    struct watch *w = ctx;
    int v;

    for (v = 0; v < EXPERT_SUMS; v++)
        to->sum[v] = matrices_vector(w->mat, v, w->index[layer]);
    if (w->mat->shared)
        to->shared = matrices_shared(w->mat, w->index[layer]);
}

static void sampled(void *ctx, int layer, int64_t i, int n, const struct token_rows *rows,
                    const struct token_rows *apart)
{
    struct watch *w = ctx;

    (void)apart;
    reservoir_put(w->rows, w->index[layer], w->sampled + i, n, rows, w->gated);
}

/* Empty statistics of this model and corpus; index[layers] is filled on the way. */
static int new_stats(struct stats *s, struct engine *en, const struct model *m, const struct corpus *c,
                     int max_len, int *index, struct err *e)
{
    const struct arch *a = &m->arch;
    struct stats_part part = {
        .shard = c->shard, .shards = c->shards, .documents = c->docs, .tokens = c->tokens};
    struct model_id id;
    struct str run = {0};
    int *layer = NULL;
    int i, n = 0, rc = -1;

    str_addf(&run, "precision=%s\tmaxlen=%d\tchat=%s", engine_precision(en)->name, max_len, c->chat);
    if (a->longest)
        str_addf(&run, "\tlongest=%d", a->longest);
    layer = mem_new((size_t)a->layers, sizeof *layer, e);
    if (!layer || str_ok(&run, e) || model_id_of(&id, m, e))
        goto out;
    for (i = 0; i < a->layers; i++) {
        index[i] = -1;
        if (a->layer[i].ffn == FFN_MOE) {
            index[i] = n;
            layer[n++] = i;
        }
    }
    memcpy(part.digest, c->digest, sizeof part.digest);
    if (stats_new(s, &id, run.p, layer, n, c->category, c->categories, e))
        goto out;
    rc = stats_add_part(s, &part, e);
    if (rc)
        stats_free(s);
out:
    free(layer);
    str_free(&run);
    return rc;
}

/* The reservoir's tokens of a pass, numbered as in its batch; the caller frees. */
static int64_t *sample_of(const struct watch *w, const struct corpus_pass *p, int64_t *n, struct err *e)
{
    const int64_t *token = w->rows->token + w->sampled;
    int64_t left = w->rows->tokens - w->sampled, i, *sample;

    for (*n = 0; *n < left && token[*n] < p->token + p->tokens; ++*n)
        ;
    sample = mem_new((size_t)*n, sizeof *sample, e);
    for (i = 0; sample && i < *n; i++)
        sample[i] = token[i] - p->token;
    return sample;
}

static int run_pass(struct watch *w, struct engine *en, const struct model *m, int64_t first_doc,
                    int64_t end_doc, struct engine_cost *sum, struct err *e)
{
    struct observer ob = {.routed = routed,
                          .ctx = w,
                          .pairs = w->mat ? pairs : NULL,
                          .sums = w->mat ? sums : NULL,
                          .viewed = w->mat ? viewed : NULL};
    int64_t *sample = NULL;
    struct engine_cost cost = {0};
    struct corpus_pass p;
    int rc = 0;

    if (corpus_pass_open(&p, w->c, first_doc, end_doc, e))
        return -1;
    w->token = p.token;
    w->doc = first_doc;
    if (w->rows) {
        ob.sampled = sampled;
        ob.sample = sample = sample_of(w, &p, &ob.samples, e);
        rc = sample ? 0 : -1;
    }
    if (!rc)
        rc = engine_forward(en, m, &p.batch, NULL, &ob, NULL, &cost, e);
    w->sampled += ob.samples;
    cost_add(sum, &cost);
    free(sample);
    corpus_pass_close(&p);
    return rc;
}

struct matrices_form observe_form(const struct arch *a, bool pool_pairs)
{
    return (struct matrices_form){.inter = a->inter, .shared = a->shared_inter, .pooled = pool_pairs};
}

/* Empty matrices for what s is of. */
static int new_matrices(struct matrices *mat, const struct stats *s, const struct model *m, bool pooled,
                        struct err *e)
{
    const struct matrices_form f = observe_form(&m->arch, pooled);

    if (matrices_new(mat, &s->model, s->run, s->layer, s->n_layers, s->category, s->categories, &f, e))
        return -1;
    return stats_add_part(&mat->head, s->part, e);
}

/* Everything that is to be filled, empty. */
static int new_outputs(struct watch *w, const struct observe_more *more, struct engine *en,
                       const struct model *m, int max_len, int *index, struct err *e)
{
    bool bf16 = engine_precision(en)->bf16;

    if (new_stats(w->s, en, m, w->c, max_len, index, e) ||
        (w->mat && new_matrices(w->mat, w->s, m, more->pool_pairs, e)))
        return -1;
    return w->rows ? reservoir_new(w->rows, w->c, &m->arch, bf16, more->reservoir_tokens, e) : 0;
}

static void free_outputs(struct watch *w)
{
    stats_free(w->s);
    if (w->mat)
        matrices_free(w->mat);
    if (w->rows)
        reservoir_free(w->rows);
}

/* The documents from `done` on. */
static int run_passes(struct watch *w, const struct observe_more *more, struct engine *en,
                      const struct model *m, int64_t done, const struct pass_options *po,
                      struct observe_report *r, struct err *e)
{
    struct corpus rest = *w->c;
    struct passes ps;
    int64_t i;
    int rc;

    rest.doc += done;
    rest.docs -= done;
    rc = passes_split(&ps, &rest, pass_state_bytes(m, engine_precision(en)), po->mem_max, e);
    if (rc)
        return -1;
    for (i = 0; i < ps.n && !rc; i++) {
        if (po->begin)
            po->begin(po->ctx, i, ps.n);
        rc = run_pass(w, en, m, done + ps.doc[i], done + ps.doc[i + 1], &r->cost, e);
        if (!rc && more && more->partial && i + 1 < ps.n)
            rc = resume_save(more->partial, w->s, w->mat, w->c, done + ps.doc[i + 1], e);
    }
    r->passes = ps.n;
    passes_free(&ps);
    return rc;
}

int observe_corpus(struct stats *s, const struct observe_more *more, struct engine *en, const struct model *m,
                   const struct corpus *c, int max_len, const struct pass_options *po,
                   struct observe_report *r, struct err *e)
{
    struct observe_report dummy;
    struct watch w = {.s = s,
                      .mat = more ? more->matrices : NULL,
                      .rows = more ? more->reservoir : NULL,
                      .gated = m->arch.family->gate_site == GATE_INPUT,
                      .c = c,
                      .topk = m->arch.topk};
    int *index = mem_new((size_t)m->arch.layers, sizeof *index, e);
    int rc;

    r = r ? r : &dummy;
    memset(r, 0, sizeof *r);
    memset(s, 0, sizeof *s);
    if (w.mat)
        memset(w.mat, 0, sizeof *w.mat);
    if (w.rows)
        memset(w.rows, 0, sizeof *w.rows);
    w.index = index;
    rc = index ? new_outputs(&w, more, en, m, max_len, index, e) : -1;
    if (!rc && more && more->partial)
        rc = resume_load(more->partial, s, w.mat, c, &r->resumed, e);
    if (!rc)
        rc = run_passes(&w, more, en, m, r->resumed, po, r, e);
    if (rc)
        free_outputs(&w);
    else if (w.mat)
        matrices_mirror(w.mat);
    free(index);
    return rc;
}

int observe_forecast(struct forecast *f, const struct observe_wanted *wanted, struct engine *en,
                     const struct model *m, const struct corpus *c, uint64_t mem_max, struct err *e)
{
    const struct arch *a = &m->arch;
    struct stats s = {0};
    struct matrices mat = {0};
    struct watch w = {.s = &s,
                      .mat = wanted->matrices ? &mat : NULL,
                      .gated = a->family->gate_site == GATE_INPUT,
                      .c = c,
                      .topk = a->topk};
    struct observer ob = {.routed = routed, .ctx = &w};
    const struct observe_more more = {.pool_pairs = wanted->pool_pairs};
    const struct forecast_work work = {.m = m, .variants = 1, .observer = &ob};
    int *index = mem_new((size_t)a->layers, sizeof *index, e);
    uint64_t held = wanted->bytes;
    int rc = -1;

    w.index = index;
    if (w.mat) {
        ob.pairs = pairs;
        ob.sums = sums;
        ob.viewed = viewed;
    }
    if (index && new_outputs(&w, &more, en, m, 0, index, e) == 0) {
        held += (uint64_t)s.n_layers * (uint64_t)s.categories * 2 * (uint64_t)a->experts *
                (sizeof *s.cell + (size_t)s.extras * sizeof *s.more);
        rc = forecast_make(f, en, &work, 1, c, pass_state_bytes(m, engine_precision(en)), held, mem_max, e);
        free_outputs(&w);
    }
    free(index);
    return rc;
}
