/*
 * safetensors.h -- one .safetensors file: its header read with every check of the format, its data by
 * pread; and a streaming writer.
 *
 * Layout: u64 little-endian N, N bytes of JSON, tensor bytes. man 5 of the format:
 * https://github.com/huggingface/safetensors
 */
#ifndef MOE_MODEL_SAFETENSORS_H
#define MOE_MODEL_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/file.h"
#include "quant/dtype.h"

enum { ST_MAX_RANK = 8 };
#define ST_MAX_HEADER 100000000u /* what the reference reader accepts */

struct tensor {
    const char *name; /* owned by the st_file (or by the caller of the writer) */
    enum dtype dtype;
    int rank;                    /* 0: a scalar */
    uint64_t shape[ST_MAX_RANK]; /* row-major, outermost first */
    uint64_t begin, size;        /* bytes; begin counts from the start of the file */
    int shard;                   /* which file of a checkpoint (0 for a single file) */
};
/* Elements; cannot overflow for a tensor that st_open accepted. */
uint64_t tensor_count(const struct tensor *t);

struct st_file {
    struct rfile file;
    struct tensor *tensor; /* [n], sorted by name (byte order) */
    size_t n;
    uint64_t header_bytes;         /* 8 + N: where the data starts */
    char **meta_key, **meta_value; /* [n_meta] of __metadata__ */
    size_t n_meta;
    char *names; /* storage of all names */
};

/*
 * Refused, each with its own message naming the file (and tensor): shorter than 8 bytes; N over
 * ST_MAX_HEADER; 8+N past the end; header not UTF-8, not JSON, not an object; metadata that is not
 * string to string; unknown dtype; missing or bad shape or data_offsets; rank over ST_MAX_RANK; a size
 * that overflows; end - begin differing from the size by dtype and shape; overlap; hole; bytes after
 * the last tensor; data past the end (truncated); a name twice.
 * A header of 100,000 tensors takes under 2 s and 200 MB.
 */
int st_open(struct st_file *f, const char *path, struct err *e);
const struct tensor *st_find(const struct st_file *f, const char *name); /* NULL: absent */
/* n bytes of tensor t from its byte off on. Thread-safe. */
int st_read(const struct st_file *f, const struct tensor *t, uint64_t off, void *dst, size_t n,
            struct err *e);
void st_close(struct st_file *f); /* {0} is harmless */

/*
 * Writer. Shapes and dtypes are given first (name, dtype, rank, shape of each; begin and size are
 * computed), the header is written, then the data streams in exactly the given order. The header is
 * compact JSON with __metadata__ first, padded with spaces to a multiple of 8 bytes.
 */
struct st_writer {
    struct wfile out;
    uint64_t data_bytes; /* size that the file must reach, header included */
};
/* Computes sizes and returns the header (8 + N bytes) that st_create would write; the caller frees.
 * Deterministic, so a file's size is known before it is written: header bytes + data bytes. */
int st_header(struct tensor *t, size_t n, const char *const *meta_key, const char *const *meta_value,
              size_t n_meta, char **header, size_t *header_bytes, uint64_t *data_bytes, struct err *e);
/* Meta may be empty (n_meta 0). t[] must stay until st_finish. */
int st_create(struct st_writer *w, const char *path, bool force, struct tensor *t, size_t n,
              const char *const *meta_key, const char *const *meta_value, size_t n_meta, struct err *e);
/* Appends data; whole tensors or parts. */
int st_put(struct st_writer *w, const void *p, size_t n, struct err *e);
int st_copy(struct st_writer *w, const struct rfile *from, uint64_t off, uint64_t n, struct err *e);
/* Checks that exactly the promised bytes came, then commits. */
int st_finish(struct st_writer *w, struct err *e);
void st_writer_close(struct st_writer *w); /* always; removes what was not finished */

#endif
