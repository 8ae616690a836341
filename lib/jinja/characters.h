/*
 * characters.h -- UTF-8, and characters as Python's str sees them. Positions are bytes here; all text is
 * UTF-8 that that was checked when it was read, or made by a template, whose escapes may give lone
 * surrogates.
 */
#ifndef MOE_JINJA_CHARACTERS_H
#define MOE_JINJA_CHARACTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

size_t utf8_count(const char *s, size_t n);        /* characters */
uint32_t utf8_length(const char *s, size_t n);     /* bytes of the first one; n > 0 */
uint32_t utf8_last(const char *s, size_t n);       /* bytes of the last one; n > 0 */
size_t utf8_at(const char *s, size_t n, size_t i); /* where the i-th begins, n at most */
size_t utf8_whole(const char *s, size_t n);        /* n, less the bytes of a last one that was cut */
int32_t utf8_get(const char *s, size_t n);         /* the first one */
/* The first place of what[0..m) in s[0..n), or NULL. */
const char *utf8_find(const char *s, size_t n, const char *what, size_t m);
void utf8_add(struct str *out, int32_t c);

/* str.isspace and so on, of a character */
bool uni_space(int32_t c);
bool uni_word(int32_t c); /* \w of regular expressions */
bool uni_alpha(int32_t c);
bool uni_decimal(int32_t c);
bool uni_digit(int32_t c);
bool uni_numeric(int32_t c);
bool uni_upper(int32_t c);
bool uni_lower(int32_t c);
bool uni_title(int32_t c);
bool uni_cased(int32_t c);
bool uni_printable(int32_t c);

/* str.upper, lower, casefold and swapcase of a text; title: of its first character. */
enum uni_case { TO_UPPER, TO_LOWER, TO_FOLD, TO_SWAPPED };
void uni_add_case(struct str *out, const char *s, size_t n, enum uni_case how);
void uni_add_title(struct str *out, int32_t c);
/* The lower case of the character at, which for a sigma depends on what is around it. */
void uni_add_lower(struct str *out, const char *s, size_t n, size_t at);

#endif
