/*
 * token_pieces.h -- tokens with scores and types, as sentencepiece and GGUF have them, on the way to a source
 * of a tokenizer.
 */
#ifndef MOE_TEXT_TOKEN_PIECES_H
#define MOE_TEXT_TOKEN_PIECES_H

#include "text/tokenizer_source.h"

/* SentencePiece.Type, and tokenizer.ggml.token_type. */
enum piece_type {
    PIECE_NORMAL = 1,
    PIECE_UNKNOWN,
    PIECE_CONTROL,
    PIECE_USER_DEFINED,
    PIECE_UNUSED, /* never a token of any text */
    PIECE_BYTE
};

struct token_pieces {
    struct token_piece {
        const char *text; /* no NUL behind it; whoever adds it keeps it */
        size_t n;
        float score;
        enum piece_type type;
    } * piece; /* [n] by id */
    size_t n, cap;
    int32_t *rank; /* [n]; NULL before token_pieces_rank */
    char *unk;     /* the first of type UNKNOWN, after token_pieces_unk */
};
void token_pieces_free(struct token_pieces *p);

/* Takes a piece; refuses text that is empty, has a NUL or is not UTF-8. */
int token_pieces_add(struct token_pieces *p, const char *text, size_t n, float score, enum piece_type type,
                     const char *what, struct err *e);
/* The best score is the first rank, equal ones are one; only normal pieces are merged into. */
int token_pieces_rank(struct token_pieces *p, struct err *e);
int token_pieces_unk(struct token_pieces *p, struct err *e);

/* As the members of struct tokenizer_source: all but the unused ones; those that are added to the vocabulary.
 * normal: the user's own symbols are found in normalized text, if they have no spaces; all others, and
 * without it all, in text as it is. */
int token_pieces_each(const struct token_pieces *p, token_fn *fn, void *ctx, struct err *e);
cJSON *token_pieces_added(const struct token_pieces *p, bool normal, struct err *e);
/* Spaces become U+2581, of which, with prefix, one is put in front. */
cJSON *token_pieces_normalizer(bool prefix);

#endif
