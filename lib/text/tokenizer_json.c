/*
 * tokenizer_json.c -- a folder's tokenizer.json as the source of a tokenizer. The file has up to tens of
 * megabytes, nearly all of it vocabulary and merges, so these are only found here and pulled through the
 * scanner when they are asked for; its small members become trees.
 */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "text/tokenizer_source.h"

struct folder {
    char *path, *config_path, *text, *unk;
    struct js tokens, merges; /* where they begin */
    bool has_model;
};

struct reading {
    struct tokenizer_source *source;
    struct folder *own;
    struct js s;
    struct str key, value;
    struct err *e;
};

/* ---- tokens and merges ---- */

static int json_tokens(const struct tokenizer_source *source, token_fn *fn, void *ctx, struct err *e)
{
    const struct folder *own = source->own;
    struct js s = own->tokens;
    struct str key = {0};
    uint64_t id;
    int bad;

    s.e = e;
    bad = js_open(&s, '{');
    while (!bad && js_key(&s, &key))
        bad = js_u64(&s, &id) || fn(ctx, key.p, key.n, (double)id, e);
    str_free(&key);
    return bad || e->kind ? -1 : 0;
}

/* "a b", or ["a", "b"]. */
static int read_merge(struct js *s, struct str *left, struct str *right, merge_fn *fn, void *ctx)
{
    const char *space;

    if (js_peek(s) == '[') {
        js_open(s, '[');
        if (!js_item(s) || js_string(s, left) || !js_item(s) || js_string(s, right))
            return s->e->kind ? -1 : js_fail(s, "a merge is two strings");
        if (js_item(s) || s->e->kind)
            return js_fail(s, "a merge is two strings");
        return fn(ctx, left->p, left->n, right->p, right->n, s->e);
    }
    if (js_string(s, left))
        return -1;
    space = memchr(left->p, ' ', left->n);
    if (!space || memchr(space + 1, ' ', left->n - (size_t)(space + 1 - left->p)))
        return js_fail(s, "the merge '%.100s' is not two tokens", left->p);
    return fn(ctx, left->p, (size_t)(space - left->p), space + 1, left->n - (size_t)(space + 1 - left->p),
              s->e);
}

static int json_merges(const struct tokenizer_source *source, merge_fn *fn, void *ctx, struct err *e)
{
    const struct folder *own = source->own;
    struct js s = own->merges;
    struct str left = {0}, right = {0};
    int bad;

    s.e = e;
    bad = js_open(&s, '[');
    while (!bad && js_item(&s))
        bad = read_merge(&s, &left, &right, fn, ctx);
    str_free(&left);
    str_free(&right);
    return bad || e->kind ? -1 : 0;
}

/* ---- the model ---- */

static bool is_null(struct js *s)
{
    return js_peek(s) == 'n' && js_skip(s, NULL, NULL) == 0;
}

/* A member that must be null, or the value that says the same. */
static int read_absent(struct reading *r, const char *name)
{
    double number = 0;

    str_clear(&r->value);
    if (is_null(&r->s))
        return 0;
    if (js_peek(&r->s) == '0' ? js_double(&r->s, &number) : js_string(&r->s, &r->value))
        return -1;
    return number != 0 || r->value.n
               ? err_set(r->e, ERR_UNKNOWN, "%s: the model's %s is not understood", r->own->path, name)
               : 0;
}

static int read_type(struct reading *r)
{
    if (js_string(&r->s, &r->value))
        return -1;
    return strcmp(r->value.p ? r->value.p : "", "BPE") == 0
               ? 0
               : err_set(r->e, ERR_UNKNOWN, "%s: the model type '%s' is not understood (BPE is)",
                         r->own->path, r->value.p ? r->value.p : "");
}

static int read_unk(struct reading *r)
{
    if (is_null(&r->s))
        return 0;
    if (js_string(&r->s, &r->value))
        return -1;
    free(r->own->unk);
    r->source->unk = r->own->unk = r->value.n ? mem_strdup(r->value.p, r->e) : NULL;
    return r->e->kind ? -1 : 0;
}

/* A large member: where it begins. */
static int find_member(struct reading *r, struct js *at)
{
    js_peek(&r->s);
    *at = r->s;
    return js_skip(&r->s, NULL, NULL);
}

static int read_model_member(struct reading *r, const char *name)
{
    struct tokenizer_source *source = r->source;
    const struct {
        const char *name;
        bool *flag;
    } flags[] = {{"fuse_unk", &source->fuse_unk},
                 {"byte_fallback", &source->byte_fallback},
                 {"ignore_merges", &source->ignore_merges}};
    size_t i;

    if (strcmp(name, "type") == 0)
        return read_type(r);
    if (strcmp(name, "vocab") == 0)
        return find_member(r, &r->own->tokens);
    if (strcmp(name, "merges") == 0)
        return find_member(r, &r->own->merges);
    if (strcmp(name, "unk_token") == 0)
        return read_unk(r);
    for (i = 0; i < sizeof flags / sizeof *flags; i++)
        if (strcmp(name, flags[i].name) == 0)
            return is_null(&r->s) ? 0 : js_bool(&r->s, flags[i].flag);
    if (strcmp(name, "dropout") == 0 || strcmp(name, "continuing_subword_prefix") == 0 ||
        strcmp(name, "end_of_word_suffix") == 0)
        return read_absent(r, name);
    return err_set(r->e, ERR_UNKNOWN, "%s: the model's member '%s' is not understood", r->own->path, name);
}

static int read_model(struct reading *r)
{
    struct str name = {0};
    int bad = js_open(&r->s, '{');

    while (!bad && js_key(&r->s, &name))
        bad = read_model_member(r, name.p);
    str_free(&name);
    if (bad || r->e->kind)
        return -1;
    if (!r->own->tokens.p || !r->own->merges.p)
        return err_set(r->e, ERR_INPUT, "%s: the model has no %s", r->own->path,
                       r->own->tokens.p ? "merges" : "vocab");
    r->own->has_model = true;
    return 0;
}

/* ---- the small members ---- */

static int read_tree(struct reading *r, cJSON **out)
{
    size_t from, to;

    if (*out)
        return js_fail(&r->s, "a member occurs twice");
    if (js_skip(&r->s, &from, &to))
        return -1;
    return json_parse(r->s.start + from, to - from, r->own->path, out, r->e);
}

static int read_member(struct reading *r, const char *name)
{
    const struct {
        const char *name;
        cJSON **tree;
    } trees[] = {{"added_tokens", &r->source->added},
                 {"normalizer", &r->source->normalizer},
                 {"pre_tokenizer", &r->source->splitter},
                 {"post_processor", &r->source->post}};
    size_t i;

    if (strcmp(name, "model") == 0)
        return r->own->has_model ? js_fail(&r->s, "a second model") : read_model(r);
    for (i = 0; i < sizeof trees / sizeof *trees; i++)
        if (strcmp(name, trees[i].name) == 0)
            return read_tree(r, trees[i].tree);
    /* truncation and padding are batch settings that transformers resets, the decoder works the other way */
    if (strcmp(name, "version") == 0 || strcmp(name, "truncation") == 0 || strcmp(name, "padding") == 0 ||
        strcmp(name, "decoder") == 0)
        return js_skip(&r->s, NULL, NULL);
    return err_set(r->e, ERR_UNKNOWN, "%s: the member '%s' is not understood", r->own->path, name);
}

static int read_json(struct reading *r, size_t n)
{
    if (js_init(&r->s, r->own->text, n, r->own->path, r->e) || js_open(&r->s, '{'))
        return -1;
    while (js_key(&r->s, &r->key))
        if (read_member(r, r->key.p))
            return -1;
    if (js_end(&r->s))
        return -1;
    return r->own->has_model ? 0 : err_set(r->e, ERR_INPUT, "%s: there is no model in it", r->own->path);
}

/* ---- the whole ---- */

static void json_close(struct tokenizer_source *s)
{
    struct folder *own = s->own;

    cJSON_Delete(s->added);
    cJSON_Delete(s->normalizer);
    cJSON_Delete(s->splitter);
    cJSON_Delete(s->post);
    cJSON_Delete(s->config);
    free(own->path);
    free(own->config_path);
    free(own->text);
    free(own->unk);
    free(own);
    *s = (struct tokenizer_source){0};
}

static int read_folder(struct tokenizer_source *s, const char *dir, struct err *e)
{
    struct folder *own = s->own;
    struct reading r = {.source = s, .own = own, .e = e};
    size_t n;
    int bad;

    own->path = path_join(dir, "tokenizer.json", e);
    own->config_path = path_join(dir, "tokenizer_config.json", e);
    s->name = own->path;
    s->config_name = own->config_path;
    if (!s->name || !s->config_name || tokenizer_file(own->path, &own->text, &n, s->digest, e))
        return -1;
    bad = read_json(&r, n);
    str_free(&r.key);
    str_free(&r.value);
    return bad || tokenizer_config(&s->config, dir, e) ? -1 : 0;
}

int tokenizer_json(struct tokenizer_source *s, const char *dir, struct err *e)
{
    *s = (struct tokenizer_source){.tokens = json_tokens,
                                   .merges = json_merges,
                                   .close = json_close,
                                   .own = mem_new(1, sizeof(struct folder), e)};
    if (!s->own)
        return -1;
    if (read_folder(s, dir, e) == 0)
        return 0;
    json_close(s);
    return -1;
}
