/*
 * inspect_serving.h -- what servers make of a model, and the memory it takes there, as moe-inspect says it.
 */
#ifndef MOE_CMD_INSPECT_SERVING_H
#define MOE_CMD_INSPECT_SERVING_H

#include "base/json_out.h"
#include "model/findings.h"
#include "surgery/serving.h"

/* With keep experts in each layer, whose files take `weights` bytes, and a cache of `context` tokens. */
void serving_text(const struct serving *s, int keep, uint64_t weights, int64_t context);
/* Members of the object that is open. */
void serving_json(struct json_out *j, const struct serving *s, int keep, uint64_t weights, int64_t context);
/* The nearest smaller number of experts that meets fewer obstacles; 0: there is none. */
int serving_below(const struct model *m, int keep);
/* What llama.cpp refuses of a GGUF file, which is for nothing else, is a problem of that file. */
void serving_problems(struct findings *f, const struct serving *s);

#endif
