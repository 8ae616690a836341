/* option_rules.c -- which options and operands may stand beside each other: what the rows say is checked
 * here. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "common.h"
#include "options_private.h"

/* The option that is given and a question of its own; NULL: none is. */
static const struct opt *mode_given(void)
{
    const struct opt *o, *mode = NULL;

    for (o = option_table; option_is_row(o); o++) {
        if (!o->given || !o->mode)
            continue;
        if (mode)
            usage_error("one question at a time: --%s or --%s", mode->name, o->name);
        mode = o;
    }
    return mode;
}

/* A common option where only others have a use for it. */
static void check_common(const struct opt *mode)
{
    unsigned want = mode ? mode->want : option_cmd->want;
    const struct opt *o, *other;

    for (o = option_table; option_is_row(o); o++) {
        if (!o->given || o->mode || (o->want & want) == o->want)
            continue;
        for (other = option_table; option_is_row(other) && !(other->mode && (other->want & o->want)); other++)
            ;
        if (mode && (option_cmd->want & o->want))
            usage_error("--%s does not go with --%s", o->name, mode->name);
        usage_error("--%s goes with --%s", o->name, other->name);
    }
}

/* "NAME" or "NAME=CHOICE", which ends at '|', at the ',' before a reason, or at the end. */
static bool holds(const char *need, size_t n)
{
    const char *eq = memchr(need, '=', n);
    size_t name = eq ? (size_t)(eq - need) : n;
    const struct opt *o = option_find(need, name);

    if (!o || !o->given || !eq)
        return o && o->given;
    return *o->number == option_choice(o->arg, eq + 1, n - name - 1);
}

/* "--a or --b global" of "a|b=global". */
static const char *needs_text(const char *needs, char *buf, size_t size)
{
    size_t at = 0;

    for (; *needs && at + 1 < size; needs += *needs == '|') {
        size_t n = strcspn(needs, "|");

        at += (size_t)snprintf(buf + at, size - at, "%s--%.*s", at ? " or " : "", (int)n, needs);
        needs += n;
    }
    for (at = 0; buf[at]; at++)
        if (buf[at] == '=')
            buf[at] = ' ';
    return buf;
}

static void check_needs(const struct opt *o)
{
    const char *p = o->needs;
    bool met = false;
    char buf[200];

    for (; *p && *p != ','; p += *p == '|') {
        size_t n = strcspn(p, "|,");

        met = met || holds(p, n);
        p += n;
    }
    if (!met)
        usage_error("--%s goes with %s", o->name, needs_text(o->needs, buf, sizeof buf));
}

static bool is_output(const struct opt *o)
{
    return o->given && (o->kind == KIND_FILE || o->want == WANT_OUT);
}

/* Outputs have names of their own. */
static void check_file(const struct opt *o)
{
    const struct opt *other;

    if (strcmp(*o->text, "-") == 0)
        usage_error("--%s - is not possible: give it a file of its own", o->name);
    for (other = option_table; option_is_row(other); other++)
        if (other != o && is_output(other) && path_same(*other->text, *o->text))
            usage_error("--%s and --%s name the same file, %s", other->name, o->name, *o->text);
}

static void check_row(const struct opt *o)
{
    char words[120];

    if (o->required && !o->given)
        usage_error("--%s is missing: %s%s%s", o->name, o->help, o->kind == KIND_CHOICE ? ", " : "",
                    o->kind == KIND_CHOICE ? option_words(o->arg, words, sizeof words) : "");
    if (!o->given)
        return;
    if (o->needs)
        check_needs(o);
    if (o->excludes && holds(o->excludes, strcspn(o->excludes, ",")))
        usage_error("--%s does not go with --%s", o->name, o->excludes);
    if (o->kind == KIND_FILE)
        check_file(o);
}

/* The operands from the from-th to the to-th: "MODEL, PLAN and OUT". */
static const char *operand_names(const char *operands, int from, int to, char *buf, size_t size)
{
    size_t at = 0;
    int i;

    buf[0] = '\0';
    for (i = 0; *operands && i < to && at + 1 < size; i++) {
        size_t n = strcspn(operands, " "), dots = n > 3 && strncmp(operands + n - 3, "...", 3) == 0 ? 3 : 0;

        if (i >= from)
            at += (size_t)snprintf(buf + at, size - at, "%s%.*s",
                                   i == from     ? ""
                                   : i + 1 == to ? " and "
                                                 : ", ",
                                   (int)(n - dots), operands);
        operands += n;
        operands += *operands == ' ';
    }
    return buf;
}

void cmd_operands(const char *operands, int n, char **argv)
{
    bool more = strstr(operands, "...") != NULL;
    char missing[80], there[80];
    const char *p = operands;
    int want = *p != '\0';

    while ((p = strchr(p, ' ')) != NULL)
        want++, p++;
    if (n > want && !more)
        usage_error("'%s' is too many: %s %s all it takes", argv[want],
                    operand_names(operands, 0, want, there, sizeof there), want > 1 ? "are" : "is");
    if (n >= want || *operands == '[')
        return;
    operand_names(operands, n, want, missing, sizeof missing);
    operand_names(operands, 0, n, there, sizeof there);
    if (n && want - n == 1)
        usage_error("no %s after %s", missing, there);
    if (n)
        usage_error("%s are missing after %s", missing, there);
    usage_error("%s %s missing", missing, want > 1 ? "are" : "is");
}

void option_rules(int n, char **argv)
{
    const struct opt *mode = mode_given(), *o;
    const char *operands = mode ? mode->mode : option_cmd->operands;

    check_common(mode);
    for (o = option_table; option_is_row(o); o++)
        if (o->name)
            check_row(o);
    if (mode && !*operands && n)
        usage_error("--%s takes no operand", mode->name);
    if (operands)
        cmd_operands(operands, n, argv);
}
