/* common.c -- messages, progress, signals, exit status. */
#include "common.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/thread.h"
#include "options_private.h"

static double t0;
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
    t0 = seconds_now();
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

    if (!common.dry_run && path && strcmp(path, "-") != 0 && output_check(path, common.force, &e))
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

/* "42 s", "3m07s", "1h05m". */
static const char *duration(double seconds, char buf[32])
{
    long s = seconds < 0 ? 0 : seconds < 1e9 ? (long)(seconds + 0.5) : 1000000000;

    if (s < 60)
        snprintf(buf, 32, "%ld s", s);
    else if (s < 3600)
        snprintf(buf, 32, "%ldm%02lds", s / 60, s % 60);
    else
        snprintf(buf, 32, "%ldh%02ldm", s / 3600, s / 60 % 60);
    return buf;
}

/* Seconds between lines; 0: none are wanted. Files get whole lines, which stay. */
static double progress_every(bool *lines)
{
    struct stat st;

    *lines = fstat(STDERR_FILENO, &st) == 0 && S_ISREG(st.st_mode);
    if (common.progress == 0 || common.verbose < 0 || (common.progress < 0 && !isatty(STDERR_FILENO)))
        return 0;
    return *lines ? 60 : 0.2;
}

void progress(const char *what, const char *where, double fraction)
{
    static double last;
    double now = seconds_now() - t0, every;
    char spent[32], left[32];
    bool lines;

    if (now - last < 0.2 || now < 1)
        return;
    every = progress_every(&lines);
    if (every == 0 || now - last < every)
        return;
    last = now;
    progress_shown = !lines;
    fprintf(stderr, "%s%s: %s %3.0f%%%s, %s", lines ? "" : "\r", option_cmd->name, what, 100 * fraction,
            where, duration(now, spent));
    if (fraction > 0.02)
        fprintf(stderr, ", %s left", duration(now / fraction * (1 - fraction), left));
    fputs(lines ? "\n" : " \033[K", stderr);
}

void progress_done(void)
{
    if (progress_shown)
        fputc('\n', stderr);
    progress_shown = false;
}

void working_fraction(void *working, double fraction)
{
    const struct working *w = working;

    progress(w->second && fraction > 0.5 ? w->second : w->what, "", fraction);
}

void working_bytes(void *working, uint64_t done, uint64_t total)
{
    working_fraction(working, total ? (double)done / (double)total : 1);
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
