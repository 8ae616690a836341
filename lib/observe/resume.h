/*
 * resume.h -- private to observe: what finished passes gave, kept on disk until the run is complete.
 *
 * The sums go on in document order whatever the passes, so a run that goes on from what these files hold
 * gives the same bytes as one that was never interrupted.
 */
#ifndef MOE_OBSERVE_RESUME_H
#define MOE_OBSERVE_RESUME_H

#include "observe/observe.h"

/* Keeps s (and mat, unless NULL) after the first `docs` documents of c. */
int resume_save(const struct observe_partial *p, const struct stats *s, struct matrices *mat,
                const struct corpus *c, int64_t docs, struct err *e);
/* Fills the empty s and mat from what was kept, if anything was: *docs documents are in them. Refused: files
 * of another model, other options or other data, or of two different passes. */
int resume_load(const struct observe_partial *p, struct stats *s, struct matrices *mat,
                const struct corpus *c, int64_t *docs, struct err *e);

#endif
