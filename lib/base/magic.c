/* magic.c -- files that are taken for others. */
#include "base/magic.h"

#include <stdbool.h>
#include <string.h>

#define ROW(at, text, what)                                                                                  \
    {                                                                                                        \
        at, sizeof(text) - 1, text, what, false                                                              \
    }
/* Of letters and digits, as a text may begin too; what follows tells. */
#define WORD(text, what)                                                                                     \
    {                                                                                                        \
        0, sizeof(text) - 1, text, what, true                                                                \
    }

static const struct {
    size_t at, n;
    const char *begin, *what;
    bool word;
} kind[] = {
    ROW(0, "version https://git-lfs.github.com/spec/",
        "a Git LFS pointer and not the file itself: git lfs pull gets it"),
    ROW(0, "version https://hawser.github.com/spec/",
        "a Git LFS pointer and not the file itself: git lfs pull gets it"),
    ROW(0, "<!DOCTYPE", "a page of a web site and not the file itself: download it again"),
    ROW(0, "<!doctype", "a page of a web site and not the file itself: download it again"),
    ROW(0, "<html", "a page of a web site and not the file itself: download it again"),
    ROW(0, "PAR1", "Parquet"),
    ROW(0, "ARROW1", "an Arrow file: save it as JSON lines or as Parquet"),
    ROW(0, "\xff\xff\xff\xff", "a stream of Arrow: save it as JSON lines or as Parquet"),
    ROW(0, "Obj\1", "Avro: save it as JSON lines"),
    WORD("ORC", "ORC: save it as JSON lines"),
    ROW(0, "SQLite format 3", "an SQLite database: sqlite3 -json prints its tables"),
    ROW(0, "\x89HDF\r\n", "HDF5: safetensors are read"),
    WORD("GGUF", "GGUF, the format of llama.cpp: safetensors are read"),
    ROW(0, "\x1f\x8b", "compressed by gzip: gunzip it"),
    ROW(0, "\x28\xb5\x2f\xfd", "compressed by zstd: unzstd it"),
    WORD("BZh", "compressed by bzip2: bunzip2 it"),
    ROW(0,
        "\xfd"
        "7zXZ",
        "compressed by xz: unxz it"),
    ROW(0, "\x04\x22\x4d\x18", "compressed by lz4: unlz4 it"),
    ROW(0, "PK\3\4", "a zip archive, as .zip, .npz, .xlsx and the weights of PyTorch (.bin, .pth, .pt) are"),
    ROW(0, "\x80\2", "a pickle of Python, as weights of PyTorch are"),
    ROW(0, "\x80\4", "a pickle of Python, as weights of PyTorch are"),
    ROW(257, "ustar", "a tar archive: unpack it"),
    ROW(0, "\xff\xfe", "UTF-16: iconv -f UTF-16 -t UTF-8 makes UTF-8 of it"),
    ROW(0, "\xfe\xff", "UTF-16: iconv -f UTF-16 -t UTF-8 makes UTF-8 of it"),
    ROW(0, "%PDF-", "a PDF: pdftotext makes text of it"),
};

static size_t magic_row(const char *p, size_t n)
{
    size_t i = 0;

    while (i < sizeof kind / sizeof *kind &&
           (n < kind[i].at + kind[i].n || memcmp(p + kind[i].at, kind[i].begin, kind[i].n) != 0))
        i++;
    return i;
}

const char *magic_kind(const void *text, size_t n)
{
    size_t i = magic_row(text, n);

    return i < sizeof kind / sizeof *kind ? kind[i].what : NULL;
}

bool magic_may_be_text(const void *text, size_t n)
{
    enum { ENOUGH = 256 };
    const unsigned char *p = text;
    size_t row = magic_row(text, n), i;

    for (i = 0; i < n && i < ENOUGH; i++)
        if (p[i] < ' ' && !(p[i] >= '\t' && p[i] <= '\r'))
            return false;
    return row < sizeof kind / sizeof *kind && kind[row].word;
}
