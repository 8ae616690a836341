/* rope.c -- which rotation config.json asks for: frequencies, scaling, by layer. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/config.h"

#define TWO_PI 6.28318530717958647692

static const struct {
    const char *name;
    enum rope_type type;
} types[] = {{"default", ROPE_DEFAULT}, {"mrope", ROPE_DEFAULT}, /* the positions of a text are the same in
                                                                    all its sections */
             {"linear", ROPE_LINEAR},   {"dynamic", ROPE_DYNAMIC}, {"llama3", ROPE_LLAMA3},
             {"yarn", ROPE_YARN},       {"factors", ROPE_FACTORS}};

const cJSON *rope_dictionary(struct config *c)
{
    static const char *const names[] = {"rope_scaling", "rope_parameters"};
    size_t i;

    for (i = 0; i < 2; i++) {
        const cJSON *d = cJSON_GetObjectItemCaseSensitive(c->obj, names[i]);

        if (!d || cJSON_IsNull(d))
            continue;
        if (!cJSON_IsObject(d)) {
            err_set(c->e, ERR_INPUT, "'%s': %s is not an object", c->what, names[i]);
            return NULL;
        }
        if (d->child)
            return d;
    }
    return NULL;
}

static void read_type(struct rope *r, struct config *c, struct config *d)
{
    const char *name = config_string(d, "rope_type");
    size_t i;

    if (!name)
        name = config_string(d, "type");
    if (!name)
        name = "default";
    for (i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].name, name) == 0) {
            r->type = types[i].type;
            return;
        }
    err_set(c->e, ERR_UNKNOWN, "'%s': the rope type '%s' is not understood", c->what, name);
}

static double mscale(double factor, double m)
{
    return factor <= 1 ? 1 : 0.1 * m * log(factor) + 1;
}

static void read_yarn(struct rope *r, struct config *d, double max_position)
{
    double given = config_double(d, "attention_factor", 1e-6, 1e6, 0);
    double m = config_double(d, "mscale", 0, 1e6, 0), all = r->mscale_all;

    if (r->factor <= 0)
        r->factor = max_position / r->original;
    r->beta_fast = config_double(d, "beta_fast", 1e-6, 1e6, 32);
    r->beta_slow = config_double(d, "beta_slow", 1e-6, 1e6, 1);
    r->truncate = config_bool(d, "truncate", true);
    if (given > 0)
        r->scaling = given;
    else if (m != 0 && all != 0)
        r->scaling = mscale(r->factor, m) / mscale(r->factor, all);
    else
        r->scaling = mscale(r->factor, 1);
}

/* Dimension at which a wavelength makes `turns` rotations within the original context. */
static double yarn_dim(const struct rope *r, double turns)
{
    return r->rot * log(r->original / (TWO_PI * turns)) / (2 * log(r->theta));
}

static void yarn_freqs(struct rope *r)
{
    double low = yarn_dim(r, r->beta_fast), high = yarn_dim(r, r->beta_slow);
    int p;

    if (r->truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = low < 0 ? 0 : low;
    high = high > r->rot - 1 ? r->rot - 1 : high;
    if (low == high)
        high += 0.001;
    for (p = 0; p < r->rot / 2; p++) {
        float w = r->inv_freq[p];
        float ramp = (float)(((float)p - low) / (high - low));

        ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
        r->inv_freq[p] = ramp * (w / (float)r->factor) + (1 - ramp) * w;
    }
}

static void llama3_freqs(struct rope *r)
{
    double lo = r->original / r->low_freq, hi = r->original / r->high_freq;
    int p;

    for (p = 0; p < r->rot / 2; p++) {
        double w = r->inv_freq[p], lambda = TWO_PI / w, s;

        if (lambda < hi)
            continue;
        if (lambda > lo) {
            r->inv_freq[p] = (float)(w / r->factor);
            continue;
        }
        s = (r->original / lambda - r->low_freq) / (r->high_freq - r->low_freq);
        r->inv_freq[p] = (float)((1 - s) * w / r->factor + s * w);
    }
}

/* Divides by the numbers of the dictionary's "factors". */
static int divide_freqs(struct rope *r, const struct config *c)
{
    const cJSON *list =
        config_get(&(struct config){rope_dictionary((struct config *)c), c->what, c->e}, "factors");
    const cJSON *v;
    int p = 0;

    if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) != r->rot / 2)
        return err_set(c->e, ERR_INPUT, "'%s': there is not one rope factor for each of %d frequencies",
                       c->what, r->rot / 2);
    cJSON_ArrayForEach(v, list)
    {
        if (!cJSON_IsNumber(v) || !(v->valuedouble > 0) || !isfinite(v->valuedouble))
            return err_set(c->e, ERR_INPUT, "'%s': a rope factor is no number above 0", c->what);
        r->inv_freq[p++] /= (float)v->valuedouble;
    }
    return 0;
}

static int frequencies(struct rope *r, struct config *c)
{
    struct err *e = c->e;
    int p;

    r->inv_freq = mem_new((size_t)r->rot / 2, sizeof *r->inv_freq, e);
    if (!r->inv_freq)
        return -1;
    for (p = 0; p < r->rot / 2; p++) {
        r->inv_freq[p] = 1.0f / powf((float)r->theta, (float)(2 * p) / (float)r->rot);
        if (r->type == ROPE_LINEAR)
            r->inv_freq[p] /= (float)r->factor;
    }
    if (r->type == ROPE_YARN)
        yarn_freqs(r);
    if (r->type == ROPE_LLAMA3)
        llama3_freqs(r);
    return r->type == ROPE_FACTORS ? divide_freqs(r, c) : 0;
}

/* All but the frequencies. */
static void read_numbers(struct rope *r, struct config *c, const struct family *f, int rotated,
                         int max_position)
{
    const cJSON *dict = rope_dictionary(c);
    struct config d = {dict, c->what, c->e};
    double prf = config_double(c, "partial_rotary_factor", 0, 1,
                               f->default_partial_rotary > 0 ? f->default_partial_rotary : 1);

    *r = (struct rope){.scaling = 1, .original = max_position, .max_position = max_position};
    r->theta = config_double(c, "rope_theta", 1, 1e12, f->default_theta);
    if (dict) {
        read_type(r, c, &d);
        r->theta = config_double(&d, "rope_theta", 1, 1e12, r->theta);
        prf = config_double(&d, "partial_rotary_factor", 0, 1, prf);
        r->factor = config_double(&d, "factor", 1e-6, 1e6, 0);
        r->original = config_double(&d, "original_max_position_embeddings", 1, 1e12, max_position);
        if (config_has(c, "original_max_position_embeddings"))
            r->original = config_double(c, "original_max_position_embeddings", 1, 1e12, r->original);
        r->low_freq = config_double(&d, "low_freq_factor", 1e-6, 1e6, 1);
        r->high_freq = config_double(&d, "high_freq_factor", 1e-6, 1e6, 4);
        r->mscale_all = config_double(&d, "mscale_all_dim", 0, 1e6, 0); /* of every type but "default" */
        if (r->type == ROPE_YARN)
            read_yarn(r, &d, max_position);
        else if (r->type != ROPE_DEFAULT && r->factor <= 0)
            err_set(c->e, ERR_INPUT, "'%s': the rope dictionary has no factor", c->what);
    } else if (f->default_yarn_factor > 0) {
        static const double original = 4096; /* the family's class default */

        *r = (struct rope){.type = ROPE_YARN,
                           .theta = r->theta,
                           .factor = f->default_yarn_factor,
                           .original = original,
                           .beta_fast = 32,
                           .beta_slow = 1,
                           .scaling = mscale(f->default_yarn_factor, 1),
                           .max_position = max_position};
    }
    r->layout = f->rope_layout;
    if (config_has(c, "rope_interleave"))
        r->layout = config_bool(c, "rope_interleave", true) ? ROPE_PAIR : ROPE_HALF;
    r->rot = (int)(rotated * prf);
    if (config_has(c, "rotary_dim")) /* MiniMax-M2: wins over the factor */
        r->rot = config_int(c, "rotary_dim", 2, rotated, r->rot);
    if (r->rot < 2 || r->rot % 2)
        err_set(c->e, ERR_INPUT, "'%s': %d rotated dimensions per head make no sense", c->what, r->rot);
}

static bool same(const struct rope *x, const struct rope *y)
{
    return x->type == y->type && x->layout == y->layout && x->theta == y->theta && x->factor == y->factor &&
           x->original == y->original && x->beta_fast == y->beta_fast && x->beta_slow == y->beta_slow &&
           x->low_freq == y->low_freq && x->high_freq == y->high_freq && x->mscale_all == y->mscale_all &&
           x->truncate == y->truncate && x->scaling == y->scaling && x->max_position == y->max_position &&
           x->rot == y->rot;
}

int rope_read(struct arch *a, struct config *c, int rotated)
{
    size_t n = (size_t)a->ropes;
    struct rope r;
    int i;

    read_numbers(&r, c, a->family, rotated, a->max_position);
    if (c->e->kind)
        return -1;
    for (i = 0; i < a->ropes; i++)
        if (same(&a->rope[i], &r))
            return i;
    if (frequencies(&r, c) || mem_grow(&a->rope, &n, n + 1, sizeof r, c->e)) {
        free(r.inv_freq);
        return -1;
    }
    a->rope[a->ropes++] = r;
    return i;
}
