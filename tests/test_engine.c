/*
 * test_engine.c -- what must hold for the forward pass of any model: the same bytes whatever the threads
 * and chunks, masks, cross entropy and divergence.
 */
#include "forward.h"

static void check_nll(const struct model *m, const struct batch *b, struct run *r)
{
    float *logits = all_logits(r, m), *nll = calloc((size_t)r->tokens, sizeof *nll);
    struct kl_row *kl = calloc((size_t)r->tokens, sizeof *kl);
    int v = m->arch.vocab, i;
    int64_t d, t;

    CHECK_MSG(engine_nll(r->en, m, r->h, b, nll, &err) == 0, "nll: %s", err.msg);
    CHECK_MSG(engine_kl(r->en, (struct judged[]){{m, r->h}, {m, r->h}}, 2, b, &kl, &err) == 0, "kl: %s",
              err.msg);
    for (d = 0; d < b->docs; d++)
        for (t = b->first[d]; t < b->first[d + 1]; t++) {
            const float *z = logits + t * v;
            double sum = 0;

            CHECK_MSG(kl[t].kl == 0 && kl[t].same_top, "kl of a model to itself: %g", (double)kl[t].kl);
            CHECK_MSG(!memcmp(&kl[t].nll, &nll[t], 4) && !memcmp(&kl[t].nll_ref, &nll[t], 4),
                      "nll by two ways");
            if (t + 1 == b->first[d + 1]) {
                CHECK(isnan(nll[t]));
                continue;
            }
            for (i = 0; i < v; i++)
                sum += exp((double)z[i]);
            CHECK_NEAR(nll[t], log(sum) - (double)z[b->ids[t + 1]], 1e-5, 1e-5);
        }
    free(logits);
    free(nll);
    free(kl);
}

/* KL and nll between two passes against their logits. */
static void check_kl(const struct model *m, const struct batch *b, struct run *p, struct run *q)
{
    float *zp = all_logits(p, m), *zq = all_logits(q, m);
    struct kl_row *kl = calloc((size_t)p->tokens, sizeof *kl);
    struct hidden *h = NULL;
    int v = m->arch.vocab, i;
    int64_t t;

    CHECK_MSG(engine_kl(p->en, (struct judged[]){{m, p->h}, {m, q->h}}, 2, b, &kl, &err) == -1,
              "hidden states of two engines were mixed");
    err_clear(&err);
    CHECK(engine_forward(p->en, m, b, NULL, NULL, &h, NULL, &err) == 0);
    CHECK_MSG(engine_kl(p->en, (struct judged[]){{m, p->h}, {m, h}}, 2, b, &kl, &err) == 0, "kl: %s",
              err.msg);
    hidden_free(h);
    for (t = 0; t < p->tokens; t++) {
        double sp = 0, sq = 0, want = 0;

        for (i = 0; i < v; i++) {
            sp += exp((double)zp[t * v + i]);
            sq += exp((double)zq[t * v + i]);
        }
        for (i = 0; i < v; i++)
            want += exp((double)zp[t * v + i]) / sp *
                    ((double)zp[t * v + i] - log(sp) - (double)zq[t * v + i] + log(sq));
        CHECK_NEAR(kl[t].kl, want, 2e-6, 1e-4);
    }
    free(zp);
    free(zq);
    free(kl);
}

/* What is kept of a pass: the largest logits, samples of the others where the cumulated probability says, and
 * divergence from it near that of the whole vocabulary. */
static void check_kept(const struct model *m, const struct batch *b, struct run *p,
                       const struct hidden *other)
{
    enum { TOP = 24, SAMPLES = 40, KEPT = TOP + SAMPLES };
    struct kl_row *exact = calloc((size_t)p->tokens, sizeof *exact),
                  *kl = calloc((size_t)p->tokens, sizeof *kl);
    const struct judged of[] = {{m, p->h}, {m, other}};
    float *z = all_logits(p, m);
    struct top_probs kept;
    double sum = 0, want = 0;
    int v = m->arch.vocab, i;
    int64_t t;

    CHECK(top_probs_new(&kept, p->tokens, TOP, SAMPLES, v, &err) == 0);
    CHECK_MSG(engine_top(p->en, m, p->h, b, &kept, &err) == 0, "top: %s", err.msg);
    CHECK(engine_kl(p->en, of, 2, b, &exact, &err) == 0);
    CHECK(engine_kl_top(p->en, &kept, of + 1, 1, b, &kl, &err) == 0);
    for (t = 0; t < p->tokens; t++) {
        const float *zt = z + t * v;
        const int32_t *id = kept.id + t * KEPT;
        const uint8_t *sampled = kept.sampled + t * KEPT;
        double all = 0, top = 0;
        float least = INFINITY;
        int above = 0, samples = 0;

        for (i = 0; i < v; i++)
            all += exp((double)zt[i]);
        for (i = 0; i < KEPT; i++) {
            samples += sampled[i];
            CHECK(i == 0 || id[i] > id[i - 1] || (id[i] == id[i - 1] && sampled[i] && sampled[i - 1]));
            CHECK_NEAR(kept.logp[t * KEPT + i], (double)zt[id[i]] - log(all), 2e-5, 1e-5);
            if (!sampled[i]) {
                top += exp((double)zt[id[i]]) / all;
                least = zt[id[i]] < least ? zt[id[i]] : least;
            }
        }
        for (i = 0; i < v; i++)
            above += zt[i] > least;
        CHECK(samples == SAMPLES && above < TOP);
        CHECK_NEAR(kept.rest[t], log(1 - top), 1e-4, 1e-4);
        CHECK(kl[t].same_top == exact[t].same_top && !memcmp(&kl[t].nll, &exact[t].nll, sizeof kl[t].nll));
        sum += (double)kl[t].kl;
        want += (double)exact[t].kl;
    }
    CHECK_NEAR(sum, want, 0, 0.01);
    CHECK(engine_kl_top(p->en, &kept, of, 1, b, &kl, &err) == 0);
    for (t = 0; t < p->tokens; t++)
        CHECK(kl[t].kl == 0 && kl[t].same_top);
    top_probs_free(&kept);
    CHECK(top_probs_new(&kept, p->tokens, 3000, 32, v, &err) == 0);
    CHECK(v > 3032 || (kept.top == v && kept.samples == 0));
    top_probs_free(&kept);
    free(exact);
    free(kl);
    free(z);
}

static void check_mask(const struct model *m, const struct batch *b, struct run *plain)
{
    size_t e = (size_t)m->arch.experts, i, n = e * (size_t)m->arch.layers;
    struct mask mask = {.experts = malloc(n)};
    struct run all, some;
    int bad = 0;

    memset(mask.experts, 1, n);
    if (run_open(&all, m, b, &mask, PREC_F32, 2, 0) == 0)
        same_bytes(plain, &all, m, "a mask that allows everything");
    run_close(&all);
    for (i = 0; i < n; i++)
        mask.experts[i] = i % e % 2 == 0;
    if (run_open(&some, m, b, &mask, PREC_F32, 2, 0) == 0) {
        for (i = 0; i < run_count(&some); i++)
            bad += some.expert[i] % 2 != 0;
        CHECK_MSG(bad == 0, "%d masked experts were chosen", bad);
        for (i = 0; i < (size_t)some.topk; i++)
            CHECK(some.gate[i] > 0);
        check_kl(m, b, &some, plain);
    }
    run_close(&some);
    memset(mask.experts, 0, n);
    CHECK(engine_forward(plain->en, m, b, &mask, NULL, NULL, NULL, &err) == -1);
    CHECK(err.kind == ERR_USAGE);
    err_clear(&err);
    mask_free(&mask);
}

/* Several masks in one pass, some alike up to a layer or to the end, give the bytes of a pass for each; so do
 * their divergences. */
static void check_masks(const struct model *m, const struct batch *b, struct run *plain)
{
    enum { MASKS = 6 };
    size_t e = (size_t)m->arch.experts, n = e * (size_t)m->arch.layers, i;
    struct mask mask[MASKS] = {{NULL, NULL}};
    struct hidden *h[MASKS], *kept[MASKS], *alone = NULL;
    struct kl_row *row[MASKS], *one = calloc((size_t)plain->tokens, sizeof *one);
    struct judged of[MASKS];
    int v;

    for (v = 0; v < MASKS; v++) {
        row[v] = calloc((size_t)plain->tokens, sizeof **row);
        if (v > 0)
            mask[v].experts = malloc(n);
        for (i = 0; v > 0 && i < n;
             i++) /* 1 allows all; 2 and 3 part after layer 0; 4 is 2; 5 parts in the last layer */
            mask[v].experts[i] = v < 2 || (v == 3 && i >= e) || i % e % 2 == (v == 5 && i >= n - e);
    }
    CHECK_MSG(engine_forward_masks(plain->en, m, b, mask, MASKS, h, NULL, &err) == 0, "masks: %s", err.msg);
    for (v = 0; v < MASKS; v++)
        of[v] = (struct judged){m, kept[v] = h[v]};
    CHECK_MSG(engine_kl(plain->en, of, MASKS, b, row, &err) == 0, "kl: %s", err.msg);
    check_kept(m, b, plain, h[2]);
    for (v = 0; v < MASKS; v++) {
        CHECK(engine_forward(plain->en, m, b, &mask[v], NULL, &alone, NULL, &err) == 0);
        CHECK(engine_kl(plain->en, (struct judged[]){{m, plain->h}, {m, alone}}, 2, b, &one, &err) == 0);
        for (i = 0; v > 0 && i < (size_t)plain->tokens; i++)
            CHECK_MSG(!memcmp(&one[i].kl, &row[v - 1][i].kl, 4) && one[i].same_top == row[v - 1][i].same_top,
                      "mask %d, token %d: %g by itself, %g among others", v, (int)i, (double)one[i].kl,
                      (double)row[v - 1][i].kl);
        hidden_free(alone);
    }
    memset(mask[3].experts, 0, e);
    CHECK(engine_forward_masks(plain->en, m, b, mask, MASKS, h, NULL, &err) == -1 && !h[0]);
    err_clear(&err);
    for (v = 0; v < MASKS; v++) {
        hidden_free(kept[v]);
        mask_free(&mask[v]);
        free(row[v]);
    }
    free(one);
}

/* Channels that are not there: an expert without any gives its bias; with all, everything is as it was. */
static void check_channels(const struct model *m, const struct batch *b, struct run *plain)
{
    size_t e = (size_t)m->arch.experts, width = (size_t)m->arch.inter, n = e * (size_t)m->arch.layers, i;
    struct mask mask = {.channels = malloc(n * width)};
    int layer = m->arch.layers - 1;
    struct run all, some;
    int wrong = 0;

    memset(mask.channels, 1, n * width);
    if (run_open(&all, m, b, &mask, PREC_F32, 2, 0) == 0)
        same_bytes(plain, &all, m, "a mask with all channels");
    run_close(&all);
    memset(mask.channels + ((size_t)layer * e + 1) * width, 0, width);
    if (run_open(&some, m, b, &mask, PREC_F32, 2, 0) == 0) {
        CHECK(!memcmp(plain->expert, some.expert, run_count(plain) * 4)); /* it is the last layer */
        for (i = 0; i < run_count(plain); i++) {
            bool silent =
                i >= run_count(plain) / (size_t)m->arch.layers * (size_t)layer && some.expert[i] == 1;

            wrong += silent && !m->arch.family->expert_bias ? some.norm[i] != 0
                     : silent                               ? some.norm[i] == plain->norm[i]
                                                            : some.norm[i] != plain->norm[i];
        }
        CHECK_MSG(wrong == 0, "%d results of experts without channels, or with all, are not right", wrong);
    }
    run_close(&some);
    mask_free(&mask);
}

/* bf16 is another arithmetic, so only close: mean nll within half a percent. */
static void check_bf16(const struct model *m, const struct batch *b, struct run *f32)
{
    struct run r;
    float *x, *y;
    double sx = 0, sy = 0;
    int64_t t;

    x = calloc((size_t)f32->tokens, sizeof *x);
    y = calloc((size_t)f32->tokens, sizeof *y);
    if (run_open(&r, m, b, NULL, PREC_BF16, 2, 0) == 0 && engine_nll(f32->en, m, f32->h, b, x, &err) == 0 &&
        engine_nll(r.en, m, r.h, b, y, &err) == 0) {
        for (t = 0; t < r.tokens; t++)
            if (!isnan(x[t])) {
                sx += (double)x[t];
                sy += (double)y[t];
            }
        CHECK_NEAR(sy, sx, 0, 5e-3);
        check_invariance(m, b, PREC_BF16);
    } else {
        CHECK_MSG(0, "bf16: %s", err.msg);
    }
    run_close(&r);
    free(x);
    free(y);
}

static void check_model(const char *dir)
{
    struct model m;
    struct run r;
    int32_t *ids;
    struct batch b;

    if (model_open(&m, dir, NULL, &err)) {
        CHECK_MSG(0, "%s", err.msg);
        return;
    }
    ids = some_ids(&m);
    b = (struct batch){ids, doc_first, DOCS};
    check_invariance(&m, &b, PREC_F32);
    if (run_open(&r, &m, &b, NULL, PREC_F32, 2, 0) == 0) {
        check_nll(&m, &b, &r);
        CHECK(r.cost.flops > 0 && r.cost.bytes_read > 0 && r.cost.peak_bytes > 0);
        check_bf16(&m, &b, &r);
        check_mask(&m, &b, &r);
        check_masks(&m, &b, &r);
        check_channels(&m, &b, &r);
        b.docs = 0;
        CHECK_MSG(engine_forward(r.en, &m, &b, NULL, NULL, NULL, NULL, &err) == 0, "no documents: %s",
                  err.msg);
        CHECK(engine_nll(r.en, &m, r.h, &b, NULL, &err) == -1);
        err_clear(&err);
        b.docs = DOCS;
        ids[3] = m.arch.vocab;
        CHECK(engine_forward(r.en, &m, &b, NULL, NULL, NULL, NULL, &err) == -1);
        err_clear(&err);
    }
    run_close(&r);
    free(ids);
    model_close(&m);
}

int main(void)
{
    check_model("examples/tiny-qwen3");
    check_model("examples/tiny-gptoss");
    CHECK_END();
}
