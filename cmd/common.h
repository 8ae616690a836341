/*
 * common.h -- what the six programs share besides their options: messages, progress, signals, exit status,
 * JSON.
 */
#ifndef MOE_CMD_COMMON_H
#define MOE_CMD_COMMON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "base/json_out.h"
#include "base/mem.h"
#include "options.h"

/* Exit statuses, the same everywhere (moe(7)). */
enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_NO = 3 };

/* Once, before anything else: signal handlers, progress_begin. */
void cmd_begin(void);
/* Flushes standard output, and exits with status (1 if that failed). After a signal: cleans up and dies by
 * it, so that the caller sees the true cause. */
_Noreturn void cmd_exit(int status);
/* "moe-score: MESSAGE" on stderr; die exits 1 (or by the signal for ERR_CANCELLED; 2 for ERR_USAGE). */
_Noreturn void die(const struct err *e);
_Noreturn void usage_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void note(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* not with -q: warnings, summaries */
void detail(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* only with -v */

/* Refuses an output that exists, or with --force one that is an input, before the work and not after it;
 * called before the inputs are read, it makes reading them fail. Not with --dry-run; path may be NULL or "-".
 */
void check_output(const char *path);

/* From here on time is counted, and SIGUSR1 is answered: with one line on stderr, whatever else is shown. */
void progress_begin(void);
/* One line on stderr, rewritten at most 5 times a second, first after 1 s, only on a terminal (or with
 * --progress); in a file a plain line a minute. fraction in 0..1; the rest of time is estimated. where: what
 * else is to be said, such as ", layer 3 of 48"; may be "". */
void progress(const char *what, const char *where, double fraction);
/* "42 s", "3m07s", "1h05m". */
char *duration_text(double seconds, char buf[32]);
/* Two lines of a dry run: what writing OUT needs, and how long it takes. */
void put_needed(const char *out, uint64_t needed, uint64_t available, uint64_t read, double rate,
                double seconds);
/* What comes now and cannot say how far it is: SIGUSR1 alone shows it. */
void doing(const char *what);
/* Before anything else is printed: ends the line. */
void progress_done(void);
/* What the library calls while it works, through many bytes or towards 1: shows progress. */
struct working {
    const char *what;
    const char *second; /* said from the half on, for work in two parts; NULL: one part */
};
void working_bytes(void *working, uint64_t done, uint64_t total);
void working_fraction(void *working, double fraction);

/* A name that a file gave, for people: control characters other than tabs, which would break the line or
 * steer the terminal, become '?'; blanks up to width characters. Messages are printed so too. */
void put_name(FILE *f, int width, const char *name);
int name_width(const char *name); /* characters of UTF-8 */
/* In a column: of a name of more than `width` characters the beginning and the end, and "..." between them.
 */
void put_short(FILE *f, int width, const char *name);
/* Every JSON text begins so: '{' and the version of its members. Members may be added to a version; one that
 * goes or means something else makes the next. */
void json_begin(struct json_out *j);
/* The text to f, and a newline; frees it. Dies where there was no memory for it. */
void json_print(FILE *f, struct json_out *j);

#endif
