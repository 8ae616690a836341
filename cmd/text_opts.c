/* text_opts.c -- what the TEXT options mean. */
#include "text_opts.h"

#include <stdlib.h>

struct text_opts text_opts = {.max_len = 2048, .seed = -1};

static bool is_date(const char *s)
{
    static const char form[] = "dddd-dd-dd";
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year, month, day;
    size_t i;

    for (i = 0; form[i]; i++)
        if (form[i] == '-' ? s[i] != '-' : s[i] < '0' || s[i] > '9')
            return false;
    year = (int)strtol(s, NULL, 10);
    month = (int)strtol(s + 5, NULL, 10);
    day = (int)strtol(s + 8, NULL, 10);
    if (s[i] || year < 1 || month < 1 || month > 12 || day < 1)
        return false;
    return day <= days[month - 1] + (month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
}

void text_options(struct corpus_options *o)
{
    const struct text_opts *t = &text_opts;

    if (t->date && !is_date(t->date))
        usage_error("--date: '%s' is not a date like 2025-01-31", t->date);
    *o = (struct corpus_options){
        .max_len = (int)t->max_len,
        .hold_out = t->hold_out ? t->hold_out : t->held_out,
        .held_out = t->held_out > 0,
        .samples_per_category = t->samples,
        .draw = t->seed >= 0,
        .seed = t->seed >= 0 ? (uint64_t)t->seed : 0,
        .category_field = t->category_field,
        .chat = {.name = t->chat, .date = t->date},
        .no_special = t->no_special,
        .rules_only = t->ignore_add_bos,
    };
}

void note_doubled(int64_t docs)
{
    if (docs)
        note("%lld documents begin with BOS twice: their text has one, and the tokenizer adds one "
             "(--no-special)",
             (long long)docs);
}

static void note_chat(const struct corpus_told *t)
{
    int i;

    if (t->refused)
        note("%lld of %lld conversations are left out, because the chat template refuses them (%s)",
             (long long)t->refused, (long long)t->conversations, t->refused_first);
    if (t->given)
        note("%lld of %lld conversations give the chat template variables of their own (%s, for example)",
             (long long)t->given, (long long)t->conversations, t->given_first);
    for (i = 0; i < LOST_KINDS; i++)
        if (t->lost[i])
            note("the chat template does not print all %s of %lld of %lld conversations (%s, for example)",
                 chat_lost_name(i), (long long)t->lost[i], (long long)t->conversations, t->lost_first[i]);
}

void note_cut(const struct corpus *c)
{
    if (c->packed)
        note("%d of %d files of data were compressed; what they hold was read", c->packed, c->files);
    if (c->about)
        note("%d files in folders of data are about it and were not read ('%s', for example); name one "
             "itself to "
             "read it",
             c->about, c->about_first);
    if (c->truncated)
        note("%lld of %lld documents were cut to %lld tokens (--max-len)", (long long)c->truncated,
             (long long)c->docs, (long long)text_opts.max_len);
    note_doubled(c->doubled);
    if (c->empty)
        note("%lld documents had no token and were left out", (long long)c->empty);
    note_chat(&c->told);
    if (c->repeated)
        note("%lld documents have the tokens of another, and count again (%s line %d is %s line %d, for "
             "example)",
             (long long)c->repeated, c->file[c->repeat[0].file], c->repeat[0].line + 1,
             c->file[c->repeat[1].file], c->repeat[1].line + 1);
}

int category_width(const struct corpus *c)
{
    int k, width = 8; /* "category" */

    for (k = 0; k < c->categories; k++)
        if (name_width(c->category[k]) > width)
            width = name_width(c->category[k]);
    return width;
}
