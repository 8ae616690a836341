/*
 * gguf_file.h -- for tests: a GGUF file of a tokenizer's metadata under way.
 *
 *     begin("gpt2", "qwen2")                  then put_text, put_number, put_flag, put_list
 *     t = open_file()                         the tokenizer of what was put so far
 */
#ifndef MOE_TESTS_GGUF_FILE_H
#define MOE_TESTS_GGUF_FILE_H

#include "tokenizing.h"

#include "base/mem.h"
#include "model/container/gguf_kv.h"

static struct str values;
static unsigned keys;

static inline void put_uint(struct str *to, uint64_t v, int bytes)
{
    while (bytes--) {
        str_addc(to, (char)v);
        v >>= 8;
    }
}

static inline void put_string(struct str *to, const char *s, size_t n)
{
    put_uint(to, n, 8);
    str_add(to, s, n);
}

/* KEY of tokenizer.ggml.KEY, or, with a dot in front, of tokenizer.KEY. */
static inline void put_key(const char *key, enum gguf_type type)
{
    char name[100];

    snprintf(name, sizeof name, *key == '.' ? "tokenizer%s" : "tokenizer.ggml.%s", key);
    put_string(&values, name, strlen(name));
    put_uint(&values, type, 4);
    keys++;
}

static inline void put_text(const char *key, const char *text)
{
    put_key(key, GGUF_STRING);
    put_string(&values, text, strlen(text));
}

static inline void put_number(const char *key, unsigned v)
{
    put_key(key, GGUF_U32);
    put_uint(&values, v, 4);
}

static inline void put_flag(const char *key, bool v)
{
    put_key(key, GGUF_BOOL);
    put_uint(&values, v, 1);
}

/* n elements that lie in `all`. */
static inline void put_list(const char *key, enum gguf_type type, size_t n, const struct str *all)
{
    put_key(key, GGUF_ARRAY);
    put_uint(&values, type, 4);
    put_uint(&values, n, 8);
    str_add(&values, all->p, all->n);
}

static inline void begin(const char *model, const char *pre)
{
    str_clear(&values);
    keys = 0;
    put_text("model", model);
    if (pre)
        put_text("pre", pre);
}

static inline const char *write_file(void)
{
    const char *path = in_tmp("model.gguf");
    struct str head = {0};
    FILE *f;

    str_adds(&head, GGUF_MAGIC);
    put_uint(&head, 3, 4);
    put_uint(&head, 0, 8);
    put_uint(&head, keys, 8);
    unlink(path);
    f = fopen(path, "wb");
    CHECK(f && fwrite(head.p, 1, head.n, f) == head.n && fwrite(values.p, 1, values.n, f) == values.n &&
          fclose(f) == 0);
    str_free(&head);
    return path;
}

static inline struct tokenizer *open_file(void)
{
    struct tokenizer *t = NULL;
    struct err e = {0};

    CHECK_MSG(open_folder(&t, write_file(), &e) == 0, "%s", e.msg);
    return t;
}

#endif
