/* lexer.c -- the text of a template to tokens, with what Jinja does to white space around tags. */
#include <stdlib.h>
#include <string.h>

#include "jinja/tree.h"
#include "jinja/characters.h"

static void add_token(struct parse *p, enum token_kind kind, const char *s, size_t n)
{
    struct token *grown;

    if (p->tokens == p->tokens_cap) {
        size_t cap = p->tokens_cap ? 2 * p->tokens_cap : 256;

        grown = parse_get(p, cap * sizeof *grown);
        if (p->tokens)
            memcpy(grown, p->token, p->tokens * sizeof *grown);
        p->token = grown;
        p->tokens_cap = cap;
    }
    p->token[p->tokens++] = (struct token){.kind = kind, .line = p->line, .s = s, .n = (uint32_t)n};
}

static size_t skip_space(const struct parse *p, size_t i)
{
    while (i < p->n && uni_space(utf8_get(p->text + i, p->n - i)))
        i += utf8_length(p->text + i, p->n - i);
    return i;
}

/* Counts the lines that are passed. */
static size_t pass(struct parse *p, size_t from, size_t to)
{
    for (; from < to; from++)
        p->line += p->text[from] == '\n';
    return to;
}

static bool at_text(const struct parse *p, size_t i, const char *what)
{
    size_t n = strlen(what);

    return p->n - i >= n && memcmp(p->text + i, what, n) == 0;
}

static size_t strip_end(const char *s, size_t n)
{
    while (n) {
        uint32_t k = utf8_last(s, n);

        if (!uni_space(utf8_get(s + n - k, k)))
            break;
        n -= k;
    }
    return n;
}

/* How much of the text before a tag is kept: all, or what is before white space. */
static size_t text_kept(const struct parse *p, size_t from, size_t tag, char sign, bool print)
{
    const char *s = p->text + from;
    size_t n = tag - from, line = n, i;
    bool starts = from == 0 || p->text[from - 1] == '\n';

    if (sign == '-')
        return strip_end(s, n);
    if (sign == '+' || print)
        return n;
    while (line > 0 && s[line - 1] != '\n')
        line--;
    if (line == 0 && !starts)
        return n;
    for (i = line; i < n; i += utf8_length(s + i, n - i))
        if (!uni_space(utf8_get(s + i, n - i)))
            return n;
    return line;
}

/* The end of a tag at i: 0 if it is not there, else what follows it and what it swallows. */
static size_t tag_end(const struct parse *p, size_t i, const char *end, bool print)
{
    char sign = i < p->n ? p->text[i] : 0;

    if ((sign == '-' || (sign == '+' && !print)) && at_text(p, i + 1, end))
        return sign == '-' ? skip_space(p, i + 3) : i + 3;
    if (i >= p->n || !at_text(p, i, end))
        return 0;
    i += 2;
    return !print && i < p->n && p->text[i] == '\n' ? i + 1 : i;
}

static size_t lex_comment(struct parse *p, size_t i)
{
    size_t from = i, k;

    if (i >= p->n) /* at the very end Jinja does not mind */
        return i;
    for (k = i; k < p->n; k++) {
        size_t end =
            p->text[k] == '#' || p->text[k] == '-' || p->text[k] == '+' ? tag_end(p, k, "#}", false) : 0;

        if (end)
            return pass(p, from, end);
    }
    parse_fail(p, p->line, "Missing end of comment tag");
}

/* {% NAME %} at i: the end of it before white space is swallowed, with its sign; 0: it is not. */
static size_t raw_tag(const struct parse *p, size_t i, const char *name, char *sign)
{
    if (!at_text(p, i, "{%"))
        return 0;
    i += 2;
    *sign = i < p->n ? p->text[i] : 0;
    i = skip_space(p, i + (*sign == '-' || *sign == '+'));
    return i < p->n && at_text(p, i, name) ? skip_space(p, i + strlen(name)) : 0;
}

static size_t lex_raw(struct parse *p, size_t i)
{
    size_t from = i, k, end = 0;
    char sign = 0;

    if (i >= p->n)
        return i;
    for (k = i; k < p->n; k++)
        if ((end = raw_tag(p, k, "endraw", &sign)) && (end = tag_end(p, end, "%}", false)))
            break;
    if (k >= p->n)
        parse_fail(p, p->line, "Missing end of raw directive");
    add_token(p, T_DATA, p->text + from, text_kept(p, from, k, sign, false));
    return pass(p, from, end);
}

/* ---- inside tags ---- */

static size_t word_end(const struct parse *p, size_t i)
{
    while (i < p->n && uni_word(utf8_get(p->text + i, p->n - i)))
        i += utf8_length(p->text + i, p->n - i);
    return i;
}

static bool digit(const struct parse *p, size_t i)
{
    return i < p->n && p->text[i] >= '0' && p->text[i] <= '9';
}

/* Digits with single underscores between them. */
static size_t digits_end(const struct parse *p, size_t i)
{
    while (digit(p, i) || (i < p->n && p->text[i] == '_' && digit(p, i + 1)))
        i++;
    return i;
}

static size_t number_end(const struct parse *p, size_t i, bool *real)
{
    size_t end = digits_end(p, i), k;
    bool dotted = i > 0 && p->text[i - 1] == '.'; /* x.0.5 is no number */

    *real = false;
    if (p->text[i] == '0' && i + 2 < p->n && strchr("xXoObB", p->text[i + 1]))
        return word_end(p, i);
    if (!dotted && end < p->n && p->text[end] == '.' && digit(p, end + 1)) {
        *real = true;
        end = digits_end(p, end + 1);
    }
    if (!dotted && end < p->n && (p->text[end] == 'e' || p->text[end] == 'E')) {
        k = end + 1 + (end + 1 < p->n && strchr("+-", p->text[end + 1]) != NULL);
        if (digit(p, k)) {
            *real = true;
            end = digits_end(p, k);
        }
    }
    if (!*real && p->text[i] == '0') /* 08 is two numbers */
        for (end = i + 1;
             end < p->n && (p->text[end] == '0' || (p->text[end] == '_' && at_text(p, end, "_0"))); end++)
            ;
    return end;
}

static size_t string_end(struct parse *p, size_t i)
{
    char quote = p->text[i];

    for (i++; i < p->n; i++) {
        if (p->text[i] == '\\')
            i++;
        else if (p->text[i] == quote)
            return i + 1;
    }
    parse_fail(p, p->line, "a string has no end");
}

static const struct {
    char text[3];
    enum token_kind kind;
} operators[] = {{"//", T_FLOORDIV}, {"**", T_POW},   {"==", T_EQ},      {"!=", T_NE},      {">=", T_GE},
                 {"<=", T_LE},       {"+", T_ADD},    {"-", T_SUB},      {"/", T_DIV},      {"*", T_MUL},
                 {"%", T_MOD},       {"~", T_TILDE},  {"[", T_LBRACKET}, {"]", T_RBRACKET}, {"(", T_LPAREN},
                 {")", T_RPAREN},    {"{", T_LBRACE}, {"}", T_RBRACE},   {">", T_GT},       {"<", T_LT},
                 {"=", T_ASSIGN},    {".", T_DOT},    {":", T_COLON},    {"|", T_PIPE},     {",", T_COMMA},
                 {";", T_SEMICOLON}};

/* The brackets that are open, as the characters that close them. */
struct brackets {
    char close[200];
    int n;
};

static void match_bracket(struct parse *p, struct brackets *b, enum token_kind kind)
{
    static const char close[] = {[T_LBRACKET] = ']', [T_LPAREN] = ')', [T_LBRACE] = '}'};
    static const char closed[] = {[T_RBRACKET] = ']', [T_RPAREN] = ')', [T_RBRACE] = '}'};

    if (kind == T_LBRACKET || kind == T_LPAREN || kind == T_LBRACE) {
        if (b->n == (int)sizeof b->close)
            parse_fail(p, p->line, "more than %d brackets inside each other", b->n);
        b->close[b->n++] = close[kind];
    } else if (kind == T_RBRACKET || kind == T_RPAREN || kind == T_RBRACE) {
        if (!b->n)
            parse_fail(p, p->line, "unexpected '%c'", closed[kind]);
        if (b->close[--b->n] != closed[kind])
            parse_fail(p, p->line, "unexpected '%c', expected '%c'", closed[kind], b->close[b->n]);
    }
}

static size_t lex_operator(struct parse *p, size_t i, struct brackets *b)
{
    size_t k;

    for (k = 0; k < sizeof operators / sizeof *operators; k++)
        if (at_text(p, i, operators[k].text)) {
            match_bracket(p, b, operators[k].kind);
            add_token(p, operators[k].kind, p->text + i, strlen(operators[k].text));
            return i + strlen(operators[k].text);
        }
    parse_fail(p, p->line, "unexpected char '%.*s' at %zu", (int)utf8_length(p->text + i, p->n - i),
               p->text + i, i);
}

static size_t lex_token(struct parse *p, size_t i, struct brackets *b)
{
    const char *s = p->text + i;
    bool real;
    size_t end;

    if (digit(p, i)) {
        end = number_end(p, i, &real);
        add_token(p, real ? T_FLOAT : T_NUMBER, s, end - i);
        p->token[p->tokens - 1].value = lex_number(p, s, end - i, real);
        return end;
    }
    end = word_end(p, i);
    if (end > i) {
        add_token(p, T_NAME, s, end - i);
        return end;
    }
    if (*s != '\'' && *s != '"')
        return lex_operator(p, i, b);
    end = string_end(p, i);
    add_token(p, T_STRING, s, end - i);
    p->token[p->tokens - 1].value = lex_string(p, s + 1, end - i - 2);
    return pass(p, i, end);
}

static size_t lex_tag(struct parse *p, size_t i, bool print)
{
    struct brackets b = {.n = 0};
    size_t end;

    while (i < p->n) {
        end = b.n ? 0 : tag_end(p, i, print ? "}}" : "%}", print);
        if (end) {
            add_token(p, print ? T_PRINT_END : T_BLOCK_END, p->text + i, 0);
            return pass(p, i, end);
        }
        end = skip_space(p, i);
        i = end > i ? pass(p, i, end) : lex_token(p, i, &b);
    }
    return i;
}

/* ---- the whole text ---- */

static size_t lex_one(struct parse *p, size_t from, size_t tag)
{
    char kind = p->text[tag + 1], sign = tag + 2 < p->n ? p->text[tag + 2] : 0, raw_sign;
    size_t n, raw = raw_tag(p, tag, "raw", &raw_sign);

    sign = sign == '-' || sign == '+' ? sign : 0;
    n = text_kept(p, from, tag, sign, kind == '{');
    if (n)
        add_token(p, T_DATA, p->text + from, n);
    pass(p, from, tag);
    if (raw && (at_text(p, raw, "%}") || at_text(p, raw, "-%}"))) {
        raw = p->text[raw] == '-' ? skip_space(p, raw + 3) : raw + 2;
        return lex_raw(p, pass(p, tag, raw));
    }
    if (kind == '#')
        return lex_comment(p, tag + 2 + (sign != 0));
    add_token(p, kind == '{' ? T_PRINT : T_BLOCK, p->text + tag, 2);
    return lex_tag(p, tag + 2 + (sign != 0), kind == '{');
}

/* Every kind of line end becomes a newline, and one at the end of the text is dropped. */
static void normalise(struct parse *p, const char *text, size_t n)
{
    char *s = parse_get(p, n + 1);
    size_t i, k = 0;

    for (i = 0; i < n; i++) {
        s[k++] = text[i] == '\r' ? '\n' : text[i];
        if (text[i] == '\r' && i + 1 < n && text[i + 1] == '\n')
            i++;
    }
    p->text = s;
    p->n = k && s[k - 1] == '\n' ? k - 1 : k;
}

void lex(struct parse *p)
{
    size_t i = 0, tag;

    normalise(p, p->text, p->n);
    p->line = 1;
    while (i < p->n) {
        for (tag = i; tag + 1 < p->n; tag++)
            if (p->text[tag] == '{' && strchr("{%#", p->text[tag + 1]))
                break;
        if (tag + 1 >= p->n) {
            add_token(p, T_DATA, p->text + i, p->n - i);
            i = pass(p, i, p->n);
        } else {
            i = lex_one(p, i, tag);
        }
    }
    add_token(p, T_END, p->text + p->n, 0);
}
