/*
 * parts.h -- what model.c is made of; private to lib/model.
 */
#ifndef MOE_MODEL_PARTS_H
#define MOE_MODEL_PARTS_H

#include "model/model.h"

/* names.c */
const char *part_module(const struct family *f, enum part p); /* layout A module of a part; may be NULL */
bool split_layout(enum expert_layout l);
struct tensor_role role_of(const struct arch *a, const char *name);

/* check.c: every tensor that the architecture asks for, and no other. */
int check_tensors(struct model *m, struct err *e);

#endif
