/*
 * chat.h -- chat templates, built in and chosen by the SHA-256 of the checkpoint's template text.
 *
 * There is no template engine here: each known template is a C renderer, checked against renderings of
 * the real template. An unknown template with chat data is refused with the ways out (--chat NAME, or
 * pre-rendered "text").
 */
#ifndef MOE_TEXT_CHAT_H
#define MOE_TEXT_CHAT_H

#include <cjson/cJSON.h>
#include <stdbool.h>

#include "base/err.h"
#include "base/mem.h"

struct chat_template; /* a row of a static table */

struct chat_options {
    const char *name; /* --chat NAME, or NULL: by digest */
    const char *date; /* --date YYYY-MM-DD for templates that print today's date (harmony); NULL: refused
                         there, because the same input must give the same tokens on every day */
};

/* Looks at dir/chat_template.jinja, else "chat_template" in dir/tokenizer_config.json. *out is NULL when
 * there is no template or none that is known: then why, a refusal that names the ways out, is set for the
 * moment when a conversation turns up. An unknown o->name is an error. */
int chat_find(const struct chat_template **out, struct str *why, const char *dir,
              const struct chat_options *o, struct err *e);
const char *chat_name(const struct chat_template *c); /* "qwen3", "harmony", ... */
/* The i-th known template's name and a line about it; false past the end. */
bool chat_list(int i, const char **name, const char **about);

/*
 * One conversation as the template would print it, added to out. messages: array of {role, content, ...};
 * tools: array or NULL. Tools, tool calls, tool results and thinking ("reasoning_content", "thinking") are
 * rendered as the template does, or refused, never dropped. A generation prompt is added when the last role
 * is not assistant. where names the document in messages ("data.jsonl line 3"). Numbers print as they were
 * spelled if py_keep_numbers (pyjson.h) has gone through the tree.
 */
int chat_render(const struct chat_template *c, const struct chat_options *o, const cJSON *messages,
                const cJSON *tools, const char *where, struct str *out, struct err *e);

#endif
