/*
 * publish.h -- private to surgery: from a planned rewrite to a model under its name, a directory or a file:
 * checks, shards, index, the files that go along, config.json, a look at the result, the model card (in a
 * directory).
 */
#ifndef MOE_SURGERY_PUBLISH_H
#define MOE_SURGERY_PUBLISH_H

#include "surgery/card.h"
#include "surgery/rewrite.h"

struct publish {
    struct rewrite *rw; /* rewrite_sizes() done */
    rewrite_put *put;
    /* Looks at the finished files in dir, before the card is written; may be NULL. */
    int (*check)(void *ctx, const char *dir, struct err *e);
    /* Sets the card's tag and quantized, and adds its body. */
    void (*describe)(void *ctx, struct card *card, struct str *body);
    void *ctx;             /* of the three */
    const struct cut *cut; /* NULL: all experts stay */
    const char *out, *config;
    size_t config_n;
    const char *command;
    const struct model_options *model; /* to open the result */
    bool force, dry_run;               /* dry_run: sizes only */
    uint64_t bytes_read;               /* of the source's tensors, and of the result's if it is looked at */
    uint64_t bytes_needed, bytes_free; /* results: all that is written, and free space before */
    /* Results of dry_run: bytes a second at which the source can be read, measured for a quarter of a second,
     * and what reading and writing take at that speed. */
    double read_rate, seconds;
};

/* OUT appears complete or not at all. */
int publish(struct publish *p, struct err *e);
/* Bytes of the source's files of tensors, headers included. */
uint64_t publish_source_bytes(const struct model *m);

#endif
