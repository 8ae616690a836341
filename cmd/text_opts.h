/*
 * text_opts.h -- the TEXT options, shared by the programs that turn DATA into tokens.
 *
 *     static const struct opt opts[] = {..., TEXT_OPTS, OPT_END};
 *     text_options(&o);  in cmd.run
 */
#ifndef MOE_CMD_TEXT_OPTS_H
#define MOE_CMD_TEXT_OPTS_H

#include "common.h"
#include "text/corpus.h"

struct text_opts {
    int64_t max_len, hold_out, held_out, samples, seed; /* seed -1: not given, the first N samples */
    const char *category_field, *chat, *date;
    bool no_special, ignore_add_bos;
};
extern struct text_opts text_opts;

/* The rows that decide how a document is rendered and encoded; also those of moe-inspect --tokenize, with
 * .needs. */
#define TEXT_OPTS_RENDER(...)                                                                                \
    OPT_TEXT("chat", 0, &text_opts.chat, "FILE",                                                             \
             "chat template, or one of several by name (the model's own)", __VA_ARGS__),                     \
        OPT_TEXT("date", 0, &text_opts.date, "YYYY-MM-DD", "today, for templates that print it",             \
                 __VA_ARGS__),                                                                               \
        OPT_FLAG("no-special", 0, &text_opts.no_special, "add no BOS and the like to text", __VA_ARGS__),    \
        OPT_FLAG("ignore-add-bos", 0, &text_opts.ignore_add_bos,                                             \
                 "no BOS or EOS for tokenizer_config.json's sake (transformers 5)", __VA_ARGS__)
#define TEXT_OPTS                                                                                            \
    OPT_HEADING("Text options"),                                                                             \
        OPT_INT("max-len", 0, &text_opts.max_len, "N", "tokens kept of a document (2048)", 1, INT32_MAX),    \
        OPT_INT("hold-out", 0, &text_opts.hold_out, "N", "leave every Nth document of each category out", 2, \
                INT64_MAX, .excludes = "held-out"),                                                          \
        OPT_INT("held-out", 0, &text_opts.held_out, "N", "take only what --hold-out N leaves out", 2,        \
                INT64_MAX),                                                                                  \
        OPT_INT("samples-per-category", 0, &text_opts.samples, "N",                                          \
                "the first N documents of each category", 1, INT64_MAX),                                     \
        OPT_INT("seed", 0, &text_opts.seed, "S", "draw those N at random instead", 0, INT64_MAX,             \
                .needs = "samples-per-category, which says how many"),                                       \
        OPT_TEXT("category-field", 0, &text_opts.category_field, "NAME",                                     \
                 "member with the category (category)"),                                                     \
        TEXT_OPTS_RENDER()

/* Fills o from the options; what is no date is a usage error. vocab is left 0: set it from the
 * model. */
void text_options(struct corpus_options *o);
/* Says how many documents begin with BOS twice, if any. */
void note_doubled(int64_t docs);
/* Says how many documents were cut, left out or there before, if any. */
void note_cut(const struct corpus *c);
/* Width of a table's category column. */
int category_width(const struct corpus *c);

#endif
