/*
 * registry.h -- the backends there are: the CPU, which is built in, and objects libmoe-KIND.so, so that the
 * programs start where there is no GPU's runtime.
 *
 * An object is looked for in the folder of the program and, if that is a folder bin, in ../lib/moe-tools,
 * where make install puts it: nowhere else, and it must belong to root or to whoever the program belongs to.
 * MOE_BACKENDS=DIR names the one folder to look in instead, for tests and packagers. What was loaded stays
 * loaded until the program ends: GPU runtimes do not like to be unloaded.
 */
#ifndef MOE_DEVICE_REGISTRY_H
#define MOE_DEVICE_REGISTRY_H

#include "device/device.h"

/* Built in: cpu/. */
extern const struct backend cpu_backend;

/*
 * The backend of a kind. NULL: e says whether there is no such object, or it cannot be loaded (a library that
 * it needs is missing, say), or is of another build. found, if not NULL: there is such a file, so somebody
 * meant to use it.
 */
const struct backend *backend_find(const char *kind, bool *found, struct err *e);

/* Kinds that there are files for, best first, "cpu" last: what is tried when nobody says which. Freed with
 * backend_kinds_free.
 */
char **backend_kinds(int *n, struct err *e);
void backend_kinds_free(char **kinds);

/* A device, if the backend has one. */
int backend_open(const struct backend *b, struct device **out, const struct device_options *o, struct err *e);

#endif
