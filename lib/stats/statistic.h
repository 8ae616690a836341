/*
 * statistic.h -- what is observed of a model: a row a quantity, from which come the columns of moe-stats(5)
 * and the tensors of moe-matrices(5), their sizes, what is refused in them, how two observations become one,
 * and what a device must be able to do. Another quantity is another row, what makes it (one operation of a
 * device, or some arithmetic on the host), and a line in the page of its file.
 *
 * Rows come in editions: those of a later one are not in files of an earlier one, which are read and merged
 * with what they have (struct stats.edition). Whoever needs more of them says so by the row's name.
 */
#ifndef MOE_STATS_STATISTIC_H
#define MOE_STATS_STATISTIC_H

#include <stdbool.h>
#include <stdint.h>

#include "device/device.h"

/* How a number of one observation and that of another become that of both. Counts are whole. */
enum merge_rule { MERGE_COUNT, MERGE_SUM, MERGE_MAX, MERGE_RULES };
extern const char *const merge_rule_name[MERGE_RULES]; /* "count", "sum", "max" */

static inline double merged(enum merge_rule rule, double a, double b)
{
    return rule == MERGE_MAX ? (b > a ? b : a) : a + b;
}

/*
 * One number for each expert, category and half: a column of moe-stats(5), in this order, after the number of
 * routed tokens. The last two arguments are the edition, and what one of these tokens gives, whose expert has
 * the gate weight g and an ungated output of norm f with the largest |element| max, and which all its experts
 * turned by t (struct residual_view). Later editions stand after earlier ones.
 */
/* clang-format off */
#define STATS_COLUMNS(COLUMN) \
    COLUMN(M_G, "g", MERGE_SUM, OP_ROUTE, 1, g) \
    COLUMN(M_G2, "g2", MERGE_SUM, OP_ROUTE, 1, g * g) \
    COLUMN(M_F, "f", MERGE_SUM, OP_EXPERTS, 1, f) \
    COLUMN(M_GF, "gf", MERGE_SUM, OP_EXPERTS, 1, g * f) \
    COLUMN(M_G2F, "g2f", MERGE_SUM, OP_EXPERTS, 1, g * g * f) \
    COLUMN(M_F2, "f2", MERGE_SUM, OP_EXPERTS, 1, f * f) \
    COLUMN(M_GF2, "gf2", MERGE_SUM, OP_EXPERTS, 1, g * f * f) \
    COLUMN(M_G2F2, "g2f2", MERGE_SUM, OP_EXPERTS, 1, g * g * f * f) \
    COLUMN(M_MAX, "max", MERGE_MAX, OP_EXPERTS, 1, max) \
    COLUMN(M_TGF, "tgf", MERGE_SUM, OP_COMBINE, 2, t * g * f)
/* clang-format on */

#define STATS_COLUMN_ID(id, name, rule, op, edition, value) id,
enum stats_column { STATS_COLUMNS(STATS_COLUMN_ID) M_COUNT };
#undef STATS_COLUMN_ID

/* What there is a number for; all but PER_EXPERT are tensors of moe-matrices(5). E experts, C categories
 * (of pairs: 1 if they are pooled). */
enum statistic_per {
    PER_EXPERT,  /* an expert, category and half: enum stats_column */
    PER_PAIR,    /* [C][E][E]: enum pair_sum */
    PER_ELEMENT, /* [E][expert_sum_width]: enum expert_sum */
    PER_ROUTER,  /* [C][ROUTER_BINS], of near misses [C][E]: enum router_count */
    PER_NORM,    /* [C][E][NORM_BINS] tokens by norm_bin(a) */
    PER_SHARED   /* [width of the shared expert] squares of its inner activations; none without one */
};

/* Over the tokens that two experts i and j worked on together. g is the gate weight, f(x) the ungated output,
 * a = g |f(x)|. Where i = j: the routed tokens, and the sum of a^2 twice. */
enum pair_sum {
    P_N,        /* tokens */
    P_WEIGHTED, /* sum of a_i a_j */
    P_GRAM,     /* sum of g_i g_j <f_i(x), f_j(x)> */
    PAIR_SUMS
};

/* Tokens by what the router's logits said, before groups and correction biases. */
enum router_count {
    R_ENTROPY, /* by the entropy of their softmax, of 0 .. ln(experts) */
    R_MARGIN,  /* by the lowest chosen minus the highest not chosen: below 0, then 1/8 each */
    R_NEAR,    /* by the expert that was nearest to being chosen */
    R_COUNT
};
enum { ROUTER_BINS = 64 };

/* Tokens by the size of a = g |f(x)|, in steps of sqrt(2): bin i has 2^((i - 32) / 2) <= a < 2^((i - 31) /
 * 2), the first also what is smaller, the last what is larger. */
enum { NORM_BINS = 64 };
int norm_bin(double a);

struct statistic {
    const char *name; /* of the column or tensor */
    enum statistic_per per;
    int which; /* of the enum that belongs to it */
    enum merge_rule merge;
    bool negative;     /* it may be */
    enum device_op op; /* what makes it on a device; the rest is the host's */
    int edition;       /* from which on it is there */
};

/* In the order of the files: columns, then the tensors of a layer. */
enum { STATISTICS = M_COUNT + PAIR_SUMS + EXPERT_SUMS + R_COUNT + 2, TENSORS = STATISTICS - M_COUNT };
enum { EDITION = 2 }; /* this one */
extern const struct statistic statistic[STATISTICS];
static inline const struct statistic *statistic_column(enum stats_column c)
{
    return &statistic[c];
}
static inline const struct statistic *statistic_tensor(int which) /* of TENSORS */
{
    return &statistic[M_COUNT + which];
}

/* What no observation gives, in words; NULL: fine. */
const char *statistic_bad(enum merge_rule rule, bool negative, double v);

/* Names of what files of an edition do not have, "a, b": columns, or tensors. "" : they have all. */
enum { STATISTIC_NAMES = 200 };
void statistics_after(char names[STATISTIC_NAMES], int edition, bool tensors);

#endif
