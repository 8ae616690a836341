/*
 * tokenizer_rules.h -- how byte-level tokenizers normalize and split text, by the names that GGUF files give
 * them (tokenizer.ggml.pre), for sources that have no rules with their tokens.
 */
#ifndef MOE_TEXT_TOKENIZER_RULES_H
#define MOE_TEXT_TOKENIZER_RULES_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

enum { RULE_NAMES = 6, RULE_SPLITS = 6 };
struct tokenizer_rules {
    const char *name[RULE_NAMES];
    const char *split[RULE_SPLITS]; /* one after another, each cuts what is left of the one before it */
    bool nfc;
    bool ignore_merges; /* a piece that is a token is that token */
    bool ranks;         /* merged by the ranks of tokens, which are their ids */
    bool begins;        /* with a BOS, where nothing is said */
};
/* NULL: no such name. */
const struct tokenizer_rules *tokenizer_rules(const char *name, size_t n);
/* In the language of tokenizer.json; the caller deletes them. */
cJSON *tokenizer_rules_splitter(const struct tokenizer_rules *r);
cJSON *tokenizer_rules_normalizer(const struct tokenizer_rules *r); /* NULL: none */

#endif
