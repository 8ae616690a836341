/*
 * data_file.h -- a file of DATA: unpacked, its form found out, and where its documents are.
 *
 *     data_file_open(&f, "calib.ndjson.gz", e)
 *     struct data_at at = {0};
 *     while ((r = data_next(&f, &at, e)) > 0)      f.text[at.off .. at.off + at.n), which begins on at.line
 *     data_file_free(&f)
 */
#ifndef MOE_TEXT_DATA_FILE_H
#define MOE_TEXT_DATA_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum data_form {
    DATA_TEXT,   /* the whole is a document */
    DATA_LINES,  /* a JSON value a line */
    DATA_ARRAY,  /* one JSON array of them */
    DATA_VALUES, /* JSON values over several lines each */
};

struct data_file {
    char *name; /* as given */
    char *stem; /* the category of documents that name none: the name up to its suffix; of pipes "-" */
    char *text; /* what it holds: of .gz and .zst unpacked, without a byte order mark */
    size_t n;
    enum data_form form;
    bool packed; /* it was compressed */
};

/*
 * name "-": standard input, JSON. JSON are also .json, .jsonl, .ndjson and their kin in any case, and
 * whatever else begins with a JSON object that is a document, or with two JSON objects. Refused by name:
 * tables (Parquet, CSV, ...), archives, other encodings; text that is not UTF-8. data_file_free also after a
 * failure.
 */
int data_file_open(struct data_file *f, const char *name, struct err *e);
/* Whether a name in a folder of data is that of a file about it, and no document: README, LICENSE, NOTICE ...
 */
bool data_file_about(const char *name);
void data_file_free(struct data_file *f);

/* Lines count from 0. 1: the next document; 0: there is none; -1. Begin with {0}. */
struct data_at {
    size_t off, n;
    int line;

    size_t next; /* private */
};
int data_next(const struct data_file *f, struct data_at *at, struct err *e);

#endif
