#include "inspect_tokenize.h"

#include <stdlib.h>

#include "base/file.h"
#include "common.h"
#include "model/locate.h"
#include "text/corpus.h"
#include "text_opts.h"

static int print_item(void *ctx, const struct corpus_item *item, struct err *e)
{
    const bool *with_file = ctx;
    size_t i;

    (void)e;
    printf("{");
    if (*with_file) {
        printf("\"file\":");
        json_string(stdout, item->file);
        printf(",");
    }
    printf("\"line\":%d,", item->line);
    if (item->ids) {
        printf("\"ids\":[");
        for (i = 0; i < item->ids->n; i++)
            printf("%s%d", i ? "," : "", item->ids->id[i]);
        printf("]}\n");
    } else {
        printf("\"text\":");
        json_string(stdout, item->text->p ? item->text->p : "");
        printf("}\n");
    }
    return 0;
}

void inspect_tokenize(const char *model, const char *data, bool render)
{
    bool with_file = path_is_dir(data);
    struct corpus_options o;
    char *dir, *revision;
    struct err e = {0};

    text_options(&o);
    o.max_len = 0;
    if (model_locate(model, "tokenizer.json", &dir, &revision, &e) ||
        corpus_each(dir, &data, 1, &o, render, print_item, &with_file, &e))
        die(&e);
    free(dir);
    free(revision);
}
