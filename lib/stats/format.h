/* format.h -- the fixed lines of statistics files. */
#ifndef MOE_STATS_FORMAT_H
#define MOE_STATS_FORMAT_H

#define STATS_MAGIC   "#moe-stats 1"
#define STATS_COLUMNS "#columns\tlayer\tcategory\thalf\texpert\tn\tg\tg2\tf\tgf\tg2f\tf2\tgf2\tg2f2\tmax"

#endif
