/*
 * pyjson.h -- JSON values as Python prints them, because chat templates are Jinja: tojson as Hugging Face
 * sets it (json.dumps, ensure_ascii=False, separators ", " and ": ", members in their order), str(), and the
 * truth and white space of Python.
 */
#ifndef MOE_TEXT_PYJSON_H
#define MOE_TEXT_PYJSON_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/mem.h"

/*
 * Numbers keep their spelling: a cJSON number is a double, but Python prints 1.0 and 1, or 2**64,
 * differently. Goes through tree with the text it was parsed from and hangs each number's text on it as
 * valuestring (cJSON_Delete frees it). Refused: a member name twice in an object (Python keeps one), numbers
 * that are infinite as doubles.
 */
int py_keep_numbers(cJSON *tree, const char *text, size_t n, const char *what, struct err *e);

void py_tojson(struct str *out, const cJSON *v);
/* tojson(indent=4): a line for each member and item. */
void py_tojson_indented(struct str *out, const cJSON *v);
/* str(v): strings as they are, None, True, 1.5, and repr() of lists and objects. */
void py_str(struct str *out, const cJSON *v);
/* bool(v); NULL (an undefined name in Jinja) is false. */
bool py_true(const cJSON *v);
/* s.strip(): moves *s and *n inwards. */
void py_strip(const char **s, size_t *n);

#endif
