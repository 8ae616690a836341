/*
 * inspect_tokenize.h -- moe-inspect --tokenize: what the model will see of DATA.
 */
#ifndef MOE_CMD_INSPECT_TOKENIZE_H
#define MOE_CMD_INSPECT_TOKENIZE_H

#include <stdbool.h>

/* Prints a JSON object a document: {"line":0,"ids":[...]}, or {"line":0,"text":"..."} with render ("file"
 * first when DATA is a directory). model: a directory or hub id that needs only a tokenizer.json. Reads
 * text_opts. */
void inspect_tokenize(const char *model, const char *data, bool render);

#endif
