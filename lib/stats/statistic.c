/* statistic.c -- the rows of what is observed. */
#include "stats/statistic.h"

#include <math.h>
#include <stddef.h>

const char *const merge_rule_name[MERGE_RULES] = {"count", "sum", "max"};

#define COLUMN_ROW(id, name, rule, op, value) {name, PER_EXPERT, id, rule, false, op},
const struct statistic statistic[STATISTICS] = {
    STATS_COLUMNS(COLUMN_ROW) /* text */
    {"coactivation", PER_PAIR, P_N, MERGE_COUNT, false, OP_ROUTE},
    {"coactivation_weighted", PER_PAIR, P_WEIGHTED, MERGE_SUM, false, OP_EXPERTS},
    {"gram", PER_PAIR, P_GRAM, MERGE_SUM, true, OP_PAIRS},
    {"output_sum", PER_ELEMENT, SUM_OUTPUT, MERGE_SUM, true, OP_EXPERTS},
    {"output_gated_sum", PER_ELEMENT, SUM_OUTPUT_GATED, MERGE_SUM, true, OP_EXPERTS},
    {"output_square_sum", PER_ELEMENT, SUM_OUTPUT_SQUARE, MERGE_SUM, false, OP_EXPERTS},
    {"input_square_sum", PER_ELEMENT, SUM_INPUT_SQUARE, MERGE_SUM, false, OP_EXPERTS},
    {"inner_square_sum", PER_ELEMENT, SUM_INNER_SQUARE, MERGE_SUM, false, OP_EXPERTS},
    {"router_entropy", PER_ROUTER, R_ENTROPY, MERGE_COUNT, false, OP_VIEW},
    {"router_margin", PER_ROUTER, R_MARGIN, MERGE_COUNT, false, OP_VIEW},
    {"near_misses", PER_ROUTER, R_NEAR, MERGE_COUNT, false, OP_VIEW},
};

const char *statistic_bad(enum merge_rule rule, bool negative, double v)
{
    if (!isfinite(v))
        return "not finite";
    if (rule == MERGE_COUNT && (v < 0 || v != floor(v) || v > 0x1p53))
        return "no count";
    return !negative && v < 0 ? "negative" : NULL;
}
