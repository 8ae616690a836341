/* forecast.c -- counting what the passes take, measuring a little of it, and dividing. */
#include "observe/forecast.h"

#include <math.h>

#include "base/resident.h"

/* Text to measure with: this much, and four times as much until that takes a while. */
enum { SAMPLE_TOKENS = 4096, MORE = 4 };
static const double A_WHILE = 0.1; /* seconds */

struct forecasting {
    struct forecast *out;
    struct engine *en;
    const struct forecast_work *work;
    int n;
    const struct corpus *c;
    struct engine_need all; /* of all passes and models */
    double layers;          /* of all passes and models */
    double head_tokens;
    uint64_t host, device; /* most at once */
    int64_t first_pass;    /* documents of it: more are never held at once */
};

/* ---- what the passes take ---- */

/* One pass of all models: hidden states of those before stay while the next one runs. */
static int count_pass(struct forecasting *x, const struct corpus_pass *p, struct err *e)
{
    uint64_t held = 0, heads = 0, heads_device = 0, row;
    struct engine_need need;
    int i;

    for (i = 0; i < x->n; i++) {
        const struct forecast_work *w = &x->work[i];

        if (engine_need(x->en, w->m, &p->batch, w->variants, w->observer, &need, e))
            return -1;
        x->all.flops += need.flops;
        x->all.layer_bytes += need.layer_bytes;
        x->all.embedding_bytes += need.embedding_bytes;
        x->layers += w->m->arch.layers;
        x->head_tokens += (double)p->tokens * w->heads;
        x->host = held + need.host > x->host ? held + need.host : x->host;
        x->device = need.device > x->device ? need.device : x->device;
        row = pass_state_bytes(w->m, engine_precision(x->en));
        held += w->heads || x->n > 1 ? (uint64_t)p->tokens * row * (uint64_t)w->variants : 0;
        heads += w->heads ? need.head_host : 0;
        heads_device += w->heads ? need.head_device : 0;
    }
    x->host = heads > x->host ? heads : x->host;
    x->device = heads_device > x->device ? heads_device : x->device;
    return 0;
}

static int count_passes(struct forecasting *x, uint64_t held, uint64_t mem_max, struct err *e)
{
    struct passes ps;
    struct corpus_pass p;
    int64_t i;
    int rc = passes_split(&ps, x->c, held, mem_max, e);

    if (rc)
        return -1;
    for (i = 0; i < ps.n && rc == 0; i++) {
        if (corpus_pass_open(&p, x->c, ps.doc[i], ps.doc[i + 1], e)) {
            rc = -1;
            break;
        }
        rc = count_pass(x, &p, e);
        corpus_pass_close(&p);
    }
    x->out->passes = ps.n;
    x->first_pass = ps.doc[1];
    passes_free(&ps);
    return rc;
}

/* ---- time ---- */

/* Of the first documents, with at least so many tokens. *docs: how many these are. */
static int calibrate(struct forecasting *x, int64_t enough, struct engine_speed *speed, int64_t *docs,
                     struct err *e)
{
    const struct forecast_work *w = &x->work[0];
    struct corpus_pass p;
    int64_t tokens = 0;
    int rc;

    for (*docs = 0; *docs < x->first_pass && tokens < enough; (*docs)++)
        tokens += x->c->doc[*docs].n;
    if (corpus_pass_open(&p, x->c, 0, *docs, e))
        return -1;
    rc = engine_calibrate(x->en, w->m, &p.batch, w->heads > 0, w->observer, speed, e);
    corpus_pass_close(&p);
    return rc;
}

static int calibrate_long_enough(struct forecasting *x, struct engine_speed *speed, struct err *e)
{
    int64_t tokens = SAMPLE_TOKENS, docs;
    double cold = 0; /* the first time the weights came from where they are */

    do {
        if (calibrate(x, tokens, speed, &docs, e))
            return -1;
        cold = cold > 0 ? cold : speed->read;
        tokens *= MORE;
    } while (speed->seconds < A_WHILE && docs < x->first_pass);
    speed->read = cold;
    return 0;
}

static double seconds_of(const struct forecasting *x, const struct engine_speed *s)
{
    double layers = (double)x->all.layer_bytes, passes = (double)x->out->passes * x->n;
    double computing = x->all.flops / s->flops + layers * s->pack_seconds;
    double first = layers / fmax(x->layers, 1) * passes + (double)x->all.embedding_bytes;

    return first / s->read + fmax(computing, layers / s->read) + x->head_tokens * s->head_seconds +
           s->head_first * x->n;
}

/* What the process holds that nobody counted was seen in the measurement. */
static int measure(struct forecasting *x, uint64_t before, struct err *e)
{
    uint64_t most = resident_most(), reached;
    struct forecast *f = x->out;
    struct engine_speed s;

    if (calibrate_long_enough(x, &s, e))
        return -1;
    reached = resident_most();
    if (reached > most && reached > before + s.host)
        f->peak_bytes += reached - before - s.host;
    if (reached > f->peak_bytes)
        f->peak_bytes = reached;
    f->measured = true;
    f->seconds = seconds_of(x, &s);
    f->flops_per_second = s.flops;
    f->read_bytes_per_second = s.read;
    return 0;
}

int forecast_make(struct forecast *out, struct engine *en, const struct forecast_work *work, int n,
                  const struct corpus *c, uint64_t held, uint64_t more, uint64_t mem_max, struct err *e)
{
    struct forecasting x = {.out = out, .en = en, .work = work, .n = n, .c = c};
    uint64_t before = resident_now();

    *out = (struct forecast){.available_bytes = resident_available()};
    if (c->docs == 0)
        return err_set(e, ERR_INPUT, "there is no document to tell time and memory by");
    if (count_passes(&x, held, mem_max, e))
        return -1;
    out->read_bytes = x.all.layer_bytes + x.all.embedding_bytes;
    out->flops = x.all.flops;
    out->peak_device_bytes = x.device;
    out->peak_bytes = before + more + x.host;
    if (out->passes * n > 1) /* what they leave between blocks of the heap */
        out->peak_bytes += x.host / 20;
    if (out->peak_bytes - before > out->available_bytes)
        return 0;
    return measure(&x, before, e);
}
