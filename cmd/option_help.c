/* option_help.c -- --help, and the lists that completion and tests ask for. */
#include <stdio.h>
#include <string.h>

#include "common.h"
#include "options_private.h"

static void print_option(const struct opt *o)
{
    char left[80];
    int n = snprintf(left, sizeof left, "  ");

    if (o->letter)
        n += snprintf(left + n, sizeof left - (size_t)n, "-%c, ", o->letter);
    else
        n += snprintf(left + n, sizeof left - (size_t)n, "    ");
    snprintf(left + n, sizeof left - (size_t)n, "--%s%s%s%s", o->kind == KIND_SWITCH ? "[no-]" : "", o->name,
             o->arg ? " " : "", o->arg ? o->arg : "");
    if (strlen(left) < 30)
        printf("%-30s%s\n", left, o->help);
    else
        printf("%s\n%-30s%s\n", left, "", o->help);
}

/* The usage lines of a command, the first of all behind "usage: ". */
static void print_usage(const char *usage, bool *first)
{
    for (; *usage; usage += *usage == '\n') {
        size_t n = strcspn(usage, "\n");

        printf("%s%.*s\n", *first ? "usage: " : "       ", (int)n, usage);
        *first = false;
        usage += n;
    }
}

void help_print(void)
{
    const struct cmd *c = option_cmd, *const * sub;
    const struct opt *o;
    bool first = true;

    printf("%s -- %s\n\n", c->name, c->purpose);
    for (sub = c->sub; sub && *sub; sub++)
        print_usage((*sub)->usage, &first);
    print_usage(c->usage, &first);
    printf("\n");
    for (o = option_table; option_is_row(o); o++) {
        if (!o->name)
            printf("%s%s:\n", o == option_table ? "" : "\n", o->help);
        else if (o->help)
            print_option(o);
    }
    if (c->examples)
        printf("\nExamples:\n%s", c->examples);
    printf(
        "\nExit status: 0 done; 1 input, I/O or device failure; 2 usage; 3 checked, and the answer is no.\n"
        "The manual: man %.*s, man 7 moe.\n",
        (int)strcspn(c->name, " "), c->name); /* "moe-bench compare" has its manual in moe-bench */
    cmd_exit(EXIT_DONE);
}

void help_list_options(void)
{
    const struct opt *o;

    for (o = option_table; option_is_row(o); o++) {
        if (!o->name || !o->help)
            continue;
        printf("--%s\n", o->name);
        if (o->kind == KIND_SWITCH)
            printf("--no-%s\n", o->name);
    }
    cmd_exit(EXIT_DONE);
}

void help_list_subcommands(void)
{
    const struct cmd *const *sub;

    for (sub = option_cmd->sub; sub && *sub; sub++)
        printf("%s\n", strchr((*sub)->name, ' ') + 1);
    cmd_exit(EXIT_DONE);
}

/* Of "--to" or "-t"; nothing where any text will do. */
void help_list_values(const char *name)
{
    const struct opt *o;
    const char *p;

    for (o = option_table; option_is_row(o); o++) {
        bool named = o->name && strncmp(name, "--", 2) == 0 && strcmp(name + 2, o->name) == 0;

        if (!named && !(o->letter && name[0] == '-' && name[1] == o->letter && !name[2]))
            continue;
        if (o->values)
            o->values();
        for (p = o->kind == KIND_CHOICE ? o->arg : ""; *p; p += *p == '|') {
            size_t n = strcspn(p, "|");

            printf("%.*s\n", (int)n, p);
            p += n;
        }
    }
    cmd_exit(EXIT_DONE);
}
