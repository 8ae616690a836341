/*
 * tokenizer_tiktoken.c -- tiktoken.model as the source of a tokenizer: a line of a token's bytes in base64
 * and its rank, which is also its id. How text is split is Python in the model's own repository, so it is
 * known for one tokenizer_class: TikTokenTokenizer, of Kimi and Moonlight.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "text/tokenizer_rules.h"
#include "text/tokenizer_source.h"

/* Behind the tokens of the file. */
enum { RESERVED = 256 };

struct tiktoken {
    char *path, *config_path, *text;
    size_t n;
    int32_t tokens;
};

/* ---- the tokens ---- */

static int digit_of(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;

    return at ? (int)(at - digits) : -1;
}

/* The bytes of n characters of base64; -1 if they are none. */
static int tiktoken_decode(const char *s, size_t n, struct str *out)
{
    unsigned bits = 0;
    size_t i, end = n;

    str_clear(out);
    while (end && s[end - 1] == '=' && n - end < 2)
        end--;
    if (!end || n % 4 != 0)
        return -1;
    for (i = 0; i < end; i++) {
        int d = digit_of(s[i]);

        if (d < 0)
            return -1;
        bits = bits << 6 | (unsigned)d;
        if (i % 4)
            str_addc(out, (char)(bits >> (6 - 2 * (i % 4)) & 0xff));
    }
    return 0;
}

/* fn gets each line's token; returns how many, or -1. */
static int32_t each_line(const struct tiktoken *own, token_fn *fn, void *ctx, struct err *e)
{
    const char *p = own->text, *end = own->text + own->n;
    struct str token = {0};
    int32_t line = 0;

    for (; p < end && !e->kind; p++) {
        size_t n = strcspn(p, " \r\n"), rest = 0;
        char *behind;
        long id;

        if (n) {
            id = strtol(p + n, &behind, 10);
            rest = (size_t)(behind - p);
            line++;
            if (tiktoken_decode(p, n, &token) || p[n] != ' ' || !strchr("\r\n", *behind))
                err_set(e, ERR_INPUT, "%s: line %d is not a token in base64 and its rank", own->path, line);
            else if (id < 0 || id >= INT32_MAX)
                err_set(e, ERR_INPUT, "%s: line %d has an impossible rank", own->path, line);
            else if (str_ok(&token, e) == 0)
                fn(ctx, token.p, token.n, (double)id, e);
        }
        p += n ? rest : 0;
    }
    str_free(&token);
    return e->kind ? -1 : line;
}

static int tiktoken_tokens(const struct tokenizer_source *s, token_fn *fn, void *ctx, struct err *e)
{
    return each_line(s->own, fn, ctx, e) < 0 ? -1 : 0;
}

static int32_t tiktoken_rank(const struct tokenizer_source *s, int32_t id)
{
    (void)s;
    return id;
}

static int count_token(void *ctx, const char *text, size_t n, double id, struct err *e)
{
    (void)ctx, (void)text, (void)n, (void)id, (void)e;
    return 0;
}

/* ---- the special tokens ---- */

/* Those behind the tokens of the file: as added_tokens_decoder names them, the others by their ids. */
static cJSON *special_tokens(const struct tiktoken *own, const cJSON *config)
{
    const cJSON *decoder = json_member(config, "added_tokens_decoder");
    cJSON *all = cJSON_CreateArray();
    int32_t id;

    for (id = own->tokens; id < own->tokens + RESERVED; id++) {
        cJSON *token = cJSON_CreateObject();
        const char *content;
        char name[64];

        snprintf(name, sizeof name, "%d", id);
        content = cJSON_GetStringValue(json_member(json_member(decoder, name), "content"));
        snprintf(name, sizeof name, "<|reserved_token_%d|>", id);
        cJSON_AddNumberToObject(token, "id", id);
        cJSON_AddStringToObject(token, "content", content ? content : name);
        cJSON_AddBoolToObject(token, "special", true);
        cJSON_AddItemToArray(all, token);
    }
    return all;
}

/* ---- the whole ---- */

static void tiktoken_close(struct tokenizer_source *s)
{
    struct tiktoken *own = s->own;

    cJSON_Delete(s->added);
    cJSON_Delete(s->splitter);
    cJSON_Delete(s->config);
    free(own->path);
    free(own->config_path);
    free(own->text);
    free(own);
    *s = (struct tokenizer_source){0};
}

static int read_tiktoken(struct tokenizer_source *s, const char *dir, struct err *e)
{
    struct tiktoken *own = s->own;

    s->name = own->path = path_join(dir, "tiktoken.model", e);
    s->config_name = own->config_path = path_join(dir, "tokenizer_config.json", e);
    if (!s->name || !s->config_name || tokenizer_file(own->path, &own->text, &own->n, s->digest, e) ||
        tokenizer_config(&s->config, dir, e))
        return -1;
    if (strcmp(tokenizer_class(s->config), "TikTokenTokenizer") != 0)
        return err_set(
            e, ERR_UNKNOWN,
            "%s: how its text is split is known for the tokenizer_class TikTokenTokenizer, not for "
            "'%s' (%s): give the model a tokenizer.json, or data as ids",
            own->path, tokenizer_class(s->config), own->config_path);
    own->tokens = each_line(own, count_token, NULL, e);
    if (own->tokens < 0)
        return -1;
    s->added = special_tokens(own, s->config);
    s->splitter = tokenizer_rules_splitter(tokenizer_rules("kimi-k2", 7));
    return 0;
}

int tokenizer_tiktoken(struct tokenizer_source *s, const char *dir, struct err *e)
{
    *s = (struct tokenizer_source){.tokens = tiktoken_tokens,
                                   .rank = tiktoken_rank,
                                   .raw = true,
                                   .cuts = true,
                                   .ignore_merges = true,
                                   .close = tiktoken_close,
                                   .own = mem_new(1, sizeof(struct tiktoken), e)};
    if (!s->own)
        return -1;
    if (read_tiktoken(s, dir, e) == 0)
        return 0;
    tiktoken_close(s);
    return -1;
}
