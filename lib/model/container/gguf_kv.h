/*
 * gguf_kv.h -- the head of a GGUF file (versions 2 and 3): metadata as typed values by key, and the list of
 * its tensors.
 *
 *     struct gguf g;
 *     const struct gguf_value *v;
 *
 *     gguf_open(&g, "model.gguf", e)
 *     v = gguf_find(&g, "tokenizer.ggml.tokens")        NULL: no such key
 *     for (at = v->at; gguf_next(v, &at, &text);) ...   the strings of an array
 *     gguf_close(&g)
 *
 * https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 */
#ifndef MOE_MODEL_CONTAINER_GGUF_KV_H
#define MOE_MODEL_CONTAINER_GGUF_KV_H

#include <string.h>

#include "base/file.h"
#include "base/map.h"

#define GGUF_MAGIC "GGUF"

/* By their numbers in files. */
enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY, /* never the type of a gguf_value, which has that of the elements */
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_TYPES
};

/* Not ended by a NUL. */
struct gguf_text {
    const char *p;
    size_t n;
};

struct gguf_value {
    struct gguf_text key; /* without a NUL in it */
    enum gguf_type type;
    bool array;
    uint64_t n; /* elements; 1 if it is no array */
    const uint8_t
        *at;     /* the elements end to end, little-endian; of strings each a u64 length and the bytes */
    size_t size; /* bytes from at on */
};

enum { GGUF_DIMS = 4 };

struct gguf_info {
    struct gguf_text name; /* without a NUL in it */
    int dims;
    uint64_t ne[GGUF_DIMS]; /* the fastest first; 1 beyond dims */
    uint32_t type;          /* of ggml: quant/dtype.h has those that are known */
    uint64_t offset;        /* from `data` */
};

struct gguf {
    struct rfile file;
    struct gguf_value *value; /* [n_values], in the order of the file */
    struct gguf_info *info;   /* [n_infos], likewise */
    size_t n_values, n_infos;
    uint32_t version;
    uint64_t alignment; /* of tensors: a power of two */
    uint64_t data;      /* where in the file the tensors begin */
    uint8_t *bytes;     /* all that is before */
    struct map keys;
};

/*
 * Refused, by name: no GGUF, another version, or one of the other byte order; lengths and counts that reach
 * past the end of the file; an empty key or one with a NUL, a key or a tensor's name twice; unknown types and
 * arrays of arrays; booleans other than 0 and 1; more than 4 dimensions; an alignment that is no power of
 * two; more than 1 GiB of metadata. Where tensors lie is not looked at.
 */
int gguf_open(struct gguf *g, const char *path, struct err *e);
void gguf_close(struct gguf *g); /* {0} is harmless */

const struct gguf_value *gguf_find(const struct gguf *g, const char *key); /* NULL: absent */

/* Element i of a number, or of an array of them (a bool is 0 or 1). false: v is NULL, has no such element, or
 * is of another kind; gguf_int: no whole number or one that int64_t does not hold. */
bool gguf_number(const struct gguf_value *v, uint64_t i, double *out);
bool gguf_int(const struct gguf_value *v, uint64_t i, int64_t *out);
/* A string, or the first of an array. false: v is NULL, or of another kind. */
bool gguf_string(const struct gguf_value *v, struct gguf_text *out);
/* The next of an array of strings; *at is v->at before the first. false: there is none. */
bool gguf_next(const struct gguf_value *v, const uint8_t **at, struct gguf_text *out);

static inline bool gguf_is(const struct gguf_text *t, const char *word)
{
    return t->n == strlen(word) && memcmp(t->p, word, t->n) == 0;
}

#endif
