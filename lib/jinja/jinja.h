/*
 * jinja.h -- chat templates rendered by what they are: the Jinja that they are written in, as the Python
 * library jinja2 3.1 understands it in the environment that transformers sets up (sandboxed and immutable,
 * trim_blocks, lstrip_blocks, loop controls, generation blocks, its own tojson).
 *
 *     t = jinja_open(text, n, e)                      parsed once
 *     jinja_render(t, variables, n, &options, out, e) as often as one likes, by any number of threads
 *     jinja_close(t)
 *
 * What is there: output, if, for (filter, else, recursive, break, continue), set (also blocks and attributes
 * of namespaces), macro, call, filter, with, block (without self and super), raw, print and generation; all
 * operators; integers of up to 4300 digits, as many as Python prints; all filters except pprint, random,
 * urlize and wordwrap, which have no place in a prompt and are refused by name when they are reached, as is
 * autoescape; all tests; the methods of strings, lists and dictionaries that change nothing; range, dict,
 * namespace, cycler, joiner, raise_exception and strftime_now. There are no other files: include, import and
 * extends fail as they do without a loader.
 *
 * An error names the line and what Python would raise: "line 12: UndefinedError: 'tool' is undefined".
 */
#ifndef MOE_JINJA_JINJA_H
#define MOE_JINJA_JINJA_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"

struct jinja; /* a parsed template; not changed by rendering */

/* text[0..n) is UTF-8 and need not outlive the call. ERR_INPUT: it is not a template. */
struct jinja *jinja_open(const char *text, size_t n, struct err *e);
void jinja_close(struct jinja *t);

/* value: NULL is none. A number with a valuestring (numbers.h) is what that spells. Of two with one name the
 * later counts. */
struct jinja_variable {
    const char *name;
    const cJSON *value;
    bool read; /* becomes true when the rendering looks at the variable of that name, whatever for */
};

struct jinja_options {
    const char *now; /* what strftime_now sees, "YYYY-MM-DD" or "YYYY-MM-DD HH:MM:SS"; NULL: calling it is an
                        error of ERR_USAGE */
    uint64_t steps;  /* at most so many evaluations, 64 bytes copied being one; 0: 2^26, about a second */
    uint64_t bytes;  /* at most so many of values and output; 0: 1 GiB */
};

/* Adds the rendered text to out. The variables must live until it returns. After a failure out holds what was
 * printed before. */
int jinja_render(const struct jinja *t, struct jinja_variable *v, int n, const struct jinja_options *o,
                 struct str *out, struct err *e);

#endif
