/*
 * tokenizer.json to struct tokenizer. The file has up to tens of megabytes, nearly all of it vocabulary and
 * merges, so these are pulled through the scanner; its small members become trees.
 */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/num.h"
#include "text/tokenizer_parts.h"

enum { MAX_FILE = 1 << 30 };

struct reading {
    struct tokenizer *t;
    struct js s;
    const char *path;
    struct str key, left, right;
    cJSON *added, *normalizer, *splitter, *post; /* the small members, NULL if absent */
    bool has_model, has_merges;
    struct js merges; /* where they begin, if they come before the vocabulary */
    struct str unk;   /* unk_token; .n 0: none */
    struct err *e;
};

static const cJSON *member(const cJSON *o, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(o, name);
}

/* ---- the model ---- */

static int check_id(struct reading *r, double id, const char *of)
{
    if (!(id >= 0 && id < INT32_MAX && id == (double)(int32_t)id))
        return err_set(r->e, ERR_INPUT, "%s: token '%s' has an impossible id", r->path, of);
    if ((int32_t)id >= r->t->size)
        r->t->size = (int32_t)id + 1;
    return 0;
}

static int read_vocab(struct reading *r)
{
    struct js *s = &r->s;
    uint64_t id;

    js_open(s, '{');
    while (js_key(s, &r->key)) {
        if (js_u64(s, &id) || check_id(r, (double)id, r->key.p) ||
            vocab_add(&r->t->bpe.vocab, r->key.p, r->key.n, (int32_t)id, r->e))
            return -1;
    }
    return r->e->kind ? -1 : 0;
}

/* "a b", or ["a", "b"]. */
static int read_merge(struct reading *r, struct js *s)
{
    const char *space;

    if (js_peek(s) == '[') {
        js_open(s, '[');
        if (!js_item(s) || js_string(s, &r->left) || !js_item(s) || js_string(s, &r->right))
            return r->e->kind ? -1 : js_fail(s, "a merge is two strings");
        if (js_item(s) || r->e->kind)
            return js_fail(s, "a merge is two strings");
        return bpe_merge(&r->t->bpe, r->left.p, r->left.n, r->right.p, r->right.n, r->path, r->e);
    }
    if (js_string(s, &r->left))
        return -1;
    space = memchr(r->left.p, ' ', r->left.n);
    if (!space || memchr(space + 1, ' ', r->left.n - (size_t)(space + 1 - r->left.p)))
        return js_fail(s, "the merge '%.100s' is not two tokens", r->left.p);
    return bpe_merge(&r->t->bpe, r->left.p, (size_t)(space - r->left.p), space + 1,
                     r->left.n - (size_t)(space + 1 - r->left.p), r->path, r->e);
}

static int read_merges(struct reading *r, struct js *s)
{
    js_open(s, '[');
    while (js_item(s))
        if (read_merge(r, s))
            return -1;
    return r->e->kind ? -1 : 0;
}

static bool is_null(struct js *s)
{
    return js_peek(s) == 'n' && js_skip(s, NULL, NULL) == 0;
}

/* A member that must be null, or the value that says the same. */
static int read_absent(struct reading *r, const char *name)
{
    double number = 0;

    str_clear(&r->left);
    if (is_null(&r->s))
        return 0;
    if (js_peek(&r->s) == '0' ? js_double(&r->s, &number) : js_string(&r->s, &r->left))
        return -1;
    return number != 0 || r->left.n
               ? err_set(r->e, ERR_UNKNOWN, "%s: the model's %s is not understood", r->path, name)
               : 0;
}

static int read_model_member(struct reading *r, const char *name)
{
    struct js *s = &r->s;
    struct bpe *b = &r->t->bpe;

    if (strcmp(name, "type") == 0) {
        if (js_string(s, &r->left))
            return -1;
        return strcmp(r->left.p ? r->left.p : "", "BPE") == 0
                   ? 0
                   : err_set(r->e, ERR_UNKNOWN, "%s: the model type '%s' is not understood (BPE is)", r->path,
                             r->left.p ? r->left.p : "");
    }
    if (strcmp(name, "vocab") == 0)
        return read_vocab(r);
    if (strcmp(name, "merges") == 0) {
        r->has_merges = true;
        if (b->vocab.n)
            return read_merges(r, s);
        js_peek(s);
        r->merges = *s;
        return js_skip(s, NULL, NULL);
    }
    if (strcmp(name, "unk_token") == 0)
        return is_null(s) ? 0 : js_string(s, &r->unk);
    if (strcmp(name, "fuse_unk") == 0)
        return is_null(s) ? 0 : js_bool(s, &b->fuse_unk);
    if (strcmp(name, "byte_fallback") == 0)
        return is_null(s) ? 0 : js_bool(s, &b->byte_fallback);
    if (strcmp(name, "ignore_merges") == 0)
        return is_null(s) ? 0 : js_bool(s, &b->ignore_merges);
    if (strcmp(name, "dropout") == 0 || strcmp(name, "continuing_subword_prefix") == 0 ||
        strcmp(name, "end_of_word_suffix") == 0)
        return read_absent(r, name);
    return err_set(r->e, ERR_UNKNOWN, "%s: the model's member '%s' is not understood", r->path, name);
}

static int read_model(struct reading *r)
{
    struct str name = {0};
    struct bpe *b = &r->t->bpe;
    int bad = js_open(&r->s, '{');

    while (!bad && js_key(&r->s, &name))
        bad = read_model_member(r, name.p);
    str_free(&name);
    if (bad || r->e->kind)
        return -1;
    if (!b->vocab.n || !r->has_merges)
        return err_set(r->e, ERR_INPUT, "%s: the model has no %s", r->path, b->vocab.n ? "merges" : "vocab");
    if (r->merges.p && read_merges(r, &r->merges))
        return -1;
    b->unk = r->unk.n ? vocab_find(&b->vocab, r->unk.p, r->unk.n) : -1;
    if (r->unk.n && b->unk < 0)
        return err_set(r->e, ERR_INPUT, "%s: unk_token '%s' is not in the vocabulary", r->path, r->unk.p);
    r->has_model = true;
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
    return json_parse(r->s.start + from, to - from, r->path, out, r->e);
}

static int read_member(struct reading *r, const char *name)
{
    if (strcmp(name, "model") == 0)
        return r->has_model ? js_fail(&r->s, "a second model") : read_model(r);
    if (strcmp(name, "added_tokens") == 0)
        return read_tree(r, &r->added);
    if (strcmp(name, "normalizer") == 0)
        return read_tree(r, &r->normalizer);
    if (strcmp(name, "pre_tokenizer") == 0)
        return read_tree(r, &r->splitter);
    if (strcmp(name, "post_processor") == 0)
        return read_tree(r, &r->post);
    /* truncation and padding are batch settings that transformers resets, the decoder works the other way */
    if (strcmp(name, "version") == 0 || strcmp(name, "truncation") == 0 || strcmp(name, "padding") == 0 ||
        strcmp(name, "decoder") == 0)
        return js_skip(&r->s, NULL, NULL);
    return err_set(r->e, ERR_UNKNOWN, "%s: the member '%s' is not understood", r->path, name);
}

/* One added token; id as given, or its own member. */
static int add_token(struct reading *r, const cJSON *j, double id)
{
    const char *content = cJSON_GetStringValue(member(j, "content")), *text;
    struct added_token like = {.single_word = cJSON_IsTrue(member(j, "single_word")),
                               .lstrip = cJSON_IsTrue(member(j, "lstrip")),
                               .rstrip = cJSON_IsTrue(member(j, "rstrip"))};
    struct str a = {0}, b = {0};
    int32_t in_vocab;
    size_t n;
    int bad;

    if (!content)
        return err_set(r->e, ERR_INPUT, "%s: an added token without content", r->path);
    if (check_id(r, id, content))
        return -1;
    like.id = (int32_t)id;
    n = strlen(content);
    in_vocab = vocab_find(&r->t->bpe.vocab, content, n);
    if (in_vocab >= 0 && in_vocab != like.id)
        return err_set(r->e, ERR_INPUT, "%s: the added token '%s' has id %d, in the vocabulary it is %d",
                       r->path, content, like.id, in_vocab);
    if (vocab_add(&r->t->added_id, content, n, like.id, r->e))
        return -1;
    if (!cJSON_IsTrue(member(j, "normalized")))
        return added_add(&r->t->raw, content, n, &like, r->e);
    bad = normalize(&r->t->normalizer, content, n, &a, &b, &text, &n, r->e) ||
          added_add(&r->t->normalized, text, n, &like, r->e);
    str_free(&a);
    str_free(&b);
    return bad ? -1 : 0;
}

static int read_added(struct reading *r)
{
    const cJSON *j;

    cJSON_ArrayForEach(j, r->added)
    {
        const cJSON *id = member(j, "id");

        if (add_token(r, j, cJSON_IsNumber(id) ? id->valuedouble : -1))
            return -1;
    }
    return 0;
}

/* ---- the post-processor ---- */

static int put_special(struct reading *r, const cJSON *post, const char *name, struct ids *to)
{
    const cJSON *id, *special = name ? member(member(post, "special_tokens"), name) : NULL;

    if (!special)
        return err_set(r->e, ERR_INPUT, "%s: the post-processor's special token '%s' is not defined", r->path,
                       name ? name : "");
    cJSON_ArrayForEach(id, member(special, "ids"))
    {
        if (!cJSON_IsNumber(id) || check_id(r, id->valuedouble, name) ||
            ids_add(to, (int32_t)id->valuedouble, r->e))
            return err_set(r->e, ERR_INPUT, "%s: the post-processor's special token '%s' has no id", r->path,
                           name);
    }
    return 0;
}

/* {"single": [{"SpecialToken": {"id": ...}}, {"Sequence": {"id": "A"}}, ...]} around what is there. */
static int read_template(struct reading *r, const cJSON *post)
{
    struct ids before = {0}, after = {0};
    bool seen = false;
    const cJSON *item;
    int bad = 0;
    size_t i;

    cJSON_ArrayForEach(item, member(post, "single"))
    {
        const char *seq = cJSON_GetStringValue(member(member(item, "Sequence"), "id"));
        const char *special = cJSON_GetStringValue(member(member(item, "SpecialToken"), "id"));

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

static int read_post(struct reading *r, const cJSON *post)
{
    const char *type = cJSON_GetStringValue(member(post, "type"));
    const cJSON *item;

    if (!post || cJSON_IsNull(post) || (type && strcmp(type, "ByteLevel") == 0)) /* that one moves offsets */
        return 0;
    if (type && strcmp(type, "TemplateProcessing") == 0)
        return read_template(r, post);
    if (!type || strcmp(type, "Sequence") != 0)
        return err_set(r->e, ERR_UNKNOWN, "%s: the post-processor '%s' is not understood", r->path,
                       type ? type : "(no type)");
    cJSON_ArrayForEach(item, member(post, "processors"))
    {
        if (read_post(r, item))
            return -1;
    }
    return 0;
}

/* ---- tokenizer_config.json ---- */

static const char *token_text(const cJSON *j)
{
    return cJSON_IsObject(j) ? cJSON_GetStringValue(member(j, "content")) : cJSON_GetStringValue(j);
}

/* add_bos_token and add_eos_token make transformers add these whatever the post-processor does; one that it
 * adds already is not doubled. False leaves the post-processor as it is. */
static int add_from_config(struct reading *r, const cJSON *config, const char *flag, const char *token,
                           struct ids *at, bool first)
{
    const char *text = token_text(member(config, token));
    int32_t id;

    if (!cJSON_IsTrue(member(config, flag)))
        return 0;
    id = text ? tokenizer_id(r->t, text) : -1;
    if (id < 0)
        return err_set(r->e, ERR_INPUT, "%s: %s is true, but %s is not a token of tokenizer.json", r->path,
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

/* Tokens that only tokenizer_config.json has are added to the tokenizer by transformers. */
static int add_missing(struct reading *r, const cJSON *config)
{
    const cJSON *all = member(config, "added_tokens_decoder"), *j;

    if (all && !cJSON_IsObject(all))
        return err_set(r->e, ERR_INPUT, "%s: added_tokens_decoder is not an object", r->path);
    cJSON_ArrayForEach(j, all)
    {
        const char *content = cJSON_GetStringValue(member(j, "content"));
        int64_t id;

        if (num_i64(j->string, "an id in added_tokens_decoder", 0, INT32_MAX - 1, &id, r->e)) {
            err_prefix(r->e, "%s", r->path);
            return -1;
        }
        if (content && vocab_find(&r->t->added_id, content, strlen(content)) < 0 &&
            add_token(r, j, (double)id))
            return -1;
    }
    return 0;
}

static int read_config(struct reading *r, const char *path)
{
    cJSON *config = NULL;
    int bad;

    if (!path_exists(path))
        return 0;
    if (json_read(path, MAX_FILE, &config, r->e))
        return -1;
    r->path = path;
    if (cJSON_IsTrue(member(config, "split_special_tokens")))
        bad = err_set(r->e, ERR_UNKNOWN, "%s: split_special_tokens is not understood", path);
    else if (cJSON_IsTrue(member(config, "add_prefix_space")) && r->t->bpe.byte_level)
        bad = err_set(r->e, ERR_UNKNOWN, "%s: add_prefix_space with a byte-level tokenizer is not understood",
                      path);
    else
        bad = add_missing(r, config) ||
              add_from_config(r, config, "add_bos_token", "bos_token", &r->t->before, true) ||
              add_from_config(r, config, "add_eos_token", "eos_token", &r->t->after, false);
    cJSON_Delete(config);
    return bad ? -1 : 0;
}

/* ---- the whole ---- */

static int read_text(struct reading *r, const char *text, size_t n)
{
    struct tokenizer *t = r->t;

    hash_once(text, n, t->digest);
    if (js_init(&r->s, text, n, r->path, r->e) || js_open(&r->s, '{'))
        return -1;
    while (js_key(&r->s, &r->key)) {
        struct str name = r->key;
        int bad;

        r->key = (struct str){0}; /* read_vocab needs it */
        bad = read_member(r, name.p);
        str_free(&name);
        if (bad)
            return -1;
    }
    if (js_end(&r->s))
        return -1;
    if (!r->has_model)
        return err_set(r->e, ERR_INPUT, "%s: there is no model in it", r->path);
    if (normalizer_read(&t->normalizer, r->normalizer, r->path, r->e) ||
        splitter_read(&t->splitter, r->splitter, r->path, r->e) || read_added(r) || read_post(r, r->post))
        return -1;
    t->bpe.byte_level = t->splitter.byte_level;
    bpe_ready(&t->bpe);
    return 0;
}

int tokenizer_read(struct tokenizer *t, const char *dir, struct err *e)
{
    struct reading r = {.t = t, .e = e};
    char *path = path_join(dir, "tokenizer.json", e), *config = path_join(dir, "tokenizer_config.json", e);
    char *text = NULL;
    size_t n;
    int bad = -1;

    if (!path || !config)
        goto done;
    r.path = path;
    bad = file_read(path, MAX_FILE, &text, &n, e) || read_text(&r, text, n) || read_config(&r, config);
    if (!bad) {
        added_ready(&t->raw);
        added_ready(&t->normalized);
    }
done:
    str_free(&r.key);
    str_free(&r.left);
    str_free(&r.right);
    str_free(&r.unk);
    cJSON_Delete(r.added);
    cJSON_Delete(r.normalizer);
    cJSON_Delete(r.splitter);
    cJSON_Delete(r.post);
    free(text);
    free(path);
    free(config);
    return bad ? -1 : 0;
}
