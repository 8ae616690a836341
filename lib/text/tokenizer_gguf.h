/*
 * tokenizer_gguf.h -- what the metadata of GGUF files say of tokenizers and chat templates, for those who
 * read either.
 */
#ifndef MOE_TEXT_TOKENIZER_GGUF_H
#define MOE_TEXT_TOKENIZER_GGUF_H

#include <cjson/cJSON.h>

#include "model/container/gguf_kv.h"

/* tokenizer.ggml.KEY; NULL: absent. */
const struct gguf_value *tokenizer_gguf_find(const struct gguf *g, const char *key);
/* *flag stays as it is where nothing is said. */
void tokenizer_gguf_flag(const struct gguf *g, const char *key, bool *flag);

/*
 * The keys of tokenizer_config.json: bos_token and so on, add_bos_token and add_eos_token (begins: what the
 * first is where nothing is said), chat_template. The caller deletes it, after a failure too.
 */
int tokenizer_gguf_config(cJSON **config, const struct gguf *g, bool begins, struct err *e);

#endif
