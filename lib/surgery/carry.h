/*
 * carry.h -- private to surgery: what goes along besides tensors and config.json, and where a new model
 * may stand.
 */
#ifndef MOE_SURGERY_CARRY_H
#define MOE_SURGERY_CARRY_H

#include "surgery/cut.h"

/*
 * Carried: tokenizer, chat template, generation, processor, licence and custom-code files (by name: *.json,
 * *.jinja, *.txt, *.model, *.py, *.tiktoken, *.yaml, *.md, LICENSE*, NOTICE*, ... and the directory
 * additional_chat_templates/). Not carried: weights of any kind, indices, config.json, hidden files,
 * original/, metal/. README.md becomes README.base.md; a README.base.md that is already there moves one step
 * on, to README.base.base.md, so that every model card of the chain is kept. A container that is no folder
 * has nothing beside it that belongs to it.
 */
int carry_bytes(const struct model *m, uint64_t *bytes, struct err *e);
/* c: the files of quantization_files (model.h) follow this cut; NULL: they go along as they are; requantized:
 * they stay behind, since what they say is true no more. */
int carry_files(const struct model *m, const struct cut *c, bool requantized, const char *dir, struct err *e);
/* Refused by name: what they say of experts cannot follow the cut. */
int carry_check_cut(const struct model *m, const struct cut *c, struct err *e);

/* Refused: OUT is the model, contains it or lies in it. */
int carry_check_target(const struct model *m, const char *out, struct err *e);
/* Refused, as an outdir_fit: a directory to be replaced that is no model's, or holds something else too. ctx
 * is the model that is being rewritten; what lies beside it may lie beside the other too. */
int carry_fit(void *ctx, const char *dir, struct err *e);
/* Refused: less than bytes free where OUT is to be. *free_bytes is always set. */
int carry_check_space(const char *out, uint64_t bytes, uint64_t *free_bytes, struct err *e);

#endif
