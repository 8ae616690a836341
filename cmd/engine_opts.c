/* engine_opts.c -- what the ENGINE options mean, and the progress display of passes. */
#include "engine_opts.h"

#include <malloc.h>
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "base/thread.h"
#include "device/registry.h"

struct engine_opts engine_opts = {.device = "auto", .precision = "auto"};

/* What the progress line says: pass `pass` of `passes` of `what`. */
static struct {
    const char *what;
    int64_t pass, passes, tokens;
    double head;  /* share of a pass that its head takes */
    double start; /* seconds */
} display = {.what = "computing", .passes = 1};

/* Of a pass's time, by operations of a token: two for each weight, and for each logit some for its
 * exponential. */
static double head_share(const struct model *m)
{
    enum { EXP = 40 };
    const struct arch *a = &m->arch;
    double hidden = a->hidden, layers = 0, head;
    int l;

    for (l = 0; l < a->layers; l++)
        layers += 2 * (4 * hidden * hidden +
                       3 * hidden * (a->layer[l].ffn == FFN_MOE ? a->topk * a->inter : a->dense_inter));
    head = a->vocab * (2 * hidden + EXP);
    return head / (head + layers);
}

static void show(void *ctx, int layer, int layers, double fraction)
{
    bool head = layer == layers;
    double within = head ? 1 - display.head + display.head * fraction : (1 - display.head) * fraction;
    double whole = ((double)display.pass + within) / (double)display.passes, rate;
    char where[160];
    int n = 0;

    (void)ctx;
    *where = 0;
    if (display.passes > 1)
        n = snprintf(where, sizeof where, ", pass %lld of %lld", (long long)display.pass + 1,
                     (long long)display.passes);
    n += head ? snprintf(where + n, sizeof where - (size_t)n, ", vocabulary")
              : snprintf(where + n, sizeof where - (size_t)n, ", layer %d of %d", layer + 1, layers);
    rate = whole * (double)display.tokens / (seconds_now() - display.start);
    if (rate > 0)
        snprintf(where + n, sizeof where - (size_t)n, ", %.*f tokens/s", rate < 10, rate);
    progress(display.what, where, whole);
}

static void begin(void *ctx, int64_t pass, int64_t passes)
{
    (void)ctx;
    display.pass = pass;
    display.passes = passes;
}

const struct pass_options *pass_display(const char *what, int64_t tokens, const struct model *m)
{
    static struct pass_options po;

    display.what = what;
    display.tokens = tokens;
    display.head = m ? head_share(m) : 0;
    display.start = seconds_now();
    begin(NULL, 0, 1);
    po = (struct pass_options){.mem_max = engine_opts.mem_max, .begin = begin};
    return &po;
}

/* "0,1,3" */
static void set_list(struct engine_options *o, const char *list)
{
    struct err e = {0};
    char one[32];
    int64_t index;

    for (;;) {
        size_t n = strcspn(list, ",");

        if (n >= sizeof one)
            usage_error("--device KIND:N: '%.*s' is no number of a device", (int)n, list);
        snprintf(one, sizeof one, "%.*s", (int)n, list);
        if (num_i64(one, "--device KIND:N", 0, 1023, &index, &e))
            usage_error("%s", e.msg);
        if (o->devices == ENGINE_DEVICES)
            usage_error("--device: more than %d devices are not provided for", ENGINE_DEVICES);
        o->device_list[o->devices++] = (int)index;
        if (!list[n])
            return;
        list += n + 1;
    }
}

/* KIND, KIND:N,N,... or KIND:all. */
static void set_device(struct engine_options *o, const char *name)
{
    static char kind[32];
    size_t n = strcspn(name, ":");

    if (n == 0 || n >= sizeof kind || strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789") < n)
        usage_error(
            "--device: '%s' is not auto or a kind of device (cpu, cuda, ...), KIND:N, KIND:N,N,... or "
            "KIND:all",
            name);
    snprintf(kind, sizeof kind, "%.*s", (int)n, name);
    o->device = kind;
    if (name[n] && strcmp(kind, "auto") == 0)
        usage_error("--device: auto chooses the device itself: '%s'", name);
    if (strcmp(name + n, ":all") == 0)
        o->devices = -1;
    else if (name[n])
        set_list(o, name + n + 1);
}

static enum precision precision_of(const char *name)
{
    int p;

    for (p = 0; p < PRECISIONS; p++)
        if (strcmp(name, precision_row(p)->name) == 0)
            return p;
    usage_error("--precision: '%s' is not auto, bf16 or f32", name);
}

/* --list-devices: KIND, how many there are, and, if none (0) or if the backend is
 * broken (-1), why; separated by tabs. */
void list_devices(void)
{
    struct err e = {0};
    int n, i;
    char **kind = backend_kinds(&n, &e);

    if (!kind)
        die(&e);
    for (i = 0; i < n; i++) {
        struct err why = {0};
        const struct backend *b = backend_find(kind[i], NULL, &why);
        int there = b ? b->count(&why) : -1;

        printf("%s\t%d%s%s\n", kind[i], there, there > 0 ? "" : "\t", there > 0 ? "" : why.msg);
    }
    backend_kinds_free(kind);
    cmd_exit(EXIT_DONE);
}

/* auto, and the kinds of which there is a device. */
void print_devices(void)
{
    struct err e = {0};
    char **kind;
    int n, i;

    printf("auto\n");
    kind = backend_kinds(&n, &e);
    for (i = 0; kind && i < n; i++) {
        const struct backend *b = backend_find(kind[i], NULL, &e);

        if (b && b->count(&e) > 0)
            printf("%s\n", kind[i]);
    }
    backend_kinds_free(kind);
}

void print_precisions(void)
{
    int p;

    for (p = 0; p < PRECISIONS; p++)
        printf("%s\n", precision_row(p)->name);
}

static void engine_options(struct engine_options *o)
{
    memset(o, 0, sizeof *o);
    set_device(o, engine_opts.device);
    o->precision = precision_of(engine_opts.precision);
    o->threads = (int)engine_opts.threads;
    o->mem_max = engine_opts.mem_max;
    o->device_mem = engine_opts.gpu_mem;
    o->states_on_host = engine_opts.states_on_host;
    o->chunk_tokens = (int)engine_opts.chunk_tokens;
    o->progress = show;
}

/* Large buffers go back to the system when they are freed. glibc raises its limit of what is large to what
 * was freed last, so that those of the second pass would lie in the heap, and a fifth more memory would be
 * held. */
enum { LARGE = 1 << 20 };

struct engine *open_engine(void)
{
    struct engine_options o;
    struct engine *en;
    struct err e = {0};

#ifdef M_MMAP_THRESHOLD
    mallopt(M_MMAP_THRESHOLD, LARGE);
#endif

    engine_options(&o);
    if (engine_open(&en, &o, &e))
        die(&e);
    if (engine_note(en))
        note("%s", engine_note(en));
    return en;
}

void open_model(struct model *m, const char *arg)
{
    const struct model_options o = {.arch.ignore_keys = engine_opts.ignore_keys.v,
                                    .ignore_tensors = engine_opts.ignore_tensors.v};
    struct err e = {0};

    doing("opening the model");
    if (model_open(m, arg, &o, &e))
        die(&e);
}

void detail_engine(const struct engine *en)
{
    detail("%s, %s, %s, %d threads", engine_device(en), engine_library(en), engine_precision(en)->name,
           engine_threads(en));
}

void json_engine(struct json_out *j, const struct engine *en)
{
    jo_string(j, "device", engine_device(en));
    jo_string(j, "library", engine_library(en));
    jo_string(j, "precision", engine_precision(en)->name);
    jo_int(j, "threads", engine_threads(en));
}

void json_forecast(struct json_out *j, const struct forecast *f)
{
    jo_int(j, "passes", f->passes);
    jo_uint(j, "read_bytes", f->read_bytes);
    jo_double(j, "flops", f->flops);
    jo_uint(j, "peak_bytes", f->peak_bytes);
    jo_uint(j, "peak_device_bytes", f->peak_device_bytes);
    jo_double(j, "available_bytes", f->available_bytes == UINT64_MAX ? NAN : (double)f->available_bytes);
    jo_double(j, "seconds", f->measured ? f->seconds : NAN);
    jo_double(j, "flops_per_second", f->measured ? f->flops_per_second : NAN);
    jo_double(j, "read_bytes_per_second", f->measured ? f->read_bytes_per_second : NAN);
}

void print_forecast(const struct forecast *f)
{
    char a[32], b[32];

    printf("passes       %lld, %s to read, %.3g operations\n", (long long)f->passes,
           num_bytes(f->read_bytes, a), f->flops);
    printf("peak memory  %s", num_bytes(f->peak_bytes, a));
    if (f->available_bytes != UINT64_MAX)
        printf(", %s available", num_bytes(f->available_bytes, b));
    if (f->peak_device_bytes)
        printf("; %s of the device", num_bytes(f->peak_device_bytes, a));
    if (f->measured)
        printf("\ntime         about %s: %.3g operations a second, reading %s/s\n",
               duration_text(f->seconds, a), f->flops_per_second,
               num_bytes((uint64_t)f->read_bytes_per_second, b));
    else
        printf("\ntime         not known: there is not the memory to measure it in\n");
}
