/* sample.c -- drawing some of a sequence. */
#include "text/sample.h"

#include "base/hash.h"

/* Without bias: draws again in the incomplete last multiple of n. */
static uint64_t random_below(uint64_t *state, uint64_t n)
{
    uint64_t limit = UINT64_MAX - UINT64_MAX % n, x;

    do {
        x = splitmix64(*state);
        *state += SPLITMIX64_STEP;
    } while (x >= limit);
    return x % n;
}

uint64_t sample_start(uint64_t seed, const char *name)
{
    for (; *name; name++)
        seed = splitmix64(seed ^ (unsigned char)*name);
    return seed;
}

bool sample_take(uint64_t *state, int64_t rest, int64_t want)
{
    return random_below(state, (uint64_t)rest) < (uint64_t)want;
}
