/* split.c -- levels of patterns, each refining the pieces of the one before. */
/* split.c -- pre-tokenizers. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/split.h"

#include <pcre2.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/json.h"
#include "text/unicode.h"

/* ByteLevel's own pattern, of GPT-2. */
static const char gpt2[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* pattern: NULL, of a Metaspace. */
static int add_level(struct splitter *s, const char *pattern, struct split_level l, const char *what,
                     struct err *e)
{
    if (s->levels < SPLIT_LEVELS && (!pattern || (l.pattern = mem_strdup(pattern, e)))) {
        s->level[s->levels++] = l;
        return 0;
    }
    regex_free(&l.regex);
    return pattern && s->levels < SPLIT_LEVELS
               ? -1
               : err_set(e, ERR_UNKNOWN, "%s: more than %d pre-tokenizers", what, SPLIT_LEVELS);
}

static int add_regex(struct splitter *s, const char *pattern, struct split_level l, const char *what,
                     struct err *e)
{
    return regex_compile(&l.regex, pattern, what, e) || add_level(s, pattern, l, what, e) ? -1 : 0;
}

static int add_literal(struct splitter *s, const char *text, struct split_level l, const char *what,
                       struct err *e)
{
    l.literal = true;
    return regex_literal(&l.regex, text, what, e) || add_level(s, text, l, what, e) ? -1 : 0;
}

static int read_split(struct splitter *s, const cJSON *j, const char *what, struct err *e)
{
    const char *regex = cJSON_GetStringValue(json_member(json_member(j, "pattern"), "Regex"));
    const char *string = cJSON_GetStringValue(json_member(json_member(j, "pattern"), "String"));
    const char *behavior = cJSON_GetStringValue(json_member(j, "behavior"));
    struct split_level l = {.removed = behavior && strcmp(behavior, "Removed") == 0,
                            .invert = cJSON_IsTrue(json_member(j, "invert"))};

    if (!behavior || (!l.removed && strcmp(behavior, "Isolated") != 0))
        return err_set(e, ERR_UNKNOWN, "%s: Split with behavior '%s' is not understood", what,
                       behavior ? behavior : "(none)");
    if (regex)
        return add_regex(s, regex, l, what, e);
    if (string && *string)
        return add_literal(s, string, l, what, e);
    return err_set(e, ERR_UNKNOWN, "%s: Split without a Regex or String pattern", what);
}

static int read_byte_level(struct splitter *s, const cJSON *j, const char *what, struct err *e)
{
    const cJSON *use_regex = json_member(j, "use_regex");

    if (cJSON_IsTrue(json_member(j, "add_prefix_space")))
        return err_set(e, ERR_UNKNOWN, "%s: ByteLevel with add_prefix_space is not understood", what);
    if (!cJSON_IsFalse(use_regex) && add_regex(s, gpt2, (struct split_level){0}, what, e)) /* absent: true */
        return -1;
    s->byte_level = true;
    return 0;
}

/* The older add_prefix_space says "never" when false, and nothing when true. */
static int read_metaspace(struct splitter *s, const cJSON *j, const char *what, struct err *e)
{
    static const char *const schemes[] = {"never", "first", "always"};
    const char *mark = cJSON_GetStringValue(json_member(j, "replacement"));
    const cJSON *prepend = json_member(j, "prepend_scheme"), *cuts = json_member(j, "split");
    const char *scheme = prepend ? cJSON_GetStringValue(prepend) : "always";
    struct split_level l = {.cuts = !cJSON_IsFalse(cuts)};
    utf8proc_int32_t c;
    size_t i;

    if (!mark || !*mark || utf8proc_iterate((const utf8proc_uint8_t *)mark, -1, &c) != (int)strlen(mark))
        return err_set(e, ERR_INPUT, "%s: Metaspace: 'replacement' is not one character", what);
    for (i = 0; scheme && i < 3 && strcmp(schemes[i], scheme) != 0; i++)
        ;
    if (!scheme || i == 3)
        return err_set(e, ERR_UNKNOWN, "%s: Metaspace: prepend_scheme '%s' is none of never, first, always",
                       what, scheme ? scheme : "(no string)");
    if (cJSON_IsFalse(json_member(j, "add_prefix_space")) && i > 0)
        return err_set(e, ERR_INPUT, "%s: Metaspace: add_prefix_space is false, but prepend_scheme is '%s'",
                       what, scheme);
    l.prepend = i == 0 ? PREPEND_NEVER : i == 1 ? PREPEND_FIRST : PREPEND_ALWAYS;
    memcpy(l.mark, mark, strlen(mark) + 1);
    return add_level(s, NULL, l, what, e);
}

/* The reference's own test of digits, by Unicode 17. */
static const char digit[] = "[\\p{N}\\x{11de0}-\\x{11de9}\\x{16ff4}-\\x{16ff6}]",
                  digits[] = "[\\p{N}\\x{11de0}-\\x{11de9}\\x{16ff4}-\\x{16ff6}]+";

int splitter_read(struct splitter *s, const cJSON *j, const char *what, struct err *e)
{
    const char *type = cJSON_GetStringValue(json_member(j, "type"));
    const cJSON *item;

    if (!j || cJSON_IsNull(j))
        return 0;
    if (!type)
        return err_set(e, ERR_UNKNOWN, "%s: a pre-tokenizer without a type", what);
    if (strcmp(type, "Sequence") == 0) {
        cJSON_ArrayForEach(item, json_member(j, "pretokenizers"))
        {
            if (splitter_read(s, item, what, e))
                return -1;
        }
        return 0;
    }
    if (s->byte_level)
        return err_set(e, ERR_UNKNOWN, "%s: the pre-tokenizer '%s' after ByteLevel is not understood", what,
                       type);
    if (strcmp(type, "Split") == 0)
        return read_split(s, j, what, e);
    if (strcmp(type, "ByteLevel") == 0)
        return read_byte_level(s, j, what, e);
    if (strcmp(type, "Digits") == 0)
        return add_regex(s, cJSON_IsTrue(json_member(j, "individual_digits")) ? digit : digits,
                         (struct split_level){0}, what, e);
    if (strcmp(type, "Metaspace") == 0)
        return read_metaspace(s, j, what, e);
    return err_set(e, ERR_UNKNOWN, "%s: the pre-tokenizer '%s' is not understood", what, type);
}

void splitter_free(struct splitter *s)
{
    int i;

    for (i = 0; i < s->levels; i++) {
        regex_free(&s->level[i].regex);
        free(s->level[i].pattern);
    }
    *s = (struct splitter){0};
}

/* ---- matching ---- */

int split_work_init(struct split_work *w, const struct splitter *s, struct err *e)
{
    pcre2_match_context *c;
    int i;

    *w = (struct split_work){0};
    w->context = c = pcre2_match_context_create(NULL);
    w->stack = pcre2_jit_stack_create(32 * 1024, 16 * 1024 * 1024, NULL);
    for (i = 0; i < s->levels; i++)
        w->data[i] = pcre2_match_data_create(1, NULL);
    for (i = 0; i < s->levels; i++)
        if (!w->data[i])
            break;
    if (!c || !w->stack || i < s->levels) {
        split_work_free(w);
        return err_set(e, ERR_NOMEM, "out of memory: pattern matching");
    }
    pcre2_jit_stack_assign(c, NULL, w->stack);
    /* the patterns backtrack at most over the run they are in; a long run is not an error */
    pcre2_set_match_limit(c, UINT32_MAX);
    pcre2_set_depth_limit(c, UINT32_MAX);
    pcre2_set_heap_limit(c, UINT32_MAX);
    return 0;
}

void split_work_free(struct split_work *w)
{
    int i;

    for (i = 0; i < SPLIT_LEVELS; i++) {
        pcre2_match_data_free(w->data[i]);
        str_free(&w->marked[i]);
        free(w->classes[i].p);
    }
    pcre2_jit_stack_free(w->stack);
    pcre2_match_context_free(w->context);
    *w = (struct split_work){0};
}

/* 1: *from and *to are set; 0: no match from pos on; -1: error. */
static int find(const struct split_level *l, struct split_work *w, int level, size_t n, size_t pos,
                size_t *from, size_t *to, struct err *e)
{
    pcre2_match_data *data = w->data[level];
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(data);
    PCRE2_SPTR classes = w->classes[level].p;
    int r = pcre2_jit_match(l->regex.code, classes, n, pos, 0, data, w->context);

    if (r == PCRE2_ERROR_JIT_BADOPTION || r == PCRE2_ERROR_JIT_STACKLIMIT)
        r = pcre2_match(l->regex.code, classes, n, pos, PCRE2_NO_JIT, data, w->context);
    if (r == PCRE2_ERROR_NOMATCH)
        return 0;
    if (r < 0)
        return err_set(e, r == PCRE2_ERROR_NOMEMORY ? ERR_NOMEM : ERR_INPUT,
                       "matching the pre-tokenizer's pattern failed (PCRE2 error %d)", r);
    *from = at[0];
    *to = at[1];
    return 1;
}

/* The class of each character of text; returns how many, or SIZE_MAX. */
static size_t classify(const struct split_level *l, struct split_classes *c, const char *text, size_t n,
                       struct err *e)
{
    const uint8_t *class_of = l->regex.class_of;
    const char *end = text + n;
    uint8_t *out;

    if (c->cap < n && mem_grow(&c->p, &c->cap, n, 1, e))
        return SIZE_MAX;
    for (out = c->p; text < end;) {
        for (; text < end && (unsigned char)*text < 0x80; text++)
            *out++ = class_of[(unsigned char)*text];
        if (text < end)
            *out++ = class_of[utf8_next(&text)];
    }
    return (size_t)(out - c->p);
}

/* A place in text, as a byte and as a character. */
struct place {
    size_t byte, character;
};

static struct place forward(struct place p, size_t character, const char *text, bool ascii)
{
    if (ascii)
        return (struct place){character, character};
    for (; p.character < character; p.character++) {
        unsigned char lead = (unsigned char)text[p.byte];

        p.byte += lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    }
    return p;
}

struct walk {
    const struct splitter *s;
    struct split_work *w;
    int (*fn)(void *ctx, const char *piece, size_t n, struct err *e);
    void *ctx;
    struct err *e;
};

static int cut(const struct walk *k, int level, const char *text, size_t n, bool first);

/* Metaspace: the text with its spaces replaced goes on as one piece, or as one for each mark. */
static int cut_marks(const struct walk *k, int level, const char *text, size_t n, bool first)
{
    const struct split_level *l = &k->s->level[level];
    struct str *marked = &k->w->marked[level];
    size_t len = strlen(l->mark), from = 0, i;
    bool leads = *text == ' ' || (n >= len && memcmp(text, l->mark, len) == 0);
    int r;

    str_clear(marked);
    if (!leads && (l->prepend == PREPEND_ALWAYS || (l->prepend == PREPEND_FIRST && first)))
        str_add(marked, l->mark, len);
    for (i = 0; i < n; i++) {
        if (text[i] != ' ')
            continue;
        str_add(marked, text + from, i - from);
        str_add(marked, l->mark, len);
        from = i + 1;
    }
    str_add(marked, text + from, n - from);
    if (str_ok(marked, k->e))
        return -1;
    for (i = from = 0; l->cuts && i + len <= marked->n; i++) {
        if (i == from || memcmp(marked->p + i, l->mark, len) != 0)
            continue;
        if ((r = cut(k, level + 1, marked->p + from, i - from, first && from == 0)))
            return r;
        from = i;
    }
    return cut(k, level + 1, marked->p + from, marked->n - from, first && from == 0);
}

/* By a pattern. Its matches are found in the classes of the characters. */
static int cut_matches(const struct walk *k, int level, const char *text, size_t n, bool first)
{
    const struct split_level *l = &k->s->level[level];
    bool keep_match = !(l->removed && !l->invert), keep_gap = !(l->removed && l->invert);
    size_t characters = classify(l, &k->w->classes[level], text, n, k->e), pos = 0, from = 0, to = 0;
    struct place done = {0}, start, end;
    bool ascii = characters == n;
    int r;

    if (characters == SIZE_MAX)
        return -1;
    while (pos < characters) {
        r = find(l, k->w, level, characters, pos, &from, &to, k->e);
        if (r < 0)
            return -1;
        if (!r)
            break;
        start = forward(done, from, text, ascii);
        end = forward(start, to, text, ascii);
        if (keep_gap &&
            (r = cut(k, level + 1, text + done.byte, start.byte - done.byte, first && done.byte == 0)))
            return r;
        if (keep_match &&
            (r = cut(k, level + 1, text + start.byte, end.byte - start.byte, first && from == 0)))
            return r;
        done = end;
        pos = from == to ? to + 1 : to; /* an empty match: go on behind the next character */
    }
    return keep_gap ? cut(k, level + 1, text + done.byte, n - done.byte, first && done.byte == 0) : 0;
}

/* Cuts text by the levels from level on, each refining the pieces of the one before. */
static int cut(const struct walk *k, int level, const char *text, size_t n, bool first)
{
    if (!n)
        return 0;
    if (level == k->s->levels)
        return k->fn(k->ctx, text, n, k->e);
    return (k->s->level[level].regex.code ? cut_matches : cut_marks)(k, level, text, n, first);
}

int split(const struct splitter *s, struct split_work *w, const char *text, size_t n, bool first,
          int (*fn)(void *ctx, const char *piece, size_t n, struct err *e), void *ctx, struct err *e)
{
    struct walk k = {s, w, fn, ctx, e};

    return cut(&k, 0, text, n, first);
}
