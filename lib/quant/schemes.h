/*
 * schemes.h -- private to quant: announcements that say bits, sizes of groups and a kind of numbers, once for
 * all maps and again for some that differ (GPTQ, AWQ, AutoRound).
 */
#ifndef MOE_QUANT_SCHEMES_H
#define MOE_QUANT_SCHEMES_H

#include "quant/format.h"

/* The keys that say so. */
struct scheme_keys {
    const char *bits, *group;
    const char *some; /* an object of such objects, by pattern or name; NULL: there are no exceptions */
    const char *kind; /* of numbers; NULL: no key says */
};

/*
 * The different sizes among them, {1, group, bits}, at most max into b; returns how many. Only those of min
 * to max_bits whose kind begins with `kind` (absent: integers, "int"). A group of -1 is a whole row, {1, 0,
 * bits}, of 0 all of the map, {0, 0, bits}.
 */
int schemes_find(const struct cJSON *config, const struct scheme_keys *k, const char *kind, int min_bits,
                 int max_bits, struct block_size *b, int max);

/* How AutoRound packs what it writes under its own name. */
enum autoround_packing {
    AUTOROUND_NONE,    /* it is not AutoRound's, or packed in a way that is not known */
    AUTOROUND_GPTQ,    /* as GPTQ, zero points less one */
    AUTOROUND_GPTQ_V2, /* as GPTQ, zero points as they are */
    AUTOROUND_AWQ,
    AUTOROUND_FLOAT, /* as compressed-tensors does, of MXFP4, MXFP8, NVFP4 and FP8 */
};
enum autoround_packing autoround_packing(const struct cJSON *config);
/* The key of an AutoRound configuration that is in the way of reading it; NULL: none. */
const char *autoround_stumbles(const struct cJSON *config);
/* schemes_find of one of AutoRound's, if it packs in this way. */
int autoround_find(const struct cJSON *config, enum autoround_packing packing, const char *kind, int min_bits,
                   int max_bits, struct block_size *b, int max);

#endif
