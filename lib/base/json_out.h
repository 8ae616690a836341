/*
 * json_out.h -- JSON that is ours, written member by member into a string.
 *
 *     struct json_out j = {0};            or {.pretty = true}
 *     jo_open(&j, NULL, '{');
 *     jo_int(&j, "layers", 48);           "layers":48
 *     jo_open(&j, "ids", '[');
 *     jo_int(&j, NULL, 7);                an item of an array has no name
 *     jo_close(&j);
 *     jo_close(&j);
 *     str_ok(&j.s, e)                     once, at the end; then j.s is the text
 *     str_free(&j.s)
 *
 * Commas, names and escapes are its work; that every open is closed, and that members have a name and items
 * none, is the caller's. Compact text is one line without blanks, but for objects in arrays, which begin a
 * line each, so that line tools find their way; pretty text has a line for every member and item.
 */
#ifndef MOE_BASE_JSON_OUT_H
#define MOE_BASE_JSON_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

struct json_out {
    struct str s; /* the text so far */
    bool pretty;
    int base; /* pretty: depth at which the text will stand in another */

    /* Private. */
    int depth;       /* what is open, 64 at most */
    uint64_t arrays; /* bit d: the container at depth d is an array */
    bool some;       /* the innermost has a member or item already */
    bool rows;       /* the innermost is an array whose items begin lines */
};

/* bracket: '{' or '['. name: of the member; NULL in an array, and for the whole. */
void jo_open(struct json_out *j, const char *name, char bracket);
void jo_close(struct json_out *j);
void jo_string(struct json_out *j, const char *name, const char *text); /* text NULL: null */
void jo_bool(struct json_out *j, const char *name, bool v);
void jo_int(struct json_out *j, const char *name, int64_t v);
void jo_uint(struct json_out *j, const char *name, uint64_t v);
/* num_shortest; null for NaN and infinity. */
void jo_double(struct json_out *j, const char *name, double v);
void jo_null(struct json_out *j, const char *name);
/* A value that is JSON as it is printed. */
void jo_printf(struct json_out *j, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Adds n bytes as a JSON string, with its quotes: control characters, quotes and backslashes escaped, each
 * byte that is not UTF-8 as U+FFFD. */
void json_quote(struct str *s, const char *text, size_t n);

#endif
