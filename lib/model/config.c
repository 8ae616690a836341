/*
 * config.c -- typed reading of config.json; absent and null told apart.
 */
#include "model/config.h"

#include <math.h>
#include <stdlib.h>

const cJSON *config_get(const struct config *c, const char *key)
{
    return c->obj ? cJSON_GetObjectItemCaseSensitive(c->obj, key) : NULL;
}

bool config_has(const struct config *c, const char *key)
{
    return config_get(c, key) != NULL;
}

bool config_null(const struct config *c, const char *key)
{
    const cJSON *v = config_get(c, key);

    return v && cJSON_IsNull(v);
}

/* A number, or what transformers 5 writes for one that JSON does not have: {"__float__": "Infinity"}. */
static bool number_of(const cJSON *v, double *out)
{
    const char *special = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(v, "__float__"));

    *out = special ? strtod(special, NULL) : v->valuedouble;
    return special || cJSON_IsNumber(v);
}

double config_double(struct config *c, const char *key, double min, double max, double absent_value)
{
    const cJSON *v = config_get(c, key);
    double x;

    if (!v || cJSON_IsNull(v)) {
        if (absent_value < min && absent_value != 0)
            err_set(c->e, ERR_INPUT, "'%s' has no %s", c->what, key);
        return absent_value;
    }
    if (!number_of(v, &x) || !(x >= min && x <= max)) {
        err_set(c->e, ERR_INPUT, "'%s': %s is not a number from %g to %g", c->what, key, min, max);
        return absent_value;
    }
    return x;
}

int config_int(struct config *c, const char *key, int min, int max, int absent_value)
{
    const cJSON *v = config_get(c, key);

    if (!v || cJSON_IsNull(v)) {
        if (absent_value < min)
            err_set(c->e, ERR_INPUT, "'%s' has no %s", c->what, key);
        return absent_value;
    }
    if (!cJSON_IsNumber(v) || v->valuedouble != floor(v->valuedouble) ||
        !(v->valuedouble >= min && v->valuedouble <= max)) {
        err_set(c->e, ERR_INPUT, "'%s': %s is not a whole number from %d to %d", c->what, key, min, max);
        return absent_value < min ? min : absent_value;
    }
    return (int)v->valuedouble;
}

/* Released files hold 4 where a bool is meant: read as truth. */
bool config_bool(struct config *c, const char *key, bool absent_value)
{
    const cJSON *v = config_get(c, key);

    if (!v || cJSON_IsNull(v))
        return absent_value;
    if (cJSON_IsNumber(v))
        return v->valuedouble != 0;
    if (!cJSON_IsBool(v))
        err_set(c->e, ERR_INPUT, "'%s': %s is not true or false", c->what, key);
    return cJSON_IsTrue(v);
}

const char *config_string(struct config *c, const char *key)
{
    const cJSON *v = config_get(c, key);

    if (!v || cJSON_IsNull(v))
        return NULL;
    if (!cJSON_IsString(v)) {
        err_set(c->e, ERR_INPUT, "'%s': %s is not a string", c->what, key);
        return NULL;
    }
    return v->valuestring;
}

bool config_list_has(struct config *c, const char *key, int value)
{
    const cJSON *list = config_get(c, key), *v;

    if (!list || cJSON_IsNull(list))
        return false;
    if (!cJSON_IsArray(list)) {
        err_set(c->e, ERR_INPUT, "'%s': %s is not a list", c->what, key);
        return false;
    }
    cJSON_ArrayForEach(v, list)
    {
        if (!cJSON_IsNumber(v))
            err_set(c->e, ERR_INPUT, "'%s': %s is not a list of numbers", c->what, key);
        else if (v->valuedouble == value)
            return true;
    }
    return false;
}
