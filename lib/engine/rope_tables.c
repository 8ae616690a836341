/* rope_tables.c -- one row of cosines and sines a position, as f32 on the device. */
#include "engine/rope_tables.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

struct length {
    int64_t n, doc;
};

static int by_length(const void *a, const void *b)
{
    const struct length *x = a, *y = b;

    return x->n < y->n ? -1 : x->n > y->n ? 1 : x->doc < y->doc ? -1 : x->doc > y->doc;
}

/* theta' = theta * (factor * n / M - (factor - 1))^(rot / (rot - 2)), as transformers does it in f32. */
static void dynamic_freqs(const struct rope *r, int64_t n, float *freq)
{
    double theta = r->theta * pow(r->factor * (double)n / r->max_position - (r->factor - 1),
                                  (double)r->rot / (r->rot - 2));
    int p;

    for (p = 0; p < r->rot / 2; p++)
        freq[p] = 1.0f / powf((float)theta, (float)(2 * p) / (float)r->rot);
}

static float *table_new(struct device *d, const struct rope *r, const float *freq, int64_t n, struct err *e)
{
    size_t row = (size_t)r->rot, half = row / 2, p;
    float *host, *out;
    int64_t t;

    host = mem_new((size_t)n * row, sizeof *host, e);
    if (!host)
        return NULL;
    for (t = 0; t < n; t++)
        for (p = 0; p < half; p++) {
            float angle = (float)t * freq[p]; /* rounded, as in the reference */

            host[(size_t)t * row + p] = (float)(cos((double)angle) * r->scaling);
            host[(size_t)t * row + half + p] = (float)(sin((double)angle) * r->scaling);
        }
    out = d->ops->buf_new(d, (size_t)n * row * sizeof *host, e);
    if (out)
        d->ops->to_device(d, out, host, (size_t)n * row * sizeof *host);
    free(host);
    return out;
}

/* A table for each run of documents (sorted by length) that can share one. */
static int tables(struct rope_tables *t, const struct rope *r, const struct length *l, int64_t docs,
                  struct err *e)
{
    float *freq = mem_new((size_t)r->rot / 2, sizeof *freq, e);
    int64_t i = 0, j, k;
    int rc = freq ? 0 : -1;

    while (i < docs && rc == 0) {
        bool stretched = r->type == ROPE_DYNAMIC && (double)l[i].n > r->max_position && r->rot > 2;
        float *table;

        for (j = i + 1; j < docs; j++)
            if (stretched ? l[j].n != l[i].n : r->type == ROPE_DYNAMIC && (double)l[j].n > r->max_position)
                break;
        if (stretched)
            dynamic_freqs(r, l[i].n, freq);
        table = table_new(t->d, r, stretched ? freq : r->inv_freq, l[j - 1].n, e);
        if (!table) {
            rc = -1;
            break;
        }
        t->table[t->tables++] = table;
        for (k = i; k < j; k++)
            t->of[l[k].doc] = table;
        i = j;
    }
    free(freq);
    return rc;
}

int rope_tables_new(struct rope_tables *t, struct device *d, const struct rope *r, const struct batch *b,
                    struct err *e)
{
    struct length *l = mem_new((size_t)b->docs, sizeof *l, e);
    int64_t i;
    int rc = -1;

    *t = (struct rope_tables){.d = d};
    t->of = mem_new((size_t)b->docs, sizeof *t->of, e);
    t->table = mem_new((size_t)b->docs, sizeof *t->table, e);
    if (l && t->of && t->table) {
        for (i = 0; i < b->docs; i++)
            l[i] = (struct length){b->first[i + 1] - b->first[i], i};
        qsort(l, (size_t)b->docs, sizeof *l, by_length);
        rc = tables(t, r, l, b->docs, e);
    }
    free(l);
    if (rc)
        rope_tables_free(t);
    return rc;
}

void rope_tables_free(struct rope_tables *t)
{
    int i;

    for (i = 0; i < t->tables; i++)
        t->d->ops->buf_free(t->d, t->table[i]);
    free(t->table);
    free(t->of);
    *t = (struct rope_tables){0};
}
