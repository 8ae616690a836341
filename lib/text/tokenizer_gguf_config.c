/* tokenizer_gguf_config.c -- special tokens and chat templates of GGUF files, as tokenizer_config.json has
 * them.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "text/tokenizer_gguf.h"

const struct gguf_value *tokenizer_gguf_find(const struct gguf *g, const char *key)
{
    char name[64];

    snprintf(name, sizeof name, "tokenizer.ggml.%s", key);
    return gguf_find(g, name);
}

void tokenizer_gguf_flag(const struct gguf *g, const char *key, bool *flag)
{
    int64_t v;

    if (gguf_int(tokenizer_gguf_find(g, key), 0, &v))
        *flag = v != 0;
}

static int put_text(cJSON *to, const char *name, struct gguf_text text, struct err *e)
{
    char *copy;

    if (utf8_check(text.p, text.n) < text.n)
        return err_set(e, ERR_INPUT, "tokenizer: %s is not UTF-8", name);
    copy = mem_strndup(text.p, text.n, e);
    if (copy)
        cJSON_AddStringToObject(to, name, copy);
    free(copy);
    return copy ? 0 : -1;
}

/* The text of a token by its id; one that is none says nothing. */
static int put_token(cJSON *config, const struct gguf *g, const char *name, const char *key, struct err *e)
{
    const struct gguf_value *tokens = tokenizer_gguf_find(g, "tokens");
    const uint8_t *at = tokens ? tokens->at : NULL;
    struct gguf_text text;
    int64_t id, i = 0;

    if (!tokens || !gguf_int(tokenizer_gguf_find(g, key), 0, &id))
        return 0;
    while (gguf_next(tokens, &at, &text))
        if (i++ == id)
            return text.n ? put_text(config, name, text, e) : 0;
    return 0;
}

/* The usual one is "default", others have their names behind the key. */
static int put_templates(cJSON *config, const struct gguf *g, struct err *e)
{
    static const char key[] = "tokenizer.chat_template";
    cJSON *all = cJSON_AddArrayToObject(config, "chat_template"), *item;
    struct gguf_text text, name;
    size_t i;

    for (i = 0; i < g->n_values; i++) {
        const struct gguf_value *v = &g->value[i];
        size_t n = sizeof key - 1;

        if (v->key.n < n || memcmp(v->key.p, key, n) != 0 || v->array || !gguf_string(v, &text) ||
            (v->key.n > n && v->key.p[n] != '.'))
            continue;
        name = v->key.n > n ? (struct gguf_text){v->key.p + n + 1, v->key.n - n - 1}
                            : (struct gguf_text){"default", 7};
        cJSON_AddItemToArray(all, item = cJSON_CreateObject());
        if (put_text(item, "name", name, e) || put_text(item, "template", text, e))
            return -1;
    }
    return 0;
}

int tokenizer_gguf_config(cJSON **config, const struct gguf *g, bool begins, struct err *e)
{
    static const struct {
        const char *name, *key;
    } tokens[] = {{"bos_token", "bos_token_id"},     {"eos_token", "eos_token_id"},
                  {"unk_token", "unknown_token_id"}, {"sep_token", "seperator_token_id"},
                  {"pad_token", "padding_token_id"}, {"mask_token", "mask_token_id"}};
    bool ends = false;
    size_t i;

    *config = cJSON_CreateObject();
    for (i = 0; i < sizeof tokens / sizeof *tokens; i++)
        if (put_token(*config, g, tokens[i].name, tokens[i].key, e))
            return -1;
    tokenizer_gguf_flag(g, "add_bos_token", &begins);
    tokenizer_gguf_flag(g, "add_eos_token", &ends);
    cJSON_AddBoolToObject(*config, "add_bos_token", begins);
    cJSON_AddBoolToObject(*config, "add_eos_token", ends);
    return put_templates(*config, g, e);
}
