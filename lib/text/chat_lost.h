/* chat_lost.h -- what a conversation holds and its rendering does not. */
#ifndef MOE_TEXT_CHAT_LOST_H
#define MOE_TEXT_CHAT_LOST_H

#include <cjson/cJSON.h>
#include <stddef.h>

#include "base/err.h"

/* LOST_ bits of chat.h. Each content, reasoning, tool (its name and description) and call (its name and
 * arguments) must be in text[0..n) without white space around it, as it is or as a JSON string. -1: out of
 * memory. */
int chat_lost(const cJSON *messages, const cJSON *tools, const char *text, size_t n, unsigned *lost,
              struct err *e);

#endif
