/*
 * quantization.c -- how a model is quantized, where a file beside config.json says so and config.json does
 * not: as exporters had it before quantization_config.
 */
#include <stdlib.h>

#include "base/file.h"
#include "base/json.h"
#include "model/parts.h"

enum { MAX_FILE = 64 << 20 };

const char *const quantization_files[] = {"hf_quant_config.json", "quantization_config.json",
                                          "quantize_config.json", "quant_config.json", NULL};

/* Of each of them. */
static const struct {
    const char *member; /* where it is in the file; NULL: all of it */
    const char *method; /* its quant_method, if it has none */
} kinds[] = {{"quantization", "modelopt"}, {NULL, NULL}, {NULL, "gptq"}, {NULL, "awq"}};

/* Puts what a file says to config.json's place for it. */
static int adopt(cJSON *config, const cJSON *said, const char *method, struct err *e)
{
    cJSON *own = cJSON_Duplicate(said, true);

    if (own && method && !json_member(own, "quant_method"))
        cJSON_AddStringToObject(own, "quant_method", method);
    cJSON_DeleteItemFromObjectCaseSensitive(config, "quantization_config"); /* null */
    if (!own || !cJSON_AddItemToObject(config, "quantization_config", own)) {
        cJSON_Delete(own);
        return err_set(e, ERR_NOMEM, "out of memory");
    }
    return 0;
}

int quantization_beside(cJSON *config, const char *dir, struct err *e)
{
    const cJSON *said = json_member(config, "quantization_config");
    size_t i;
    int r = 0, found = !cJSON_IsObject(config) || (said && !cJSON_IsNull(said));

    for (i = 0; quantization_files[i] && !found && !r; i++) {
        char *path = path_join(dir, quantization_files[i], e);
        cJSON *all = NULL;

        r = !path || (path_exists(path) && json_read(path, MAX_FILE, &all, e)) ? -1 : 0;
        said = kinds[i].member ? json_member(all, kinds[i].member) : all;
        found = cJSON_IsObject(said);
        if (found)
            r = adopt(config, said, kinds[i].method, e);
        cJSON_Delete(all);
        free(path);
    }
    return r;
}

const char *quantization_file(const char *dir, struct err *e)
{
    size_t i;

    for (i = 0; quantization_files[i]; i++) {
        char *path = path_join(dir, quantization_files[i], e);
        bool there = path && path_exists(path);

        free(path);
        if (there)
            return quantization_files[i];
    }
    return NULL;
}
