/*
 * file.h -- reading with pread (never mapped: a truncated or failing file must be an error, not a
 * signal) and writing so that a killed run leaves nothing that looks finished.
 */
#ifndef MOE_BASE_FILE_H
#define MOE_BASE_FILE_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"

/* Set to a signal number by the program's handler; long loops of the library poll it with check_cancelled()
 * and stop with ERR_CANCELLED. */
extern volatile sig_atomic_t moe_signal;
/* 0, or -1 with ERR_CANCELLED once moe_signal is set. */
int check_cancelled(struct err *e);

/* ---- paths ---- */

bool path_exists(const char *path);
bool path_is_dir(const char *path);
/* Both are there, and a was written later, or in the same moment. */
bool path_is_newer(const char *a, const char *b);
/* Two names of one file, or of one that is not there yet. */
bool path_same(const char *a, const char *b);
/* dir + "/" + name; the caller frees. */
char *path_join(const char *dir, const char *name, struct err *e);
/* The directory part of path; the caller frees. */
char *path_dir(const char *path, struct err *e);
/* The part after the last '/' (a pointer into path; trailing slashes are not handled). */
const char *path_base(const char *path);

/*
 * ---- reading ----
 *
 * What is opened here is an input from then on: no output of the process takes its place (nor that of a
 * directory that holds it), force or not and by whatever name. So is every file of a model's directory, read
 * or not, between input_dir() and input_dir_release(), unless the process has written it. The other way
 * round, what output_check() was told of cannot be read any more. Both are refused with ERR_USAGE.
 */
int input_dir(const char *dir, struct err *e);
void input_dir_release(const char *dir);
/* The file was opened once, and was not what it was opened for: as if it had not been. */
void input_release(const char *path);
/* The same for a file that an earlier run of the caller wrote, to be replaced, wherever it is. */
int input_own(const char *path, struct err *e);

/* The whole file (or standard input for "-", named <stdin> in messages), NUL-terminated; *n without
 * the NUL. More than max bytes is ERR_INPUT. The caller frees *out. */
int file_read(const char *path, uint64_t max, char **out, size_t *n, struct err *e);

/* A regular file opened for pread. */
struct rfile {
    char *path;
    int fd;
    uint64_t size;
};
int rfile_open(struct rfile *f, const char *path, struct err *e);
/* Exactly n bytes at off; a short file is ERR_INPUT ("truncated"). Thread-safe. */
int rfile_read(const struct rfile *f, uint64_t off, void *dst, size_t n, struct err *e);
void rfile_close(struct rfile *f); /* {0}, and a second close, are harmless */

/* Names in a directory, sorted by byte value, without "." and ".."; each and the array to be freed with
 * dir_free. */
int dir_list(const char *path, char ***names, size_t *n, struct err *e);
void dir_free(char **names, size_t n);

/* Free bytes for an unprivileged writer on the file system that holds path (or its nearest existing
 * parent). */
int disk_free(const char *path, uint64_t *bytes, struct err *e);

/* ---- writing ---- */

/*
 * A file that appears under its name only when complete: written to a temporary name beside the target,
 * synced, renamed. path "-" is standard output (then only the format's own end marker tells that it is
 * whole). An existing target is refused unless force, and with force too if it is an input, or not a regular
 * file (a device, a pipe, a link); wfile_commit looks again. Without force it replaces nothing that came
 * meanwhile: the file stays beside it as "path.complete-PID", and the message says so. On any other failure,
 * or without wfile_commit, wfile_close removes the temporary.
 *
 *     struct wfile w = {0};
 *     if (wfile_open(&w, path, force, e)) ...
 *     wfile_write(&w, p, n, e) ...            buffered, in order
 *     wfile_commit(&w, e)                      flush, fsync, rename, fsync of the directory
 *     wfile_close(&w)                          always, whether it went well or not
 */
struct wfile {
    char *path, *tmp;
    int fd;
    bool to_stdout, open, force;
    uint64_t written;
    unsigned char *buf; /* [buf_cap] */
    size_t buf_n;
};
int wfile_open(struct wfile *w, const char *path, bool force, struct err *e);
int wfile_write(struct wfile *w, const void *p, size_t n, struct err *e);
/* n bytes of another file, by copy_file_range where the systems allow it. */
int wfile_copy(struct wfile *w, const struct rfile *from, uint64_t off, uint64_t n, struct err *e);
int wfile_commit(struct wfile *w, struct err *e);
void wfile_close(struct wfile *w);
/* Fails where wfile_open would, before any work is done; afterwards what is there now cannot be read. */
int output_check(const char *path, bool force, struct err *e);
/* Of a dry run: fails where there is no folder for it in which files can be made. Makes none. */
int output_place(const char *path, struct err *e);
/* The three steps in one, for small files. */
int file_write(const char *path, const void *p, size_t n, bool force, struct err *e);

/*
 * A directory that appears under its name only when complete: built as "path.partial-PID" beside the
 * target and renamed by outdir_commit. An existing target is refused unless force. With force it is replaced
 * at commit (never before, and in one step where the system can exchange two names), if it is a directory and
 * no link to one, holds no input, and is empty or fit to be replaced: 0 from fit(ctx, dir, e), which may be
 * NULL. All this is looked at when it is opened and again at commit. outdir_close removes what was not
 * committed.
 */
typedef int outdir_fit(void *ctx, const char *dir, struct err *e);
struct outdir {
    char *path, *tmp; /* tmp: where to create the files meanwhile */
    bool open, force;
    outdir_fit *fit;
    void *ctx;
};
int outdir_open(struct outdir *d, const char *path, bool force, outdir_fit *fit, void *ctx, struct err *e);
int outdir_commit(struct outdir *d, struct err *e);
void outdir_close(struct outdir *d);

#endif
