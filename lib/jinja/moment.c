/* moment.c -- strftime of a stated moment, in English. */
#include <string.h>
#include <time.h>

#include "jinja/evaluate.h"

static bool leap(int year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* The day of the week and of the year, which strftime takes from the caller. */
static void complete(struct tm *t)
{
    static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    int y = t->tm_year + 1900, past = y - 1;

    t->tm_yday = before[t->tm_mon] + t->tm_mday - 1 + (t->tm_mon > 1 && leap(y));
    t->tm_wday = (past * 365 + past / 4 - past / 100 + past / 400 + t->tm_yday + 1) % 7;
}

/* The number of so many digits at *p, behind the character before; -1: it is none. */
static int part(const char **p, char before, int digits)
{
    int v = 0;

    if (before && *(*p)++ != before)
        return -1;
    for (; digits > 0; digits--, (*p)++) {
        if (**p < '0' || **p > '9')
            return -1;
        v = v * 10 + **p - '0';
    }
    return v;
}

static bool read_moment(const char *p, struct tm *t)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    *t = (struct tm){.tm_isdst = -1};
    t->tm_year = part(&p, 0, 4) - 1900;
    if (t->tm_year < -1899 || (t->tm_mon = part(&p, '-', 2) - 1) < 0 || t->tm_mon > 11)
        return false;
    t->tm_mday = part(&p, '-', 2);
    if (t->tm_mday < 1 || t->tm_mday > days[t->tm_mon] + (t->tm_mon == 1 && leap(t->tm_year + 1900)))
        return false;
    if (*p && ((t->tm_hour = part(&p, ' ', 2)) < 0 || (t->tm_min = part(&p, ':', 2)) < 0 ||
               (t->tm_sec = part(&p, ':', 2)) < 0))
        return false;
    complete(t);
    return !*p;
}

/* A letter at a time, so that no result is longer than the room for it, and what C and Python have
 * differently is by hand. */
static void print_letter(struct run *r, const struct tm *t, char flag, char letter)
{
    char format[] = {'%', flag ? flag : letter, flag ? letter : 0, 0}, text[200];

    if (letter == 'f')
        str_adds(r->out, "000000");
    else if (letter == 'Z' || letter == 'z') /* a moment without a time zone */
        return;
    else if (strftime(text, sizeof text, format, t))
        str_adds(r->out, text);
}

void print_moment(struct run *r, const char *moment, struct value format)
{
    struct tm t;
    uint32_t i;

    if (format.kind == UNDEFINED)
        v_fail_undefined(r, format);
    if (format.kind != STR)
        run_fail(r, "TypeError", "strftime() argument 1 must be str, not %s", v_type(format));
    if (!read_moment(moment, &t))
        run_fail_kind(r, ERR_USAGE, "DateError", "'%.40s' is not YYYY-MM-DD", moment);
    for (i = 0; i < format.n; i++) {
        char flag = i + 2 < format.n && strchr("-_0^#", format.s[i + 1]) ? format.s[i + 1] : 0;

        if (format.s[i] != '%' || i + 1 == format.n) {
            str_addc(r->out, format.s[i]);
            continue;
        }
        i += flag ? 2 : 1;
        print_letter(r, &t, flag, format.s[i]);
    }
}
