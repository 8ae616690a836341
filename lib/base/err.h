/*
 * err.h -- how the library reports failure.
 *
 * Every library function that can fail returns 0 or -1 (or NULL) and fills the caller's struct err.
 * The first error wins: err_set() on an err that already holds one changes nothing, so that a clean-up
 * path or a second worker thread cannot hide the cause. Nothing in lib/ prints or exits.
 */
#ifndef MOE_BASE_ERR_H
#define MOE_BASE_ERR_H

#include <stddef.h>

enum err_kind {
    ERR_NONE = 0,
    ERR_INPUT,     /* a file or a value is wrong */
    ERR_IO,        /* the system refused: open, read, write, rename, disk full */
    ERR_NOMEM,     /* out of memory, or a size that cannot be */
    ERR_DEVICE,    /* accelerator, driver, numerical library */
    ERR_UNKNOWN,   /* not understood: family, key, template, dtype (never guessed) */
    ERR_CANCELLED, /* the progress callback asked to stop */
    ERR_USAGE,     /* the caller's options contradict each other */
};

struct err {
    enum err_kind kind;
    char msg[1000]; /* one line: what is wrong, in which file, tensor or line, what to do; no newline */
};

/* Both return -1, so that `return err_set(e, ...)` reads well. e may be NULL. */
int err_set(struct err *e, enum err_kind kind, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* As err_set with ERR_IO, with ": strerror(errno)" appended. */
int err_sys(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Puts "prefix: " before a message that is already there; for callers that know the file or line. */
void err_prefix(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void err_clear(struct err *e);

#endif
