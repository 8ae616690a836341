/* calibrate.c -- how fast this machine is at a model: its first layers on some text. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/thread.h"
#include "engine/engine_private.h"

enum { RUNS = 5, LITTLE = 64 };
#define ENOUGH 0.5 /* seconds of runs of one kind */

/* A run of one kind, without what it waited for. */
struct timed {
    double seconds, flops;
};

/* The layers up to the first one with experts. */
static struct model beginning_of(const struct model *m)
{
    struct model x = *m;
    int i;

    for (i = 0; i + 1 < m->arch.layers && m->arch.layer[i].ffn != FFN_MOE; i++)
        ;
    x.arch.layers = i + 1;
    return x;
}

/* The mean of a few, as the work itself will share the machine with what else runs; the first of all tells
 * how fast weights are read. */
static int time_forward(struct engine *en, const struct model *m, const struct batch *b,
                        const struct observer *observer, struct timed *out, struct engine_cost *first,
                        struct err *e)
{
    double spent = 0;
    int i;

    for (i = 0; i < RUNS && spent < ENOUGH; i++) {
        struct engine_cost c = {0};

        if (engine_forward(en, m, b, NULL, observer, NULL, &c, e))
            return -1;
        if (first && i == 0)
            *first = c;
        out->seconds += c.seconds - c.wait_seconds;
        out->flops = c.flops;
        spent += c.seconds;
    }
    out->seconds /= i;
    return 0;
}

/* The first product with the vocabulary reads and packs it, too. */
static int time_head(struct engine *en, const struct model *m, const struct batch *b,
                     struct engine_speed *out, struct err *e)
{
    int64_t n = b->first[b->docs];
    float *nll = mem_new((size_t)n, sizeof *nll, e);
    struct hidden *h = NULL;
    double t0 = 0, once = 0, again = 0;
    int i, rc = nll ? engine_forward(en, m, b, NULL, NULL, &h, NULL, e) : -1;

    for (i = 0; rc == 0 && i < 2; i++) {
        t0 = seconds_now();
        rc = engine_nll(en, m, h, b, nll, e);
        *(i ? &again : &once) = seconds_now() - t0;
    }
    out->head_seconds = again / (double)n;
    out->head_first = fmax(0, once - again);
    engine_heads_keep(en, NULL, 0);
    hidden_free(h);
    free(nll);
    return rc;
}

/* Two runs of different length tell what goes with the tokens from what goes with the weights. */
static void solve(struct engine_speed *out, const struct timed *little, const struct timed *more,
                  uint64_t bytes)
{
    double flops = more->flops - little->flops, seconds = more->seconds - little->seconds;

    if (flops <= 0 || seconds <= 0) { /* a text of some tokens */
        flops = more->flops;
        seconds = more->seconds;
    }
    out->flops = flops / fmax(seconds, 1e-9);
    out->pack_seconds = fmax(0, more->seconds - more->flops / out->flops) / (double)(bytes ? bytes : 1);
}

int engine_calibrate(struct engine *en, const struct model *m, const struct batch *b, bool head,
                     const struct observer *observer, struct engine_speed *out, struct err *e)
{
    void (*progress)(void *, int, int, double) = en->o.progress;
    struct model some = beginning_of(m);
    const int64_t first_token[2] = {0, b->first[1] < LITTLE ? b->first[1] : LITTLE};
    const struct batch little = {b->ids, first_token, 1};
    struct timed one = {0}, all = {0};
    struct engine_cost first = {0};
    struct engine_need need;
    int rc;

    *out = (struct engine_speed){0};
    en->o.progress = NULL; /* this is not the work that it is told of */
    rc = engine_need(en, &some, b, 1, observer, &need, e) ||
                 time_forward(en, &some, b, observer, &all, &first, e) ||
                 time_forward(en, &some, &little, observer, &one, NULL, e) ||
                 (head && time_head(en, &some, b, out, e))
             ? -1
             : 0;
    en->o.progress = progress;
    if (rc)
        return -1;
    solve(out, &one, &all, need.layer_bytes);
    out->seconds = all.seconds;
    out->read = (double)need.layer_bytes / fmax(first.read_seconds, 1e-9);
    out->host = need.host > need.head_host * head ? need.host : need.head_host;
    return 0;
}
