/*
 * chat_parts.h -- what the renderers of chat templates share; chat.c and chat_*.c only.
 */
#ifndef MOE_TEXT_CHAT_PARTS_H
#define MOE_TEXT_CHAT_PARTS_H

#include "text/chat.h"
#include "text/pyjson.h"

/* One conversation on its way. */
struct chat_job {
    const char *name;      /* of the template */
    const cJSON *messages; /* an array of objects with a string "role", not empty */
    const cJSON *tools;    /* a non-empty array, or NULL */
    bool generate;         /* end with a generation prompt */
    const char *date;      /* NULL: not given */
    const char *where;
    struct str *out;
    struct err *e;
};

/* What a template does with a conversation. Each returns 0, or -1 with the error set. */
int chat_tiny_chatml(struct chat_job *j);
int chat_tiny_harmony(struct chat_job *j);
int chat_qwen3(struct chat_job *j);          /* hybrid thinking, content must be a string */
int chat_qwen3_null(struct chat_job *j);     /* its later revision: no content counts as an empty one */
int chat_qwen3_instruct(struct chat_job *j); /* 2507 */
int chat_qwen3_thinking(struct chat_job *j); /* 2507 */
int chat_qwen3_coder(struct chat_job *j);
int chat_harmony(struct chat_job *j);
int chat_mixtral(struct chat_job *j);
int chat_mixtral_old(struct chat_job *j);
int chat_deepseek_v2(struct chat_job *j);
int chat_deepseek_v25(struct chat_job *j);
int chat_deepseek_v3(struct chat_job *j);
int chat_deepseek_r1(struct chat_job *j);
int chat_deepseek_r1_think(struct chat_job *j);
int chat_ernie(struct chat_job *j);
int chat_llama4(struct chat_job *j);
int chat_glm(struct chat_job *j);

/* Refusals: "WHERE: message 3 (assistant): ...", and "WHERE: tool 1: ..." with NULL for the message. -1. */
int chat_refuse(const struct chat_job *j, const cJSON *message, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int chat_refuse_tool(const struct chat_job *j, const cJSON *tool, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

const cJSON *chat_get(const cJSON *object, const char *name);
/* The member as a string; NULL if it is none. */
const char *chat_text(const cJSON *object, const char *name);
bool chat_is(const cJSON *message, const char *role);
/* The message's content, refused unless it is a string. */
const char *chat_content(const struct chat_job *j, const cJSON *message);
/* Adds the content: a string, or the texts of a list of {"type":"text","text":...}, or nothing if there is
 * none; anything else, as null or an image, is refused. */
int chat_add_texts(const struct chat_job *j, const cJSON *message, struct str *out);
/* Refuses a role that the template prints nothing of. */
int chat_refuse_role(const struct chat_job *j, const cJSON *message);
/* A member of tool_call.function, or of tool_call itself when it has no function: the callee. */
const cJSON *chat_callee(const cJSON *call);

/* A part of a string. */
struct chat_part {
    const char *s;
    size_t n;
};
/* What is behind the last what in s; s if there is none: s.split(what)[-1]. */
const char *chat_behind_last(const char *s, const char *what);
/* Takes "<think>...</think>" off the content, newlines around both parts. */
void chat_split_thinking(const char **content, struct chat_part *thinking);

#endif
