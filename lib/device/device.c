/* device.c -- what a device has of the contract's operations. */
#include "device/device.h"

const char *device_lacks(const struct device *d, uint32_t ops)
{
    const struct ops *o = d->ops;
    const struct {
        const char *name;
        bool there;
    } row[DEVICE_OPS] = {
        [OP_NORM] = {"norm", o->norm != NULL},
        [OP_NORM_ROWS] = {"norm_rows", o->norm_rows != NULL},
        [OP_LINEAR] = {"linear", o->linear != NULL},
        [OP_LINEAR_ADD] = {"linear_add", o->linear_add != NULL},
        [OP_ATTENTION] = {"attention", o->attention != NULL},
        [OP_ROUTE] = {"route", o->route != NULL},
        [OP_EXPERTS] = {"experts", o->experts != NULL},
        [OP_PAIRS] = {"pairs", o->pairs != NULL},
        [OP_VIEW] = {"view", o->view != NULL},
        [OP_COMBINE] = {"combine", o->combine != NULL},
        [OP_HEAD] = {"head", o->head != NULL},
    };
    int i;

    for (i = 0; i < DEVICE_OPS; i++)
        if (ops >> i & 1 && !row[i].there)
            return row[i].name;
    return NULL;
}
