/*
 * tokenizer_make.c -- a struct tokenizer from its source.
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "text/tokenizer_parts.h"

/* ---- tokens and merges ---- */

int tokenizer_check_id(struct tokenizer_making *r, double id, const char *of)
{
    if (!(id >= 0 && id < INT32_MAX && id == (double)(int32_t)id))
        return err_set(r->e, ERR_INPUT, "%s: token '%s' has an impossible id", r->path, of);
    if ((int32_t)id >= r->t->size)
        r->t->size = (int32_t)id + 1;
    return 0;
}

static int take_token(void *ctx, const char *text, size_t n, double id, struct err *e)
{
    struct tokenizer_making *r = ctx;

    if (tokenizer_check_id(r, id, text) || map_set(&r->t->bpe.vocab, text, n, (int32_t)id, e))
        return -1;
    return r->source->rank
               ? bpe_rank(&r->t->bpe, (int32_t)id, text, n, r->source->rank(r->source, (int32_t)id), e)
               : 0;
}

static int take_merge(void *ctx, const char *left, size_t left_n, const char *right, size_t right_n,
                      struct err *e)
{
    struct tokenizer_making *r = ctx;

    return bpe_merge(&r->t->bpe, left, left_n, right, right_n, r->path, e);
}

static int read_model(struct tokenizer_making *r)
{
    const struct tokenizer_source *source = r->source;
    struct bpe *b = &r->t->bpe;

    b->fuse_unk = source->fuse_unk;
    b->byte_fallback = source->byte_fallback;
    b->ignore_merges = source->ignore_merges;
    b->raw = source->raw;
    b->loose_merges = source->loose_merges;
    if (source->tokens(source, take_token, r, r->e))
        return -1;
    if (!b->vocab.n)
        return err_set(r->e, ERR_INPUT, "%s: the model has no vocab", r->path);
    if (source->merges && source->merges(source, take_merge, r, r->e))
        return -1;
    b->unk = source->unk ? map_find(&b->vocab, source->unk, strlen(source->unk)) : -1;
    b->unk_absent = source->unk && b->unk < 0;
    return 0;
}

/* ---- the post-processor ---- */

static int put_special(struct tokenizer_making *r, const cJSON *post, const char *name, struct ids *to)
{
    const cJSON *id, *special = name ? json_member(json_member(post, "special_tokens"), name) : NULL;

    if (!special)
        return err_set(r->e, ERR_INPUT, "%s: the post-processor's special token '%s' is not defined", r->path,
                       name ? name : "");
    cJSON_ArrayForEach(id, json_member(special, "ids"))
    {
        if (!cJSON_IsNumber(id) || tokenizer_check_id(r, id->valuedouble, name) ||
            ids_add(to, (int32_t)id->valuedouble, r->e))
            return err_set(r->e, ERR_INPUT, "%s: the post-processor's special token '%s' has no id", r->path,
                           name);
    }
    return 0;
}

/* {"single": [{"SpecialToken": {"id": ...}}, {"Sequence": {"id": "A"}}, ...]} around what is there. */
static int read_template(struct tokenizer_making *r, const cJSON *post)
{
    struct ids before = {0}, after = {0};
    bool seen = false;
    const cJSON *item;
    int bad = 0;
    size_t i;

    cJSON_ArrayForEach(item, json_member(post, "single"))
    {
        const char *seq = cJSON_GetStringValue(json_member(json_member(item, "Sequence"), "id"));
        const char *special = cJSON_GetStringValue(json_member(json_member(item, "SpecialToken"), "id"));

        if (seq ? seen || strcmp(seq, "A") != 0 : !special)
            bad = err_set(r->e, ERR_UNKNOWN, "%s: the post-processor's template is not understood", r->path);
        else if (seq)
            seen = true;
        else
            bad = put_special(r, post, special, seen ? &after : &before);
        if (bad)
            break;
    }
    if (!bad && !seen)
        bad = err_set(r->e, ERR_UNKNOWN, "%s: the post-processor's template has no sequence A", r->path);
    for (i = 0; i < r->t->before.n && !bad; i++)
        bad = ids_add(&before, r->t->before.id[i], r->e);
    for (i = 0; i < after.n && !bad; i++)
        bad = ids_add(&r->t->after, after.id[i], r->e);
    ids_free(&r->t->before);
    r->t->before = before;
    ids_free(&after);
    return bad;
}

static int read_post(struct tokenizer_making *r, const cJSON *post)
{
    const char *type = cJSON_GetStringValue(json_member(post, "type"));
    const cJSON *item;

    if (!post || cJSON_IsNull(post) || (type && strcmp(type, "ByteLevel") == 0)) /* that one moves offsets */
        return 0;
    if (type && strcmp(type, "TemplateProcessing") == 0)
        return read_template(r, post);
    if (!type || strcmp(type, "Sequence") != 0)
        return err_set(r->e, ERR_UNKNOWN, "%s: the post-processor '%s' is not understood", r->path,
                       type ? type : "(no type)");
    cJSON_ArrayForEach(item, json_member(post, "processors"))
    {
        if (read_post(r, item))
            return -1;
    }
    return 0;
}

/* ---- tokenizer_config.json ---- */

/* add_bos_token and add_eos_token make transformers add these whatever the post-processor does; one that it
 * adds already is not doubled. False leaves the post-processor as it is. */
static int add_from_config(struct tokenizer_making *r, const cJSON *config, const char *flag,
                           const char *token, struct ids *at, bool first)
{
    const char *text = tokenizer_token_text(json_member(config, token));
    int32_t id;

    if (r->source->rules_only || !cJSON_IsTrue(json_member(config, flag)))
        return 0;
    id = text ? tokenizer_id(r->t, text) : -1;
    if (id < 0)
        return err_set(r->e, ERR_INPUT, "%s: %s is true, but %s is not a token of the tokenizer", r->path,
                       flag, token);
    if (at->n && at->id[first ? 0 : at->n - 1] == id)
        return 0;
    if (ids_add(at, id, r->e))
        return -1;
    if (first) {
        memmove(at->id + 1, at->id, (at->n - 1) * sizeof *at->id);
        at->id[0] = id;
    }
    return 0;
}

static int read_config(struct tokenizer_making *r)
{
    const cJSON *config = r->source->config;

    if (!config)
        return 0;
    r->path = r->source->config_name;
    if (cJSON_IsTrue(json_member(config, "split_special_tokens")))
        return err_set(r->e, ERR_UNKNOWN, "%s: split_special_tokens is not understood", r->path);
    if (cJSON_IsTrue(json_member(config, "add_prefix_space")) && r->t->bpe.byte_level)
        return err_set(r->e, ERR_UNKNOWN,
                       "%s: add_prefix_space with a byte-level tokenizer is not understood", r->path);
    return tokenizer_config_tokens(r) ||
                   add_from_config(r, config, "add_bos_token", "bos_token", &r->t->before, true) ||
                   add_from_config(r, config, "add_eos_token", "eos_token", &r->t->after, false)
               ? -1
               : 0;
}

/* ---- the whole ---- */

static int make(struct tokenizer_making *r)
{
    const struct tokenizer_source *s = r->source;
    struct tokenizer *t = r->t;

    if (read_model(r) || normalizer_read(&t->normalizer, s->normalizer, r->path, r->e) ||
        splitter_read(&t->splitter, s->splitter, r->path, r->e) || tokenizer_added_tokens(r) ||
        read_post(r, s->post))
        return -1;
    t->bpe.byte_level = t->splitter.byte_level;
    bpe_ready(&t->bpe);
    return read_config(r) || tokenizer_added_ready(r) ? -1 : 0;
}

int tokenizer_make(struct tokenizer *t, const struct tokenizer_source *s, struct err *e)
{
    struct tokenizer_making r = {.t = t, .source = s, .path = s->name, .e = e};
    int bad;

    memcpy(t->digest, s->digest, sizeof t->digest);
    t->cuts = s->cuts;
    bad = make(&r);
    tokenizer_added_free(&r);
    return bad;
}
