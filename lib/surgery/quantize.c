/* quantize.c -- a model in another number format: selecting, writing, publishing. */
#include "surgery/quantize.h"

#include <math.h>
#include <stdlib.h>

#include "base/num.h"
#include "model/container.h"
#include "surgery/publish.h"
#include "surgery/quant_kinds.h"
#include "surgery/quant_select.h"

struct job {
    struct quant_work work;
    const struct quantize_options *o;
    struct quantize_report *r;
    struct quantization q;
};

static int put_tensor(void *ctx, const struct out_tensor *t, struct err *e)
{
    struct job *j = ctx;
    struct quant_tensor_report rep = {.name = t->t.name};

    if (quant_put(&j->work, t, e))
        return -1;
    if (!t->map || t->use != USE_WEIGHT)
        return 0;
    rep.count = t->map->n * t->map->out * t->map->in;
    rep.err2 = t->map->err2;
    rep.sum2 = t->map->sum2;
    j->r->tensors++;
    j->r->err2 += rep.err2;
    j->r->sum2 += rep.sum2;
    j->r->blocks += t->map->blocks;
    j->r->lossless += t->map->lossless;
    quant_kinds_made(j->r, t->map);
    if (j->o->tensor)
        j->o->tensor(j->o->ctx, &rep);
    return 0;
}

static void quantize_describe(void *ctx, struct card *card, struct str *s)
{
    const struct job *j = ctx;
    const struct quantize_report *r = j->r;
    const struct encoder *to = j->q.encode;
    bool plain = j->q.to == &format_plain;
    char before[32], after[32];

    card->tag = to->target;
    card->quantized = !plain;
    str_addf(s, "%llu tensors were %s %s", (unsigned long long)r->tensors,
             plain ? "decoded to" : "converted to", to->about);
    if (plain && r->err2 == 0)
        str_adds(s, ", which holds every one of their values exactly");
    if (j->o->matrices)
        str_adds(s, ", each scale chosen by errors weighed with the squared size of what the input was on "
                    "calibration text");
    str_adds(s, "; everything else is a byte-for-byte copy.\n\n");
    str_addf(s,
             "| | before | after |\n|---|---|---|\n"
             "| safetensors | %s (%llu bytes) | %s (%llu bytes) |\n",
             num_bytes(r->bytes_before, before), (unsigned long long)r->bytes_before,
             num_bytes(r->bytes_after, after), (unsigned long long)r->bytes_after);
    if (r->err2 > 0)
        str_addf(s, "\nRelative squared error of the converted weights: %.3g (%.2f dB).\n", r->err2 / r->sum2,
                 10 * log10(r->sum2 / r->err2));
    else
        str_adds(s, "\nThe converted weights have the same values as before.\n");
}

static int quantize_run(struct job *j, const char *out, const char *config, size_t n, struct err *e)
{
    struct rewrite *rw = j->work.rw;
    struct publish p = {.rw = rw,
                        .put = put_tensor,
                        .describe = quantize_describe,
                        .ctx = j,
                        .out = out,
                        .config = config,
                        .config_n = n,
                        .command = j->o->command,
                        .model = j->o->model,
                        .force = j->o->force,
                        .dry_run = j->o->dry_run};
    size_t i;
    int r;

    j->r->bytes_before = publish_source_bytes(rw->m);
    j->r->bytes_after = rw->w.bytes;
    j->r->files = rw->w.files;
    rw->progress = j->o->progress;
    rw->progress_ctx = j->o->ctx;
    if (pool_open(&j->work.pool, j->o->threads, NULL, e))
        return -1;
    p.bytes_read = j->r->copied_bytes;
    for (i = 0; i < j->r->kinds; i++)
        p.bytes_read += j->r->kind[i].bytes_before;
    r = publish(&p, e);
    j->r->bytes_read = p.bytes_read;
    j->r->read_rate = p.read_rate;
    j->r->seconds = p.seconds;
    pool_close(j->work.pool);
    j->r->bytes_needed = p.bytes_needed;
    j->r->bytes_free = p.bytes_free;
    return r;
}

int quantize_model(const struct model *m, const char *target, const char *out,
                   const struct quantize_options *o, struct quantize_report *r, struct err *e)
{
    struct rewrite rw = {0};
    struct job j = {.work = {.rw = &rw}, .o = o, .r = r};
    char *config = NULL;
    size_t n;
    int ret = -1;

    *r = (struct quantize_report){0};
    if (!m->ckpt.container->folder)
        return err_set(
            e, ERR_UNKNOWN,
            "'%s' is %s: number formats are changed in safetensors only, of which llama.cpp's quantizer "
            "makes the others",
            m->dir, m->ckpt.container->name);
    if (quant_select(&j.q, m, target, o, e))
        return -1;
    if (quant_config(&j.q, &config, &n, e) == 0 && rewrite_open(&rw, m, NULL, 0, e) == 0) {
        rw.same_weights = true;
        j.work.map = j.q.map;
        j.work.maps = j.q.maps;
        if (quant_plan(&j.q, &rw, e) == 0 && rewrite_sizes(&rw, e) == 0 && quant_kinds(r, &rw, e) == 0)
            ret = quantize_run(&j, out, config, n, e);
    }
    if (o->dry_run)
        r->tensors = j.q.maps;
    rewrite_free(&rw);
    quant_free(&j.q);
    free(config);
    return ret;
}
