/*
 * engine_opts.h -- the ENGINE options, shared by the programs that run a model, and the progress display of
 * its passes.
 *
 *     static const struct opt opts[] = {..., ENGINE_OPTS, OPT_END};
 *     in cmd.run:
 *     open_model(&m, argv[0]);
 *     en = open_engine();
 *     observe_corpus(..., pass_display("observing", c.tokens, NULL), ...);
 */
#ifndef MOE_CMD_ENGINE_OPTS_H
#define MOE_CMD_ENGINE_OPTS_H

#include "common.h"
#include "engine/engine.h"
#include "model/model.h"
#include "observe/forecast.h"

struct engine_opts {
    const char *device, *precision;
    int64_t threads, chunk_tokens;
    uint64_t mem_max, gpu_mem;
    bool states_on_host;
    struct opt_list ignore_keys, ignore_tensors;
};
extern struct engine_opts engine_opts;

#define ENGINE_OPTS                                                                                          \
    OPT_HEADING("Engine options"),                                                                           \
        OPT_TEXT("device", 0, &engine_opts.device, "auto|KIND[:N,...|:all]",                                 \
                 "where to compute: cpu, cuda (auto)", .values = print_devices),                             \
        OPT_TEXT("precision", 0, &engine_opts.precision, "auto|bf16|f32",                                    \
                 "of products (auto: bf16 where the hardware has it)", .values = print_precisions),          \
        OPT_INT("threads", 0, &engine_opts.threads, "N", "worker threads (all processors)", 1, 4096),        \
        OPT_SIZE("mem-max", 0, &engine_opts.mem_max, "SIZE",                                                 \
                 "memory for hidden states; more documents take more passes"),                               \
        OPT_SIZE("gpu-mem", 0, &engine_opts.gpu_mem, "SIZE", "device memory to use at most (what is free)"), \
        OPT_CALL("list-devices", 0, list_devices,                                                            \
                 "print the kinds of devices, how many there are, and why none"),                            \
        OPT_FLAG("states-on-host", 0, &engine_opts.states_on_host, NULL),                                    \
        OPT_INT("chunk-tokens", 0, &engine_opts.chunk_tokens, "N", NULL, 1, INT32_MAX),                      \
        OPT_LIST("ignore-key", 0, &engine_opts.ignore_keys, "KEY",                                           \
                 "config.json key that is known not to matter; may be repeated"),                            \
        OPT_LIST("ignore-tensor", 0, &engine_opts.ignore_tensors, "NAME",                                    \
                 "tensor that is known not to matter; * and ? as in file names")

/* For the rows. */
void print_devices(void);
void print_precisions(void);
void list_devices(void);
/* engine_open with the options and the progress display; dies when it fails. Contradictions are usage
 * errors. */
struct engine *open_engine(void);
/* model_open with --ignore-key and --ignore-tensor; dies when it fails. */
void open_model(struct model *m, const char *arg);
/* --mem-max and a display that says what is going on in which pass and layer, how fast, for how long; valid
 * until the next call. tokens: of the whole work, 0: no rate is shown. m: whose head belongs to every pass;
 * NULL: none does. */
const struct pass_options *pass_display(const char *what, int64_t tokens, const struct model *m);
/* The members device, library, precision and threads. */
void json_engine(struct json_out *j, const struct engine *en);
/* What --dry-run says of time and memory: members, or lines. */
void json_forecast(struct json_out *j, const struct forecast *f);
void print_forecast(const struct forecast *f);
/* "cpu, oneDNN 2.6.3 (avx512_core_bf16), bf16, 2 threads" on stderr with -v. */
void detail_engine(const struct engine *en);

#endif
