/*
 * tokenizer.h -- text to token ids, exactly as the reference tokenizer does it.
 *
 * Byte-pair encoding, over bytes (Qwen, gpt-oss, Llama 3, DeepSeek, ...) or over characters (Llama 2):
 * normalizers NFC, Prepend, Replace of a string; pre-tokenizers Split (Isolated, Removed), Digits,
 * ByteLevel, Metaspace; post-processors ByteLevel, TemplateProcessing; Sequences of them; added tokens with
 * all their flags; byte fallback and unk_token. Anything else is refused by name. By merges, or by the ranks
 * of tokens (tiktoken, sentencepiece).
 */
#ifndef MOE_TEXT_TOKENIZER_H
#define MOE_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"
#include "text/tokenizer_source.h"

struct tokenizer;

/* The source is not needed any longer afterwards. Of its config, as transformers does: add_bos_token,
 * add_eos_token and added tokens that the rules lack. */
int tokenizer_open(struct tokenizer **out, const struct tokenizer_source *s, struct err *e);
void tokenizer_close(struct tokenizer *t);

struct ids {
    int32_t *id; /* [n] */
    size_t n, cap;
};
void ids_free(struct ids *ids);

/* Appends the ids of text (valid UTF-8, n bytes) to out. special: add what the post-processor adds (BOS
 * and the like). Added tokens inside the text are recognised in any case. Thread-safe: one tokenizer may
 * be used by several threads at once. */
int tokenizer_encode(const struct tokenizer *t, const char *text, size_t n, bool special, struct ids *out,
                     struct err *e);
/* How many ids special puts in front, and which; they are the tokenizer's. */
size_t tokenizer_begin(const struct tokenizer *t, const int32_t **id);
/* Id of a token by its content ("<|im_end|>"), or -1. */
int32_t tokenizer_id(const struct tokenizer *t, const char *content);
/* Largest id + 1. */
int32_t tokenizer_size(const struct tokenizer *t);
/* The source's: of tokenizer.json's bytes XXH3-128 (part of what decides the tokens). */
const char *tokenizer_digest(const struct tokenizer *t);

/* Whether the tokenizers of two folders give any text the same ids: what each id spells, what becomes of
 * which two tokens, rules and added tokens, whatever kind of files they are from; not add_bos_token and the
 * like. Where one merges by rules and the other by ranks, the order of what is merged is compared. 1, 0 or
 * -1: one is not understood. */
int tokenizer_same(const char *dir_a, const char *dir_b, struct err *e);

/* A mistake in dir's tokenizer.json, or in the GGUF file dir (the caller frees), or NULL: that it is none, or
 * has ids beyond the model's vocabulary. One of a kind that is not understood is none. */
int tokenizer_problem(char **problem, const char *dir, int vocab, struct err *e);

#endif
