/*
 * quant_names.c -- which members of a quantization are lists and maps of modules, and what becomes of an
 * expert's number in them.
 */
#include "surgery/quant_names.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/json_out.h"
#include "base/words.h"

/* What a text is: names, maybe with * as in file names; regular expressions; or names, but for those that
 * begin with re: */
enum language { NAMES, PATTERNS, MARKED };

/* Wherever in the JSON text they stand. */
static const struct modules {
    const char *key;
    char bracket; /* '[': its elements are modules; '{': its members' names are */
    enum language language;
} table[] = {
    {"ignore", '[', MARKED},                      /* compressed-tensors, ModelOpt */
    {"targets", '[', MARKED},                     /* compressed-tensors, ModelOpt: of a group */
    {"exclude_modules", '[', NAMES},              /* ModelOpt */
    {"quantized_layers", '{', NAMES},             /* ModelOpt */
    {"modules_to_not_convert", '[', PATTERNS},    /* FP8, MXFP4, AWQ, GPTQ: re.match */
    {"modules_to_convert", '[', PATTERNS},        /* FP8 */
    {"ignored_layers", '[', NAMES},               /* FP8 of AutoRound */
    {"dynamic", '{', PATTERNS},                   /* GPTQ: after +: or -: */
    {"extra_config", '{', PATTERNS},              /* AutoRound */
    {"modules_in_block_to_quantize", '[', NAMES}, /* GPTQ: lists in a list */
};

/* ---- a number in a text ---- */

/* Where an expert's number stands in a name or a pattern. */
struct mention {
    int layer;       /* -1: whichever */
    int expert;      /* -1: a number that is not plain */
    size_t from, to; /* of the digits */
    bool open;       /* more digits may follow it in what the text matches */
};

/* Behind a dot, which may be escaped; NULL: there is none. */
static const char *skip_dot(const char *s)
{
    while (*s == '\\')
        s++;
    return *s == '.' ? s + 1 : NULL;
}

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

/* What follows the digits: whether they end there, and whether that is known. */
static bool take_end(const char *s, bool pattern, bool *open)
{
    const char *dot = skip_dot(s);

    *open = false;
    if (*s == '.' && pattern) /* any character, or several */
        *open = !is_word(s[1]) && s[1] != '(' && s[1] != '[' && s[1] != '\\';
    else if (pattern ? !*s || *s == ')' || *s == '|' : *s == '*')
        *open = true;
    else if (!dot && *s && *s != '$' && strncmp(s, "\\b", 2) != 0)
        return false;
    return true;
}

/* The last layer that is named plainly before `end`. */
static int layer_before(const char *s, const char *end)
{
    const char *p, *at, *dot;
    int layer = -1;

    for (p = s; (p = strstr(p, "layers")) != NULL && p < end;) {
        p += strlen("layers");
        layer = -1;
        at = skip_dot(p);
        if (at && take_number(&at, &layer) && (!(dot = skip_dot(at)) || (*at == '.' && !is_word(*dot))))
            layer = -1;
    }
    return layer;
}

/* A digit that comes after "experts" as part of a class, a group or a range. */
static bool in_class(const char *s, bool pattern)
{
    while (*s && strchr("\\.([?:^{|", *s))
        s++;
    return isdigit((unsigned char)*s) || (pattern && *s == 'd' && s[-1] == '\\');
}

/* What comes after "experts" in a pattern stands for any digits, as many as a number of so many experts may
 * have: it tells none from another. */
static bool any_number(const char *s, int experts)
{
    int most = 1, numbers;

    while (*s && strchr("\\.(?:", *s) && strncmp(s, "\\d", 2) != 0)
        s++;
    if (strncmp(s, "\\d", 2) == 0)
        s += 2;
    else if (strncmp(s, "[0-9]", 5) == 0)
        s += 5;
    else
        return false;
    while (*s == ')')
        s++;
    if (!*s || *s == '+' || *s == '*' || strncmp(s, ".*", 2) == 0)
        return true;
    if (strncmp(s, "{1,", 3) == 0 && isdigit((unsigned char)s[3]) && s[4] == '}')
        most = s[3] - '0';
    for (numbers = 10; most > 1 && numbers < experts; most--)
        numbers *= 10;
    return numbers >= experts;
}

/* The first number of an expert, of so many, at or after `begin`. */
static bool find_mention(const char *s, size_t begin, bool pattern, int experts, struct mention *x)
{
    const char *p, *at;

    for (p = s + begin; (p = strstr(p, "experts")) != NULL;) {
        const char *word = p;

        p += strlen("experts");
        if ((word > s && is_word(word[-1])) || !in_class(p, pattern) || (pattern && any_number(p, experts)))
            continue;
        *x = (struct mention){.layer = layer_before(s, word), .expert = -1};
        at = skip_dot(p);
        x->from = x->to = (size_t)((at ? at : p) - s);
        if (at && take_number(&at, &x->expert)) {
            x->to = (size_t)(at - s);
            if (!take_end(at, pattern, &x->open))
                x->expert = -1;
        }
        return true;
    }
    return false;
}

/* ---- the text ---- */

struct renumber {
    const struct cut *c;
    const char *text;
    struct js js;
    struct str out; /* the text so far */
    size_t copied;  /* bytes of text that are in out, or left out on purpose */
};

enum { SEVERAL = -2 };

/* New number of an expert, -1: dropped; of all layers if none is named: SEVERAL if they differ. */
static int new_number(const struct cut *c, const struct mention *x)
{
    int l, n = SEVERAL;
    bool any = false;

    if (x->expert >= c->experts || x->layer >= c->layers || (x->layer >= 0 && !c->moe[x->layer]))
        return x->expert;
    if (x->layer >= 0)
        return cut_number(c, x->layer, x->expert);
    for (l = 0; l < c->layers; l++) {
        if (!c->moe[l])
            continue;
        if (any && n != cut_number(c, l, x->expert))
            return SEVERAL;
        n = cut_number(c, l, x->expert);
        any = true;
    }
    return n;
}

/* Whether others of n experts have numbers that begin with this one. */
static bool begins_others(int number, int n)
{
    return number > 0 && 10 * (int64_t)number < n;
}

static int refuse(struct renumber *r, const char *s, const char *why)
{
    return js_fail(&r->js, "'%s' names an expert by number and cannot be renumbered: %s", s, why);
}

/* 1 if a text stays, as *renamed if that is not empty; 0 if it is of an expert that is dropped; -1 refused.
 */
static int rename_item(struct renumber *r, const char *s, enum language language, struct str *renamed)
{
    bool pattern = language == PATTERNS || (language == MARKED && strncmp(s, "re:", 3) == 0);
    struct mention x, other;
    int number;

    str_clear(renamed);
    if (!find_mention(s, 0, pattern, r->c->experts, &x))
        return 1;
    if (x.expert < 0)
        return refuse(r, s, "the number is not a plain one");
    number = new_number(r->c, &x);
    if (number == SEVERAL)
        return refuse(r, s, "it is of several layers, which keep different experts");
    if (x.open &&
        (begins_others(x.expert, r->c->experts) || (number >= 0 && begins_others(number, r->c->kept))))
        return refuse(r, s, "other numbers begin like it");
    if (find_mention(s, x.to, pattern, r->c->experts, &other))
        return refuse(r, s, "it has several numbers");
    if (number >= 0 && number != x.expert) {
        str_add(renamed, s, x.from);
        str_addf(renamed, "%d", number);
        str_adds(renamed, s + x.to);
    }
    return number >= 0;
}

static void copy_to(struct renumber *r, size_t to)
{
    if (to > r->copied)
        str_add(&r->out, r->text + r->copied, to - r->copied);
    r->copied = to;
}

static size_t here(const struct renumber *r)
{
    return (size_t)(r->js.p - r->text);
}

/* Where the next element or member's name begins. */
static size_t next_begin(const struct renumber *r)
{
    const char *p = r->js.p;

    while (*p && strchr(" \n\t\r,", *p))
        p++;
    return (size_t)(p - r->text);
}

/* Behind the string that begins at from. */
static size_t string_end(const struct renumber *r, size_t from)
{
    const char *p = r->text + from + 1;

    while (*p && *p != '"')
        p += *p == '\\' && p[1] ? 2 : 1;
    return (size_t)(p - r->text) + 1;
}

static int walk(struct renumber *r, const struct modules *m);

/* Of a member: what the table has of it; NULL: nothing. */
static const struct modules *find_modules(const char *key, char bracket)
{
    size_t i;

    for (i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].key, key) == 0 && table[i].bracket == bracket)
            return &table[i];
    return NULL;
}

/* A text where no modules are named. */
static int pattern_ok(struct renumber *r, const char *s)
{
    struct mention x;

    return find_mention(s, 0, false, r->c->experts, &x)
               ? refuse(r, s, "it is no list or map of modules that is known")
               : 1;
}

/* Whether the text that was read stays, see rename_item. */
static int judge_text(struct renumber *r, const struct modules *m, const char *s, struct str *renamed)
{
    str_clear(renamed);
    return m ? rename_item(r, s, m->language, renamed) : pattern_ok(r, s);
}

/* Elements, or members. What is dropped goes with the comma and white space before it; if nothing is left
 * before one that stays, the comma that stood there goes. m: they name modules; NULL: nothing does. */
static int walk_all(struct renumber *r, const struct modules *m, bool object)
{
    struct str text = {0}, renamed = {0};
    bool any = false, dropped = false, string;
    size_t end, from;
    int stays;

    js_open(&r->js, object ? '{' : '[');
    end = here(r); /* of what was before */
    while (from = next_begin(r), object ? js_key(&r->js, &text) : js_item(&r->js)) {
        string = object || js_peek(&r->js) == '"';
        if (string && !object && js_string(&r->js, &text))
            break;
        stays = string ? judge_text(r, m, text.p, &renamed) : 1;
        if (stays < 0)
            break;
        if (!stays) {
            if (object)
                js_skip(&r->js, NULL, NULL);
            copy_to(r, end);
            end = r->copied = here(r);
            dropped = true;
            continue;
        }
        if (dropped && !any)
            while (r->text[r->copied++] != ',')
                ;
        any = true;
        if (string && renamed.n) {
            copy_to(r, from);
            json_quote(&r->out, renamed.p, renamed.n);
            r->copied = string_end(r, from);
        }
        if (object ? walk(r, find_modules(text.p, js_peek(&r->js))) : !string && walk(r, m))
            break;
        end = here(r);
    }
    str_free(&text);
    str_free(&renamed);
    return r->js.e->kind ? -1 : 0;
}

/* One value; m: of a member that names modules. */
static int walk(struct renumber *r, const struct modules *m)
{
    struct str text = {0};

    switch (js_peek(&r->js)) {
    case '{':
        return walk_all(r, m && m->bracket == '{' ? m : NULL, true);
    case '[':
        return walk_all(r, m, false);
    case '"':
        if (js_string(&r->js, &text) == 0)
            pattern_ok(r, text.p);
        str_free(&text);
        break;
    default:
        js_skip(&r->js, NULL, NULL);
    }
    return r->js.e->kind ? -1 : 0;
}

int quant_names_cut(const char *text, size_t n, const char *what, const struct cut *c, char **out,
                    size_t *out_n, struct err *e)
{
    struct renumber r = {.c = c, .text = text};

    if (js_init(&r.js, text, n, what, e) || walk(&r, NULL) || js_end(&r.js)) {
        str_free(&r.out);
        return -1;
    }
    copy_to(&r, n);
    if (str_ok(&r.out, e)) {
        str_free(&r.out);
        return -1;
    }
    *out = r.out.p;
    *out_n = r.out.n;
    return 0;
}
