/* findings.c -- whether a model is whole. */
#include "model/findings.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/magic.h"
#include "base/words.h"
#include "model/container.h"
#include "model/parts.h"
#include "model/summary.h"

#define HUB_HEADER_LIMIT 25000000u /* what the hub's own header parser accepts */
#define INDEX_NAME       "model.safetensors.index.json"

struct search {
    struct findings *f;
    const struct model *m;
    void (*progress)(void *ctx, uint64_t done, uint64_t total);
    void *ctx;
    size_t zeros; /* tensors that are zeros, all or much of them, and the first of these */
    const char *first_zero;
    struct err *e;
};

static void found(struct search *s, enum finding_grade grade, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void found(struct search *s, enum finding_grade grade, const char *fmt, ...)
{
    struct str text = {0};
    va_list ap;

    va_start(ap, fmt);
    str_addv(&text, fmt, ap);
    va_end(ap);
    if (str_ok(&text, s->e))
        str_free(&text);
    else
        findings_add(s->f, grade, text.p, s->e);
}

int findings_add(struct findings *f, enum finding_grade grade, char *text, struct err *e)
{
    if (!text)
        return 0;
    if (mem_grow(&f->v, &f->cap, f->n + 1, sizeof *f->v, e)) {
        free(text);
        return -1;
    }
    f->v[f->n++] = (struct finding){grade, text};
    return 0;
}

static bool in_dir(const struct search *s, const char *name)
{
    char *p = path_join(s->m->dir, name, s->e);
    bool yes = p && path_exists(p);

    free(p);
    return yes;
}

static bool is_shard(const struct checkpoint *c, const char *name)
{
    int k;

    for (k = 0; k < c->shards; k++)
        if (strcmp(name, c->shard_name[k]) == 0)
            return true;
    return false;
}

/* What git left in the place of a file. Those of tensors were read already, those of tokenizers and chat
 * templates are read on their own. */
static void check_pointer(struct search *s, const char *name)
{
    enum { LONGEST = 1024 };
    bool own = strcmp(name, "tokenizer.json") == 0 || strcmp(name, "tokenizer_config.json") == 0 ||
               ends_with(name, ".jinja");
    char *path = own ? NULL : path_join(s->m->dir, name, s->e), *text = NULL;
    struct err large = {0};
    const char *kind;
    size_t n;

    if (path && !path_is_dir(path) && file_read(path, LONGEST, &text, &n, &large) == 0) {
        kind = magic_kind(text, n);
        if (kind && strstr(kind, "Git LFS"))
            found(s, FINDING_LOADING, "'%s' is %s", name, kind);
    }
    free(text);
    free(path);
}

static void check_files(struct search *s)
{
    static const char *const tokenizer[] = {"tokenizer.json", "tokenizer.model", "tekken.json",
                                            "tiktoken.model", "vocab.json"};
    const size_t tokenizers = sizeof tokenizer / sizeof *tokenizer;
    const struct checkpoint *c = &s->m->ckpt;
    char **names;
    size_t n, i;
    int k;

    for (i = 0; i < tokenizers && !in_dir(s, tokenizer[i]); i++)
        ;
    if (i == tokenizers)
        found(s, FINDING_LOADING, "there is no tokenizer.json, tokenizer.model or tekken.json");
    if (!in_dir(s, "tokenizer_config.json"))
        found(s, FINDING_LOADING, "there is no tokenizer_config.json");
    for (k = 0; k < c->shards; k++)
        if (c->shard[k].header_bytes > HUB_HEADER_LIMIT)
            found(s, FINDING_LOADING, "'%s' has a header over 25 MB, which the hub refuses",
                  c->shard_name[k]);
    if (!c->has_index && c->shards > 1)
        found(s, FINDING_LOADING, "there is no index of %d files: most loaders need one", c->shards);
    if (c->index_unread)
        found(s, FINDING_LOADING,
              "an index lies beside model.safetensors: loaders disagree on which one counts");
    if (dir_list(s->m->dir, &names, &n, s->e))
        return;
    for (i = 0; i < n; i++)
        if (!ends_with(names[i], ".safetensors"))
            check_pointer(s, names[i]);
        else if (!is_shard(c, names[i]))
            found(s, FINDING_LOADING, "'%s' belongs to no index: some loaders would read it", names[i]);
    dir_free(names, n);
}

static void check_index_size(struct search *s)
{
    const struct checkpoint *c = &s->m->ckpt;
    const cJSON *size;
    cJSON *index;
    char *path;

    if (!c->has_index)
        return;
    path = path_join(s->m->dir, INDEX_NAME, s->e);
    if (path && json_read(path, ST_MAX_HEADER, &index, s->e) == 0) {
        size = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(index, "metadata"),
                                                "total_size");
        if (cJSON_IsNumber(size) && size->valuedouble != (double)c->tensor_bytes)
            found(s, FINDING_LOADING, "the index says total_size %.0f, the tensors take %llu bytes",
                  size->valuedouble, (unsigned long long)c->tensor_bytes);
        cJSON_Delete(index);
    }
    free(path);
}

static void value_found(void *ctx, const struct value_problem *p)
{
    struct search *s = ctx;

    if (p->zero) {
        s->first_zero = s->zeros++ ? s->first_zero : p->tensor;
        return;
    }
    found(s, FINDING_WRONG, "tensor '%s' holds %s at element %llu", p->tensor, p->what,
          (unsigned long long)p->index);
}

/* What a download leaves in a file that was given its full size at once. */
static void check_zeros(struct search *s)
{
    if (s->zeros == 1)
        found(s, FINDING_WRONG,
              "tensor '%s', or a large part of it, is nothing but zeros: is the download complete?",
              s->first_zero);
    else if (s->zeros)
        found(s, FINDING_WRONG,
              "%zu tensors, or large parts of them, are nothing but zeros ('%s' ...): is the download "
              "complete?",
              s->zeros, s->first_zero);
}

/* Whether config.json says how it is quantized, and not a file beside it. */
static bool says_itself(struct search *s)
{
    static const char *const path[][3] = {{"quantization_config", NULL, NULL},
                                          {"text_config", "quantization_config", NULL}};
    const struct model *m = s->m;
    size_t from, to;
    int i, found = 0;

    for (i = 0; i < 2 && found == 0; i++)
        found = json_find(m->config_text, m->config_n, m->config_name, path[i], &from, &to, s->e);
    return found > 0;
}

/* Whether config.json announces what is not there. */
static void check_announced(struct search *s)
{
    const struct model *m = s->m;
    const char *file = m->ckpt.container->folder ? quantization_file(m->dir, s->e) : NULL;
    bool coded = model_coded(m);
    size_t i;

    if (!coded && !m->cut_only && (m->arch.claims > 1 || *m->arch.unread || file))
        found(s, FINDING_LOADING,
              "%s announces a quantization that no tensor has: runtimes look for its scales and fail to load",
              says_itself(s) || !file ? "quantization_config in config.json" : file);
    for (i = 0; i < m->ckpt.n && m->role[i].role != ROLE_MTP; i++)
        ;
    if (m->arch.mtp_layers && i == m->ckpt.n && m->ckpt.container->folder)
        found(
            s, FINDING_LOADING,
            "config.json announces %d further layers (%s, MTP) that are not in the files: runtimes that use "
            "them fail to load",
            m->arch.mtp_layers, m->arch.family->key_mtp[0]);
}

static void limit_found(void *ctx, const char *line)
{
    found(ctx, FINDING_LOADING, "%s", line);
}

static void value_progress(void *ctx, uint64_t done, uint64_t total)
{
    const struct search *s = ctx;

    if (s->progress)
        s->progress(s->ctx, done, total);
}

int model_findings(struct findings *f, const struct model *m, int threads,
                   void (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx, struct err *e)
{
    struct search s = {.f = f, .m = m, .progress = progress, .ctx = ctx, .e = e};

    *f = (struct findings){0};
    if (m->cut_only)
        found(&s, FINDING_LOADING, "%s", m->cut_only);
    if (!e->kind && m->ckpt.container->folder)
        check_files(&s);
    if (!e->kind && m->ckpt.container->limits)
        m->ckpt.container->limits(&m->ckpt, limit_found, &s);
    if (!e->kind)
        check_index_size(&s);
    if (!e->kind)
        check_announced(&s);
    if (!e->kind)
        model_check_values(m, threads, value_found, value_progress, &s, e);
    if (!e->kind)
        check_zeros(&s);
    return e->kind ? -1 : 0;
}

void findings_free(struct findings *f)
{
    size_t i;

    for (i = 0; i < f->n; i++)
        free(f->v[i].text);
    free(f->v);
    *f = (struct findings){0};
}
