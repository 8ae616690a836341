/* inspect_print.c -- what moe-inspect shows. */
#include "inspect_print.h"

#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "common.h"
#include "inspect_serving.h"
#include "model/findings.h"
#include "text/chat.h"
#include "text/tokenizer.h"
#include "model/summary.h"
#include "surgery/fit.h"
#include "surgery/prune.h"

static void name_list(struct json_out *j, const char *name, const char *const *list, int max)
{
    int i;

    jo_open(j, name, '[');
    for (i = 0; i < max && list[i]; i++)
        jo_string(j, NULL, list[i]);
    jo_close(j);
}

#define LIST(j, name, list) name_list(j, name, list, (int)(sizeof(list) / sizeof *(list)))

/* How families store experts: a fused layout of its own goes with a format of its own. */
static const char *storage(const struct family *f)
{
    static char text[64];
    int n, i;
    const struct format *const *format = format_table(&n);

    for (i = 0; i < n; i++)
        if (format[i]->interleaved && f->fused_layout == EXPERTS_INTERLEAVED) {
            snprintf(text, sizeof text, "fused, %s", format[i]->name);
            return text;
        }
    return "split, fused";
}

/* The titles of formats of which a map, or all experts together, may be, each once, in lines. */
static void print_titles(const char *head, bool fused)
{
    enum { WIDTH = 100 };
    int n, i, k, at = printf("%s %s", head, format_plain.title);
    const struct format *const *f = format_table(&n);

    for (i = 0; i < n; i++) {
        if (!f[i]->name || !piece_suffix(f[i]->piece, fused))
            continue;
        for (k = 0; k < i && strcmp(f[k]->title, f[i]->title) != 0; k++)
            ;
        if (k == i && at + (int)strlen(f[i]->title) + 2 > WIDTH)
            at = printf(",\n    %s", f[i]->title);
        else if (k == i)
            at += printf(", %s", f[i]->title);
    }
    putchar('\n');
}

static void print_formats(void)
{
    print_titles("\nsplit: a tensor for each matrix of each expert, in", false);
    print_titles("fused: tensors with all experts of a layer, in", true);
}

static void families_json(const struct family *const *t, int n)
{
    struct json_out j = {0};
    int i;

    json_begin(&j);
    jo_open(&j, "families", '[');
    for (i = 0; i < n; i++) {
        const struct family *f = t[i];

        jo_open(&j, NULL, '{');
        jo_string(&j, "name", f->name);
        jo_string(&j, "title", f->title);
        jo_string(&j, "stored", storage(f));
        jo_string(&j, "needs", f->needs);
        jo_string(&j, "model_type", f->model_type[0]);
        LIST(&j, "model_types", f->model_type);
        LIST(&j, "architectures", f->architectures);
        LIST(&j, "expert_count_keys", f->key_experts);
        LIST(&j, "topk_keys", f->key_topk);
        jo_close(&j);
    }
    jo_close(&j);
    jo_close(&j);
    json_print(stdout, &j);
}

void print_families(void)
{
    int n, i;
    const struct family *const *t = family_table(&n);

    if (common.json) {
        families_json(t, n);
        return;
    }
    printf("%-14s %-14s %-24s %s\n", "name", "family", "architecture", "experts stored");
    for (i = 0; i < n; i++)
        printf("%-14s %-14s %-24s %s\n    %s\n", t[i]->name, t[i]->title, t[i]->architectures[0],
               storage(t[i]), t[i]->needs);
    print_formats();
}

void print_digest(const struct model *m)
{
    char digest[HASH_HEX];
    struct json_out j = {0};
    struct err e = {0};

    if (model_digest(m, digest, &e))
        die(&e);
    if (!common.json) {
        puts(digest);
        return;
    }
    json_begin(&j);
    jo_string(&j, "digest", digest);
    jo_close(&j);
    json_print(stdout, &j);
}

static double percent(uint64_t part, uint64_t whole)
{
    return whole ? 100.0 * (double)part / (double)whole : 0;
}

/* "20.9 B": parameters the way models are named. */
static char *billions(uint64_t n, char buf[32])
{
    double v = (double)n;

    if (v < 1e6)
        snprintf(buf, 32, "%.1f K", v / 1e3);
    else
        snprintf(buf, 32, v >= 1e9 ? "%.1f B" : "%.1f M", v >= 1e9 ? v / 1e9 : v / 1e6);
    return buf;
}

/* Four ratios that people ask for, as a table; without those that the router's groups do not allow. */
static void ratio_table(const struct model *m, uint64_t now)
{
    static const char *const ratios[] = {"0.125", "0.25", "0.375", "0.5"};
    struct expert_groups groups = prune_groups(m);
    struct err e = {0};
    char b[32];
    size_t i;

    printf("\n  %-8s %-8s %-12s %s\n", "removed", "kept", "size", "of now");
    for (i = 0; i < sizeof ratios / sizeof *ratios; i++) {
        uint64_t size;
        int64_t drop;

        if (num_ratio(ratios[i], "ratio", m->arch.experts, &drop, &e))
            die(&e);
        if (!drop || !groups_allow(&groups, m->arch.experts - (int)drop))
            continue;
        if (prune_size(m, m->arch.experts - (int)drop, &size, &e))
            die(&e);
        printf("  %-8.4g %-8d %-12s %.1f%%\n", strtod(ratios[i], NULL), m->arch.experts - (int)drop,
               num_bytes(size, b), percent(size, now));
    }
}

static int first_moe_layer(const struct model *m)
{
    int i = 0;

    while (m->arch.layer[i].ffn != FFN_MOE)
        i++;
    return i;
}

static const char *layout_text(const struct model *m)
{
    const struct format *f = model_expert_format(m);

    return f->stored ? f->stored : expert_layout_name(m->layout);
}

/* A format that the description of the layout says nothing of; NULL: none. */
static const struct format *also_in(const struct model *m)
{
    const struct format *f = m->arch.claim[0].format;

    return f->name && !f->stored ? f : NULL;
}

static void arch_json(struct json_out *j, const struct model *m)
{
    const struct arch *a = &m->arch;

    jo_int(j, "layers", a->layers);
    jo_int(j, "moe_layers", a->moe_layers);
    jo_int(j, "experts", a->experts);
    jo_int(j, "topk", a->topk);
    jo_int(j, "hidden", a->hidden);
    jo_int(j, "intermediate", a->inter);
    jo_int(j, "vocabulary", a->vocab);
    jo_string(j, "expert_storage", layout_text(m));
    jo_bool(j, "fp8", also_in(m) && also_in(m)->coding == CODING_E4M3);
    jo_int(j, "groups", a->groups);
    jo_int(j, "topk_group", a->topk_group);
    jo_string(j, "group", a->groups < 2 ? NULL : a->group == GROUP_TOP2 ? "top2" : "max");
    jo_int(j, "shared_intermediate", a->shared_inter);
    jo_int(j, "mtp_layers", a->mtp_layers);
}

static void summary_json(const struct model *m, const struct model_summary *s, const char *digest)
{
    struct json_out j = {.pretty = true};

    json_begin(&j);
    jo_string(&j, "directory", m->dir);
    jo_string(&j, "revision", m->revision);
    jo_string(&j, "family", m->arch.family->name);
    jo_string(&j, "digest", digest);
    arch_json(&j, m);
    jo_int(&j, "mtp_tensors", s->mtp_tensors);
    jo_uint(&j, "parameters", s->params);
    jo_uint(&j, "active_parameters", s->active);
    jo_int(&j, "files", m->ckpt.shards);
    jo_uint(&j, "tensors", m->ckpt.n);
    jo_uint(&j, "bytes", s->file_bytes);
    jo_uint(&j, "expert_bytes", s->expert_bytes);
    jo_uint(&j, "router_bytes", s->router_bytes);
    jo_uint(&j, "mtp_bytes", s->mtp_bytes);
    jo_uint(&j, "other_bytes", s->other_bytes);
    jo_uint(&j, "bytes_per_expert", model_expert_bytes(m, first_moe_layer(m)));
    jo_close(&j);
    json_print(stdout, &j);
}

static void print_architecture(const struct model *m)
{
    const struct arch *a = &m->arch;
    const struct attention_arch *t = &a->layer[0].attn;
    const struct latent_arch *x = &a->layer[0].latent;

    printf("  family      %s (%s)\n", a->family->title, a->family->name);
    printf("  layers      %d, %d with experts\n", a->layers, a->moe_layers);
    printf("  experts     %d in each, %d per token; stored as %s%s%s\n", a->experts, a->topk, layout_text(m),
           also_in(m) ? ", " : "", also_in(m) ? also_in(m)->name : "");
    if (a->groups > 1)
        printf("  groups      %d, of which a token uses %d (by %s); each must keep as many experts\n",
               a->groups, a->topk_group,
               a->group == GROUP_TOP2 ? "their two largest scores" : "their largest score");
    if (a->shared_inter)
        printf("  shared      intermediate %d, used by every token%s; never cut\n", a->shared_inter,
               a->family->shared_gated ? " through a gate" : "");
    printf("  shape       hidden %d, expert intermediate %d, heads %d/%d x %d, vocabulary %d\n", a->hidden,
           a->inter, t->heads, t->kv_heads, t->head_dim, a->vocab);
    if (x->kv) {
        printf("  latent      kv %d, q ", x->kv);
        printf(x->q ? "%d" : "none", x->q);
        printf("; heads %d + %d rotated, v %d\n", x->nope, t->head_dim - x->nope, t->v_dim);
    }
}

void print_summary(const struct model *m)
{
    char digest[HASH_HEX], b1[32], b2[32];
    struct model_summary s;
    struct err e = {0};

    model_summarize(m, &s);
    if (model_digest(m, digest, &e))
        die(&e);
    if (common.json) {
        summary_json(m, &s, digest);
        return;
    }
    printf("%s%s%s\n", m->dir, m->revision ? " at " : "", m->revision ? m->revision : "");
    print_architecture(m);
    printf("  parameters  %s, of them %s used by a token\n", billions(s.params, b1), billions(s.active, b2));
    printf("  size        %s in %d file%s\n", num_bytes(s.file_bytes, b1), m->ckpt.shards,
           m->ckpt.shards == 1 ? "" : "s");
    printf("    experts   %-10s %5.1f%%   one expert of one layer: %s\n", num_bytes(s.expert_bytes, b1),
           percent(s.expert_bytes, s.file_bytes), num_bytes(model_expert_bytes(m, first_moe_layer(m)), b2));
    printf("    routers   %-10s %5.1f%%\n", num_bytes(s.router_bytes, b1),
           percent(s.router_bytes, s.file_bytes));
    if (s.mtp_tensors)
        printf("    MTP       %-10s %5.1f%%   dropped when experts are\n", num_bytes(s.mtp_bytes, b1),
               percent(s.mtp_bytes, s.file_bytes));
    printf("    the rest  %-10s %5.1f%%   never shrinks\n", num_bytes(s.other_bytes, b1),
           percent(s.other_bytes, s.file_bytes));
    printf("  digest      %s\n", digest);
    ratio_table(m, s.file_bytes);
}

static void tensor_json(const struct model *m, const struct tensor *t)
{
    struct json_out j = {0};
    int d;

    json_begin(&j);
    jo_string(&j, "name", t->name);
    jo_string(&j, "dtype", dtype_name(t->dtype));
    jo_open(&j, "shape", '[');
    for (d = 0; d < t->rank; d++)
        jo_uint(&j, NULL, t->shape[d]);
    jo_close(&j);
    jo_uint(&j, "bytes", t->size);
    jo_string(&j, "file", m->ckpt.shard_name[t->shard]);
    jo_uint(&j, "offset", t->begin);
    jo_close(&j);
    json_print(stdout, &j);
}

static void tensor_row(const struct tensor *t)
{
    char shape[200] = "[";
    size_t at = 1;
    int d;

    for (d = 0; d < t->rank; d++)
        at += (size_t)snprintf(shape + at, sizeof shape - at, "%s%llu", d ? "," : "",
                               (unsigned long long)t->shape[d]);
    snprintf(shape + at, sizeof shape - at, "]");
    printf("%-9s %-24s %15llu ", dtype_name(t->dtype), shape, (unsigned long long)t->size);
    put_name(stdout, 0, t->name);
    putchar('\n');
}

void print_tensors(const struct model *m)
{
    size_t i;

    if (!common.json)
        printf("%-9s %-24s %15s %s\n", "#dtype", "shape", "bytes", "name");
    for (i = 0; i < m->ckpt.n; i++)
        if (common.json)
            tensor_json(m, m->ckpt.tensor[i]);
        else
            tensor_row(m->ckpt.tensor[i]);
}

static const char *const part_names[] = {"-", "gate", "up", "down", "gate_up"};

static const char *piece_name(const struct tensor_role *r)
{
    static const char *const name[] = {
        [USE_WEIGHT] = "weight", [USE_SCALE] = "scales", [USE_GLOBAL] = "global", [USE_ZERO] = "zeros",
        [USE_ORDER] = "order",   [USE_BIAS] = "bias",    [USE_OTHER] = "other"};

    return r->use == USE_WEIGHT && role_weights(r, 1) > 1 ? "blocks" : name[r->use];
}

static void expert_row(const struct model *m, size_t i, int expert, uint64_t begin, uint64_t bytes)
{
    const struct tensor_role *r = &m->role[i];
    const struct tensor *t = m->ckpt.tensor[i];
    struct json_out j = {0};

    if (!common.json) {
        printf("%d\t%d\t%s\t%s\t", r->layer, expert, part_names[r->part], piece_name(r));
        put_name(stdout, 0, m->ckpt.shard_name[t->shard]);
        printf("\t%llu\t%llu\t", (unsigned long long)begin, (unsigned long long)bytes);
        put_name(stdout, 0, t->name);
        putchar('\n');
        return;
    }
    json_begin(&j);
    jo_int(&j, "layer", r->layer);
    jo_int(&j, "expert", expert);
    jo_string(&j, "part", part_names[r->part]);
    jo_string(&j, "piece", piece_name(r));
    jo_string(&j, "file", m->ckpt.shard_name[t->shard]);
    jo_uint(&j, "offset", begin);
    jo_uint(&j, "bytes", bytes);
    jo_string(&j, "tensor", t->name);
    jo_close(&j);
    json_print(stdout, &j);
}

void print_experts(const struct model *m)
{
    size_t i;
    int j;

    if (!common.json)
        printf("#layer\texpert\tpart\tpiece\tfile\toffset\tbytes\ttensor\n");
    for (i = 0; i < m->ckpt.n; i++) {
        const struct tensor *t = m->ckpt.tensor[i];

        if (m->role[i].role == ROLE_EXPERT)
            expert_row(m, i, m->role[i].expert, t->begin, t->size);
        for (j = 0; m->role[i].role == ROLE_EXPERTS && counts_experts(&m->role[i]) && j < m->arch.experts;
             j++) {
            uint64_t bytes = t->size / (uint64_t)m->arch.experts;

            expert_row(m, i, j, t->begin + bytes * (uint64_t)j, bytes);
        }
    }
}

static void note_few(const struct model *m)
{
    note("fewer than the %d experts that a token uses: every token would run through all of them",
         m->arch.topk);
}

static void size_answer(const struct model *m, int keep, uint64_t size, int64_t context)
{
    struct json_out j = {.pretty = true};
    struct model_summary s;
    struct serving serving;
    struct err e = {0};
    char b1[32], b2[32];

    model_summarize(m, &s);
    if (serving_open(&serving, m, &e))
        die(&e);
    if (common.json) {
        json_begin(&j);
        jo_int(&j, "keep", keep);
        jo_int(&j, "experts", m->arch.experts);
        jo_uint(&j, "bytes", size);
        jo_uint(&j, "bytes_now", s.file_bytes);
        serving_json(&j, &serving, keep, size, context);
        jo_close(&j);
        json_print(stdout, &j);
    } else {
        printf("%d of %d experts in every layer: %s (%llu bytes) of %s, %.1f%%\n", keep, m->arch.experts,
               num_bytes(size, b1), (unsigned long long)size, num_bytes(s.file_bytes, b2),
               percent(size, s.file_bytes));
        serving_text(&serving, keep, size, context);
    }
    if (keep < m->arch.topk)
        note_few(m);
}

void print_keep(const struct model *m, int keep, int64_t context)
{
    uint64_t size;
    struct err e = {0};

    if (keep < 1 || keep > m->arch.experts)
        usage_error("--keep %d: this model has %d experts", keep, m->arch.experts);
    if (prune_size(m, keep, &size, &e))
        die(&e);
    size_answer(m, keep, size, context);
}

void print_plan_size(const struct model *m, const char *plan_path, int64_t context)
{
    struct err e = {0};
    struct plan p;
    uint64_t size;

    if (plan_read(&p, plan_path, &e) || prune_plan_size(m, &p, &size, &e))
        die(&e);
    size_answer(m, plan_kept(&p, 0), size, context);
    plan_free(&p);
}

static void fit_json(const struct model *m, const struct fit *f, uint64_t limit, int below)
{
    struct json_out j = {0};

    json_begin(&j);
    jo_int(&j, "keep", f->keep);
    jo_int(&j, "experts", m->arch.experts);
    jo_uint(&j, "weights_bytes", f->weights);
    jo_uint(&j, "kv_bytes", f->kv);
    jo_uint(&j, "limit_bytes", limit);
    jo_open(&j, "nearest", '[');
    if (below)
        jo_int(&j, NULL, below);
    jo_close(&j);
    jo_close(&j);
    json_print(stdout, &j);
}

int print_fit(const struct model *m, uint64_t bytes, int64_t context)
{
    char b1[32], b2[32], b3[32];
    struct err e = {0};
    struct fit f;
    int below;

    if (fit_keep(m, bytes, context, &f, &e))
        die(&e);
    below = f.keep ? serving_below(m, f.keep) : 0;
    if (common.json) {
        fit_json(m, &f, bytes, below);
    } else if (f.keep) {
        printf("%d of %d experts fit into %s: weights %s, key-value cache of %lld tokens %s (bf16)\n", f.keep,
               m->arch.experts, num_bytes(bytes, b1), num_bytes(f.weights, b2), (long long)context,
               num_bytes(f.kv, b3));
        if (m->arch.groups > 1 && f.keep < m->arch.experts)
            note("only such numbers are considered as the %d groups of the router allow", m->arch.groups);
        if (f.keep < m->arch.topk)
            note_few(m);
        if (f.keep < m->arch.experts)
            note("a runtime needs 1 to 2 GB more for itself; moe-score -k %d makes the plan", f.keep);
        if (below)
            note("with %d experts there are fewer obstacles to serving; --keep %d names them", below, f.keep);
    } else {
        printf(
            "does not fit into %s: with %d expert%s a layer, the fewest, the weights still take %s, and the "
            "key-value cache %s\n",
            num_bytes(bytes, b1), f.least, f.least == 1 ? "" : "s", num_bytes(f.weights, b2),
            num_bytes(f.kv, b3));
    }
    return f.keep ? EXIT_DONE : EXIT_NO;
}

/* ---- --check ---- */

static void check_json(const struct model *m, const struct findings *f, const struct serving *serving,
                       int64_t context)
{
    struct json_out j = {.pretty = true};
    struct model_summary s;
    size_t i;

    json_begin(&j);
    jo_open(&j, "problems", '[');
    for (i = 0; i < f->n; i++)
        jo_string(&j, NULL, f->v[i].text);
    jo_close(&j);
    jo_uint(&j, "tensors", m->ckpt.n);
    jo_uint(&j, "bytes", m->ckpt.tensor_bytes);
    model_summarize(m, &s);
    serving_json(&j, serving, m->arch.experts, s.file_bytes, context);
    jo_close(&j);
    json_print(stdout, &j);
}

static void check_text(const struct model *m, const struct findings *f, const struct serving *serving,
                       int64_t context)
{
    struct model_summary s;
    char b[32];
    size_t i;

    for (i = 0; i < f->n; i++) {
        printf("problem: ");
        put_name(stdout, 0, f->v[i].text);
        putchar('\n');
    }
    if (f->n)
        printf("%zu problem%s\n", f->n, f->n == 1 ? "" : "s");
    else
        printf("good: %zu tensors, %d layers x %d experts, %s, every value a number\n", m->ckpt.n,
               m->arch.moe_layers, m->arch.experts, num_bytes(m->ckpt.tensor_bytes, b));
    model_summarize(m, &s);
    serving_text(serving, m->arch.experts, s.file_bytes, context);
}

int print_check(const struct model *m, int64_t context)
{
    struct working working = {"checking values", NULL};
    struct serving serving;
    struct findings f;
    struct err e = {0};
    char *problem;
    int status;

    if (model_findings(&f, m, 0, working_bytes, &working, &e) ||
        tokenizer_problem(&problem, m->dir, m->arch.vocab, &e) ||
        findings_add(&f, FINDING_LOADING, problem, &e) || chat_problem(&problem, m->dir, &e) ||
        findings_add(&f, FINDING_LOADING, problem, &e) || serving_open(&serving, m, &e))
        die(&e);
    serving_problems(&f, &serving);
    progress_done();
    if (common.json)
        check_json(m, &f, &serving, context);
    else
        check_text(m, &f, &serving, context);
    status = f.n ? EXIT_NO : EXIT_DONE;
    findings_free(&f);
    return status;
}
