/*
 * normal.h -- the normalizers of tokenizer.json that are understood: NFC, Prepend, Replace of a string,
 * and Sequences of them.
 */
#ifndef MOE_TEXT_NORMAL_H
#define MOE_TEXT_NORMAL_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/mem.h"

enum { NORMAL_STEPS = 8 };
struct normalizer {
    struct normal_step {
        enum { NORMAL_NFC, NORMAL_PREPEND, NORMAL_REPLACE } kind;
        char *what, *with; /* PREPEND: with; REPLACE: what, with */
    } step[NORMAL_STEPS];
    int steps;
    unsigned char
        *stable; /* bit per code point: NFC leaves it and its left neighbour alone; NULL without NFC */
};
/* json: the member "normalizer" (null: none). what names the file in messages. */
int normalizer_read(struct normalizer *m, const cJSON *json, const char *what, struct err *e);
void normalizer_free(struct normalizer *m);
/* Normalizes s[0..n) (valid UTF-8). *out points to s itself if nothing changes, else into a or b, which
 * are scratch. */
int normalize(const struct normalizer *m, const char *s, size_t n, struct str *a, struct str *b,
              const char **out, size_t *out_n, struct err *e);

#endif
