/*
 * card.h -- private to surgery: the README.md of a new model, with the YAML front matter that the hub reads.
 */
#ifndef MOE_SURGERY_CARD_H
#define MOE_SURGERY_CARD_H

#include "model/model.h"

struct card {
    const struct model *m;
    const char *out;     /* path of the new model: its last part is the title */
    const char *tag;     /* "pruned", "mxfp4" ... */
    bool quantized;      /* base_model_relation: quantized */
    const char *body;    /* Markdown between the title and the way it was made */
    const char *command; /* command line, or NULL */
};

/*
 * Writes DIR/README.md. base_model is the hub id if the model comes from a hub cache, else what the source's
 * own front matter says, else the directory's name; licence, language, library and pipeline are taken over
 * from there too.
 */
int card_write(const struct card *c, const char *dir, struct err *e);

#endif
