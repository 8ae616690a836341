/*
 * test_regex.c -- patterns of tokenizers: what they match, and what is refused.
 */
#include "tokenizing.h"

#include "text/split.h"

static int note_piece(void *ctx, const char *piece, size_t n, struct err *e)
{
    struct str *out = ctx;

    (void)e;
    str_adds(out, out->n ? "|" : "");
    str_add(out, piece, n);
    return 0;
}

/* "a|b|c": what a pattern makes of a text. */
static const char *pieces(const char *pattern, const char *text, const char *kind)
{
    static char out[1200];
    struct splitter s = {0};
    struct split_work w = {0};
    struct str found = {0};
    struct err e = {0};
    cJSON *j = cJSON_CreateObject(), *p = cJSON_AddObjectToObject(j, "pattern");

    cJSON_AddStringToObject(j, "type", "Split");
    cJSON_AddStringToObject(j, "behavior", "Isolated");
    cJSON_AddStringToObject(p, kind, pattern);
    if (splitter_read(&s, j, "x", &e) == 0 && split_work_init(&w, &s, &e) == 0) {
        CHECK(split(&s, &w, text, strlen(text), true, note_piece, &found, &e) == 0);
        split_work_free(&w);
    }
    snprintf(out, sizeof out, "%s", e.kind ? e.msg : found.p ? found.p : "");
    splitter_free(&s);
    str_free(&found);
    cJSON_Delete(j);
    return out;
}

static void test_regex(void)
{
    static const char *const refused[] = {
        "\\h",     "\\w+",         "\\bx",          "[[:alpha:]]", "[a",      "(?i)a",
        "(?<n>a)", "a{1,2}+b",     "a{,3}",         "[]a]",        "\\p{^L}", "\\pL",
        "a\\",     "(*ANY)a",      "\\p{L&}",       "[a[:x]]",     "[z-a]",   "\\x{110000}",
        "\\u12",   "\\p{No_such}", "(?i:\xc3\xa9)", "(?i:st)",     "(a",      "a)"};
    static const struct {
        const char *pattern, *text, *pieces;
    } cases[] = {
        {"\\p{L}+|\\p{N}{1,3}", "abc12345", "abc|123|45"},
        {"a++b?+", "aab ab", "aab| |ab"},
        {"[\\u4E00-\\x{9fa5}\\d]",
         "a\xe4\xb8\xad"
         "b7",
         "a|\xe4\xb8\xad|b|7"},
        {"\\p{Han}+", "x\xe4\xb8\xad\xe6\x96\x87y", "x|\xe4\xb8\xad\xe6\x96\x87|y"},
        {"(?i:'s|'t)", "it'S don'T it'\xc5\xbf", "it|'S| don|'T| it|'\xc5\xbf"},
        {"(?i:k)l", "\xe2\x84\xaal kl KL", "\xe2\x84\xaal| |kl| KL"},
        {"[a-z&&[^aeiou]]+", "hello", "h|e|ll|o"},
        {"[^a-z&&[^x]]", "a1x", "a|1|x"}, /* inverted is the whole: x is not in it */
        {"[\\p{Lu}\\p{Lo}&&[^\\p{Han}]]+", "AB\xe4\xb8\xad\xd7\x90", "AB|\xe4\xb8\xad|\xd7\x90"},
        {"^a|b$", "aab\nab\nb", "a|a|b|\n|a|b|\n|b"},
        {".+", "ab\ncd", "ab|\n|cd"},
        {"[.\\-]{2}", "a.-b", "a|.-|b"},
        {"x{a}", "x{a}", "x{a}"},
        {"[a-]", "a-b", "a|-|b"},
        {"\\s+(?!\\S)|\\s+", "a   b  ", "a|  | |b|  "},
        {"\\S\\D", "a b1cd", "a |b|1c|d"},
        {"[^\\s\\p{L}]",
         "\xf0\x9f\xa9\xb7"
         "a",
         "\xf0\x9f\xa9\xb7|a"},
        {"\\p{So}",
         "a\xf0\x9f\xa9\xb7"
         "b",
         "a|\xf0\x9f\xa9\xb7|b"}, /* of Unicode 15 */
        {"(?:)", "abc", "a|b|c"},
    };
    size_t i;

    for (i = 0; i < sizeof refused / sizeof *refused; i++)
        CHECK_MSG(strncmp(pieces(refused[i], "a", "Regex"), "x: ", 3) == 0, "'%s' was accepted", refused[i]);
    for (i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK_STR(pieces(cases[i].pattern, cases[i].text, "Regex"), cases[i].pieces);
    CHECK_STR(pieces("[\xc3\xa9.", "a[\xc3\xa9.b", "String"), "a|[\xc3\xa9.|b");
}

int main(void)
{
    test_regex();
    CHECK_END();
}
