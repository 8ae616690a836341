/*
 * tokenizing.h -- tokenizers of a folder, for tests.
 */
#ifndef MOE_TESTS_TOKENIZING_H
#define MOE_TESTS_TOKENIZING_H

#include "tmp.h"

#include "text/tokenizer.h"

static inline int open_folder(struct tokenizer **out, const char *dir, struct err *e)
{
    struct tokenizer_source s;
    int r;

    *out = NULL;
    if (tokenizer_folder(&s, dir, e))
        return -1;
    r = tokenizer_open(out, &s, e);
    s.close(&s);
    return r;
}

static inline struct tokenizer *open_text(const char *json)
{
    struct tokenizer *t = NULL;
    struct err e = {0};

    put_tmp("tokenizer.json", json);
    CHECK_MSG(open_folder(&t, tmp_dir, &e) == 0, "%s", e.msg);
    return t;
}

/* "1 2 3" */
static inline const char *encode(const struct tokenizer *t, const char *s, bool special)
{
    static char out[1000];
    struct ids ids = {0};
    struct err e = {0};
    size_t i, n = 0;

    *out = 0;
    if (!t || tokenizer_encode(t, s, strlen(s), special, &ids, &e))
        return e.msg[0] ? "failed" : "not open";
    for (i = 0; i < ids.n && n < sizeof out - 20; i++)
        n += (size_t)snprintf(out + n, sizeof out - n, "%s%d", i ? " " : "", ids.id[i]);
    ids_free(&ids);
    return out;
}

#endif
