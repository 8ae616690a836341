/*
 * tokenizer_vocab.c -- vocab.json and merges.txt as the source of a tokenizer, over bytes. How text is
 * normalized and split is in the Python of its tokenizer_class: known for Qwen2Tokenizer and GPT2Tokenizer.
 */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "text/tokenizer_rules.h"
#include "text/tokenizer_source.h"

struct vocab_files {
    char *path, *merges_path, *config_path, *merges;
    size_t n;
    cJSON *vocab;
};

static const struct {
    const char *name, *rules;
} classes[] = {{"Qwen2Tokenizer", "qwen2"}, {"GPT2Tokenizer", "gpt-2"}};

static int vocab_tokens(const struct tokenizer_source *s, token_fn *fn, void *ctx, struct err *e)
{
    const struct vocab_files *own = s->own;
    const cJSON *j;

    cJSON_ArrayForEach(j, own->vocab)
    {
        if (fn(ctx, j->string, strlen(j->string), cJSON_IsNumber(j) ? j->valuedouble : -1, e))
            return -1;
    }
    return 0;
}

static int vocab_merges(const struct tokenizer_source *s, merge_fn *fn, void *ctx, struct err *e)
{
    const struct vocab_files *own = s->own;
    const char *p = own->merges;
    int line;

    for (line = 1; *p; line++) {
        size_t n = strcspn(p, "\n"), left = strcspn(p, " \n"),
               right = left < n ? strcspn(p + left + 1, " \r\n") : 0;

        if (n && *p != '\r' && !(line == 1 && strncmp(p, "#version", 8) == 0)) {
            if (!left || !right || (p[left + 1 + right] && !strchr("\r\n", p[left + 1 + right])))
                return err_set(e, ERR_INPUT, "%s: line %d is not two tokens", own->merges_path, line);
            if (fn(ctx, p, left, p + left + 1, right, e))
                return -1;
        }
        p += n + (p[n] == '\n');
    }
    return 0;
}

static void vocab_close(struct tokenizer_source *s)
{
    struct vocab_files *own = s->own;

    cJSON_Delete(s->normalizer);
    cJSON_Delete(s->splitter);
    cJSON_Delete(s->config);
    cJSON_Delete(own->vocab);
    free(own->path);
    free(own->merges_path);
    free(own->config_path);
    free(own->merges);
    free(own);
    *s = (struct tokenizer_source){0};
}

static int read_class(struct tokenizer_source *s, const struct vocab_files *own, struct err *e)
{
    const char *name = tokenizer_class(s->config);
    size_t i;

    for (i = 0; i < sizeof classes / sizeof *classes; i++)
        if (strcmp(name, classes[i].name) == 0) {
            const struct tokenizer_rules *r = tokenizer_rules(classes[i].rules, strlen(classes[i].rules));

            s->normalizer = tokenizer_rules_normalizer(r);
            s->splitter = tokenizer_rules_splitter(r);
            return s->splitter ? 0 : err_set(e, ERR_NOMEM, "out of memory: a tokenizer's rules");
        }
    return err_set(
        e, ERR_UNKNOWN,
        "%s: how its text is split is known for the tokenizer_class Qwen2Tokenizer or GPT2Tokenizer, not "
        "for '%s' (%s): give the model a tokenizer.json, or data as ids",
        own->path, name, own->config_path);
}

static int read_vocab(struct tokenizer_source *s, const char *dir, struct err *e)
{
    struct vocab_files *own = s->own;
    char digest[2][HASH_HEX], *text = NULL;
    size_t n;
    int bad;

    s->name = own->path = path_join(dir, "vocab.json", e);
    s->config_name = own->config_path = path_join(dir, "tokenizer_config.json", e);
    own->merges_path = path_join(dir, "merges.txt", e);
    if (e->kind || tokenizer_config(&s->config, dir, e) || read_class(s, own, e))
        return -1;
    bad = tokenizer_file(own->path, &text, &n, digest[0], e) ||
          json_parse(text, n, own->path, &own->vocab, e) ||
          tokenizer_file(own->merges_path, &own->merges, &own->n, digest[1], e);
    free(text);
    if (!bad && utf8_check(own->merges, own->n) < own->n)
        bad = err_set(e, ERR_INPUT, "%s: is not UTF-8", own->merges_path);
    if (bad)
        return -1;
    hash_once(digest, sizeof digest, s->digest);
    return 0;
}

int tokenizer_vocab(struct tokenizer_source *s, const char *dir, struct err *e)
{
    *s = (struct tokenizer_source){.tokens = vocab_tokens,
                                   .merges = vocab_merges,
                                   .close = vocab_close,
                                   .own = mem_new(1, sizeof(struct vocab_files), e)};
    if (!s->own)
        return -1;
    if (read_vocab(s, dir, e) == 0)
        return 0;
    vocab_close(s);
    return -1;
}
