/* progress.c -- how far the work is: a line that is rewritten, lines in a file, a line when SIGUSR1 asks. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/thread.h"
#include "common.h"
#include "options_private.h"

static double t0;
static volatile sig_atomic_t shown; /* a line stands on the terminal, without an end */

/* How far it is. What SIGUSR1 is answered with is the newest of several, so that the one that is being read
 * stays as it is while others are written. */
struct state {
    char what[40], where[160];
    double fraction; /* below 0: nobody can say */
};
enum { STATES = 4 };
static struct state state[STATES] = {{"working", "", -1}};
static atomic_int newest;

/* ---- a line, made without anything that a signal handler must not call ---- */

struct line {
    char text[320];
    size_t n;
};

static void line_text(struct line *l, const char *s)
{
    for (; *s && l->n < sizeof l->text; s++)
        l->text[l->n++] = *s;
}

/* At least `width` digits or blanks. */
static void line_number(struct line *l, long v, int width, char pad)
{
    char digits[24];
    size_t at = sizeof digits - 1;

    digits[at] = '\0';
    do
        digits[--at] = (char)('0' + v % 10), width--;
    while ((v /= 10) > 0);
    while (width-- > 0)
        digits[--at] = pad;
    line_text(l, digits + at);
}

/* "42 s", "3m07s", "1h05m". */
static void line_duration(struct line *l, double seconds)
{
    long s = seconds < 0 ? 0 : seconds < 1e9 ? (long)(seconds + 0.5) : 1000000000;

    if (s < 60) {
        line_number(l, s, 0, ' ');
        line_text(l, " s");
        return;
    }
    line_number(l, s < 3600 ? s / 60 : s / 3600, 0, ' ');
    line_text(l, s < 3600 ? "m" : "h");
    line_number(l, s < 3600 ? s % 60 : s / 60 % 60, 2, '0');
    line_text(l, s < 3600 ? "s" : "m");
}

char *duration_text(double seconds, char buf[32])
{
    struct line l = {.n = 0};

    line_duration(&l, seconds);
    snprintf(buf, 32, "%.*s", (int)l.n, l.text);
    return buf;
}

static void line_state(struct line *l, const struct state *x, double now)
{
    line_text(l, option_cmd->name);
    line_text(l, ": ");
    line_text(l, x->what);
    if (x->fraction >= 0) {
        line_text(l, " ");
        line_number(l, (long)(100 * x->fraction + 0.5), 3, ' ');
        line_text(l, "%");
    }
    line_text(l, x->where);
    line_text(l, ", ");
    line_duration(l, now);
    if (x->fraction > 0.02) {
        line_text(l, ", ");
        line_duration(l, now / x->fraction * (1 - x->fraction));
        line_text(l, " left");
    }
}

/* One write(), so that nothing comes between. */
static void line_put(const struct line *l)
{
    ssize_t n = write(STDERR_FILENO, l->text, l->n);

    (void)n; /* there is nobody to tell */
}

/* ---- */

/* Of SIGUSR1: where the work is, on a line of its own. */
static void on_ask(int sig)
{
    int saved = errno;
    struct line l = {.n = 0};

    (void)sig;
    line_text(&l, shown ? "\r\033[K" : "");
    line_state(&l, &state[atomic_load(&newest)], seconds_now() - t0);
    line_text(&l, "\n");
    line_put(&l);
    errno = saved;
}

void progress_begin(void)
{
    struct sigaction sa = {.sa_handler = on_ask, .sa_flags = SA_RESTART};

    t0 = seconds_now();
    sigaction(SIGUSR1, &sa, NULL);
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

static void set_state(const char *what, const char *where, double fraction)
{
    int next = (atomic_load(&newest) + 1) % STATES;
    struct state *x = &state[next];

    snprintf(x->what, sizeof x->what, "%s", what);
    snprintf(x->where, sizeof x->where, "%s", where);
    x->fraction = fraction;
    atomic_store(&newest, next);
}

void doing(const char *what)
{
    set_state(what, "", -1);
}

void progress(const char *what, const char *where, double fraction)
{
    static double last, set = -1;
    double now = seconds_now() - t0, every;
    struct line l = {.n = 0};
    bool lines;

    if (now - set < 0.05)
        return;
    set = now;
    set_state(what, where, fraction);
    if (now - last < 0.2 || now < 1)
        return;
    every = progress_every(&lines);
    if (every == 0 || now - last < every)
        return;
    last = now;
    shown = !lines;
    line_text(&l, lines ? "" : "\r");
    line_state(&l, &state[atomic_load(&newest)], now);
    line_text(&l, lines ? "\n" : " \033[K");
    line_put(&l);
}

void progress_done(void)
{
    if (shown)
        fputc('\n', stderr);
    shown = false;
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
