/*
 * regex.h -- regular expressions of tokenizers, as the reference's engine (Oniguruma, syntax of Ruby; and
 * that of tiktoken, where they agree) understands them, by the character classes of text/unicode.h.
 *
 * All that a pattern can tell of a character is in which of its sets it is: so characters that are in the
 * same sets are one class, a text becomes one byte per character, its class, and PCRE2 matches bytes. What is
 * not known to mean the same is refused.
 */
#ifndef MOE_TEXT_REGEX_H
#define MOE_TEXT_REGEX_H

#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "text/charset.h"

struct regex {
    void *code;        /* pcre2_code */
    uint8_t *class_of; /* [UNICODE_END] */
};
/* what names the pattern's place in messages. */
int regex_compile(struct regex *r, const char *pattern, const char *what, struct err *e);
/* A pattern that is matched letter by letter. */
int regex_literal(struct regex *r, const char *text, const char *what, struct err *e);
void regex_free(struct regex *r);

/*
 * A pattern with its sets taken out; regex_parse makes one, regex_compile matches it. Of out, the sets'
 * places are bytes 0x01, in the order of `set`; all else is syntax, the same for PCRE2.
 */
enum { REGEX_SETS = 64 };
struct regex_parts {
    struct str out;
    struct charset set[REGEX_SETS]; /* [sets], all different */
    int sets;
    struct str used; /* a byte for each place: which set */
};
int regex_parse(struct regex_parts *p, const char *pattern, const char *what, struct err *e);
/* A place for a set, whose memory is taken over, or freed on failure. */
int regex_add_set(struct regex_parts *p, struct charset *set, const char *what, struct err *e);
void regex_parts_free(struct regex_parts *p);

#endif
