/* corpus_digest.h -- what the digest of a corpus is made of: named fields, and the bytes of its files. */
#ifndef MOE_TEXT_CORPUS_DIGEST_H
#define MOE_TEXT_CORPUS_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"
#include "text/data_file.h"

void digest_text(struct hash *h, const char *name, const char *text, size_t n);
void digest_number(struct hash *h, const char *name, uint64_t v);
/* Of what n files hold, whatever they are called and is made of it. -1: out of memory. */
int digest_data(const struct data_file *source, size_t n, char hex[HASH_HEX], struct err *e);

#endif
