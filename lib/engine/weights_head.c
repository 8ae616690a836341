/* The weights that are in no layer: embedding, final norm, and the map to the vocabulary. */
#include <stdlib.h>

#include "base/mem.h"
#include "engine/blob.h"
#include "engine/weights.h"

enum { EMBED_ROWS = 1024 };

int weights_embed(struct device *d, const struct model *m, const int32_t *ids, int64_t n, void *h,
                  uint64_t *bytes, struct err *e)
{
    size_t row = (size_t)m->arch.hidden * d->elem_bytes;
    struct blob b = {.m = m};
    uint8_t *stage = NULL;
    struct source s;
    int64_t t, i, c;
    int rc = -1;

    if (blob_add_linear(&b, -1, "model.embed_tokens", e) || blob_read(&b, NULL, e) ||
        blob_linear(&b, -1, "model.embed_tokens", m->arch.vocab, m->arch.hidden, &s, e))
        goto out;
    *bytes += b.size;
    stage = mem_new_aligned(EMBED_ROWS, row, e);
    if (!stage)
        goto out;
    for (t = 0; t < n; t += c) {
        c = n - t < EMBED_ROWS ? n - t : EMBED_ROWS;
        for (i = 0; i < c; i++)
            if (!source_rows(&s, ids[t + i], 1, stage + (size_t)i * row, (size_t)m->arch.hidden, d->bf16)) {
                err_set(e, ERR_INPUT, "tensor '%s' holds a value that is not a finite number (row %d)",
                        s.name, (int)ids[t + i]);
                goto out;
            }
        d->ops->to_device(d, (uint8_t *)h + (size_t)t * row, stage, (size_t)c * row);
    }
    rc = 0;
out:
    free(stage);
    blob_free(&b);
    return rc;
}

/* A vector that is in no layer: n elements, device. */
static int vector(struct device *d, const struct model *m, const char *name, size_t n, float **out,
                  struct err *e)
{
    const struct tensor *t = model_tensor(m, -1, name);
    float *host = mem_new(n, sizeof *host, e);
    int rc = -1;

    *out = NULL;
    if (!host)
        return -1;
    if (!t) {
        err_set(e, ERR_INPUT, "'%s': tensor '%s' is missing", m->dir, name);
    } else if (model_read_f32(m, t, host, e) == 0 &&
               (*out = d->ops->buf_new(d, n * sizeof *host, e)) != NULL) {
        d->ops->to_device(d, *out, host, n * sizeof *host);
        rc = 0;
    }
    free(host);
    return rc;
}

int weights_final_norm(struct device *d, const struct model *m, float **out, struct err *e)
{
    return vector(d, m, "model.norm.weight", (size_t)m->arch.hidden, out, e);
}

void head_weights_free(struct device *d, struct head_weights *h)
{
    d->ops->matrix_free(d, h->w);
    d->ops->buf_free(d, h->bias);
    *h = (struct head_weights){0};
}

int weights_head(struct device *d, const struct model *m, struct head_weights *out, struct err *e)
{
    const char *name = "lm_head";
    struct matrix_job job = {.m = &out->w, .parts = 1, .for_head = true};
    struct blob b = {.m = m};
    int rc = -1;

    *out = (struct head_weights){0};
    if (!model_tensor(m, -1, "lm_head.weight") && !model_tensor(m, -1, "lm_head.weight_packed"))
        name = "model.embed_tokens";
    if (blob_add_linear(&b, -1, name, e) == 0 && blob_read(&b, NULL, e) == 0 &&
        blob_linear(&b, -1, name, m->arch.vocab, m->arch.hidden, &job.part[0], e) == 0)
        rc = d->ops->pack(d, &job, 1, e);
    if (rc == 0 && m->arch.bias_head)
        rc = vector(d, m, "lm_head.bias", (size_t)m->arch.vocab, &out->bias, e);
    if (rc)
        head_weights_free(d, out);
    blob_free(&b);
    return rc;
}
