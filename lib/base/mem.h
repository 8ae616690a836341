/*
 * mem.h -- memory whose sizes may come from a file, and growing strings.
 */
#ifndef MOE_BASE_MEM_H
#define MOE_BASE_MEM_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* *out = a * b or a + b; false on overflow (then *out is untouched). */
bool mul_u64(uint64_t a, uint64_t b, uint64_t *out);
bool add_u64(uint64_t a, uint64_t b, uint64_t *out);

/* n objects of size bytes, zeroed; NULL with ERR_NOMEM on overflow or lack of memory. n = 0 gives a
 * pointer that may be freed. The caller frees with free(). */
void *mem_new(size_t n, size_t size, struct err *e);
/* Not zeroed, aligned to 64 bytes, for large numeric arrays; free() releases it. */
void *mem_new_aligned(size_t n, size_t size, struct err *e);
/* Makes room for at least need elements in a growing array: doubles *cap. 0 or -1. */
int mem_grow(void *array_ptr, size_t *cap, size_t need, size_t size, struct err *e);
char *mem_strdup(const char *s, struct err *e);
char *mem_strndup(const char *s, size_t n, struct err *e);
char *mem_printf(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/*
 * A growing byte string, always NUL-terminated once something was added. Start from {0}. Adding never
 * fails visibly: on lack of memory .failed is set and stays set; check it once with str_ok().
 */
struct str {
    char *p;
    size_t n, cap;
    bool failed;
};

void str_add(struct str *s, const void *bytes, size_t n);
void str_adds(struct str *s, const char *text);
void str_addc(struct str *s, char c);
void str_addf(struct str *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void str_addv(struct str *s, const char *fmt, va_list ap);
void str_clear(struct str *s);
void str_free(struct str *s);
/* 0, or -1 with ERR_NOMEM if an addition failed. */
int str_ok(const struct str *s, struct err *e);

#endif
