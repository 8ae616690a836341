/* stats_format.h -- what begins a statistics file, and its columns line up to where the table's names follow.
 */
#ifndef MOE_STATS_STATS_FORMAT_H
#define MOE_STATS_STATS_FORMAT_H

#define STATS_MAGIC   "#moe-stats 1"
#define STATS_LEADING "#columns\tlayer\tcategory\thalf\texpert\tn"

#endif
