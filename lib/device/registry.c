#include "device/registry.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "contract.h"

static const char *const places[] = {"libmoe-cuda.so", "../libmoe-cuda.so",
                                     "../lib/moe-tools/libmoe-cuda.so"};

/* Path of the object, to be freed; NULL and no error: there is none. */
static char *find(struct err *e)
{
    const char *said = getenv("MOE_CUDA_LIB");
    char exe[PATH_MAX];
    ssize_t n;
    size_t i;

    if (said && *said)
        return mem_strdup(said, e);
    n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n <= 0)
        return NULL;
    exe[n] = '\0';
    *(strrchr(exe, '/') + 1) = '\0';
    for (i = 0; i < sizeof places / sizeof *places; i++) {
        char *path = mem_printf(e, "%s%s", exe, places[i]);

        if (!path || access(path, F_OK) == 0)
            return path;
        free(path);
    }
    return NULL;
}

/* The object stays loaded until the program ends: CUDA does not like to be unloaded. */
static cuda_open_fn *open_object(const char *path, struct err *e)
{
    void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL), *symbol;
    cuda_open_fn *fn;

    if (!lib) {
        err_set(e, ERR_DEVICE, "the CUDA backend cannot be loaded: %s", dlerror());
        return NULL;
    }
    symbol = dlsym(lib, CUDA_OPEN_SYMBOL);
    if (!symbol) {
        err_set(e, ERR_DEVICE, "'%s' belongs to another version of moe-tools: it has no " CUDA_OPEN_SYMBOL,
                path);
        return NULL;
    }
    memcpy(&fn, &symbol, sizeof fn); /* ISO C has no conversion between the two */
    return fn;
}

int cuda_load(struct device **out, const struct engine_options *o, bool *found, struct err *e)
{
    struct err why = {0};
    char *path = find(&why);
    cuda_open_fn *fn;

    *out = NULL;
    if (found)
        *found = path != NULL;
    if (!path)
        return err_set(e, ERR_DEVICE, "%s",
                       why.kind ? why.msg : "there is no CUDA backend (libmoe-cuda.so, built by make cuda)");
    fn = open_object(path, e);
    free(path);
    return fn ? fn(MOE_CONTRACT, out, o, e) : -1;
}
