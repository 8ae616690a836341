/*
 * common.h -- what the six programs share: options from one table (which also prints --help and feeds
 * completion), messages, progress, signals, exit status.
 */
#ifndef MOE_CMD_COMMON_H
#define MOE_CMD_COMMON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "base/mem.h"

/* Exit statuses, the same everywhere (moe(7)). */
enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_NO = 3 };

enum opt_kind {
    OPT_FLAG, /* bool *: set to true */
    OPT_BOOL, /* int *: --name 1, --no-name 0 (start it at -1 for "not said") */
    OPT_INT,  /* int64_t *: with min and max */
    OPT_SIZE, /* uint64_t *: 16GB */
    OPT_TEXT, /* const char ** */
    OPT_LIST, /* struct opt_list *: may be given several times */
    OPT_CALL, /* void (**)(void): called at once */
};
struct opt_list {
    const char **v; /* [n], NULL-terminated */
    size_t n, cap;
};
struct opt {
    const char *name; /* without dashes; NULL with help set: a heading in --help */
    char letter;      /* 0: none */
    enum opt_kind kind;
    void *dst;
    const char *arg;  /* "FILE", NULL for flags */
    const char *help; /* one line; NULL: hidden */
    int64_t min, max; /* OPT_INT */
};
#define OPT_HEADING(text)                                                                                    \
    {                                                                                                        \
        NULL, 0, OPT_FLAG, NULL, NULL, text, 0, 0                                                            \
    }
#define OPT_END                                                                                              \
    {                                                                                                        \
        NULL, 0, OPT_FLAG, NULL, NULL, NULL, 0, 0                                                            \
    }

struct cmd {
    const char *name;       /* "moe-score" */
    const char *purpose;    /* one line */
    const char *usage;      /* lines after "usage: ", separated by newlines */
    const struct opt *opts; /* ends with OPT_END; the common ones are added */
    const char *examples;   /* for --help; may be NULL */
};

/* Options that every program has. */
struct common {
    bool json, force, dry_run; /* only where the program says so: see cmd_start's want_ flags */
    const char *out;
    int verbose;  /* -q: -1, -v: 1 */
    int progress; /* --[no-]progress; -1: if stderr is a terminal */
};
extern struct common common;
enum { WANT_JSON = 1, WANT_FORCE = 2, WANT_DRY_RUN = 4, WANT_OUT = 8 };

/*
 * Parses argv (options and operands in any order, "--" ends options, --name=value and --name value, -abc
 * and -oFILE), handles --help, --version and --list-options (prints and exits 0), installs the signal
 * handlers. Returns the number of operands, moved to argv[0..]. A mistake prints one line and exits 2.
 */
int cmd_start(const struct cmd *c, unsigned want, int argc, char **argv);
/* Flushes standard output, and exits with status (1 if that failed). After a signal: cleans up and dies by
 * it, so that the caller sees the true cause. */
_Noreturn void cmd_exit(int status);
/* "moe-score: MESSAGE" on stderr; die exits 1 (or by the signal for ERR_CANCELLED; 2 for ERR_USAGE). */
_Noreturn void die(const struct err *e);
_Noreturn void usage_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void note(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* not with -q: warnings, summaries */
void detail(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* only with -v */

/* Refuses an existing output file before the work, not after it. Not with --dry-run; path may be NULL or "-".
 */
void check_output(const char *path);
/* Refuses an output that would take the place of an input, which --force does not mean. Either may be NULL or
 * "-". */
void check_input(const char *option, const char *output, const char *input);

/* One line on stderr, rewritten at most 5 times a second, first after 1 s, only on a terminal (or with
 * --progress). fraction in 0..1; the rest of time is estimated. */
void progress(const char *what, double fraction);
void progress_done(void);
/* Command line as it was typed, quoted for a shell; valid until exit. */
const char *command_line(void);

/* A name that a file gave, for people: control characters other than tabs, which would break the line or
 * steer the terminal, become '?'; blanks up to width characters. Messages are printed so too. */
void put_name(FILE *f, int width, const char *name);
int name_width(const char *name); /* characters of UTF-8 */
/* A double for JSON: %.17g shortened where fewer digits give the same double; null for NaN and infinity. */
void json_number(FILE *f, double v);
/* A quoted, escaped JSON string. */
void json_string(FILE *f, const char *s);
/* A further member of an object: ,"NAME":VALUE; null for a string that is NULL. */
void json_number_member(FILE *f, const char *name, double v);
void json_string_member(FILE *f, const char *name, const char *s);

#endif
