/*
 * corpus.h -- DATA operands to token sequences with categories.
 *
 * DATA: a file of JSON objects (one a line, one array of them, or over several lines each), a plain text file
 * (one document), either of them compressed by gzip or zstd, a directory of such files (sorted by name, one
 * level), or "-" (JSON on standard input); what is what: data_file.h. An object has one of
 * messages, conversations (ShareGPT), instruction+output (Alpaca; optional input), prompt (raw text), text,
 * ids; optionally category and tools. Beside a conversation, variables that its template
 * looks at. Whatever else is content by its name is refused, not left out. Category:
 * the field, else the file's stem; standard input without one: "-". Empty lines and, in directories, names
 * that begin with a dot are passed over.
 *
 * Text and prompt are encoded with the special tokens that the tokenizer adds (BOS), unless no_special: a
 * text that begins with BOS has two then (doubled). Conversations are rendered by the chat template and
 * encoded without, since it prints its own; one that does not begin with the tokenizer's BOS gets it, unless
 * no_special. One for which the template raises is left out and counted. Messages name a line as editors
 * count, from 1; the line members below count from 0.
 */
#ifndef MOE_TEXT_CORPUS_H
#define MOE_TEXT_CORPUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"
#include "base/mem.h"
#include "text/chat.h"
#include "text/tokenizer.h"

struct corpus_options {
    int max_len;                  /* tokens kept of a document; 0: all */
    int64_t hold_out;             /* N: every N-th document of each category is not there; 0: all are */
    bool held_out;                /* then: only those are. All that follows counts what is there */
    int64_t samples_per_category; /* 0: all */
    bool draw;                    /* samples drawn with seed instead of the first N */
    uint64_t seed;
    const char *category_field; /* NULL: "category" */
    struct chat_options chat;
    bool no_special;
    bool rules_only; /* add_bos_token and add_eos_token of the configuration count for nothing */
    int vocab;       /* ids must be below; 0: not checked */
    int longest;     /* a document of more tokens is refused; 0: none is */
};

struct doc {
    int64_t first;  /* index of its first token in ids */
    int n;          /* tokens, >= 1 */
    int category;   /* index into corpus.category */
    int half;       /* ordinal of the document in its category, over all that are there, mod 2 */
    bool cut;       /* to max_len */
    int file, line; /* where it came from: corpus.file[file], line from 0 (the line's number in the file) */
};

/* What the chat template made of the conversations that were chosen. */
struct corpus_told {
    int64_t conversations;
    int64_t refused;     /* for which it raises; they are left out */
    char *refused_first; /* "data.jsonl line 3: line 12: TemplateError: ..."; NULL: none */
    int64_t given;       /* in which the template was given what stands beside the messages */
    char *given_first;   /* "'enable_thinking' in data.jsonl line 3" */
    int64_t lost[LOST_KINDS];
    char *lost_first[LOST_KINDS]; /* "data.jsonl line 3" */
};

struct corpus {
    int32_t *ids; /* [tokens], documents end to end */
    int64_t tokens;
    struct doc *doc; /* [docs] in input order */
    int64_t docs;
    char **category; /* [categories] those of doc, sorted by byte value */
    int categories;
    char **file; /* [files] names as given */
    int files;
    int packed;        /* files that were compressed */
    int about;         /* README, LICENSE and the like in folders, which were passed over */
    char *about_first; /* one of them; NULL: none */
    int64_t empty;     /* documents without a token, left out */
    int64_t doubled;   /* documents that begin with BOS twice: their text has one too */
    int64_t truncated; /* documents cut to max_len */
    int64_t repeated;  /* documents with the tokens of an earlier one (before a cut) */
    struct {
        int file, line;
    } repeat[2];       /* where the first of them is, and what it repeats */
    int shard, shards; /* 1 of 1, or what corpus_shard left */
    char chat[20];     /* chat_name of the template used, or "-" */
    struct corpus_told told;
    char digest[HASH_HEX]; /* HASH_DATA digits of the DATA bytes, then of them, their files' stems and every
                              option (and tokenizer, template) that chooses tokens */
};

/*
 * dir: the model's directory (tokenizer, template); they are opened only when a document needs them, so
 * "ids" input works without a tokenizer. Every mistake names file and line.
 */
int corpus_read(struct corpus *c, const char *dir, const char *const *data, int n_data,
                const struct corpus_options *o, struct err *e);
/* Keeps every shards-th document, beginning with the shard-th (from 1). Categories, halves and digest stay
 * those of the whole, so that what is counted in the shards can be added up. */
int corpus_shard(struct corpus *c, int shard, int shards, struct err *e);
void corpus_free(struct corpus *c);

/*
 * The same walk without keeping anything, for moe-inspect --tokenize: fn gets each document's place and
 * either its ids or, with render, the text that would be encoded (text documents: themselves). Returns
 * what fn returned if not 0.
 */
struct corpus_item {
    const char *file; /* as given */
    int line;
    const char *category;
    const struct ids *ids;  /* NULL with render, but for "ids" documents */
    const struct str *text; /* NULL for "ids" documents */
    bool doubled;           /* the ids begin with BOS twice */
    const struct chat_result
        *chat; /* of a conversation, else NULL; if it was refused, there is neither text nor ids */
};
int corpus_each(const char *dir, const char *const *data, int n_data, const struct corpus_options *o,
                bool render, int (*fn)(void *ctx, const struct corpus_item *item, struct err *e), void *ctx,
                struct err *e);

#endif
