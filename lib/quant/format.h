/*
 * format.h -- the storage formats of a checkpoint's linear maps: which tensors a map [out][in] consists of,
 * what config.json says about it, how numbers are made of it and it of numbers. A format is a row of the
 * table (and its file); the other rooms ask the table.
 *
 * A format belongs to a map, not to a model: of the formats that config.json announces, and plain numbers,
 * each map has the one whose tensors are there.
 */
#ifndef MOE_QUANT_FORMAT_H
#define MOE_QUANT_FORMAT_H

#include "quant/stored.h"

struct cJSON;
struct json_out;

/* Sizes that config.json may choose: the block of a map that shares a scale (0: all of that dimension), and
 * the bits of a code. */
struct block_size {
    int out, in, bits;
};

/* A dimension of a piece: out or in of the map divided by `per` and rounded up, or just `per`. */
enum dim_of { DIM_END, DIM_OUT, DIM_IN, DIM_FIXED };
enum {
    PER_BLOCK = -1, /* `per` is that of struct block_size */
    PER_WORD = -2,  /* words of 32 bits, of codes of so many bits that follow each other without gaps */
};
struct dim {
    enum dim_of of;
    int per;
};
enum { PIECE_DIMS = 3, FORMAT_PIECES = 10 };

struct piece {
    const char *suffix;       /* after the name of the map: ".weight"; NULL: never a tensor for each map */
    const char *fused_suffix; /* after the name of those of all experts together; NULL: never */
    enum piece_use use;
    uint64_t dtypes; /* DT_BIT()s */
    bool optional;
    bool e8m0; /* U8 stands for F8_E8M0 */
    bool size; /* [2], out and in of the map */
    bool last; /* beside all experts: dim is of the last two dimensions, be they [out][in] or [in][out] */
    /* Beside all experts, [experts] goes before them. Of what is no weight, dimensions of 1 may be there or
     * not; of USE_OTHER they are not looked at. */
    struct dim dim[PIECE_DIMS];
};

/* A piece that goes along with a map and has no part in its numbers, such as the scale of what it is
 * multiplied with. */
#define GOES_ALONG(suffix, fused)                                                                            \
    {                                                                                                        \
        suffix, fused, USE_OTHER, UINT64_MAX, .optional = true                                               \
    }

struct format {
    const char *name;   /* "FP8"; NULL: that of the dtype */
    const char *title;  /* "FP8 with scales of blocks" */
    const char *stored; /* how experts in it are described; NULL: by their layout (model/family.h) */
    enum coding coding;
    bool divides;                      /* the number in USE_GLOBAL */
    int zero;                          /* what is added to zero points */
    bool turned;                       /* stored rows are inputs: dimensions of pieces are in that order */
    struct piece piece[FORMAT_PIECES]; /* the weight first; ends with use USE_OTHER and no suffix */
    int multiple;                      /* stored rows have a multiple of so many elements */
    /* Beside all experts of interleaved layout only: rows are output features, whatever the family's plain
     * numbers are. */
    bool interleaved;
    bool exact; /* BF16 holds every value */
    /* What a factor is multiplied into (repair): a piece of BF16 or F32; STORED_PIECES: none can be. */
    enum piece_use scalable;
    /* How many block sizes (at most max, into b) this quantization_config announces of this format; NULL: it
     * needs no announcement. */
    int (*claims)(const struct cJSON *config, struct block_size *b, int max);
    /* The key of a quantization_config of its own method whose value is not read; NULL: there is none, or it
     * is of another method. The member may be NULL. */
    const char *(*stumbles)(const struct cJSON *config);
    const struct encoder *encode; /* ends with target NULL; NULL: not written by moe-quant */
};

/* Rows of a map as numbers, and where they go. */
struct encode_rows {
    const float *src;    /* [n][in], finite */
    size_t n, in;        /* n a multiple of what shares a row of scales, or the last ones */
    const float *energy; /* [in]: what squared errors weigh when scales are chosen; NULL: all the same */
    struct block_size block;
    float global;                  /* the number in USE_GLOBAL */
    uint8_t *piece[STORED_PIECES]; /* the rows of the pieces that there are */
    double err2, sum2;             /* are added to: sum (v - q)^2, sum v^2 */
    uint64_t blocks, lossless;     /* the same, where blocks are counted */
};

/* Making it. */
struct encoder {
    const char *target;      /* moe-quant -t; may serve several formats, of which each model can have one */
    const char *about;       /* for the model card */
    struct block_size block; /* what shares a scale, as config.json will say */
    int out, in;             /* multiples of these only; 0: of 1, and of the format's multiple */
    enum dtype weight, scale;
    const char *broken; /* why models of interleaved layout (GPT-OSS) are refused; NULL: they are not */
    bool weighs;        /* energy has a part in it */
    void (*rows)(struct encode_rows *r);
    /* The number in USE_GLOBAL for the largest magnitude in all maps that share it; NULL: there is none. */
    float (*global)(float most);
    /* The members of quantization_config; ignore: the linear maps that stay as they are, ends with NULL.
     * NULL: there is no quantization_config. */
    void (*config)(struct json_out *j, const struct encoder *encode, const char *const *ignore);
};

/* The table: the plain one is the last. *n rows. */
const struct format *const *format_table(int *n);
extern const struct format format_plain, format_ggml;

/* A format that a model may have, with its block sizes. */
struct format_claim {
    const struct format *format;
    struct block_size block;
};
enum { MAX_CLAIMS = 24 };
/* The formats that a quantization_config announces, and the plain one; returns how many: 1, if it is none of
 * those known. config NULL: there is none. */
int format_claims(const struct cJSON *config, struct format_claim claim[MAX_CLAIMS]);

/* The key in it that is in the way of reading its quantization; NULL: that is not known. */
const char *format_stumbles(const struct cJSON *config);

static inline const char *piece_suffix(const struct piece *p, bool fused)
{
    return fused ? p->fused_suffix : p->suffix;
}
/* The first of its dtypes. */
static inline enum dtype piece_dtype(const struct piece *p)
{
    int d = 0;

    while (!(p->dtypes >> d & 1))
        d++;
    return (enum dtype)d;
}
/* In which it is written. */
static inline enum dtype encoder_dtype(const struct encoder *e, const struct piece *p)
{
    return p->use == USE_WEIGHT ? e->weight : p->use == USE_SCALE ? e->scale : p->size ? DT_I64 : DT_F32;
}
#define FOR_PIECES(p, f) for ((p) = (f)->piece; (p)->suffix || (p)->fused_suffix; (p)++)

/* The piece that some format knows by this suffix; NULL: none. */
const struct piece *format_find_suffix(const char *suffix, bool fused);
/* The piece of the first of these formats, *as, that a tensor's name (its end) and dtype say it is; NULL:
 * none. */
const struct piece *format_find_piece(const struct format_claim *claim, int n, const char *name, bool fused,
                                      enum dtype dtype, const struct format_claim **as);
/* Shape of a piece of a map; in_out: with out and in exchanged. Returns the rank. */
int piece_shape(const struct piece *p, struct block_size b, uint64_t out, uint64_t in, bool in_out,
                uint64_t shape[PIECE_DIMS]);
/* Weights that count elements of a tensor are: an element of a packed one is several, a scale none. p NULL:
 * they are what they are. */
uint64_t piece_weights(const struct piece *p, struct block_size b, uint64_t count);

/* A tensor that has a piece's name; of all experts together the dimensions behind theirs. */
struct piece_view {
    const uint64_t *shape;
    int rank; /* -1: there is none */
    enum dtype dtype;
};
/*
 * How well tensors, one for each piece of the format, are a map [out][in] of it: FIT_NONE: there is no
 * weight; then it has another dtype; another shape; some other piece is missing, or has another dtype; has
 * another shape.
 * out 0: whatever the weight's shape says.
 */
enum format_fit { FIT_NONE, FIT_NAME, FIT_WEIGHT, FIT_SHAPE, FIT_PIECES, FIT_WHOLE };
enum format_fit format_fits(const struct format_claim *c, const struct piece_view v[FORMAT_PIECES],
                            uint64_t out, uint64_t in, bool in_out);
/* The largest map of which a weight can have this shape; false: none can. */
bool format_extents(const struct format_claim *c, const struct piece_view *v, bool in_out, uint64_t *out,
                    uint64_t *in);
/* Whether a tensor of this shape is the piece of a map [out][in]. */
bool piece_has_shape(const struct piece *p, struct block_size b, uint64_t out, uint64_t in, bool in_out,
                     const struct piece_view *v);

/* A whole map [out][in] with its pieces in memory, s->piece[].at and .dtype: fills in everything else but
 * the name. A part of it (first, step, out) is for the caller to say. */
void format_describe(struct stored *s, const struct format_claim *c, int out, int in, bool in_out);

#endif
