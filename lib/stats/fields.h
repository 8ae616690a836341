/*
 * fields.h -- what the files of this room have in common: key=value lines, metadata, escaped names.
 */
#ifndef MOE_STATS_FIELDS_H
#define MOE_STATS_FIELDS_H

#include <stdbool.h>

#include "base/err.h"
#include "base/mem.h"

enum { FIELD_MAX = 64 }; /* bytes of a value, with the NUL */

/* line: "key=value" fields separated by tabs or blanks, each of the n keys exactly once, none else.
 * where ("run.stats: line 2") begins messages. value[i] gets the text of key[i]. */
int fields_parse(const char *line, const char *where, const char *const *key, char (*value)[FIELD_MAX], int n,
                 struct err *e);
/* The same with the first `needed` of the n keys; the others may be absent, and are then "". */
int fields_parse_some(const char *line, const char *where, const char *const *key, char (*value)[FIELD_MAX],
                      int needed, int n, struct err *e);
/*
 * The metadata of a safetensors file of ours: value[i] gets the text of key[i] of the n keys, of which key[0]
 * is "format" and must be `format` ("moe-repair 1"). Texts are st's. Refused, with the file: another format
 * ("is WHAT"), another version, keys that are not there.
 */
struct st_file;
int fields_metadata(const struct st_file *st, const char *format, const char *what, const char *const *key,
                    const char **value, int n, struct err *e);
/* HASH_HEX - 1 lower-case hexadecimal digits? */
bool is_hex_digest(const char *s);

/* Backslash, tab, newline and carriage return as \\ \t \n \r. */
void name_escape(struct str *out, const char *name);
/* The inverse; false for an empty name, another escape, or a NUL. out is cleared first. */
bool name_unescape(struct str *out, const char *p, size_t n);

#endif
