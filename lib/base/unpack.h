/*
 * unpack.h -- bytes that were compressed by gzip (RFC 1952) or zstd (RFC 8878), known by how they begin.
 */
#ifndef MOE_BASE_UNPACK_H
#define MOE_BASE_UNPACK_H

#include <stddef.h>

#include "base/err.h"

/* 1: *text, n bytes, was replaced by what it holds, with a NUL behind it; 0: it is anything else; -1. All
 * members and frames are read. Refused, with name: what is damaged, cut off, or followed by something else.
 */
int unpack(char **text, size_t *n, const char *name, struct err *e);

#endif
