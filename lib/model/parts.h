/*
 * parts.h -- what model.c is made of; private to lib/model.
 */
#ifndef MOE_MODEL_PARTS_H
#define MOE_MODEL_PARTS_H

#include "model/model.h"

/* quantization.c: puts into config what a file of the folder says of its quantization, if config does not. */
int quantization_beside(cJSON *config, const char *dir, struct err *e);
/* The first of these files that is there, or NULL. */
const char *quantization_file(const char *dir, struct err *e);

/* names.c */
const char *part_module(const struct family *f, enum part p); /* layout A module of a part; may be NULL */
const char *fused_part(enum part p);                          /* the same of all experts together */
/* As model_linear, by the map's whole name; fused: that of all experts. out, in: its size; 0: whatever was
 * found when it was checked, or what the weight's shape says. Where no format fits, l is the one that comes
 * nearest; where there is none, plain. */
bool find_map(const struct model *m, const char *base, bool fused, int out, int in, struct linear_tensors *l);
struct tensor_role role_of(const struct arch *a, const char *name);

/* slots.c: whether NAME within a MoE module is a tensor of the router, and which of its dimensions counts
 * experts. */
bool router_tensor(const struct arch *a, const char *name, int *axis);

/* check.c: every tensor that the level asks for, and no other; sets cut_only. */
int check_tensors(struct model *m, const struct model_options *o, struct err *e);

#endif
