/*
 * text_opts.h -- the TEXT options, shared by the programs that turn DATA into tokens.
 *
 *     static const struct opt opts[] = {..., TEXT_OPTS, OPT_END};
 *     text_options(&o);  after cmd_start
 */
#ifndef MOE_CMD_TEXT_OPTS_H
#define MOE_CMD_TEXT_OPTS_H

#include "common.h"
#include "text/corpus.h"

struct text_opts {
    int64_t max_len, samples, seed; /* seed -1: not given, the first N samples */
    const char *category_field, *chat, *date;
    bool no_special;
};
extern struct text_opts text_opts;

#define TEXT_OPT_(name, kind, dst, arg, help, min, max)                                                      \
    {                                                                                                        \
        name, 0, kind, &text_opts.dst, arg, help, min, max                                                   \
    }
/* The rows that decide how a document is rendered and encoded; also those of moe-inspect --tokenize. */
#define TEXT_OPTS_RENDER                                                                                     \
    TEXT_OPT_("chat", OPT_TEXT, chat, "NAME", "chat template (default: by the model's own)", 0, 0),          \
        TEXT_OPT_("date", OPT_TEXT, date, "YYYY-MM-DD", "today, for templates that print it", 0, 0),         \
        TEXT_OPT_("no-special", OPT_FLAG, no_special, NULL, "add no BOS and the like to text", 0, 0)
#define TEXT_OPTS                                                                                            \
    OPT_HEADING("Text options"),                                                                             \
        TEXT_OPT_("max-len", OPT_INT, max_len, "N", "tokens kept of a document (2048)", 1, INT32_MAX),       \
        TEXT_OPT_("samples-per-category", OPT_INT, samples, "N", "the first N documents of each category",   \
                  1, INT64_MAX),                                                                             \
        TEXT_OPT_("seed", OPT_INT, seed, "S", "draw those N at random instead", 0, INT64_MAX),               \
        TEXT_OPT_("category-field", OPT_TEXT, category_field, "NAME", "member with the category (category)", \
                  0, 0),                                                                                     \
        TEXT_OPTS_RENDER

/* Fills o from the options; a contradiction between them is a usage error. vocab is left 0: set it from the
 * model. */
void text_options(struct corpus_options *o);
/* Says how many documents were cut or left out, if any. */
void note_cut(const struct corpus *c);
/* Width of a table's category column. */
int category_width(const struct corpus *c);

#endif
