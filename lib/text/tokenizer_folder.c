/* tokenizer_folder.c -- which kind of tokenizer a folder has, and what reading its files has in common. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/magic.h"
#include "text/tokenizer_source.h"

#define MAX_FILE (UINT64_C(1) << 30)

/* In the order in which transformers looks for them. */
static const struct {
    const char *file;
    tokenizer_maker *make;
} kinds[] = {{"tokenizer.json", tokenizer_json},
             {"tiktoken.model", tokenizer_tiktoken},
             {"vocab.json", tokenizer_vocab},
             {"tokenizer.model", tokenizer_spm}};

const char *tokenizer_kind(size_t i)
{
    return i < sizeof kinds / sizeof *kinds ? kinds[i].file : NULL;
}

int tokenizer_folder(struct tokenizer_source *s, const char *dir, struct err *e)
{
    size_t i;

    *s = (struct tokenizer_source){0};
    if (path_exists(dir) && !path_is_dir(dir))
        return tokenizer_gguf(s, dir, e);
    for (i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char *path = path_join(dir, kinds[i].file, e);
        bool there = path && path_exists(path);

        free(path);
        if (e->kind)
            return -1;
        if (there)
            return kinds[i].make(s, dir, e);
    }
    return err_set(e, ERR_INPUT,
                   "%s has no tokenizer (tokenizer.json, tiktoken.model, vocab.json with merges.txt, or "
                   "tokenizer.model): give it one, or data as ids",
                   dir);
}

int tokenizer_file(const char *path, char **text, size_t *n, char digest[HASH_HEX], struct err *e)
{
    const char *kind;

    if (file_read(path, MAX_FILE, text, n, e))
        return -1;
    hash_once(*text, *n, digest);
    if (*n == 0)
        return err_set(e, ERR_INPUT, "%s: is empty", path);
    kind = magic_kind(*text, *n);
    if (kind)
        return err_set(e, ERR_INPUT, "%s is %s", path, kind);
    return 0;
}

const char *tokenizer_class(const cJSON *config)
{
    static const char *const known[] = {"TikTokenTokenizer", "Qwen2Tokenizer", "GPT2Tokenizer"};
    const char *name = cJSON_GetStringValue(json_member(config, "tokenizer_class"));
    size_t i;

    for (i = 0; name && i < sizeof known / sizeof *known; i++)
        if (strncmp(name, known[i], strlen(known[i])) == 0 &&
            (!name[strlen(known[i])] || strcmp(name + strlen(known[i]), "Fast") == 0))
            return known[i];
    return name ? name : "";
}
