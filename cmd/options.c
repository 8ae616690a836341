/* options.c -- the command line of every program: from argv to its rows of options. */
#include "options.h"

#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "base/words.h"
#include "common.h"
#include "options_private.h"
#include "version.h"

struct common common = {.progress = -1};
const struct cmd *option_cmd;
struct opt option_table[96];
static struct str typed;

static bool flag_help, flag_version, flag_quiet, flag_verbose, flag_list, flag_subcommands;
static const char *list_values;

static const struct opt common_options[] = {
    OPT_HEADING("Common options"),
    OPT_TEXT("output", 'o', &common.out, "FILE", "write the result to FILE; '-' is standard output",
             .want = WANT_OUT),
    OPT_FLAG("json", 0, &common.json, "print JSON for programs instead of a table for people",
             .want = WANT_JSON),
    OPT_FLAG("force", 'f', &common.force, "overwrite an existing output", .want = WANT_FORCE),
    OPT_FLAG("dry-run", 'n', &common.dry_run, "say what would be done, write nothing", .want = WANT_DRY_RUN),
    OPT_FLAG("quiet", 'q', &flag_quiet, "errors only"),
    OPT_FLAG("verbose", 'v', &flag_verbose, "say more"),
    OPT_SWITCH("progress", 0, &common.progress, "progress on stderr (default: on a terminal)"),
    OPT_FLAG("help", 'h', &flag_help, "this text"),
    OPT_FLAG("version", 'V', &flag_version, "version and build"),
    OPT_FLAG("list-options", 0, &flag_list, NULL),
    OPT_FLAG("list-subcommands", 0, &flag_subcommands, NULL),
    OPT_TEXT("list-values", 0, &list_values, "OPTION", NULL),
    OPT_END,
};

bool option_is_row(const struct opt *o)
{
    return o->name || o->help;
}

static void build_table(void)
{
    unsigned want = option_cmd->want;
    const struct opt *o;
    size_t n = 0;

    for (o = option_cmd->opts; o && option_is_row(o); o++) {
        want |= o->want;
        option_table[n++] = *o;
    }
    for (o = common_options; option_is_row(o); o++)
        if ((o->want & want) == o->want)
            option_table[n++] = *o;
}

/* ---- names ---- */

const struct opt *option_find(const char *name, size_t n)
{
    const struct opt *o;

    for (o = option_table; option_is_row(o); o++)
        if (o->name && strlen(o->name) == n && strncmp(o->name, name, n) == 0)
            return o;
    return NULL;
}

int option_choice(const char *words, const char *word, size_t n)
{
    int i;

    for (i = 0; *words; i++) {
        size_t k = strcspn(words, "|");

        if (k == n && strncmp(words, word, n) == 0)
            return i;
        words += k;
        words += *words == '|';
    }
    return -1;
}

const char *option_words(const char *words, char *buf, size_t size)
{
    const char *last = strrchr(words, '|');
    size_t at = 0;

    buf[0] = '\0';
    for (; *words && at + 1 < size; words += *words == '|') {
        size_t k = strcspn(words, "|");

        at += (size_t)snprintf(buf + at, size - at, "%.*s%s", (int)k, words,
                               words + k == last ? " or "
                               : words[k]        ? ", "
                                                 : "");
        words += k;
    }
    return buf;
}

/* What a long name was cut short to, or misspelt. */
struct lookup {
    const char *typed; /* n bytes */
    size_t n;
    struct opt *found;
    bool negated;
    int matches; /* names that begin so */
    char names[200];
    struct nearest nearest;
    char near[80]; /* its word */
};

/* One of the ways to spell the option. */
static void look_at(struct lookup *l, struct opt *o, const char *name, bool negated)
{
    size_t at = strlen(l->names);

    if (o->help && strncmp(name, l->typed, l->n) == 0) {
        l->found = o;
        l->negated = negated;
        snprintf(l->names + at, sizeof l->names - at, "%s--%s", l->matches++ ? " or " : "", name);
    }
    if (!o->help)
        return;
    nearest_try(&l->nearest, name);
    if (l->nearest.word == name) {
        snprintf(l->near, sizeof l->near, "%s", name);
        l->nearest.word = l->near;
    }
}

static void look_up(struct lookup *l)
{
    char copy[80], no[80];
    struct opt *o;

    snprintf(copy, sizeof copy, "%.*s", (int)l->n, l->typed);
    l->nearest.typed = copy;
    for (o = option_table; option_is_row(o); o++) {
        if (!o->name)
            continue;
        look_at(l, o, o->name, false);
        snprintf(no, sizeof no, "no-%s", o->name);
        if (o->kind == KIND_SWITCH)
            look_at(l, o, no, true);
    }
}

/* By its whole name, or by a beginning that is no other's. */
static struct opt *find_long(const char *name, size_t n, bool *negated)
{
    struct lookup l = {.typed = name, .n = n};
    const struct opt *exact = option_find(name, n);

    *negated = false;
    if (exact)
        return &option_table[exact - option_table];
    if (n > 3 && strncmp(name, "no-", 3) == 0) {
        exact = option_find(name + 3, n - 3);
        *negated = exact && exact->kind == KIND_SWITCH;
        if (*negated)
            return &option_table[exact - option_table];
    }
    look_up(&l);
    if (l.matches > 1)
        usage_error("'--%.*s' may be %s", (int)n, name, l.names);
    if (!l.matches && l.nearest.word)
        usage_error("unknown option '--%.*s' (did you mean --%s?)", (int)n, name, l.near);
    if (!l.matches)
        usage_error("unknown option '--%.*s'", (int)n, name);
    *negated = l.negated;
    return l.found;
}

/* ---- values ---- */

static void add_to_list(struct opt_list *l, const char *value)
{
    struct err e = {0};

    if (mem_grow(&l->v, &l->cap, l->n + 2, sizeof *l->v, &e))
        die(&e);
    l->v[l->n++] = value;
    l->v[l->n] = NULL;
}

static void set_choice(const struct opt *o, const char *value)
{
    int i = option_choice(o->arg, value, strlen(value));
    char words[120];

    if (i < 0)
        usage_error("--%s takes %s, not '%s'", o->name, option_words(o->arg, words, sizeof words), value);
    *o->number = i;
}

static void set(struct opt *o, const char *value, bool negated)
{
    struct err e = {0};
    char what[80];

    o->given = true;
    snprintf(what, sizeof what, "--%s", o->name);
    switch (o->kind) {
    case KIND_FLAG:
        *o->flag = true;
        break;
    case KIND_SWITCH:
        *o->number = !negated;
        break;
    case KIND_INT:
        num_i64(value, what, o->min, o->max, o->integer, &e);
        break;
    case KIND_REAL:
        num_double(value, what, (double)o->min, (double)o->max, &o->real->v, &e);
        o->real->text = value;
        break;
    case KIND_SIZE:
        if (num_size(value, what, o->size, &e) == 0 && !*o->size)
            usage_error("%s: '%s' is no size", what, value);
        break;
    case KIND_TEXT:
    case KIND_FILE:
        *o->text = value;
        break;
    case KIND_CHOICE:
        set_choice(o, value);
        break;
    case KIND_CALL:
        o->call();
        break;
    case KIND_LIST:
        add_to_list(o->list, value);
        break;
    }
    if (e.kind)
        usage_error("%s", e.msg);
}

static bool takes_value(const struct opt *o)
{
    return o->kind != KIND_FLAG && o->kind != KIND_SWITCH && o->kind != KIND_CALL;
}

/* ---- argv ---- */

/* argv[i] is "--something": consumes it and perhaps the next; returns the index of the last one used. */
static int long_option(int argc, char **argv, int i)
{
    const char *name = argv[i] + 2, *eq = strchr(name, '=');
    size_t n = eq ? (size_t)(eq - name) : strlen(name);
    bool negated;
    struct opt *o = find_long(name, n, &negated);

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
        struct opt *o;

        for (o = option_table; option_is_row(o) && o->letter != *p; o++)
            ;
        if (!option_is_row(o))
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

/* Of an absolute path its end: where somebody keeps his files is nobody's affair who reads a model card. */
static const char *without_folder(const char *word)
{
    const char *end = word + strlen(word);

    if (*word != '/')
        return word;
    while (end > word && end[-1] == '/')
        end--;
    while (end > word && end[-1] != '/')
        end--;
    return *end ? end : word;
}

static void remember_word(const char *word)
{
    bool plain = *word;
    const char *p;

    word = without_folder(word);
    for (p = word; *p; p++)
        plain = plain && (strchr("-_./=,:@%+", *p) || (*p >= '0' && *p <= '9') || (*p >= 'A' && *p <= 'Z') ||
                          (*p >= 'a' && *p <= 'z'));
    if (plain) {
        str_adds(&typed, word);
        return;
    }
    str_addc(&typed, '\'');
    for (p = word; *p; p++) {
        if (*p == '\'')
            str_adds(&typed, "'\\''");
        else
            str_addc(&typed, *p);
    }
    str_addc(&typed, '\'');
}

const char *command_line(void)
{
    return typed.p ? typed.p : "";
}

/* Fills the options and returns the number of operands, moved to argv[0..]. */
static int parse(int argc, char **argv)
{
    bool options = true;
    int i, n = 0;

    remember_word(option_cmd->name);
    for (i = 1; i < argc; i++) {
        str_addc(&typed, ' ');
        remember_word(argv[i]);
    }
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
    return n;
}

/* What is answered without looking further. */
static void answer(void)
{
    if (flag_help)
        help_print();
    if (flag_list)
        help_list_options();
    if (flag_subcommands)
        help_list_subcommands();
    if (list_values)
        help_list_values(list_values);
    if (flag_version) {
        printf("%s %s\n%s\n", option_cmd->name, MOE_VERSION, MOE_BUILD);
        cmd_exit(EXIT_DONE);
    }
}

/* ---- subcommands ---- */

static const char *sub_name(const struct cmd *sub)
{
    return strchr(sub->name, ' ') + 1;
}

/* NULL: there is none of the name. */
static const struct cmd *find_sub(const struct cmd *c, const char *name)
{
    const struct cmd *const *sub;

    for (sub = c->sub; sub && *sub; sub++)
        if (strcmp(name, sub_name(*sub)) == 0)
            return *sub;
    return NULL;
}

/* No subcommand came first: name is the first operand, or NULL. */
static _Noreturn void refuse_sub(const struct cmd *c, const char *name)
{
    struct nearest x = {.typed = name};
    const struct cmd *const *sub;
    struct str all = {0};

    if (name && find_sub(c, name))
        usage_error("options come after the subcommand '%s'", name);
    for (sub = c->sub; *sub; sub++) {
        if (name)
            nearest_try(&x, sub_name(*sub));
        str_addf(&all, "%s%s", all.n ? sub[1] ? ", " : name ? " and " : " or " : "", sub_name(*sub));
    }
    if (!name)
        usage_error("a subcommand is missing: %s", all.p ? all.p : "");
    if (x.word)
        usage_error("unknown subcommand '%s' (did you mean %s?)", name, x.word);
    usage_error("unknown subcommand '%s': there are %s", name, all.p ? all.p : "");
}

int cmd_main(const struct cmd *c, int argc, char **argv)
{
    const struct cmd *sub = argc > 1 ? find_sub(c, argv[1]) : NULL;
    int n, skip = sub ? 1 : 0;

    option_cmd = sub ? sub : c;
    cmd_begin();
    build_table();
    n = parse(argc - skip, argv + skip);
    answer();
    if (c->sub && !sub)
        refuse_sub(c, argv[0]);
    option_rules(n, argv + skip);
    n = option_cmd->run(n, argv + skip);
    str_free(&typed);
    cmd_exit(n);
}
