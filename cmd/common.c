/* common.c -- messages, signals, exit status. */
#include "common.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/num.h"
#include "options_private.h"

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

void put_name(FILE *f, int width, const char *name)
{
    for (; *name; name++, width--) {
        const unsigned char *p = (const unsigned char *)name;
        bool high = p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0; /* U+0080 to U+009F */

        fputc((*p < ' ' && *p != '\t') || *p == 0x7f || high ? '?' : *p, f);
        for (name += high; !high && (name[1] & 0xc0) == 0x80; name++)
            fputc(name[1], f);
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

/* Where the n-th character begins. */
static const char *character(const char *s, int n)
{
    while (*s && (n > 0 || (*s & 0xc0) == 0x80))
        n -= (*s++ & 0xc0) != 0x80;
    return s;
}

void put_short(FILE *f, int width, const char *name)
{
    enum { DOTS = 3 };
    int n = name_width(name), head = (width - DOTS) / 2, tail = width - DOTS - head;
    const char *cut = character(name, head);
    char *begin = n > width ? strndup(name, (size_t)(cut - name)) : NULL;

    if (!begin) {
        put_name(f, width, name);
        return;
    }
    put_name(f, 0, begin);
    fputs("...", f);
    put_name(f, tail, character(name, n - tail));
    free(begin);
}

/* A message on standard error, without the newline. */
static void say(const char *fmt, va_list ap)
{
    char text[2048];

    vsnprintf(text, sizeof text, fmt, ap);
    fprintf(stderr, "%s: ", option_cmd->name);
    put_name(stderr, 0, text);
}

void usage_error(const char *fmt, ...)
{
    va_list ap;

    fflush(stdout);
    va_start(ap, fmt);
    say(fmt, ap);
    va_end(ap);
    fprintf(stderr, "; try '%s --help'\n", option_cmd->name);
    exit(EXIT_USAGE);
}

void cmd_begin(void)
{
    progress_begin();
    signals();
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
        fprintf(stderr, "%s: cannot write '<stdout>': %s\n", option_cmd->name, strerror(errno));
        exit(status == EXIT_DONE || status == EXIT_NO ? EXIT_FAILED : status);
    }
    follow_signal();
    exit(status);
}

void die(const struct err *e)
{
    progress_done();
    fflush(stdout);
    if (e->kind != ERR_CANCELLED) {
        fprintf(stderr, "%s: ", option_cmd->name);
        put_name(stderr, 0, e->kind ? e->msg : "failed without a reason (a bug)");
        fputc('\n', stderr);
    } else if (!moe_signal) {
        fprintf(stderr, "%s: cancelled\n", option_cmd->name);
    }
    follow_signal();
    exit(e->kind == ERR_USAGE ? EXIT_USAGE : EXIT_FAILED);
}

void check_output(const char *path)
{
    struct err e = {0};

    if (!path || strcmp(path, "-") == 0)
        return;
    if (common.dry_run ? output_place(path, &e) : output_check(path, common.force, &e))
        die(&e);
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

void json_begin(struct json_out *j)
{
    enum { VERSION = 1 };

    jo_open(j, NULL, '{');
    jo_int(j, "version", VERSION);
}

void json_print(FILE *f, struct json_out *j)
{
    struct err e = {0};

    if (str_ok(&j->s, &e))
        die(&e);
    fwrite(j->s.p, 1, j->s.n, f);
    fputc('\n', f);
    str_free(&j->s);
}

void put_needed(const char *out, uint64_t needed, uint64_t available, uint64_t read, double rate,
                double seconds)
{
    char a[32], b[32], c[32];

    printf("needed             %s, free %s: '%s' %s\n", num_bytes(needed, a), num_bytes(available, b), out,
           needed <= available ? "would be written" : "does not fit");
    printf("time               about %s to read %s and write as fast, %s/s\n", duration_text(seconds, a),
           num_bytes(read, b), num_bytes((uint64_t)rate, c));
}
