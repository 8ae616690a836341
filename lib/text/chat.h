/*
 * chat.h -- conversations rendered by the model's own chat template, as transformers 5 does it
 * (apply_chat_template): which text is the template, what it is given, and whether what the conversation
 * holds is in what it prints.
 */
#ifndef MOE_TEXT_CHAT_H
#define MOE_TEXT_CHAT_H

#include <cjson/cJSON.h>
#include <stdbool.h>

#include "base/err.h"
#include "base/mem.h"
#include "jinja/jinja.h"

struct chat; /* the templates of a model, parsed, and the tokens that they print */

struct chat_options {
    const char *name; /* --chat: a file (with a '/' in it, or that ends in .jinja), or one of several
                         templates of the model by its name; NULL: its usual one */
    const char *date; /* --date YYYY-MM-DD for templates that print today's date; NULL: refused there, because
                         the same input must give the same tokens on every day */
};

/*
 * Looks at dir/chat_template.jinja and dir/additional_chat_templates/, else "chat_template" in
 * dir/tokenizer_config.json, which may be a list by name. Of several, "default" is the usual one and
 * "tool_use" is for conversations with tools. *out is NULL when there is no template or it is no Jinja: then
 * why, a refusal that names the ways out, is set for the moment when a conversation turns up. With o->name
 * both are errors at once.
 */
int chat_open(struct chat **out, struct str *why, const char *dir, const struct chat_options *o,
              struct err *e);
/* What is wrong with the templates that dir has, to be freed, or NULL. */
int chat_problem(char **problem, const char *dir, struct err *e);
void chat_close(struct chat *c);
/* The first 16 digits of the SHA-256 of the usual template's text. */
const char *chat_name(const struct chat *c);
/* Of all that decides what is printed, but for the date: hex. */
const char *chat_digest(const struct chat *c);

/* What a conversation may hold, and a template may not print. */
enum { LOST_CONTENT = 1, LOST_REASONING = 2, LOST_TOOLS = 4, LOST_CALLS = 8, LOST_KINDS = 4 };
/* "contents", "reasoning", ... of the i-th bit. */
const char *chat_lost_name(int i);

struct chat_result {
    struct err
        raised; /* the template refused the conversation: what and in which line of it; out is as it was */
    char given[64]; /* the first of the more that the template looked at; "": none */
    unsigned lost;  /* LOST_ bits: what is not found in the text, as it is or as JSON spells it */
};

/* What a document says beside its conversation: variables for the template, as apply_chat_template takes
 * keywords. read says which it looked at. */
struct chat_more {
    struct jinja_variable *v;
    int n;
};

/*
 * One conversation as the template prints it, added to out. messages: array of objects; tools: array of
 * objects or NULL; more: or NULL; one of it that the template looks at, and is given otherwise or could not
 * be given to apply_chat_template for it, is an error. Their reasoning is given under all names that it goes
 * by (reasoning_content, thinking, reasoning). A generation prompt is added when the last role is not
 * assistant. where names the document in messages ("data.jsonl line 3"). Numbers print as they were spelled
 * if json_keep_numbers has gone through the tree. -1: what is no conversation, or a date that is missing; a
 * template that raises is told in result.
 */
int chat_render(const struct chat *c, const cJSON *messages, const cJSON *tools, struct chat_more *more,
                const char *where, struct str *out, struct chat_result *result, struct err *e);

#endif
