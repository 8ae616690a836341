/* format.h -- the fixed lines of statistics files, plans and criterion files. */
#ifndef MOE_STATS_FORMAT_H
#define MOE_STATS_FORMAT_H

#define STATS_MAGIC   "#moe-stats 1"
#define STATS_COLUMNS "#columns\tlayer\tcategory\thalf\texpert\tn\tg\tg2\tf\tgf\tg2f\tf2\tgf2\tg2f2\tmax"

#define PLAN_MAGIC   "#moe-plan 1"
#define PLAN_COLUMNS "#columns\tlayer\texpert\tkeep\tscore\trank"

#define SCORES_MAGIC   "#moe-scores 1"
#define SCORES_COLUMNS "#columns\tlayer\texpert\tscore"

#endif
