/*
 * verify.h -- private to surgery: prune_verify() with a cut that is already made, and progress.
 */
#ifndef MOE_SURGERY_VERIFY_H
#define MOE_SURGERY_VERIFY_H

#include "surgery/cut.h"
#include "stats/repair_file.h"
#include "surgery/rewrite.h"

/* rw, if not NULL, is told of the bytes compared. */
int verify_cut(const struct model *m, const struct cut *c, const struct repair *repair, const char *out,
               struct rewrite *rw, uint64_t *bytes, struct err *e);

#endif
