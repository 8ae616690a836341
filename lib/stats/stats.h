/*
 * stats.h -- per-expert statistics and their plain file (moe-stats(5)).
 */
#ifndef MOE_STATS_STATS_H
#define MOE_STATS_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"
#include "base/mem.h"
#include "stats/statistic.h"

/* Of one expert, over the tokens routed to it. */
struct expert_stats {
    uint64_t n;        /* routed tokens */
    double m[M_COUNT]; /* enum stats_column; 0 if n = 0 */
};

/* A column that this version does not know, but how it is merged: moe-stats(5). It is carried along, and
 * nothing else asks for it. */
struct stats_extra {
    char *name;
    enum merge_rule merge;
};

/* The #model line: of statistics and plans alike. */
struct model_id {
    char family[32];
    int layers, experts, topk, hidden; /* layers: all of the model's, dense ones included */
    char digest[HASH_HEX];
    int groups, topk_group; /* of a router with groups (stats/groups.h); 0, 0: it has none */
    bool group_top2;        /* a group's score is the sum of its two largest, not the largest */
};

struct stats_part { /* a #part line */
    char digest[HASH_HEX];
    int shard, shards; /* 1-based */
    int64_t documents, tokens;
};

struct stats {
    struct model_id model;
    char *run; /* the #run line after its tag: "precision=bf16\tmaxlen=512\tchat=qwen3" */
    struct stats_part *part;
    int parts;
    int *layer; /* [n_layers] MoE layers by checkpoint number, ascending */
    int n_layers;
    char **category; /* [categories], sorted by byte value, unescaped */
    int categories;
    struct expert_stats *cell; /* [n_layers][categories][2 halves][experts] */
    int edition;               /* what later ones added is not there: zero, and not written */
    struct stats_extra *extra; /* [extras] */
    int extras;
    double *more; /* [n_layers][categories][2 halves][experts][extras] */
};
enum { STATS_EXTRAS_MAX = 64 };

/* Zeroed cells; copies everything. run is "" or tab-separated key=value fields; layers ascend, categories are
 * sorted by byte value, none empty or twice (refused otherwise). */
int stats_new(struct stats *s, const struct model_id *id, const char *run, const int *layer, int n_layers,
              char *const *category, int categories, struct err *e);
struct expert_stats *stats_cell(const struct stats *s, int layer_index, int category,
                                int half); /* [experts] */
void stats_free(struct stats *s);

static inline bool stats_have(const struct stats *s, enum stats_column c)
{
    return statistic_column(c)->edition <= s->edition;
}

/* One routed token: adds to a cell; see STATS_COLUMNS. */
static inline void stats_add(struct expert_stats *c, double g, double f, double max, double t)
{
    c->n++;
#define STATS_COLUMN_ADD(id, name, rule, op, edition, value) c->m[id] = merged(rule, c->m[id], value);
    STATS_COLUMNS(STATS_COLUMN_ADD)
#undef STATS_COLUMN_ADD
}

/* Keeps part ordered by digest and shard; refused: a part twice, one digest with two shard counts. */
int stats_add_part(struct stats *s, const struct stats_part *p, struct err *e);
/* The first two neighbours that are of the same data, but observed with other options, so that sums of both
 * count it twice; false: there are none. */
bool stats_data_twice(const struct stats *s, const struct stats_part *two[2]);
/* path "-": standard output / input. Same statistics, same bytes. Refused: a sum that is negative, infinite
 * or NaN, since no reader would take it. */
int stats_write(const struct stats *s, const char *path, bool force, struct err *e);
/* Refused with file and line: not a statistics file, another version, no #end (truncated), wrong row
 * count or digest, rows out of order, missing or twice, values that are no numbers, negative or NaN. A
 * 75 MB file reads in under half a second. */
int stats_read(struct stats *s, const char *path, struct err *e);
/* Adds b to a (categories that only b has are carried over), of the earlier edition of the two; refused,
 * leaving a as it was: another model, another #run, other layers, unknown columns that only one has, a part
 * twice, one digest with two shard counts. */
int stats_merge(struct stats *a, const struct stats *b, struct err *e);
/* For files that hold other sums of the same observation: everything of a stats but its cells (NULL); and
 * what stats_merge makes of two such, *sum being new. stats_add_part and stats_free serve them too. */
int stats_head_new(struct stats *s, const struct model_id *id, const char *run, const int *layer,
                   int n_layers, char *const *category, int categories, struct err *e);
int stats_head_merge(struct stats *sum, const struct stats *a, const struct stats *b, struct err *e);
enum { STATS_PART_MAX = 160 }; /* bytes of a part line, with the NUL */
/* "digest=... shard=1/1 documents=... tokens=..." <-> struct, fields separated by tabs. */
void stats_part_print(const struct stats_part *p, char buf[STATS_PART_MAX]);
int stats_part_parse(struct stats_part *p, const char *line, const char *where, struct err *e);
/* Model, run, parts and categories as the metadata of such files have them: moe-matrices(5). Added to text,
 * which the caller frees. */
enum stats_line { LINE_MODEL, LINE_RUN, LINE_PARTS, LINE_CATEGORIES, STATS_LINES };
int stats_lines(const struct stats *s, struct str text[STATS_LINES], struct err *e);
/* Same family, sizes and digest? If not, the message says what differs ("plan.tsv was made from another
 * model: digest X, this one has Y"). what_a and what_b name the two. */
int model_id_check(const struct model_id *a, const char *what_a, const struct model_id *b, const char *what_b,
                   struct err *e);
/* Of a model; reads its routers for the digest. */
struct model;
int model_id_of(struct model_id *id, const struct model *m, struct err *e);
/* "family=gpt_oss layers=24 ..." <-> struct; shared with plans. Tab-separated key=value fields. Printing
 * returns the length, or -1 if the line does not fit into n bytes. */
int model_id_parse(struct model_id *id, const char *line, const char *where, struct err *e);
int model_id_print(const struct model_id *id, char *buf, size_t n);

#endif
