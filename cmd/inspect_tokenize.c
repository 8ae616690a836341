/* inspect_tokenize.c -- the documents of DATA as the model will see them. */
#include "inspect_tokenize.h"

#include <stdlib.h>

#include "base/file.h"
#include "common.h"
#include "model/locate.h"
#include "text/corpus.h"
#include "text/tokenizer_source.h"
#include "text_opts.h"

struct printing {
    bool with_file;
    int64_t doubled;
};

/* What the chat template refused, or did not print. */
static void chat_json(struct json_out *j, const struct chat_result *chat)
{
    int i;

    if (chat->raised.kind)
        jo_string(j, "refused", chat->raised.msg);
    if (!chat->lost)
        return;
    jo_open(j, "lost", '[');
    for (i = 0; i < LOST_KINDS; i++)
        if (chat->lost & 1u << i)
            jo_string(j, NULL, chat_lost_name(i));
    jo_close(j);
}

static int print_item(void *ctx, const struct corpus_item *item, struct err *e)
{
    struct printing *printing = ctx;
    struct json_out j = {0};
    size_t i;

    (void)e;
    jo_open(&j, NULL, '{');
    if (printing->with_file)
        jo_string(&j, "file", item->file);
    jo_int(&j, "line", item->line);
    if (item->ids) {
        jo_open(&j, "ids", '[');
        for (i = 0; i < item->ids->n; i++)
            jo_int(&j, NULL, item->ids->id[i]);
        jo_close(&j);
    } else if (item->text) {
        jo_string(&j, "text", item->text->p ? item->text->p : "");
    }
    if (item->chat)
        chat_json(&j, item->chat);
    jo_close(&j);
    json_print(stdout, &j);
    printing->doubled += item->doubled;
    return 0;
}

/* A folder with a tokenizer of any kind or, to render, with a chat template alone, or a GGUF file; if there
 * is none, what the first lacks is said. */
static int locate(const char *model, bool render, char **dir, char **revision, struct err *e)
{
    static const char *const template[] = {"chat_template.jinja", "tokenizer_config.json"};
    const char *file;
    size_t i, after = 0;

    *revision = NULL;
    if (path_exists(model) && !path_is_dir(model)) {
        *dir = mem_strdup(model, e);
        return *dir ? 0 : -1;
    }
    for (i = 0;; i++) {
        struct err other = {0};

        file = tokenizer_kind(i);
        if (!file && render && after < sizeof template / sizeof *template)
            file = template[after++];
        if (!file)
            return -1;
        if (model_locate(model, file, dir, revision, i ? &other : e))
            continue;
        err_clear(e);
        return 0;
    }
}

void inspect_tokenize(const char *model, const char *data, bool render)
{
    struct printing printing = {path_is_dir(data), 0};
    struct corpus_options o;
    char *dir, *revision;
    struct err e = {0};

    text_options(&o);
    o.max_len = 0;
    if (locate(model, render, &dir, &revision, &e) ||
        corpus_each(dir, &data, 1, &o, render, print_item, &printing, &e))
        die(&e);
    note_doubled(printing.doubled);
    free(dir);
    free(revision);
}
