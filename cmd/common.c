#include "common.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json_out.h"
#include "base/num.h"
#include "version.h"

struct common common = {.progress = -1};
static const struct cmd *cmd;
static struct opt table[96]; /* the program's options, then the common ones */
static struct str typed;
static struct timespec t0;
static bool progress_shown;

static void on_signal(int sig)
{
    moe_signal = sig;
}

static void signals(void)
{
    static const int which[] = {SIGINT, SIGTERM, SIGHUP, SIGXCPU};
    struct sigaction sa = {.sa_handler = on_signal}, old;
    size_t i;

    for (i = 0; i < sizeof which / sizeof *which; i++)
        if (sigaction(which[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN) /* nohup */
            sigaction(which[i], &sa, NULL);
    signal(SIGXFSZ, SIG_IGN); /* a file-size limit is then an error of write() */
}

/* A row of the table, not its end. */
static bool is_row(const struct opt *o)
{
    return o->name || o->help;
}

static void print_option(const struct opt *o)
{
    char left[80];
    int n = snprintf(left, sizeof left, "  ");

    if (o->letter)
        n += snprintf(left + n, sizeof left - (size_t)n, "-%c, ", o->letter);
    else
        n += snprintf(left + n, sizeof left - (size_t)n, "    ");
    snprintf(left + n, sizeof left - (size_t)n, "--%s%s%s%s", o->kind == OPT_BOOL ? "[no-]" : "", o->name,
             o->arg ? " " : "", o->arg ? o->arg : "");
    if (strlen(left) < 30)
        printf("%-30s%s\n", left, o->help);
    else
        printf("%s\n%-30s%s\n", left, "", o->help);
}

static _Noreturn void help(void)
{
    const struct opt *o;
    const char *u;

    printf("%s -- %s\n\n", cmd->name, cmd->purpose);
    for (u = cmd->usage; *u; u += *u == '\n') {
        size_t n = strcspn(u, "\n");

        printf("%s%.*s\n", u == cmd->usage ? "usage: " : "       ", (int)n, u);
        u += n;
    }
    printf("\n");
    for (o = table; is_row(o); o++) {
        if (!o->name)
            printf("%s%s:\n", o == table ? "" : "\n", o->help);
        else if (o->help)
            print_option(o);
    }
    if (cmd->examples)
        printf("\nExamples:\n%s", cmd->examples);
    printf(
        "\nExit status: 0 done; 1 input, I/O or device failure; 2 usage; 3 checked, and the answer is no.\n"
        "The manual: man %.*s, man 7 moe.\n",
        (int)strcspn(cmd->name, " "), cmd->name); /* "moe-bench compare" has its manual in moe-bench */
    cmd_exit(EXIT_DONE);
}

static _Noreturn void list_options(void)
{
    const struct opt *o;

    for (o = table; is_row(o); o++) {
        if (!o->name || !o->help)
            continue;
        printf("--%s\n", o->name);
        if (o->kind == OPT_BOOL)
            printf("--no-%s\n", o->name);
    }
    cmd_exit(EXIT_DONE);
}

static bool flag_help, flag_version, flag_quiet, flag_verbose, flag_list;

static void build_table(unsigned want)
{
    const struct opt common_opts[] = {
        OPT_HEADING("Common options"),
        {"output", 'o', OPT_TEXT, &common.out, "FILE", "write the result to FILE; '-' is standard output", 0,
         0},
        {"json", 0, OPT_FLAG, &common.json, NULL, "print JSON for programs instead of a table for people", 0,
         0},
        {"force", 'f', OPT_FLAG, &common.force, NULL, "overwrite an existing output", 0, 0},
        {"dry-run", 'n', OPT_FLAG, &common.dry_run, NULL, "say what would be done, write nothing", 0, 0},
        {"quiet", 'q', OPT_FLAG, &flag_quiet, NULL, "errors only", 0, 0},
        {"verbose", 'v', OPT_FLAG, &flag_verbose, NULL, "say more", 0, 0},
        {"progress", 0, OPT_BOOL, &common.progress, NULL, "progress on stderr (default: on a terminal)", 0,
         0},
        {"help", 'h', OPT_FLAG, &flag_help, NULL, "this text", 0, 0},
        {"version", 'V', OPT_FLAG, &flag_version, NULL, "version and build", 0, 0},
        {"list-options", 0, OPT_FLAG, &flag_list, NULL, NULL, 0, 0},
        OPT_END,
    };
    static const unsigned need[] = {0, WANT_OUT, WANT_JSON, WANT_FORCE, WANT_DRY_RUN};
    const struct opt *o;
    size_t n = 0, i;

    for (o = cmd->opts; o && is_row(o); o++)
        table[n++] = *o;
    for (i = 0; i < sizeof common_opts / sizeof *common_opts; i++)
        if (i >= sizeof need / sizeof *need || (need[i] & want) == need[i])
            table[n++] = common_opts[i];
}

void put_name(FILE *f, int width, const char *name)
{
    for (; *name; name++) {
        fputc(((unsigned char)*name < ' ' && *name != '\t') || *name == 0x7f ? '?' : *name, f);
        width -= (*name & 0xc0) != 0x80;
    }
    while (width-- > 0)
        fputc(' ', f);
}

int name_width(const char *name)
{
    int width = 0;

    for (; *name; name++)
        width += (*name & 0xc0) != 0x80;
    return width;
}

/* A message on standard error, without the newline. */
static void say(const char *fmt, va_list ap)
{
    char text[2048];

    vsnprintf(text, sizeof text, fmt, ap);
    fprintf(stderr, "%s: ", cmd->name);
    put_name(stderr, 0, text);
}

void usage_error(const char *fmt, ...)
{
    va_list ap;

    fflush(stdout);
    va_start(ap, fmt);
    say(fmt, ap);
    va_end(ap);
    fprintf(stderr, "; try '%s --help'\n", cmd->name);
    exit(EXIT_USAGE);
}

static const struct opt *find_long(const char *name, size_t n, bool *negated)
{
    const struct opt *o;
    int pass;

    for (pass = 0; pass < 2; pass++) {
        *negated = pass;
        if (pass && (n < 4 || strncmp(name, "no-", 3) != 0))
            break;
        for (o = table; is_row(o); o++)
            if (o->name && (!pass || o->kind == OPT_BOOL) && strlen(o->name) == n - 3 * (size_t)pass &&
                strncmp(o->name, name + 3 * pass, n - 3 * (size_t)pass) == 0)
                return o;
    }
    return NULL;
}

static void set(const struct opt *o, const char *value, bool negated)
{
    struct err e = {0};
    char what[80];

    snprintf(what, sizeof what, "--%s", o->name);
    switch (o->kind) {
    case OPT_FLAG:
        *(bool *)o->dst = true;
        break;
    case OPT_CALL:
        (*(void (**)(void))o->dst)();
        break;
    case OPT_BOOL:
        *(int *)o->dst = !negated;
        break;
    case OPT_INT:
        if (num_i64(value, what, o->min, o->max, o->dst, &e))
            usage_error("%s", e.msg);
        break;
    case OPT_SIZE:
        if (num_size(value, what, o->dst, &e))
            usage_error("%s", e.msg);
        if (!*(uint64_t *)o->dst)
            usage_error("%s: '%s' is no size", what, value);
        break;
    case OPT_TEXT:
        *(const char **)o->dst = value;
        break;
    case OPT_LIST: {
        struct opt_list *l = o->dst;

        if (mem_grow(&l->v, &l->cap, l->n + 2, sizeof *l->v, &e))
            die(&e);
        l->v[l->n++] = value;
        l->v[l->n] = NULL;
        break;
    }
    }
}

static bool takes_value(const struct opt *o)
{
    return o->kind != OPT_FLAG && o->kind != OPT_BOOL && o->kind != OPT_CALL;
}

/* argv[i] is "--something": consumes it and perhaps the next; returns the index of the last one used. */
static int long_option(int argc, char **argv, int i)
{
    const char *name = argv[i] + 2, *eq = strchr(name, '=');
    size_t n = eq ? (size_t)(eq - name) : strlen(name);
    bool negated;
    const struct opt *o = find_long(name, n, &negated);

    if (!o)
        usage_error("unknown option '--%.*s'", (int)n, name);
    if (!takes_value(o)) {
        if (eq)
            usage_error("--%.*s takes no value", (int)n, name);
        set(o, NULL, negated);
        return i;
    }
    if (eq) {
        set(o, eq + 1, false);
        return i;
    }
    if (i + 1 >= argc)
        usage_error("--%s needs %s", o->name, o->arg);
    set(o, argv[i + 1], false);
    return i + 1;
}

static int short_options(int argc, char **argv, int i)
{
    const char *p;

    for (p = argv[i] + 1; *p; p++) {
        const struct opt *o;

        for (o = table; is_row(o) && o->letter != *p; o++)
            ;
        if (!is_row(o))
            usage_error("unknown option '-%c'", *p);
        if (!takes_value(o)) {
            set(o, NULL, false);
            continue;
        }
        if (p[1]) {
            set(o, p + 1, false);
            return i;
        }
        if (i + 1 >= argc)
            usage_error("-%c needs %s", *p, o->arg);
        set(o, argv[i + 1], false);
        return i + 1;
    }
    return i;
}

static void remember(int argc, char **argv)
{
    int i;

    for (i = 0; i < argc; i++) {
        const char *a = i ? argv[i] : cmd->name, *p;
        bool plain = *a;

        for (p = a; *p; p++)
            plain = plain && (strchr("-_./=,:@%+", *p) || (*p >= '0' && *p <= '9') ||
                              (*p >= 'A' && *p <= 'Z') || (*p >= 'a' && *p <= 'z'));
        str_adds(&typed, i ? " " : "");
        if (plain) {
            str_adds(&typed, a);
            continue;
        }
        str_addc(&typed, '\'');
        for (p = a; *p; p++) {
            if (*p == '\'')
                str_adds(&typed, "'\\''");
            else
                str_addc(&typed, *p);
        }
        str_addc(&typed, '\'');
    }
}

int cmd_start(const struct cmd *c, unsigned want, int argc, char **argv)
{
    bool options = true;
    int i, n = 0;

    clock_gettime(CLOCK_MONOTONIC, &t0);
    cmd = c;
    signals();
    build_table(want);
    remember(argc, argv);
    for (i = 1; i < argc; i++) {
        if (options && strcmp(argv[i], "--") == 0)
            options = false;
        else if (options && strncmp(argv[i], "--", 2) == 0)
            i = long_option(argc, argv, i);
        else if (options && argv[i][0] == '-' && argv[i][1])
            i = short_options(argc, argv, i);
        else
            argv[n++] = argv[i];
    }
    argv[n] = NULL;
    common.verbose = flag_quiet ? -1 : flag_verbose ? 1 : 0;
    if (flag_help)
        help();
    if (flag_list)
        list_options();
    if (flag_version) {
        printf("%s %s\n%s\n", cmd->name, MOE_VERSION, MOE_BUILD);
        cmd_exit(EXIT_DONE);
    }
    return n;
}

/* After a signal: dies by it. */
static void follow_signal(void)
{
    if (moe_signal) {
        signal((int)moe_signal, SIG_DFL);
        raise((int)moe_signal);
    }
}

void cmd_exit(int status)
{
    progress_done();
    if (fflush(stdout) || ferror(stdout) || (fclose(stdout) && errno != EBADF)) {
        if (errno == EPIPE)
            exit(EXIT_FAILED);
        fprintf(stderr, "%s: cannot write '<stdout>': %s\n", cmd->name, strerror(errno));
        exit(status == EXIT_DONE || status == EXIT_NO ? EXIT_FAILED : status);
    }
    str_free(&typed);
    follow_signal();
    exit(status);
}

void die(const struct err *e)
{
    progress_done();
    fflush(stdout);
    if (e->kind != ERR_CANCELLED) {
        fprintf(stderr, "%s: ", cmd->name);
        put_name(stderr, 0, e->kind ? e->msg : "failed without a reason (a bug)");
        fputc('\n', stderr);
    } else if (!moe_signal) {
        fprintf(stderr, "%s: cancelled\n", cmd->name);
    }
    follow_signal();
    exit(e->kind == ERR_USAGE ? EXIT_USAGE : EXIT_FAILED);
}

void check_input(const char *option, const char *output, const char *input)
{
    if (output && input && strcmp(output, "-") != 0 && strcmp(input, "-") != 0 && path_same(output, input))
        usage_error("%s %s is one of the inputs: choose another name", option, output);
}

void check_output(const char *path)
{
    struct wfile w = {0};
    struct err e = {0};

    if (common.dry_run || !path || strcmp(path, "-") == 0)
        return;
    if (wfile_open(&w, path, common.force, &e))
        die(&e);
    wfile_close(&w);
}

#define SAY(level)                                                                                           \
    do {                                                                                                     \
        va_list ap;                                                                                          \
        if (common.verbose < (level))                                                                        \
            return;                                                                                          \
        progress_done();                                                                                     \
        va_start(ap, fmt);                                                                                   \
        say(fmt, ap);                                                                                        \
        va_end(ap);                                                                                          \
        fputc('\n', stderr);                                                                                 \
    } while (0)

void note(const char *fmt, ...)
{
    SAY(0);
}

void detail(const char *fmt, ...)
{
    SAY(1);
}

/* Since the program started. */
static double clock_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)(t.tv_sec - t0.tv_sec) + (double)(t.tv_nsec - t0.tv_nsec) * 1e-9;
}

void progress(const char *what, double fraction)
{
    static double last = 0.8; /* the first line comes after a second */
    double now = clock_seconds();

    if (common.progress == 0 || common.verbose < 0 || (common.progress < 0 && !isatty(STDERR_FILENO)))
        return;
    if (now - last < 0.2)
        return;
    last = now;
    progress_shown = true;
    fprintf(stderr, "\r%s: %s %3.0f%%  %.0f s", cmd->name, what, 100 * fraction, now);
    if (fraction > 0.02)
        fprintf(stderr, ", %.0f s left ", now / fraction * (1 - fraction));
    fprintf(stderr, "\033[K");
}

void progress_done(void)
{
    if (progress_shown)
        fputc('\n', stderr);
    progress_shown = false;
}

const char *command_line(void)
{
    return typed.p ? typed.p : "";
}

void json_number(FILE *f, double v)
{
    char buf[40];
    int digits;

    if (!isfinite(v)) {
        fputs("null", f);
        return;
    }
    for (digits = 6; digits <= 17; digits++) {
        snprintf(buf, sizeof buf, "%.*g", digits, v);
        if (strtod(buf, NULL) == v)
            break;
    }
    fputs(buf, f);
}

void json_string(FILE *f, const char *s)
{
    struct str o = {0};

    json_quote(&o, s, strlen(s));
    fputs(o.p ? o.p : "", f);
    str_free(&o);
}

void json_number_member(FILE *f, const char *name, double v)
{
    fprintf(f, ",\"%s\":", name);
    json_number(f, v);
}

void json_string_member(FILE *f, const char *name, const char *s)
{
    fprintf(f, ",\"%s\":", name);
    if (s)
        json_string(f, s);
    else
        fputs("null", f);
}
