/* lines.c -- the lines that say what was observed, for statistics and for the files that go with them. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "stats/fields.h"
#include "stats/stats.h"

void stats_part_print(const struct stats_part *p, char buf[STATS_PART_MAX])
{
    snprintf(buf, STATS_PART_MAX, "digest=%s\tshard=%d/%d\tdocuments=%lld\ttokens=%lld", p->digest, p->shard,
             p->shards, (long long)p->documents, (long long)p->tokens);
}

int stats_lines(const struct stats *s, struct str text[STATS_LINES], struct err *e)
{
    char id[256], part[STATS_PART_MAX];
    int i;

    if (model_id_print(&s->model, id, sizeof id) < 0)
        return err_set(e, ERR_INPUT, "the model line cannot be written");
    str_adds(&text[LINE_MODEL], id);
    str_adds(&text[LINE_RUN], s->run);
    for (i = 0; i < s->parts; i++) {
        stats_part_print(&s->part[i], part);
        str_addf(&text[LINE_PARTS], "%s%s", i ? "\n" : "", part);
    }
    for (i = 0; i < s->categories; i++) {
        str_adds(&text[LINE_CATEGORIES], i ? "\t" : "");
        name_escape(&text[LINE_CATEGORIES], s->category[i]);
    }
    for (i = 0; i < STATS_LINES; i++) {
        str_adds(&text[i], ""); /* a string even if nothing is in it */
        if (str_ok(&text[i], e))
            return -1;
    }
    return 0;
}

int stats_part_parse(struct stats_part *p, const char *line, const char *where, struct err *e)
{
    static const char *const key[] = {"digest", "shard", "documents", "tokens"};
    char value[4][FIELD_MAX], *slash;
    int64_t shard, shards;

    if (fields_parse(line, where, key, value, 4, e))
        return -1;
    slash = strchr(value[1], '/');
    if (!is_hex_digest(value[0]) || !slash)
        return err_set(e, ERR_INPUT, "%s: #part needs digest=HEX and shard=I/N", where);
    *slash = 0;
    if (num_i64(slash + 1, where, 1, INT_MAX, &shards, e) || num_i64(value[1], where, 1, shards, &shard, e) ||
        num_i64(value[2], where, 0, INT64_MAX, &p->documents, e) ||
        num_i64(value[3], where, 0, INT64_MAX, &p->tokens, e))
        return -1;
    memcpy(p->digest, value[0], sizeof p->digest);
    p->shard = (int)shard;
    p->shards = (int)shards;
    return 0;
}
