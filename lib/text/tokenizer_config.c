/*
 * tokenizer_config.c -- what the files beside a tokenizer's own say: tokenizer_config.json, and where that
 * does not list the added tokens itself, special_tokens_map.json and added_tokens.json, as keys of the first.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "text/tokenizer_source.h"

enum { MAX_FILE = 1 << 28 };

/* An object in a file that need not be there; NULL then. */
static int read_object(const char *dir, const char *name, cJSON **out, struct err *e)
{
    char *path = path_join(dir, name, e);
    int bad = path ? 0 : -1;

    *out = NULL;
    if (path && path_exists(path)) {
        bad = json_read(path, MAX_FILE, out, e);
        if (!bad && !cJSON_IsObject(*out))
            bad = err_set(e, ERR_INPUT, "%s: is not an object", path);
    }
    free(path);
    return bad;
}

static void put_member(cJSON *config, cJSON *item)
{
    cJSON_DeleteItemFromObjectCaseSensitive(config, item->string);
    cJSON_AddItemToObject(config, item->string, item);
}

static bool is_special(const cJSON *config, const char *content)
{
    const cJSON *j;

    cJSON_ArrayForEach(j, config)
    {
        const char *text = cJSON_GetStringValue(cJSON_IsObject(j) ? json_member(j, "content") : j);

        if (text && strcmp(text, content) == 0)
            return true;
    }
    cJSON_ArrayForEach(j, json_member(config, "extra_special_tokens"))
    {
        if (cJSON_IsString(j) && strcmp(j->valuestring, content) == 0)
            return true;
    }
    return false;
}

/* {"<x>": 5} as {"5": {"content": "<x>", ...}} */
static cJSON *decoder_of(const cJSON *ids, const cJSON *config)
{
    cJSON *all = cJSON_CreateObject();
    const cJSON *j;
    char key[32];

    cJSON_ArrayForEach(j, ids)
    {
        cJSON *token = cJSON_CreateObject();
        bool special = is_special(config, j->string);

        snprintf(key, sizeof key, "%.0f", cJSON_GetNumberValue(j));
        cJSON_AddStringToObject(token, "content", j->string);
        cJSON_AddBoolToObject(token, "special", special);
        cJSON_AddItemToObject(all, key, token);
    }
    return all;
}

int tokenizer_config(cJSON **config, const char *dir, struct err *e)
{
    cJSON *map = NULL, *ids = NULL, *item;
    int bad = read_object(dir, "tokenizer_config.json", config, e);

    if (!bad && !json_member(*config, "added_tokens_decoder"))
        bad = read_object(dir, "special_tokens_map.json", &map, e) ||
              read_object(dir, "added_tokens.json", &ids, e);
    if (!bad && !*config && (map || ids))
        *config = cJSON_CreateObject();
    while (!bad && map && (item = cJSON_DetachItemFromArray(map, 0)))
        put_member(*config, item);
    if (!bad && ids)
        cJSON_AddItemToObject(*config, "added_tokens_decoder", decoder_of(ids, *config));
    cJSON_Delete(map);
    cJSON_Delete(ids);
    return bad ? -1 : 0;
}
