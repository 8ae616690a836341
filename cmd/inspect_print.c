#include "inspect_print.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/num.h"
#include "common.h"
#include "model/summary.h"
#include "surgery/fit.h"
#include "surgery/prune.h"

#define HUB_HEADER_LIMIT 25000000u /* what the hub's own header parser accepts */

static void name_list(const char *const *list, int max)
{
    int i;

    for (i = 0; i < max && list[i]; i++) {
        fputs(i ? ", " : "", stdout);
        json_string(stdout, list[i]);
    }
}

#define LIST(list) name_list(list, (int)(sizeof(list) / sizeof *(list)))

static const char *storage(const struct family *f)
{
    return f->fused_layout == EXPERTS_INTERLEAVED_IO ? "fused, MXFP4" : "split, fused";
}

static void families_json(const struct family *f, int n)
{
    int i;

    printf("[");
    for (i = 0; i < n; i++, f++) {
        printf("%s\n  {\"name\": \"%s\", \"title\": \"%s\", \"stored\": \"%s\", \"needs\": ", i ? "," : "",
               f->name, f->title, storage(f));
        json_string(stdout, f->needs);
        printf(",\n   \"model_type\": \"%s\", \"model_types\": [", f->model_type[0]);
        LIST(f->model_type);
        printf("], \"architectures\": [");
        LIST(f->architectures);
        printf("],\n   \"expert_count_keys\": [");
        LIST(f->key_experts);
        printf("], \"topk_keys\": [");
        LIST(f->key_topk);
        printf("]}");
    }
    printf("\n]\n");
}

void print_families(void)
{
    int n, i;
    const struct family *f = family_table(&n);

    if (common.json) {
        families_json(f, n);
        return;
    }
    printf("%-14s %-14s %-24s %s\n", "name", "family", "architecture", "experts stored");
    for (i = 0; i < n; i++, f++)
        printf("%-14s %-14s %-24s %s\n    %s\n", f->name, f->title, f->architectures[0], storage(f),
               f->needs);
    printf(
        "\nsplit: a tensor for each matrix of each expert, in BF16, F16, F32, FP8 with scales of 128 x 128 "
        "blocks,\nor MXFP4 (compressed-tensors); fused: tensors with all experts of a layer, in BF16, F16 or "
        "F32\n");
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

static void summary_json(const struct model *m, const struct model_summary *s, const char *digest)
{
    const struct arch *a = &m->arch;

    printf("{\"directory\": ");
    json_string(stdout, m->dir);
    printf(", \"revision\": ");
    if (m->revision)
        json_string(stdout, m->revision);
    else
        printf("null");
    printf(", \"family\": \"%s\", \"digest\": \"%s\",\n \"layers\": %d, \"moe_layers\": %d, \"experts\": %d, "
           "\"topk\": %d, "
           "\"hidden\": %d, \"intermediate\": %d, \"vocabulary\": %d, \"expert_storage\": \"%s\",\n",
           a->family->name, digest, a->layers, a->moe_layers, a->experts, a->topk, a->hidden, a->inter,
           a->vocab, expert_layout_name(m->layout));
    printf(" \"fp8\": %s, \"groups\": %d, \"topk_group\": %d, \"group\": %s, \"shared_intermediate\": %d, "
           "\"mtp_layers\": %d, \"mtp_tensors\": %d,\n",
           a->fp8_config ? "true" : "false", a->groups, a->topk_group,
           a->groups < 2            ? "null"
           : a->group == GROUP_TOP2 ? "\"top2\""
                                    : "\"max\"",
           a->shared_inter, a->mtp_layers, s->mtp_tensors);
    printf(" \"parameters\": %llu, \"active_parameters\": %llu, \"files\": %d, \"tensors\": %zu,\n "
           "\"bytes\": %llu, "
           "\"expert_bytes\": %llu, \"router_bytes\": %llu, \"mtp_bytes\": %llu, \"other_bytes\": %llu, "
           "\"bytes_per_expert\": %llu}\n",
           (unsigned long long)s->params, (unsigned long long)s->active, m->ckpt.shards, m->ckpt.n,
           (unsigned long long)s->file_bytes, (unsigned long long)s->expert_bytes,
           (unsigned long long)s->router_bytes, (unsigned long long)s->mtp_bytes,
           (unsigned long long)s->other_bytes, (unsigned long long)model_expert_bytes(m, first_moe_layer(m)));
}

static void print_architecture(const struct model *m)
{
    const struct arch *a = &m->arch;
    const struct attention_arch *t = &a->layer[0].attn;
    const struct latent_arch *x = &a->layer[0].latent;

    printf("  family      %s (%s)\n", a->family->title, a->family->name);
    printf("  layers      %d, %d with experts\n", a->layers, a->moe_layers);
    printf("  experts     %d in each, %d per token; stored as %s%s\n", a->experts, a->topk,
           expert_layout_name(m->layout), a->fp8_config ? ", FP8" : "");
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

void print_tensors(const struct model *m)
{
    size_t i;
    int d;

    if (!common.json)
        printf("%-9s %-24s %15s %s\n", "#dtype", "shape", "bytes", "name");
    for (i = 0; i < m->ckpt.n; i++) {
        const struct tensor *t = m->ckpt.tensor[i];
        char shape[200] = "[";
        size_t at = 1;

        for (d = 0; d < t->rank; d++)
            at += (size_t)snprintf(shape + at, sizeof shape - at, "%s%llu", d ? "," : "",
                                   (unsigned long long)t->shape[d]);
        snprintf(shape + at, sizeof shape - at, "]");
        if (!common.json) {
            printf("%-9s %-24s %15llu %s\n", dtype_name(t->dtype), shape, (unsigned long long)t->size,
                   t->name);
            continue;
        }
        printf("{\"name\": ");
        json_string(stdout, t->name);
        printf(", \"dtype\": \"%s\", \"shape\": %s, \"bytes\": %llu, \"file\": ", dtype_name(t->dtype), shape,
               (unsigned long long)t->size);
        json_string(stdout, m->ckpt.shard_name[t->shard]);
        printf(", \"offset\": %llu}\n", (unsigned long long)t->begin);
    }
}

static const char *const part_names[] = {"-", "gate", "up", "down", "gate_up"};
static const char *const piece_names[] = {"weight", "bias", "scales", "blocks"};

static void expert_row(const struct model *m, size_t i, int expert, uint64_t begin, uint64_t bytes)
{
    const struct tensor_role *r = &m->role[i];
    const struct tensor *t = m->ckpt.tensor[i];

    if (!common.json) {
        printf("%d\t%d\t%s\t%s\t%s\t%llu\t%llu\t%s\n", r->layer, expert, part_names[r->part],
               piece_names[r->piece], m->ckpt.shard_name[t->shard], (unsigned long long)begin,
               (unsigned long long)bytes, t->name);
        return;
    }
    printf("{\"layer\": %d, \"expert\": %d, \"part\": \"%s\", \"piece\": \"%s\", \"file\": ", r->layer,
           expert, part_names[r->part], piece_names[r->piece]);
    json_string(stdout, m->ckpt.shard_name[t->shard]);
    printf(", \"offset\": %llu, \"bytes\": %llu, \"tensor\": ", (unsigned long long)begin,
           (unsigned long long)bytes);
    json_string(stdout, t->name);
    printf("}\n");
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
        for (j = 0; m->role[i].role == ROLE_EXPERTS && j < m->arch.experts; j++) {
            uint64_t bytes = t->size / (uint64_t)m->arch.experts;

            expert_row(m, i, j, t->begin + bytes * (uint64_t)j, bytes);
        }
    }
}

static void size_answer(const struct model *m, int keep, uint64_t size)
{
    struct model_summary s;
    char b1[32], b2[32];

    model_summarize(m, &s);
    if (common.json)
        printf("{\"keep\": %d, \"experts\": %d, \"bytes\": %llu, \"bytes_now\": %llu}\n", keep,
               m->arch.experts, (unsigned long long)size, (unsigned long long)s.file_bytes);
    else
        printf("%d of %d experts in every layer: %s (%llu bytes) of %s, %.1f%%\n", keep, m->arch.experts,
               num_bytes(size, b1), (unsigned long long)size, num_bytes(s.file_bytes, b2),
               percent(size, s.file_bytes));
}

void print_keep(const struct model *m, int keep)
{
    uint64_t size;
    struct err e = {0};

    if (keep < 1 || keep > m->arch.experts)
        usage_error("--keep %d: this model has %d experts", keep, m->arch.experts);
    if (prune_size(m, keep, &size, &e))
        die(&e);
    size_answer(m, keep, size);
}

void print_plan_size(const struct model *m, const char *plan_path)
{
    struct err e = {0};
    struct plan p;
    uint64_t size;

    if (plan_read(&p, plan_path, &e) || prune_plan_size(m, &p, &size, &e))
        die(&e);
    size_answer(m, plan_kept(&p, 0), size);
    plan_free(&p);
}

int print_fit(const struct model *m, uint64_t bytes, int64_t context)
{
    char b1[32], b2[32], b3[32];
    struct err e = {0};
    struct fit f;

    if (fit_keep(m, bytes, context, &f, &e))
        die(&e);
    if (common.json) {
        printf("{\"keep\": %d, \"experts\": %d, \"weights_bytes\": %llu, \"kv_bytes\": %llu, "
               "\"limit_bytes\": %llu}\n",
               f.keep, m->arch.experts, (unsigned long long)f.weights, (unsigned long long)f.kv,
               (unsigned long long)bytes);
    } else if (f.keep) {
        printf("%d of %d experts fit into %s: weights %s, key-value cache of %lld tokens %s (bf16)\n", f.keep,
               m->arch.experts, num_bytes(bytes, b1), num_bytes(f.weights, b2), (long long)context,
               num_bytes(f.kv, b3));
        if (m->arch.groups > 1 && f.keep < m->arch.experts)
            note("only such numbers are considered as the %d groups of the router allow", m->arch.groups);
        if (f.keep < m->arch.topk)
            note("fewer than the %d experts that a token uses: every token would run through all of them",
                 m->arch.topk);
        if (f.keep < m->arch.experts)
            note("a runtime needs 1 to 2 GB more for itself; moe-score -k %d makes the plan", f.keep);
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

static int problems;

static void problem(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void problem(const char *fmt, ...)
{
    char text[600];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (common.json) {
        printf("%s\n  ", problems ? "," : "");
        json_string(stdout, text);
    } else {
        printf("problem: %s\n", text);
    }
    problems++;
}

static void value_problem(void *ctx, const struct value_problem *p)
{
    (void)ctx;
    problem("tensor '%s' holds %s at element %llu", p->tensor, p->what, (unsigned long long)p->index);
}

static void value_progress(void *ctx, uint64_t done, uint64_t total)
{
    (void)ctx;
    progress("checking values", total ? (double)done / (double)total : 1);
}

static bool in_dir(const struct model *m, const char *name)
{
    char *p = path_join(m->dir, name, NULL);
    bool yes = p && path_exists(p);

    free(p);
    return yes;
}

/* What loaders trip over although every tensor is right. */
static void check_files(const struct model *m)
{
    char **names;
    size_t n, i;
    int k;
    struct err e = {0};

    if (!in_dir(m, "tokenizer.json") && !in_dir(m, "tokenizer.model") && !in_dir(m, "tekken.json"))
        problem("there is no tokenizer.json, tokenizer.model or tekken.json");
    if (!in_dir(m, "tokenizer_config.json"))
        problem("there is no tokenizer_config.json");
    for (k = 0; k < m->ckpt.shards; k++)
        if (m->ckpt.shard[k].header_bytes > HUB_HEADER_LIMIT)
            problem("'%s' has a header over 25 MB, which the hub refuses", m->ckpt.shard_name[k]);
    if (!m->ckpt.has_index && in_dir(m, "model.safetensors.index.json"))
        problem("an index lies beside model.safetensors: loaders disagree on which one counts");
    if (dir_list(m->dir, &names, &n, &e))
        die(&e);
    for (i = 0; i < n; i++) {
        size_t len = strlen(names[i]);
        bool used = false;

        if (len < 12 || strcmp(names[i] + len - 12, ".safetensors") != 0)
            continue;
        for (k = 0; k < m->ckpt.shards; k++)
            used = used || strcmp(names[i], m->ckpt.shard_name[k]) == 0;
        if (!used)
            problem("'%s' belongs to no index: some loaders would read it", names[i]);
    }
    dir_free(names, n);
}

static void check_index_size(const struct model *m)
{
    struct err e = {0};
    const cJSON *meta, *size;
    cJSON *index;
    char *path;

    if (!m->ckpt.has_index)
        return;
    path = path_join(m->dir, "model.safetensors.index.json", &e);
    if (!path || json_read(path, ST_MAX_HEADER, &index, &e))
        die(&e);
    free(path);
    meta = cJSON_GetObjectItemCaseSensitive(index, "metadata");
    size = cJSON_GetObjectItemCaseSensitive(meta, "total_size");
    if (cJSON_IsNumber(size) && size->valuedouble != (double)m->ckpt.tensor_bytes)
        problem("the index says total_size %.0f, the tensors take %llu bytes", size->valuedouble,
                (unsigned long long)m->ckpt.tensor_bytes);
    cJSON_Delete(index);
}

int print_check(const struct model *m)
{
    struct err e = {0};
    char b[32];

    if (common.json)
        printf("{\"problems\": [");
    check_files(m);
    check_index_size(m);
    if (model_check_values(m, 0, value_problem, value_progress, NULL, &e))
        die(&e);
    if (common.json)
        printf("], \"tensors\": %zu, \"bytes\": %llu}\n", m->ckpt.n,
               (unsigned long long)m->ckpt.tensor_bytes);
    else if (problems)
        printf("%d problem%s\n", problems, problems == 1 ? "" : "s");
    else
        printf("good: %zu tensors, %d layers x %d experts, %s, every value a number\n", m->ckpt.n,
               m->arch.moe_layers, m->arch.experts, num_bytes(m->ckpt.tensor_bytes, b));
    return problems ? EXIT_NO : EXIT_DONE;
}
