/*
 * magic.h -- files that are taken for others, known by how they begin.
 */
#ifndef MOE_BASE_MAGIC_H
#define MOE_BASE_MAGIC_H

#include <stdbool.h>
#include <stddef.h>

/* "a Git LFS pointer ...", with what to do about it, to stand behind "is"; NULL: nothing that is known. */
const char *magic_kind(const void *text, size_t n);
/* Whether that is known by letters alone, and a text may begin so too: "ORCHARDS are", "GGUF is a format". */
bool magic_may_be_text(const void *text, size_t n);

#endif
