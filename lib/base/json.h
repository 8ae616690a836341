/*
 * json.h -- JSON that is ours or only read (through cJSON), JSON too large for a tree (a pull scanner:
 * safetensors headers, tokenizers), and byte-range edits of JSON that belongs to somebody else.
 */
#ifndef MOE_BASE_JSON_H
#define MOE_BASE_JSON_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"

/* Byte offset of the first byte that is not UTF-8 (RFC 3629: no surrogates, no overlong forms), or n. */
size_t utf8_check(const char *p, size_t n);

/* Bytes of a UTF-8 byte order mark at the beginning: 3 or 0. */
size_t skip_bom(const char *p, size_t n);

/* A whole JSON text; a byte order mark before it, and NaN, Infinity and -Infinity for numbers, as Python
 * writes them, are understood. Refused: bad UTF-8, \u0000 (C strings cannot carry it), anything after the
 * value, nesting past 200. what names the text in messages ("config.json", "calib.jsonl line 3"). The caller
 * frees with cJSON_Delete. */
int json_parse(const char *p, size_t n, const char *what, cJSON **out, struct err *e);
/* NULL: o has no such member, or is no object. */
static inline const cJSON *json_member(const cJSON *o, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(o, name);
}
/* json_parse of a whole file. */
int json_read(const char *path, uint64_t max, cJSON **out, struct err *e);

/*
 * Pull scanner over a text in memory (which must be NUL-terminated after n bytes and already be valid
 * UTF-8: js_init checks, and passes over a byte order mark). The caller walks the structure it expects:
 *
 *     js_init(&s, p, n, "model.safetensors header", e)
 *     js_open(&s, '{')
 *     while (js_key(&s, &key))        1: a member follows, its key decoded in key; 0: closed
 *         js_...value
 *     js_end(&s)                      nothing but white space may follow
 *
 * Arrays: js_open(&s, '['), while (js_item(&s)) value. Any mistake sets *e, and every later call
 * returns false or -1, so checking s.e->kind (or js_end) once at the end is enough.
 */
struct js {
    const char *start, *p, *end;
    const char *what;
    struct err *e;
    bool first;  /* no element read yet in the innermost container */
    bool strict; /* values that are passed over are not NaN, Infinity or -Infinity either */
};
int js_init(struct js *s, const char *p, size_t n, const char *what, struct err *e);
/* '{' '[' '"' 't' 'f' 'n' or '0' (any number) of the value ahead; 0 at the end or after an error. */
char js_peek(struct js *s);
int js_open(struct js *s, char bracket);
bool js_key(struct js *s, struct str *key);
bool js_item(struct js *s);
/* The decoded string is put into out (cleared first). \u0000 is refused. */
int js_string(struct js *s, struct str *out);
int js_u64(struct js *s, uint64_t *out);
int js_double(struct js *s, double *out);
int js_bool(struct js *s, bool *out);
/* Any value; from/to (may be NULL) get its byte range in the text. */
int js_skip(struct js *s, size_t *from, size_t *to);
int js_end(struct js *s);
/* Sets the error "WHAT: byte N: ...". Always -1. */
int js_fail(struct js *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/*
 * Edits by byte range. A path is a list of member names, NULL-terminated, e.g. {"text_config",
 * "num_local_experts", NULL}.
 */
/* The byte range of the value at path: 1 found, 0 absent, -1 bad JSON. The first of duplicate names is
 * found, and a duplicate of it is an error. */
int json_find(const char *p, size_t n, const char *what, const char *const *path, size_t *from, size_t *to,
              struct err *e);
/* Replaces the value at path by value (JSON text); nothing else in the text changes. 1 replaced, 0
 * absent, -1 error. *text is reallocated. */
int json_replace(char **text, size_t *n, const char *what, const char *const *path, const char *value,
                 struct err *e);
/* As json_replace, but adds the member at the end of the enclosing object (which must exist) when it is
 * absent, indented as the object's last member is. */
int json_set(char **text, size_t *n, const char *what, const char *const *path, const char *value,
             struct err *e);
/* Removes the member at path with its comma. 1 removed, 0 absent, -1 error. */
int json_remove(char **text, size_t *n, const char *what, const char *const *path, struct err *e);

#endif
