/*
 * numbers.h -- JSON numbers as Python reads them: a cJSON number is a double, but Python prints 1.0 and 1, or
 * 2**64, differently, so templates are given what was spelled.
 */
#ifndef MOE_JINJA_NUMBERS_H
#define MOE_JINJA_NUMBERS_H

#include <cjson/cJSON.h>
#include <stddef.h>

#include "base/err.h"

/*
 * Goes through tree with the text it was parsed from and hangs each number's text on it as valuestring
 * (cJSON_Delete frees it). Refused: a member name twice in an object (Python keeps one), numbers that are
 * infinite as doubles.
 */
int json_keep_numbers(cJSON *tree, const char *text, size_t n, const char *what, struct err *e);

#endif
