/*
 * gguf_rows.h -- the architectures of llama.cpp that are families here, and how their files are read; private
 * to the container of GGUF files.
 */
#ifndef MOE_MODEL_CONTAINER_GGUF_ROWS_H
#define MOE_MODEL_CONTAINER_GGUF_ROWS_H

#include "base/json_out.h"
#include "model/checkpoint.h"
#include "model/container/gguf_kv.h"
#include "model/family.h"

struct gguf_making;

/* The files of a model; the first has the metadata. */
struct gguf_set {
    struct gguf *part; /* [parts] */
    int parts;
};
/* The entry of a tensor of this name, or NULL; *part: the file it is in (may be NULL). */
const struct gguf_info *gguf_entry(const struct gguf_set *s, const char *name, int *part);

/* Width of an expert where expert_feed_forward_length is absent: there is none; feed_forward_length; that
 * divided by expert_used_count. */
enum gguf_width { WIDTH_REQUIRED, WIDTH_DENSE, WIDTH_SHARE };
/* norm_topk_prob: not said, as the family has no choice; what llama.cpp always does; as expert_weights_norm
 * says. */
enum gguf_renorm { RENORM_UNSAID, RENORM_YES, RENORM_NO, RENORM_BY_KEY };
/* expert_gating_func, as numbered in files. */
enum gguf_gating { GATING_NONE, GATING_SOFTMAX, GATING_SIGMOID, GATING_SOFTMAX_SELECTED };

/* What llama.cpp calls an architecture, and which family of ours it is; several, if the gating tells. */
struct gguf_arch {
    const char *name[3]; /* NULL-terminated */
    const char *pre;     /* only with this tokenizer.ggml.pre; NULL: with any */
    const char *family;
    enum gguf_width width;
    enum gguf_renorm renorm;
    enum gguf_gating gating;
    bool gating_implied; /* without the key that is what is meant */
    bool gating_ignored; /* llama.cpp does not look at the key */
    bool half_rotated;   /* rope.dimension_count may be less than a head */
    bool permuted;       /* rows of q and k are in the order in which pairs lie side by side */
    /* What else there is: the members of config.json that only this one has. */
    void (*more)(struct gguf_making *m);
};

/* The rows, *n of them. */
const struct gguf_arch *gguf_archs(int *n);

/* ---- gguf_config.c: config.json of the metadata ---- */

/*
 * Text for arch_read(). what: for messages. Keys of the architecture that nothing here reads are put into it
 * under their whole names, so that they are refused there unless the user vouches for them. factors:
 * rope_freqs, [n] (n 0: there are none).
 */
int gguf_config(const struct gguf_set *s, const float *factors, size_t n, char **text, size_t *text_n,
                struct err *e);

/* For the rows. */
struct gguf_making {
    const struct gguf_set *set;
    const struct gguf *g; /* its first */
    const struct gguf_arch *row;
    const struct family *f;
    const char *arch; /* general.architecture */
    bool *used;       /* [g->n_values] */
    const float *factors;
    size_t n_factors;
    int64_t layers, heads, head_dim, experts, topk, inter;
    struct json_out j;
    struct err *e;
};
/* ARCH.KEY, which is used from now on. NULL: absent. */
const struct gguf_value *gguf_key(struct gguf_making *m, const char *key);
/* A whole number, or the same for all layers; absent < 0: the key must be there. */
int64_t gguf_whole(struct gguf_making *m, const char *key, int64_t absent);
double gguf_real(struct gguf_making *m, const char *key, double absent);
/* Rows of the first of all tensors called "blk.N.TAIL"; 0: there is none. */
int64_t gguf_rows(const struct gguf_set *s, const char *tail);
static inline bool gguf_has(const struct gguf_making *m, const char *tensor)
{
    return gguf_entry(m->set, tensor, NULL) != NULL;
}

/* ---- gguf_names.c: tensors ---- */

/* How the dimensions of a tensor here are those of the file: in the opposite order; all of them as one row;
 * the slowest two of three as one; one element without any. */
enum gguf_shape { SHAPE_PLAIN, SHAPE_ROW, SHAPE_FLAT, SHAPE_SCALAR };

/* Our name for it, which the caller frees; NULL with e set: no memory. */
char *gguf_name(const struct family *f, const struct gguf_text *name, enum gguf_shape *shape, struct err *e);

#endif
