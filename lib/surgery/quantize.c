#include "surgery/quantize.h"

#include <math.h>
#include <stdlib.h>

#include "base/num.h"
#include "surgery/publish.h"
#include "surgery/quant_select.h"

struct job {
    struct quant_work work;
    const struct quantize_options *o;
    struct quantize_report *r;
    enum quant_format to;
};

static int put_tensor(void *ctx, const struct out_tensor *t, struct err *e)
{
    struct job *j = ctx;
    struct quant_tensor_report rep = {.name = t->t.name};

    if (quant_put(&j->work, t, e))
        return -1;
    if (t->op == QOP_COPY || t->op == QOP_SCALES)
        return 0;
    rep.count = j->work.count;
    rep.err2 = j->work.err2;
    rep.sum2 = j->work.sum2;
    j->r->tensors++;
    j->r->err2 += rep.err2;
    j->r->sum2 += rep.sum2;
    if (j->o->tensor)
        j->o->tensor(j->o->ctx, &rep);
    return 0;
}

static void describe(void *ctx, struct card *card, struct str *s)
{
    const struct job *j = ctx;
    const struct quantize_report *r = j->r;
    char before[32], after[32];

    card->tag = j->to == QF_MXFP4 ? "mxfp4" : "bf16";
    card->quantized = j->to == QF_MXFP4;
    if (j->to == QF_MXFP4)
        str_addf(s,
                 "%llu tensors were converted to MXFP4 (blocks of 32 E2M1 values with one E8M0 scale), each "
                 "scale the better of two by squared error; everything else is a byte-for-byte copy.\n\n",
                 (unsigned long long)r->tensors);
    else
        str_addf(s,
                 "%llu MXFP4 tensors were decoded to BF16, which holds every one of their values exactly; "
                 "everything else is a byte-for-byte copy.\n\n",
                 (unsigned long long)r->tensors);
    str_addf(s,
             "| | before | after |\n|---|---|---|\n"
             "| safetensors | %s (%llu bytes) | %s (%llu bytes) |\n",
             num_bytes(r->bytes_before, before), (unsigned long long)r->bytes_before,
             num_bytes(r->bytes_after, after), (unsigned long long)r->bytes_after);
    if (j->to == QF_MXFP4 && r->err2 > 0)
        str_addf(s, "\nRelative squared error of the converted weights: %.3g (%.2f dB).\n", r->err2 / r->sum2,
                 10 * log10(r->sum2 / r->err2));
    else
        str_adds(s, "\nThe converted weights have the same values as before.\n");
}

static int run(struct job *j, const char *out, const char *config, size_t n, struct err *e)
{
    struct rewrite *rw = j->work.rw;
    struct publish p = {.rw = rw,
                        .put = put_tensor,
                        .describe = describe,
                        .ctx = j,
                        .out = out,
                        .config = config,
                        .config_n = n,
                        .command = j->o->command,
                        .model = j->o->model,
                        .force = j->o->force,
                        .dry_run = j->o->dry_run};
    int r;

    j->r->bytes_before = publish_source_bytes(rw->m);
    j->r->bytes_after = rw->w.bytes;
    j->r->files = rw->w.files;
    rw->progress = j->o->progress;
    rw->progress_ctx = j->o->ctx;
    if (pool_open(&j->work.pool, j->o->threads, NULL, e))
        return -1;
    r = publish(&p, e);
    pool_close(j->work.pool);
    quant_work_free(&j->work);
    j->r->bytes_needed = p.bytes_needed;
    j->r->bytes_free = p.bytes_free;
    return r;
}

static uint64_t count_chosen(const struct model *m, const bool *chosen)
{
    uint64_t n = 0;
    size_t i;

    for (i = 0; i < m->ckpt.n; i++)
        n += chosen[i];
    return n;
}

int quantize_model(const struct model *m, enum quant_format to, const char *out,
                   const struct quantize_options *o, struct quantize_report *r, struct err *e)
{
    struct rewrite rw = {0};
    struct job j = {.work = {.rw = &rw}, .o = o, .r = r, .to = to};
    bool *chosen = quant_select(m, to, o, e);
    char *config = NULL;
    size_t n;
    int ret = -1;

    *r = (struct quantize_report){0};
    if (!chosen)
        return -1;
    if (quant_config(m, chosen, to, &config, &n, e) == 0 && rewrite_open(&rw, m, NULL, 0, e) == 0) {
        rw.same_weights = true;
        if (quant_plan(&rw, chosen, to, e) == 0 && rewrite_sizes(&rw, e) == 0)
            ret = run(&j, out, config, n, e);
    }
    if (o->dry_run)
        r->tensors = count_chosen(m, chosen);
    rewrite_free(&rw);
    free(config);
    free(chosen);
    return ret;
}
