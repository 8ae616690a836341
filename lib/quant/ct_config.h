/*
 * ct_config.h -- private to quant: the quantization_config of the compressed-tensors library, group by group.
 */
#ifndef MOE_QUANT_CT_CONFIG_H
#define MOE_QUANT_CT_CONFIG_H

#include "quant/format.h"

enum { CT_GROUPS = 16 };

/* A group of config_groups that weights are quantized in. Texts belong to the configuration. */
struct ct_group {
    const char *format; /* of the group, or of all: "pack-quantized" */
    const char *type;   /* "int", "float" */
    int bits;
    bool zeros;              /* there are zero points */
    bool ordered;            /* each element of a row says its group */
    struct block_size block; /* what shares a scale, by the strategy; bits are those of a code */
};

/* The groups that a quantization_config has, at most CT_GROUPS; 0: it is of another method, or its weights
 * are turned or sparse, too, which is not read. A group that makes no sense is left out. */
int ct_groups(const struct cJSON *config, struct ct_group g[CT_GROUPS]);

/* Groups of a kind. */
struct ct_kind {
    const char *const *formats; /* one of these, ends with NULL */
    const char *type;
    int least, most;       /* bits */
    bool zeros, ordered;   /* with zero points; with groups that are no runs */
    const char *autoround; /* how AutoRound's data_type begins, which writes the same under its own name;
                              NULL: it does not */
};
/* The different block sizes of the groups of a kind, as struct format's claims. */
int ct_claims(const struct cJSON *config, const struct ct_kind *kind, struct block_size *b, int max);

/* How one group of all linear layers is written. */
struct ct_scheme {
    const char *format, *type, *strategy;
    const char *scale_dtype; /* NULL: left out */
    bool tokens;             /* activations are rounded to the same type, a scale for each token */
};
/* The members of a quantization_config; block: of the weights, with the bits of a code. */
void ct_write(struct json_out *j, const struct ct_scheme *s, struct block_size block,
              const char *const *ignore);

/* Of activations that are not scaled as they come. */
#define CT_ACTIVATIONS                                                                                       \
    GOES_ALONG(".input_scale", NULL), GOES_ALONG(".input_zero_point", NULL),                                 \
        GOES_ALONG(".input_global_scale", NULL)

#endif
