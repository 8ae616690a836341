#include "engine_opts.h"

#include <string.h>

#include "base/num.h"

struct engine_opts engine_opts = {.device = "auto", .precision = "auto"};

/* What the progress line says: pass `pass` of `passes` of `what`. */
static struct {
    const char *what;
    int64_t pass, passes;
} display = {"computing", 0, 1};

static void show(void *ctx, int layer, int layers, double fraction)
{
    (void)ctx;
    (void)layer;
    (void)layers;
    progress(display.what, ((double)display.pass + fraction) / (double)display.passes);
}

static void begin(void *ctx, int64_t pass, int64_t passes)
{
    (void)ctx;
    display.pass = pass;
    display.passes = passes;
}

const struct pass_options *pass_display(const char *what)
{
    static struct pass_options po;

    display.what = what;
    begin(NULL, 0, 1);
    po = (struct pass_options){.mem_max = engine_opts.mem_max, .begin = begin};
    return &po;
}

/* "0,1,3" */
static void set_list(struct engine_options *o, const char *list)
{
    struct err e = {0};
    char one[8];
    int64_t index;

    for (;;) {
        size_t n = strcspn(list, ",");

        memcpy(one, list, n < sizeof one ? n : sizeof one - 1);
        one[n < sizeof one ? n : sizeof one - 1] = '\0';
        if (num_i64(one, "--device cuda:N", 0, 1023, &index, &e))
            usage_error("%s", e.msg);
        if (o->devices == ENGINE_DEVICES)
            usage_error("--device: more than %d devices are not provided for", ENGINE_DEVICES);
        o->device_list[o->devices++] = (int)index;
        if (!list[n])
            return;
        list += n + 1;
    }
}

static void set_device(struct engine_options *o, const char *name)
{
    if (strcmp(name, "auto") == 0) {
        o->device = DEVICE_AUTO;
    } else if (strcmp(name, "cpu") == 0) {
        o->device = DEVICE_CPU;
    } else if (strcmp(name, "cuda") == 0) {
        o->device = DEVICE_CUDA;
    } else if (strcmp(name, "cuda:all") == 0) {
        o->device = DEVICE_CUDA;
        o->devices = -1;
    } else if (strncmp(name, "cuda:", 5) == 0) {
        o->device = DEVICE_CUDA;
        set_list(o, name + 5);
    } else {
        usage_error("--device: '%s' is not auto, cpu, cuda, cuda:N, cuda:N,N,... or cuda:all", name);
    }
}

static enum precision precision_of(const char *name)
{
    if (strcmp(name, "auto") == 0)
        return PREC_AUTO;
    if (strcmp(name, "bf16") == 0)
        return PREC_BF16;
    if (strcmp(name, "f32") == 0)
        return PREC_F32;
    usage_error("--precision: '%s' is not auto, bf16 or f32", name);
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

struct engine *open_engine(void)
{
    struct engine_options o;
    struct engine *en;
    struct err e = {0};

    engine_options(&o);
    if (engine_open(&en, &o, &e))
        die(&e);
    if (engine_note(en))
        note("%s", engine_note(en));
    return en;
}

void open_model(struct model *m, const char *arg)
{
    const struct model_options o = {.arch.ignore_keys = engine_opts.ignore_keys.v};
    struct err e = {0};

    if (model_open(m, arg, &o, &e))
        die(&e);
}

void detail_engine(const struct engine *en)
{
    detail("%s, %s, %s, %d threads", engine_device(en), engine_library(en), engine_precision(en),
           engine_threads(en));
}

void json_engine_members(FILE *f, const struct engine *en)
{
    json_string_member(f, "device", engine_device(en));
    json_string_member(f, "library", engine_library(en));
    json_string_member(f, "precision", engine_precision(en));
    fprintf(f, ",\"threads\":%d", engine_threads(en));
}
