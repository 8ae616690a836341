/*
 * document.h -- one JSON line of DATA: which kind of content it has, its category, its text or ids.
 */
#ifndef MOE_TEXT_DOCUMENT_H
#define MOE_TEXT_DOCUMENT_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/mem.h"
#include "text/chat.h"
#include "text/tokenizer.h"

enum document_kind { DOC_MESSAGES, DOC_CONVERSATIONS, DOC_INSTRUCTION, DOC_PROMPT, DOC_TEXT, DOC_IDS };
struct document {
    cJSON *json;
    enum document_kind kind;
    const char *category; /* of json, or number; NULL: none given */
    char number[24];      /* one that is given as a whole number, as a table's ClassLabel is */
    const char *category_field;
};

/* where names the line in messages. The line must outlive d; document_free also after a failure. */
int document_parse(struct document *d, const char *line, size_t n, const char *category_field,
                   const char *where, struct err *e);
void document_free(struct document *d);
/* Whether an object has a member that is content. */
bool document_is_content(const cJSON *object);

bool document_is_chat(const struct document *d);
/* Of a document that is ids: adds them. vocab: ids must be below; 0: not checked. */
int document_ids(const struct document *d, int vocab, const char *where, struct ids *out, struct err *e);
/* Of a document that is text: adds it to out. */
int document_text(const struct document *d, const char *where, struct str *out, struct err *e);
/* Of a document that is a conversation: renders it; what stands beside it is given to the template, and
 * refused if that does not look at it though it is content by its name. line[0..n) is what it was parsed
 * from. */
int document_chat(struct document *d, const char *line, size_t n, const struct chat *c, const char *where,
                  struct str *out, struct chat_result *result, struct err *e);

#endif
