/*
 * tmp.h -- for tests that write files: a folder of the program's own in TMPDIR, which goes when it ends.
 *
 *     tmp_open()              first
 *     in_tmp("a.stats")       a path in it
 *     put_tmp("a", "text")    a file in it
 *     anew("a")               the path, of which nothing is left: what was read before is written again
 *     anew_dir("a")           the same of a folder
 */
#ifndef MOE_TESTS_TMP_H
#define MOE_TESTS_TMP_H

#include "check.h"

#include <unistd.h>

#include "base/file.h"

enum { TMP_PATH = 512 };
static char tmp_dir[TMP_PATH - 128];
static char tmp_path[64][TMP_PATH]; /* every path that was asked for, once */
static int tmp_paths;

static inline void tmp_close(void)
{
    char command[TMP_PATH];

    snprintf(command, sizeof command, "rm -rf '%s'", tmp_dir);
    if (system(command))
        printf("cannot remove %s\n", tmp_dir);
}

static inline void tmp_open(void)
{
    const char *in = getenv("TMPDIR");

    snprintf(tmp_dir, sizeof tmp_dir, "%s/moe-test-XXXXXX", in && *in ? in : "/tmp");
    if (!mkdtemp(tmp_dir) || atexit(tmp_close)) {
        printf("cannot make %s\n", tmp_dir);
        exit(1);
    }
}

/* Valid until the end of the program. */
static inline const char *in_tmp(const char *name)
{
    char path[TMP_PATH];
    int i;

    snprintf(path, sizeof path, "%s/%s", tmp_dir, name);
    for (i = 0; i < tmp_paths; i++)
        if (strcmp(tmp_path[i], path) == 0)
            return tmp_path[i];
    if (tmp_paths == 64)
        abort();
    return memcpy(tmp_path[tmp_paths++], path, sizeof path);
}

/* Valid until the end of the program. No output takes the place of what the process has read: it goes first.
 */
static inline const char *anew(const char *name)
{
    unlink(in_tmp(name));
    return in_tmp(name);
}

static inline const char *anew_dir(const char *name)
{
    char command[2 * TMP_PATH];

    snprintf(command, sizeof command, "rm -rf '%s'", in_tmp(name));
    if (system(command))
        printf("cannot remove %s\n", in_tmp(name));
    return in_tmp(name);
}

/* Writes a file, or writes it anew; its path. */
static inline const char *put_tmp(const char *name, const char *text)
{
    struct err e = {0};

    CHECK_MSG(file_write(anew(name), text, strlen(text), false, &e) == 0, "%s", e.msg);
    return in_tmp(name);
}

#endif
