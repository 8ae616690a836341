/* mem.c -- memory whose sizes may come from a file, and growing strings. */
#define _DEFAULT_SOURCE /* madvise */
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { HUGE_PAGE = 2 << 20 };

bool mul_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

bool add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

void *mem_new(size_t n, size_t size, struct err *e)
{
    void *p = calloc(n ? n : 1, size ? size : 1);

    if (!p)
        err_set(e, ERR_NOMEM, "out of memory: %zu x %zu bytes", n, size);
    return p;
}

void *mem_new_aligned(size_t n, size_t size, struct err *e)
{
    uint64_t bytes;
    void *p;

    if (!mul_u64(n, size, &bytes) || bytes > SIZE_MAX / 2) {
        err_set(e, ERR_NOMEM, "out of memory: %zu x %zu bytes", n, size);
        return NULL;
    }
    if (posix_memalign(&p, bytes < 2 * HUGE_PAGE ? 64 : HUGE_PAGE, bytes ? bytes : 64)) {
        err_set(e, ERR_NOMEM, "out of memory: %zu x %zu bytes", n, size);
        return NULL;
    }
#ifdef MADV_HUGEPAGE
    if (bytes >= 2 * HUGE_PAGE)
        madvise(p, bytes / HUGE_PAGE * HUGE_PAGE,
                MADV_HUGEPAGE); /* only a wish: 512 times fewer page faults */
#endif
    return p;
}

int mem_grow(void *array_ptr, size_t *cap, size_t need, size_t size, struct err *e)
{
    void *old, *p;
    size_t want = *cap ? *cap : 16;

    if (need <= *cap)
        return 0;
    while (want < need) {
        if (want > SIZE_MAX / 2 / size)
            return err_set(e, ERR_NOMEM, "out of memory: %zu x %zu bytes", need, size);
        want *= 2;
    }
    memcpy(&old, array_ptr, sizeof old);
    p = realloc(old, want * size);
    if (!p)
        return err_set(e, ERR_NOMEM, "out of memory: %zu x %zu bytes", want, size);
    memcpy(array_ptr, &p, sizeof p);
    *cap = want;
    return 0;
}

char *mem_strdup(const char *s, struct err *e)
{
    return mem_strndup(s, strlen(s), e);
}

char *mem_strndup(const char *s, size_t n, struct err *e)
{
    char *p = mem_new(n + 1, 1, e);

    if (p && n)
        memcpy(p, s, n);
    return p;
}

char *mem_printf(struct err *e, const char *fmt, ...)
{
    va_list ap;
    char *p;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    p = mem_new((size_t)n + 1, 1, e);
    if (p) {
        va_start(ap, fmt);
        vsnprintf(p, (size_t)n + 1, fmt, ap);
        va_end(ap);
    }
    return p;
}

static bool str_room(struct str *s, size_t n)
{
    if (s->failed || n > SIZE_MAX / 4 - s->n || mem_grow(&s->p, &s->cap, s->n + n + 1, 1, NULL)) {
        s->failed = true;
        return false;
    }
    return true;
}

void str_add(struct str *s, const void *bytes, size_t n)
{
    if (!str_room(s, n))
        return;
    if (n)
        memcpy(s->p + s->n, bytes, n);
    s->n += n;
    s->p[s->n] = 0;
}

void str_adds(struct str *s, const char *text)
{
    str_add(s, text, strlen(text));
}

void str_addc(struct str *s, char c)
{
    str_add(s, &c, 1);
}

void str_addv(struct str *s, const char *fmt, va_list ap)
{
    va_list again;
    int n;

    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    if (n < 0 || !str_room(s, (size_t)n)) {
        s->failed = true;
        return;
    }
    vsnprintf(s->p + s->n, (size_t)n + 1, fmt, ap);
    s->n += (size_t)n;
}

void str_addf(struct str *s, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    str_addv(s, fmt, ap);
    va_end(ap);
}

void str_clear(struct str *s)
{
    s->n = 0;
    if (s->p)
        s->p[0] = 0;
}

void str_free(struct str *s)
{
    free(s->p);
    *s = (struct str){0};
}

int str_ok(const struct str *s, struct err *e)
{
    return s->failed ? err_set(e, ERR_NOMEM, "out of memory: text of %zu bytes", s->n) : 0;
}
