/* tokenizer_check.c -- whether a model's tokenizer.json, or that of its GGUF file, is one, and the model's.
 */
#include <stdlib.h>

#include "base/file.h"
#include "text/tokenizer.h"

/* What is wrong with it as a finding, or NULL: what is only not understood is no mistake of the file. */
static char *problem_of(const char *dir, bool folder, int vocab, struct err *e)
{
    struct tokenizer_source s;
    struct tokenizer *t = NULL;
    struct err why = {0};
    char *problem = NULL;

    if ((folder ? tokenizer_json : tokenizer_gguf)(&s, dir, &why) == 0) {
        tokenizer_open(&t, &s, &why);
        s.close(&s);
    }
    if (why.kind == ERR_INPUT)
        problem = mem_printf(e, "%s", why.msg);
    else if (t && tokenizer_size(t) > vocab)
        problem = mem_printf(e, "%s has ids up to %d, the model's vocabulary ends at %d",
                             folder ? "tokenizer.json" : "the tokenizer", tokenizer_size(t) - 1, vocab - 1);
    tokenizer_close(t);
    return problem;
}

int tokenizer_problem(char **problem, const char *dir, int vocab, struct err *e)
{
    bool folder = path_is_dir(dir);
    char *path = path_join(dir, "tokenizer.json", e);

    *problem = path && (!folder || path_exists(path)) ? problem_of(dir, folder, vocab, e) : NULL;
    free(path);
    return e->kind ? -1 : 0;
}
