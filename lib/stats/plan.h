/*
 * plan.h -- which experts stay, and its text file (moe-plan(5)), which people edit.
 */
#ifndef MOE_STATS_PLAN_H
#define MOE_STATS_PLAN_H

#include "stats/stats.h"

struct plan_row {
    int layer, expert;
    bool keep;
    double score;
    int rank; /* 1 is kept longest */
};

struct plan {
    struct model_id model;
    char *criterion; /* the #criterion line after its tag, e.g. "reap\tratio=0.25"; "" if absent */
    int *layer;      /* [n_layers] MoE layers, ascending */
    int n_layers;
    struct plan_row *row; /* [n_layers][experts], by layer and expert */
};

struct plan_row *plan_rows(const struct plan *p, int layer_index); /* [experts] */
int plan_kept(const struct plan *p, int layer_index);
/* Of which experts stay in which layers, and of nothing else. */
int plan_kept_digest(const struct plan *p, char out[HASH_HEX], struct err *e);
int plan_new(struct plan *p, const struct model_id *id, const char *criterion, const int *layer, int n_layers,
             struct err *e);
void plan_free(struct plan *p);
int plan_write(const struct plan *p, const char *path, bool force, struct err *e);
/* Only keep counts; rows may stand in any order. Refused with file and line: a row missing or twice, a
 * layer or expert that the model line does not allow, keep other than 0 or 1, no #end (truncated) or another
 * row count in it. */
int plan_read(struct plan *p, const char *path, struct err *e);

#endif
