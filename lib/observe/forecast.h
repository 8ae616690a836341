/*
 * forecast.h -- time and memory of work on a corpus, told beforehand.
 *
 * Memory is what the engine would allocate for the largest pass (engine_need), beside what the process holds
 * already. Time is counted work divided by speeds that are measured in a second or so, on the model's first
 * layers and the first documents: reading goes on beside computing, so the slower of the two counts.
 */
#ifndef MOE_OBSERVE_FORECAST_H
#define MOE_OBSERVE_FORECAST_H

#include "observe/passes.h"

/* One model's forward pass over each pass of the corpus, and the products with its vocabulary after it. */
struct forecast_work {
    const struct model *m;
    int variants, heads;
    const struct observer *observer; /* for pieces of any corpus; NULL: none */
};

struct forecast {
    int64_t passes;
    uint64_t read_bytes; /* weights, in all passes */
    double flops;        /* without the vocabulary's */
    uint64_t peak_bytes, peak_device_bytes;
    uint64_t available_bytes; /* of memory, now; when the peak is above it, nothing is measured */
    bool measured;            /* the rest is known */
    double seconds, flops_per_second, read_bytes_per_second;
};

/* work[n]; the first one is measured. held: bytes of a token, as passes_split wants them; more: bytes that
 * are held all the time. A corpus without documents is refused. */
int forecast_make(struct forecast *out, struct engine *en, const struct forecast_work *work, int n,
                  const struct corpus *c, uint64_t held, uint64_t more, uint64_t mem_max, struct err *e);

#endif
