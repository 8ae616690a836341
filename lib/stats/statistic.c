/* statistic.c -- the rows of what is observed. */
#include "stats/statistic.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>

const char *const merge_rule_name[MERGE_RULES] = {"count", "sum", "max"};

#define COLUMN_ROW(id, name, rule, op, edition, value) {name, PER_EXPERT, id, rule, false, op, edition},
const struct statistic statistic[STATISTICS] = {
    STATS_COLUMNS(COLUMN_ROW) /* text */
    {"coactivation", PER_PAIR, P_N, MERGE_COUNT, false, OP_ROUTE, 1},
    {"coactivation_weighted", PER_PAIR, P_WEIGHTED, MERGE_SUM, false, OP_EXPERTS, 1},
    {"gram", PER_PAIR, P_GRAM, MERGE_SUM, true, OP_PAIRS, 1},
    {"output_sum", PER_ELEMENT, SUM_OUTPUT, MERGE_SUM, true, OP_EXPERTS, 1},
    {"output_gated_sum", PER_ELEMENT, SUM_OUTPUT_GATED, MERGE_SUM, true, OP_EXPERTS, 1},
    {"output_square_sum", PER_ELEMENT, SUM_OUTPUT_SQUARE, MERGE_SUM, false, OP_EXPERTS, 1},
    {"input_square_sum", PER_ELEMENT, SUM_INPUT_SQUARE, MERGE_SUM, false, OP_EXPERTS, 1},
    {"inner_square_sum", PER_ELEMENT, SUM_INNER_SQUARE, MERGE_SUM, false, OP_EXPERTS, 1},
    {"inner_gated_square_sum", PER_ELEMENT, SUM_INNER_GATED_SQUARE, MERGE_SUM, false, OP_EXPERTS, 2},
    {"router_entropy", PER_ROUTER, R_ENTROPY, MERGE_COUNT, false, OP_VIEW, 1},
    {"router_margin", PER_ROUTER, R_MARGIN, MERGE_COUNT, false, OP_VIEW, 1},
    {"near_misses", PER_ROUTER, R_NEAR, MERGE_COUNT, false, OP_VIEW, 1},
    {"gated_norm_counts", PER_NORM, 0, MERGE_COUNT, false, OP_EXPERTS, 2},
    {"shared_inner_square_sum", PER_SHARED, 0, MERGE_SUM, false, OP_EXPERTS, 2},
};

const char *statistic_bad(enum merge_rule rule, bool negative, double v)
{
    if (!isfinite(v))
        return "not finite";
    if (rule == MERGE_COUNT && (v < 0 || v != floor(v) || v > 0x1p53))
        return "no count";
    return !negative && v < 0 ? "negative" : NULL;
}

int norm_bin(double a)
{
    int half, i;

    if (!(a > 0))
        return 0;
    half = frexp(a, &i) >= 0.70710678118654752440; /* a = m 2^i, 1/2 <= m < 1 */
    i = 2 * (i - 1) + half + NORM_BINS / 2;
    return i < 0 ? 0 : i < NORM_BINS ? i : NORM_BINS - 1;
}

void statistics_after(char names[STATISTIC_NAMES], int edition, bool tensors)
{
    int i, end = tensors ? STATISTICS : M_COUNT;
    size_t at = 0;

    names[0] = 0;
    for (i = tensors ? M_COUNT : 0; i < end; i++)
        if (statistic[i].edition > edition && at < STATISTIC_NAMES)
            at +=
                (size_t)snprintf(names + at, STATISTIC_NAMES - at, "%s%s", at ? ", " : "", statistic[i].name);
}
