/*
 * rows.h -- private to stats: text files with one row for each layer and expert, which people edit: plans and
 * criterion files. Reading forgives white space and order, and is strict about what is said.
 *
 *     #moe-X 1
 *     #model  family=... ...
 *     #criterion  ...             may be absent
 *     #columns  layer  expert ... may be absent
 *     0  0  ...
 *     #end  rows=N
 */
#ifndef MOE_STATS_ROWS_H
#define MOE_STATS_ROWS_H

#include "stats/stats.h"

enum { ROWS_COLUMNS = 3 };

struct rows_format {
    const char *tag;    /* "#moe-plan" */
    const char *what;   /* "plan" */
    const char *header; /* "layer, expert, keep, score, rank" for messages */
    int columns;        /* after layer and expert, up to ROWS_COLUMNS */
    struct {
        const char *name;
        bool whole; /* a whole number */
        double min;
        double max; /* 0: the model's number of experts */
    } column[ROWS_COLUMNS];
};

struct rows {
    struct model_id model;
    char *criterion; /* the #criterion line after its tag; "" if absent */
    int *layer;      /* [n_layers] ascending */
    int n_layers;
    double (*value)[ROWS_COLUMNS]; /* [n_layers][experts] */
};

/* path "-": standard input. Refused, with file and line: another format or version, a row missing or twice, a
 * layer or expert that the model line does not allow, a value outside its column's range, no #end (truncated)
 * or another row count in it. */
int rows_read(struct rows *r, const struct rows_format *f, const char *path, struct err *e);
void rows_free(struct rows *r);

/* Writing: the lines before the rows, which the caller then adds to out; last the end line, and all of it
 * into the file (path "-": standard output), which frees out. Refused: a criterion of several lines. */
int rows_head(struct str *out, const struct rows_format *f, const struct model_id *id, const char *criterion,
              struct err *e);
int rows_finish(struct str *out, size_t rows, const char *path, bool force, struct err *e);

#endif
