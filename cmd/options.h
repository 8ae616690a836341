/*
 * options.h -- a program's command line as data: rows of options, their rules, its operands and subcommands.
 * The rows are what parses, what --help prints, what completion is fed with and what the rules are checked
 * by.
 *
 *     static const struct opt options[] = {
 *         OPT_HEADING("What to show"),
 *         OPT_SIZE("fit", 0, &fit, "SIZE", "how many experts fit", .mode = "MODEL", .want = WANT_JSON),
 *         OPT_INT("context", 0, &context, "N", "tokens in the cache", 0, INT32_MAX, .needs = "fit"),
 *         OPT_END,
 *     };
 *     static const struct cmd cmd = {.name = "moe-inspect", ..., .run = run};
 *     int main(int argc, char **argv) { return cmd_main(&cmd, argc, argv); }
 */
#ifndef MOE_CMD_OPTIONS_H
#define MOE_CMD_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum opt_kind {
    KIND_FLAG,   /* bool: set to true */
    KIND_SWITCH, /* int: --name 1, --no-name 0 (start it at -1 for "not said") */
    KIND_INT,    /* int64_t, with min and max */
    KIND_REAL,   /* struct opt_real, with min and max */
    KIND_SIZE,   /* uint64_t, not 0: 16GB */
    KIND_TEXT,   /* as it was typed */
    KIND_CHOICE, /* int: index of one of the words of arg, "drop|refuse" */
    KIND_FILE,   /* the name of an output of its own: not "-", nor that of another output */
    KIND_LIST,   /* may be given several times */
    KIND_CALL,   /* called at once, and does not return */
};
struct opt_list {
    const char **v; /* [n], NULL-terminated */
    size_t n, cap;
};
struct opt_real {
    double v;
    const char *text; /* as it was typed; NULL: not said */
};
struct opt {
    const char *name; /* without dashes; NULL with help set: a heading in --help */
    char letter;      /* 0: none */
    enum opt_kind kind;
    union {
        bool *flag;
        int *number; /* of a switch or choice */
        int64_t *integer;
        struct opt_real *real;
        uint64_t *size;
        const char **text; /* also KIND_FILE */
        struct opt_list *list;
        void (*call)(void);
    };
    const char *arg;  /* "FILE", NULL for flags */
    const char *help; /* one line; NULL: hidden */
    int64_t min, max;

    /* The rules. Where a reason follows the name of the other option, the message has it: "seed, which ...".
     */
    const char *mode;     /* a question of its own, with these operands; there is one at a time */
    unsigned want;        /* mode: the common options that go with it; common option: its own bit */
    const char *needs;    /* has no effect without one of these: "fit", "render|tokenize", "budget=global" */
    const char *excludes; /* cannot stand beside this one */
    bool required;
    void (*values)(
        void); /* prints what it may be, a word a line, for completion; KIND_CHOICE does so itself */

    bool given; /* set while parsing */
};
#define OPT_ROW_(n, l, k, ...)                                                                               \
    {                                                                                                        \
        .name = (n), .letter = (l), .kind = (k), __VA_ARGS__                                                 \
    }
#define OPT_FLAG(n, l, dst, ...)   OPT_ROW_(n, l, KIND_FLAG, .flag = (dst), .help = __VA_ARGS__)
#define OPT_SWITCH(n, l, dst, ...) OPT_ROW_(n, l, KIND_SWITCH, .number = (dst), .help = __VA_ARGS__)
#define OPT_INT(n, l, dst, a, h, from, to, ...)                                                              \
    OPT_ROW_(n, l, KIND_INT, .integer = (dst), .arg = (a), .help = (h), .min = (from), .max = (to),          \
             __VA_ARGS__)
#define OPT_REAL(n, l, dst, a, h, from, to, ...)                                                             \
    OPT_ROW_(n, l, KIND_REAL, .real = (dst), .arg = (a), .help = (h), .min = (from), .max = (to), __VA_ARGS__)
#define OPT_SIZE(n, l, dst, a, ...) OPT_ROW_(n, l, KIND_SIZE, .size = (dst), .arg = (a), .help = __VA_ARGS__)
#define OPT_TEXT(n, l, dst, a, ...) OPT_ROW_(n, l, KIND_TEXT, .text = (dst), .arg = (a), .help = __VA_ARGS__)
#define OPT_CHOICE(n, l, dst, a, ...)                                                                        \
    OPT_ROW_(n, l, KIND_CHOICE, .number = (dst), .arg = (a), .help = __VA_ARGS__)
#define OPT_FILE(n, l, dst, a, ...) OPT_ROW_(n, l, KIND_FILE, .text = (dst), .arg = (a), .help = __VA_ARGS__)
#define OPT_LIST(n, l, dst, a, ...) OPT_ROW_(n, l, KIND_LIST, .list = (dst), .arg = (a), .help = __VA_ARGS__)
#define OPT_CALL(n, l, fn, ...)     OPT_ROW_(n, l, KIND_CALL, .call = (fn), .help = __VA_ARGS__)
#define OPT_HEADING(text)                                                                                    \
    {                                                                                                        \
        .help = (text)                                                                                       \
    }
#define OPT_END                                                                                              \
    {                                                                                                        \
        .name = NULL                                                                                         \
    }

/* Options that programs have in common; the first four where .want says so. */
struct common {
    bool json, force, dry_run;
    const char *out;
    int verbose;  /* -q: -1, -v: 1 */
    int progress; /* --[no-]progress; -1: if stderr is a terminal */
};
extern struct common common;
enum { WANT_JSON = 1, WANT_FORCE = 2, WANT_DRY_RUN = 4, WANT_OUT = 8 };

struct cmd {
    const char *name;               /* "moe-score", "moe-bench speed" */
    const char *purpose;            /* one line */
    const char *usage;              /* lines after "usage: ", separated by newlines */
    const struct opt *opts;         /* ends with OPT_END; the common ones are added */
    const char *examples;           /* for --help; may be NULL */
    unsigned want;                  /* without a mode */
    const char *operands;           /* without a mode: "MODEL DATA..."; NULL: run looks at them itself */
    int (*run)(int n, char **argv); /* with the operands; returns the exit status */
    const struct cmd *const *sub;   /* subcommands, NULL-terminated: then there is no run; NULL: none */
};

/*
 * main: finds the subcommand, parses argv (options and operands in any order, "--" ends options, --name=value
 * and
 * --name value, -abc and -oFILE; a long name may be cut short where that leaves no doubt), handles --help,
 * --version and the lists for completion, installs the signal handlers, checks the rules, runs and exits. A
 * mistake prints one line and exits 2.
 */
int cmd_main(const struct cmd *c, int argc, char **argv);
/* The check of cmd.operands, for a run that looks at them itself. */
void cmd_operands(const char *operands, int n, char **argv);
/* Command line as it was typed, quoted for a shell, but of absolute paths their ends; valid until exit. */
const char *command_line(void);

#endif
