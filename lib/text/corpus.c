/* corpus.c -- DATA operands to token sequences with categories. */
#include "text/corpus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/map.h"
#include "text/corpus_digest.h"
#include "text/data_file.h"
#include "text/corpus_told.h"
#include "text/document.h"
#include "text/sample.h"

enum { WHERE = 400 };

/* A document found by the first reading. */
struct place {
    int file, line;
    size_t off, n;
    int category;    /* index into names */
    int64_t ordinal; /* in its category */
    bool chosen;
};

struct reading {
    const char *dir;
    const struct corpus_options *o;
    struct data_file *source;
    size_t sources, sources_cap;
    int about; /* files that were passed over, and the first */
    char *about_first;
    struct place *place;
    size_t places, places_cap;
    struct map names; /* categories in the order in which they turn up, to their index */
    int64_t *count;   /* [categories] documents that are there */
    int64_t *given;   /* [categories] and with those that hold_out leaves out */
    size_t count_cap, given_cap;
    int64_t unnamed; /* documents without the member that --category-field names */

    struct tokenizer *tokenizer; /* opened when a document needs it */
    struct chat *chat;
    struct chat_result result; /* of the document at hand, if it is a conversation */
    bool chat_sought, chat_used, is_chat;
    struct str why; /* no chat template */
    struct str text;
    struct ids ids;
    bool doubled; /* these ids begin with BOS twice */
};

static const char *where(const struct reading *r, int file, int line, char buf[WHERE])
{
    const char *name = r->source[file].name;

    name = strcmp(name, "-") == 0 ? "<stdin>" : name;
    if (r->source[file].form != DATA_TEXT)
        snprintf(buf, WHERE, "%.350s line %d", name, line + 1);
    else
        snprintf(buf, WHERE, "%.390s", name);
    return buf;
}

/* ---- the files ---- */

static int add_file(struct reading *r, const char *name, struct err *e)
{
    if (mem_grow(&r->source, &r->sources_cap, r->sources + 1, sizeof *r->source, e))
        return -1;
    return data_file_open(&r->source[r->sources++], name, e);
}

static int add_directory(struct reading *r, const char *dir, struct err *e)
{
    char **names, *path;
    size_t n, i, before = r->sources;
    int bad = 0;

    if (dir_list(dir, &names, &n, e))
        return -1;
    for (i = 0; i < n && !bad; i++) {
        if (names[i][0] == '.')
            continue;
        path = path_join(dir, names[i], e);
        if (!path)
            bad = -1;
        else if (data_file_about(names[i]) && !path_is_dir(path))
            bad = !r->about++ && !(r->about_first = mem_strdup(path, e)) ? -1 : 0;
        else if (path_is_dir(path))
            bad = err_set(e, ERR_INPUT, "'%s' is a directory in a directory of data: name it itself", path);
        else
            bad = add_file(r, path, e);
        free(path);
    }
    dir_free(names, n);
    if (!bad && r->sources == before)
        bad = err_set(e, ERR_INPUT, "'%s': no files in it", dir);
    return bad;
}

static int find_chat(struct reading *r, struct err *e)
{
    if (!r->chat_sought && chat_open(&r->chat, &r->why, r->dir, &r->o->chat, e))
        return -1;
    r->chat_sought = true;
    return 0;
}

/* ---- first reading: where the documents are, and of which category ---- */

static int category_of(struct reading *r, const char *name, struct err *e)
{
    int32_t i = map_find(&r->names, name, strlen(name));

    if (i >= 0)
        return i;
    i = (int32_t)r->names.n;
    if (mem_grow(&r->count, &r->count_cap, r->names.n + 1, sizeof *r->count, e) ||
        mem_grow(&r->given, &r->given_cap, r->names.n + 1, sizeof *r->given, e) ||
        map_set(&r->names, name, strlen(name), i, e))
        return -1;
    r->count[i] = r->given[i] = 0;
    return i;
}

static int add_place(struct reading *r, int file, const struct data_at *at, const char *category,
                     struct err *e)
{
    int c = category_of(r, category ? category : r->source[file].stem, e);
    int64_t every = r->o->hold_out;

    if (c < 0)
        return -1;
    if (every > 0 && (r->given[c]++ % every == every - 1) != r->o->held_out)
        return 0;
    if (mem_grow(&r->place, &r->places_cap, r->places + 1, sizeof *r->place, e))
        return -1;
    r->unnamed += !category;
    r->place[r->places++] = (struct place){file, at->line, at->off, at->n, c, r->count[c]++, false};
    return 0;
}

static const char *category_field(const struct reading *r)
{
    return r->o->category_field ? r->o->category_field : "category";
}

static int find_in_file(struct reading *r, int file, struct err *e)
{
    const struct data_file *s = &r->source[file];
    struct data_at at = {0};
    char buf[WHERE];
    int found;

    while ((found = data_next(s, &at, e)) > 0) {
        struct document d = {0};
        int bad = check_cancelled(e) ||
                  (s->form != DATA_TEXT && document_parse(&d, s->text + at.off, at.n, category_field(r),
                                                          where(r, file, at.line, buf), e)) ||
                  add_place(r, file, &at, d.category, e);

        document_free(&d);
        if (bad)
            return -1;
    }
    return found;
}

static int find_documents(struct reading *r, const char *const *data, int n_data, struct err *e)
{
    int i;

    if (r->o->chat.name && find_chat(r, e)) /* a name that is unknown, even if nothing needs it */
        return -1;
    for (i = 0; i < n_data; i++)
        if (path_is_dir(data[i]) ? add_directory(r, data[i], e) : add_file(r, data[i], e))
            return -1;
    for (i = 0; i < (int)r->sources; i++)
        if (find_in_file(r, i, e))
            return -1;
    if (r->o->category_field && r->places && r->unnamed == (int64_t)r->places)
        return err_set(e, ERR_INPUT, "--category-field %s: no document has a member of this name",
                       r->o->category_field);
    return 0;
}

/* ---- choosing ---- */

/* The first samples_per_category of each category, or as many drawn. */
static int choose_documents(struct reading *r, struct err *e)
{
    int64_t want = r->o->samples_per_category;
    uint64_t *state = mem_new(r->names.n, sizeof *state, e);
    int64_t *left = mem_new(r->names.n, sizeof *left, e);
    size_t i;

    if (!state || !left) {
        free(state);
        free(left);
        return -1;
    }
    for (i = 0; i < r->names.n; i++) {
        state[i] = sample_start(r->o->seed, map_key(&r->names, i));
        left[i] = want;
    }
    for (i = 0; i < r->places; i++) {
        struct place *p = &r->place[i];
        int64_t rest = r->count[p->category] - p->ordinal;

        if (want <= 0)
            p->chosen = true;
        else if (left[p->category] > 0)
            p->chosen = !r->o->draw || sample_take(&state[p->category], rest, left[p->category]);
        left[p->category] -= p->chosen;
    }
    free(state);
    free(left);
    return 0;
}

/* ---- second reading: text and ids ---- */

static int need_chat(struct reading *r, const char *place, struct err *e)
{
    r->chat_used = true;
    if (find_chat(r, e))
        return -1;
    return r->chat ? 0 : err_set(e, ERR_UNKNOWN, "%s: is a conversation, but %s", place, r->why.p);
}

/* The ids of a rendered conversation get the tokenizer's BOS in front, if the template has not printed it. */
static int corpus_begin(struct reading *r, struct err *e)
{
    const int32_t *bos;
    size_t n = tokenizer_begin(r->tokenizer, &bos), i;

    if (!n || (r->ids.n >= n && memcmp(r->ids.id, bos, n * sizeof *bos) == 0))
        return 0;
    if (mem_grow(&r->ids.id, &r->ids.cap, r->ids.n + n, sizeof *r->ids.id, e))
        return -1;
    for (i = r->ids.n; i > 0; i--)
        r->ids.id[i - 1 + n] = r->ids.id[i - 1];
    memcpy(r->ids.id, bos, n * sizeof *bos);
    r->ids.n += n;
    return 0;
}

static int open_tokenizer(struct reading *r, struct err *e)
{
    struct tokenizer_source s;
    int bad;

    if (tokenizer_folder(&s, r->dir, e))
        return -1;
    s.rules_only = r->o->rules_only;
    bad = tokenizer_open(&r->tokenizer, &s, e);
    s.close(&s);
    return bad;
}

/* Text that begins with the BOS itself, as a conversation rendered elsewhere does, has two then. */
static bool begins_twice(const struct reading *r)
{
    const int32_t *bos;
    size_t n = tokenizer_begin(r->tokenizer, &bos);

    return n && r->ids.n >= 2 * n && memcmp(r->ids.id, bos, n * sizeof *bos) == 0 &&
           memcmp(r->ids.id + n, bos, n * sizeof *bos) == 0;
}

static int corpus_encode(struct reading *r, bool chat, const char *place, struct err *e)
{
    bool special = !r->o->no_special;
    size_t i;

    if (!r->tokenizer && open_tokenizer(r, e))
        return -1;
    if (tokenizer_encode(r->tokenizer, r->text.p ? r->text.p : "", r->text.n, special && !chat, &r->ids, e)) {
        err_prefix(e, "%s", place);
        return -1;
    }
    if (special && chat && corpus_begin(r, e))
        return -1;
    r->doubled = special && !chat && begins_twice(r);
    for (i = 0; r->o->vocab && i < r->ids.n; i++)
        if (r->ids.id[i] >= r->o->vocab)
            return err_set(e, ERR_INPUT,
                           "%s: the tokenizer gives id %d, but the model's vocabulary has %d: they do not "
                           "belong together",
                           place, r->ids.id[i], r->o->vocab);
    return 0;
}

/* Fills r->text and, unless only the text is asked for, r->ids. *has_text is false for "ids". */
static int convert(struct reading *r, const struct place *p, bool render, bool *has_text, struct err *e)
{
    const struct data_file *s = &r->source[p->file];
    const char *text = s->text + p->off;
    struct document d = {0};
    char place[WHERE];
    int bad = 0;

    where(r, p->file, p->line, place);
    str_clear(&r->text);
    r->ids.n = 0;
    r->doubled = false;
    r->is_chat = false;
    r->result = (struct chat_result){.lost = 0};
    *has_text = true;
    if (s->form == DATA_TEXT) {
        str_add(&r->text, text, p->n);
        bad = str_ok(&r->text, e);
    } else if (document_parse(&d, text, p->n, category_field(r), place, e)) {
        bad = -1;
    } else if (d.kind == DOC_IDS) {
        *has_text = false;
        bad = document_ids(&d, r->o->vocab, place, &r->ids, e);
    } else if (document_is_chat(&d)) {
        r->is_chat = true;
        bad =
            need_chat(r, place, e) || document_chat(&d, text, p->n, r->chat, place, &r->text, &r->result, e);
    } else {
        bad = document_text(&d, place, &r->text, e);
    }
    document_free(&d);
    if (!bad && *has_text && !render && !r->result.raised.kind)
        bad = corpus_encode(r, r->is_chat, place, e);
    return bad ? -1 : 0;
}

static void reading_free(struct reading *r)
{
    size_t i;

    for (i = 0; i < r->sources; i++)
        data_file_free(&r->source[i]);
    free(r->source);
    free(r->about_first);
    free(r->place);
    free(r->count);
    free(r->given);
    map_free(&r->names);
    tokenizer_close(r->tokenizer);
    chat_close(r->chat);
    str_free(&r->why);
    str_free(&r->text);
    ids_free(&r->ids);
}

/* ---- the corpus ---- */

static int add_doc(struct corpus *c, size_t *ids_cap, size_t *docs_cap, const struct place *p,
                   const struct ids *ids, int max_len, struct err *e)
{
    size_t n = max_len > 0 && ids->n > (size_t)max_len ? (size_t)max_len : ids->n;

    if (!n) {
        c->empty++;
        return 0;
    }
    if (n > INT32_MAX)
        return err_set(e, ERR_INPUT, "a document of %zu tokens: limit it with --max-len", n);
    if (mem_grow(&c->ids, ids_cap, (size_t)c->tokens + n, sizeof *c->ids, e) ||
        mem_grow(&c->doc, docs_cap, (size_t)c->docs + 1, sizeof *c->doc, e))
        return -1;
    memcpy(c->ids + c->tokens, ids->id, n * sizeof *c->ids);
    c->doc[c->docs++] = (struct doc){.first = c->tokens,
                                     .n = (int)n,
                                     .category = p->category,
                                     .half = (int)(p->ordinal % 2),
                                     .cut = n < ids->n,
                                     .file = p->file,
                                     .line = p->line};
    c->tokens += (int64_t)n;
    c->truncated += n < ids->n;
    return 0;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorts the categories that have a document, and renumbers the documents'. */
static int name_categories(struct corpus *c, const struct reading *r, struct err *e)
{
    size_t n = r->names.n, i;
    int *sorted = mem_new(n, sizeof *sorted, e);
    bool *used = mem_new(n, sizeof *used, e);
    int64_t k;
    int rc = -1;

    c->category = mem_new(n, sizeof *c->category, e);
    if (!sorted || !used || !c->category)
        goto done;
    for (k = 0; k < c->docs; k++)
        used[c->doc[k].category] = true;
    for (i = 0; i < n; i++)
        if (used[i] && !(c->category[c->categories++] = mem_strdup(map_key(&r->names, i), e)))
            goto done;
    qsort(c->category, (size_t)c->categories, sizeof *c->category, by_bytes);
    for (i = 0; i < (size_t)c->categories; i++)
        sorted[map_find(&r->names, c->category[i], strlen(c->category[i]))] = (int)i;
    for (k = 0; k < c->docs; k++)
        c->doc[k].category = sorted[c->doc[k].category];
    rc = 0;
done:
    free(sorted);
    free(used);
    return rc;
}

static int digest(struct corpus *c, struct reading *r, struct err *e)
{
    const struct corpus_options *o = r->o;
    const char *field = category_field(r);
    char data[HASH_HEX];
    struct hash *h = digest_data(r->source, r->sources, data, e) ? NULL : hash_new(e);
    size_t i;

    if (!h)
        return -1;
    for (i = 0; i < r->sources; i++) {
        digest_text(h, "stem", r->source[i].stem, strlen(r->source[i].stem));
        digest_text(h, r->source[i].form != DATA_TEXT ? "lines" : "text", r->source[i].text, r->source[i].n);
    }
    digest_text(h, "category-field", field, strlen(field));
    digest_number(h, "max-len", o->max_len > 0 ? (uint64_t)o->max_len : 0);
    if (o->hold_out > 0)
        digest_number(h, o->held_out ? "held-out" : "hold-out", (uint64_t)o->hold_out);
    digest_number(h, "samples", o->samples_per_category > 0 ? (uint64_t)o->samples_per_category : 0);
    if (o->draw && o->samples_per_category > 0)
        digest_number(h, "seed", o->seed);
    if (r->tokenizer) {
        digest_text(h, "tokenizer", tokenizer_digest(r->tokenizer), strlen(tokenizer_digest(r->tokenizer)));
        digest_number(h, "no-special", o->no_special);
        r->ids.n = 0; /* what tokenizer_config.json adds is not in the tokenizer's digest */
        if (tokenizer_encode(r->tokenizer, "", 0, true, &r->ids, e)) {
            hash_free(h);
            return -1;
        }
        for (i = 0; i < r->ids.n; i++)
            digest_number(h, "special", (uint64_t)r->ids.id[i]);
    }
    digest_text(h, "chat", r->chat_used ? chat_digest(r->chat) : "-",
                r->chat_used ? strlen(chat_digest(r->chat)) : 1);
    if (r->chat_used && o->chat.date)
        digest_text(h, "date", o->chat.date, strlen(o->chat.date));
    hash_hex(h, c->digest);
    memcpy(c->digest, data, HASH_DATA);
    hash_free(h);
    return 0;
}

static int take_files(struct corpus *c, struct reading *r, struct err *e)
{
    size_t i;

    c->file = mem_new(r->sources, sizeof *c->file, e);
    if (!c->file)
        return -1;
    for (i = 0; i < r->sources; i++) {
        c->packed += r->source[i].packed;
        c->file[c->files++] = r->source[i].name;
        r->source[i].name = NULL;
    }
    c->about = r->about;
    c->about_first = r->about_first;
    r->about_first = NULL;
    return 0;
}

/* After the cut, for the model. */
static bool is_too_long(const struct reading *r)
{
    const struct corpus_options *o = r->o;
    size_t n = o->max_len > 0 && r->ids.n > (size_t)o->max_len ? (size_t)o->max_len : r->ids.n;

    return o->longest > 0 && n > (size_t)o->longest;
}

/* A conversation that the template refuses is only counted. */
static int take_document(struct corpus *c, size_t *ids_cap, size_t *docs_cap, const struct reading *r,
                         const struct place *p, struct map *seen, struct err *e)
{
    char buf[WHERE];

    if (r->is_chat && told_add(&c->told, &r->result, where(r, p->file, p->line, buf), e))
        return -1;
    if (r->result.raised.kind)
        return 0;
    if (is_too_long(r))
        return err_set(
            e, ERR_INPUT,
            "%s: a document of %zu tokens; the model attends to all of at most %d, and beyond that "
            "it is not computed: --max-len %d cuts it",
            where(r, p->file, p->line, buf), r->ids.n, r->o->longest, r->o->longest);
    return add_doc(c, ids_cap, docs_cap, p, &r->ids, r->o->max_len, e) || told_repeat(c, seen, &r->ids, e)
               ? -1
               : 0;
}

static int nothing_left(const struct corpus *c, const struct corpus_options *o, size_t places, struct err *e)
{
    if (o->held_out && !places)
        return err_set(e, ERR_INPUT,
                       "no category has %lld documents, so none is held out: take other text to judge with",
                       (long long)o->hold_out);
    if (c->told.refused)
        return err_set(e, ERR_INPUT,
                       "the chat template refuses every conversation, and there is nothing else: %s",
                       c->told.refused_first);
    return err_set(e, ERR_INPUT, "there %s in the data",
                   places ? "are only documents without a token" : "is no document");
}

int corpus_read(struct corpus *c, const char *dir, const char *const *data, int n_data,
                const struct corpus_options *o, struct err *e)
{
    struct reading r = {.dir = dir, .o = o};
    size_t ids_cap = 0, docs_cap = 0, i;
    struct map seen = {0};
    bool has_text;
    int bad;

    *c = (struct corpus){.chat = "-", .shard = 1, .shards = 1};
    bad = find_documents(&r, data, n_data, e) || choose_documents(&r, e);
    for (i = 0; i < r.places && !bad; i++)
        if (r.place[i].chosen) {
            bad = check_cancelled(e) || convert(&r, &r.place[i], false, &has_text, e) ||
                  take_document(c, &ids_cap, &docs_cap, &r, &r.place[i], &seen, e);
            c->doubled += r.doubled;
        }
    if (!bad && r.chat_used)
        snprintf(c->chat, sizeof c->chat, "%s", chat_name(r.chat));
    if (!bad && !c->docs)
        bad = nothing_left(c, o, r.places, e);
    bad = bad || name_categories(c, &r, e) || digest(c, &r, e) || take_files(c, &r, e);
    reading_free(&r);
    map_free(&seen);
    if (bad)
        corpus_free(c);
    return bad ? -1 : 0;
}

void corpus_free(struct corpus *c)
{
    int i;

    for (i = 0; i < c->categories; i++)
        free(c->category[i]);
    for (i = 0; i < c->files; i++)
        free(c->file[i]);
    free(c->about_first);
    free(c->category);
    free(c->file);
    free(c->ids);
    free(c->doc);
    told_free(&c->told);
    *c = (struct corpus){0};
}

int corpus_each(const char *dir, const char *const *data, int n_data, const struct corpus_options *o,
                bool render, int (*fn)(void *ctx, const struct corpus_item *item, struct err *e), void *ctx,
                struct err *e)
{
    struct reading r = {.dir = dir, .o = o};
    struct corpus_item item;
    bool has_text;
    size_t i;
    int rc = find_documents(&r, data, n_data, e) || choose_documents(&r, e) ? -1 : 0;

    for (i = 0; i < r.places && !rc; i++) {
        const struct place *p = &r.place[i];

        if (!p->chosen)
            continue;
        if (check_cancelled(e) || convert(&r, p, render, &has_text, e)) {
            rc = -1;
            break;
        }
        if (o->max_len > 0 && r.ids.n > (size_t)o->max_len)
            r.ids.n = (size_t)o->max_len;
        item = (struct corpus_item){.file = r.source[p->file].name,
                                    .doubled = r.doubled,
                                    .line = p->line,
                                    .category = map_key(&r.names, (size_t)p->category),
                                    .ids = (render && has_text) || r.result.raised.kind ? NULL : &r.ids,
                                    .text = has_text && !r.result.raised.kind ? &r.text : NULL,
                                    .chat = r.is_chat ? &r.result : NULL};
        rc = fn(ctx, &item, e);
    }
    reading_free(&r);
    return rc;
}
