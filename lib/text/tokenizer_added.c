/*
 * tokenizer_added.c -- the added tokens of a tokenizer: those of its rules, and those that transformers
 * (5.23) adds for the keys of its configuration. Ids are given as the tokenizers library gives them: a token
 * of the vocabulary keeps its id, any other gets the next free one, whatever id is written beside it.
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/num.h"
#include "base/words.h"
#include "text/tokenizer_parts.h"

const char *tokenizer_token_text(const cJSON *j)
{
    return cJSON_IsObject(j) ? cJSON_GetStringValue(json_member(j, "content")) : cJSON_GetStringValue(j);
}

static int32_t id_of(struct tokenizer_making *r, const char *content, size_t n)
{
    int32_t id = map_find(&r->t->bpe.vocab, content, n);

    if (id >= 0)
        return id;
    return r->next_id > (int32_t)r->t->bpe.vocab.n ? r->next_id : (int32_t)r->t->bpe.vocab.n;
}

static int append(struct tokenizer_making *r, const char *content, size_t n, struct tokenizer_added like)
{
    int32_t id = id_of(r, content, n);

    if (tokenizer_check_id(r, id, content) ||
        mem_grow(&r->added, &r->cap, r->n + 1, sizeof *r->added, r->e) ||
        map_set(&r->place, content, n, (int32_t)r->n, r->e) ||
        map_set(&r->t->added_id, content, n, id, r->e) ||
        !(like.token.content = mem_strndup(content, n, r->e)))
        return -1;
    like.token.n = n;
    like.token.id = id;
    if (id >= r->next_id)
        r->next_id = id + 1;
    r->added[r->n++] = like;
    return 0;
}

/* A token written as an object; normalized where nothing is said of it. special: it is one, whatever is said.
 */
static int add_object(struct tokenizer_making *r, const cJSON *j, bool special)
{
    const char *content = cJSON_GetStringValue(json_member(j, "content"));
    const cJSON *normalized = json_member(j, "normalized");
    struct tokenizer_added like = {.token = {.single_word = cJSON_IsTrue(json_member(j, "single_word")),
                                             .lstrip = cJSON_IsTrue(json_member(j, "lstrip")),
                                             .rstrip = cJSON_IsTrue(json_member(j, "rstrip"))},
                                   .normalized = normalized
                                                     ? cJSON_IsTrue(normalized)
                                                     : !special && !cJSON_IsTrue(json_member(j, "special"))};
    int32_t at;
    size_t n;

    if (!content)
        return err_set(r->e, ERR_INPUT, "%s: an added token without content", r->path);
    n = strlen(content);
    at = map_find(&r->place, content, n);
    if (!n || at < 0)
        return n ? append(r, content, n, like) : 0;
    like.token.content = r->added[at].token.content;
    like.token.n = n;
    like.token.id = r->added[at].token.id;
    r->added[at] = like;
    return 0;
}

/* A special token that is named by a string or an object: it changes nothing of one that is there. */
static int add_named(struct tokenizer_making *r, const cJSON *j)
{
    const char *text = tokenizer_token_text(j);

    if (!text || !*text || map_find(&r->place, text, strlen(text)) >= 0)
        return 0;
    return cJSON_IsObject(j) ? add_object(r, j, true)
                             : append(r, text, strlen(text), (struct tokenizer_added){0});
}

int tokenizer_added_tokens(struct tokenizer_making *r)
{
    const cJSON *j;

    cJSON_ArrayForEach(j, r->source->added)
    {
        if (!cJSON_IsNumber(json_member(j, "id")))
            return err_set(r->e, ERR_INPUT, "%s: an added token without an id", r->path);
        if (add_object(r, j, false))
            return -1;
    }
    return 0;
}

/* ---- the configuration ---- */

struct listed {
    int64_t id;
    const cJSON *token;
};

static int by_listed_id(const void *a, const void *b)
{
    const struct listed *x = a, *y = b;

    return (x->id > y->id) - (x->id < y->id);
}

/* added_tokens_decoder, in the order of its ids. */
static int add_listed(struct tokenizer_making *r, const cJSON *all)
{
    size_t n = (size_t)cJSON_GetArraySize(all), i = 0;
    struct listed *list;
    const cJSON *j;
    int bad = 0;

    if (all && !cJSON_IsObject(all))
        return err_set(r->e, ERR_INPUT, "%s: added_tokens_decoder is not an object", r->path);
    if (!(list = mem_new(n, sizeof *list, r->e)))
        return -1;
    cJSON_ArrayForEach(j, all)
    {
        bad = bad || num_i64(j->string, "an id in added_tokens_decoder", 0, INT32_MAX - 1, &list[i].id, r->e);
        list[i++].token = j;
    }
    if (bad)
        err_prefix(r->e, "%s", r->path);
    else if (n)
        qsort(list, n, sizeof *list, by_listed_id);
    for (i = 0; i < n && !bad; i++)
        bad = add_object(r, list[i].token, false);
    free(list);
    return bad;
}

static const char *const named[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                    "pad_token", "cls_token", "mask_token"};

static bool is_named(const char *key)
{
    size_t i;

    for (i = 0; i < sizeof named / sizeof *named; i++)
        if (strcmp(key, named[i]) == 0)
            return true;
    return false;
}

/* Special tokens by name: those that every tokenizer has, then the model's own. */
static int add_all_named(struct tokenizer_making *r, const cJSON *config, const cJSON *extra)
{
    const cJSON *j;
    size_t i;

    for (i = 0; i < sizeof named / sizeof *named; i++)
        if (add_named(r, json_member(config, named[i])))
            return -1;
    cJSON_ArrayForEach(j, config)
    {
        if (ends_with(j->string, "_token") && !is_named(j->string) && add_named(r, j))
            return -1;
    }
    cJSON_ArrayForEach(j, extra)
    {
        if (add_named(r, j))
            return -1;
    }
    return 0;
}

int tokenizer_config_tokens(struct tokenizer_making *r)
{
    const cJSON *config = r->source->config, *extra = json_member(config, "extra_special_tokens");

    if (!cJSON_GetArraySize(extra)) /* the older name */
        extra = json_member(config, "additional_special_tokens");
    return add_listed(r, json_member(config, "added_tokens_decoder")) || add_all_named(r, config, extra) ? -1
                                                                                                         : 0;
}

/* ---- what is searched ---- */

int tokenizer_added_ready(struct tokenizer_making *r)
{
    struct tokenizer *t = r->t;
    struct str a = {0}, b = {0};
    const char *text;
    size_t i, n;
    int bad = 0;

    for (i = 0; i < r->n && !bad; i++) {
        const struct added_token *token = &r->added[i].token;

        if (!r->added[i].normalized)
            bad = added_add(&t->raw, token->content, token->n, token, r->e);
        else if (r->source->added_normal)
            bad = added_add(&t->normalized, token->content, token->n, token, r->e);
        else
            bad = normalize(&t->normalizer, token->content, token->n, &a, &b, &text, &n, r->e) ||
                  added_add(&t->normalized, text, n, token, r->e);
    }
    str_free(&a);
    str_free(&b);
    added_ready(&t->raw);
    added_ready(&t->normalized);
    return bad ? -1 : 0;
}

void tokenizer_added_free(struct tokenizer_making *r)
{
    size_t i;

    for (i = 0; i < r->n; i++)
        free(r->added[i].token.content);
    free(r->added);
    map_free(&r->place);
}
