/*
 * engine_opts.h -- the ENGINE options, shared by the programs that run a model, and the progress display of
 * its passes.
 *
 *     static const struct opt opts[] = {..., ENGINE_OPTS, OPT_END};
 *     after cmd_start:
 *     open_model(&m, argv[0]);
 *     en = open_engine();
 *     observe_corpus(..., pass_display("observing"), ...);
 */
#ifndef MOE_CMD_ENGINE_OPTS_H
#define MOE_CMD_ENGINE_OPTS_H

#include "common.h"
#include "engine/engine.h"
#include "model/model.h"
#include "observe/passes.h"

struct engine_opts {
    const char *device, *precision;
    int64_t threads, chunk_tokens;
    uint64_t mem_max, gpu_mem;
    bool states_on_host;
    void (*list_devices)(void);
    struct opt_list ignore_keys;
};
extern struct engine_opts engine_opts;

#define ENGINE_OPT_(name, kind, dst, arg, help, min, max)                                                    \
    {                                                                                                        \
        name, 0, kind, &engine_opts.dst, arg, help, min, max                                                 \
    }
#define ENGINE_OPTS                                                                                          \
    OPT_HEADING("Engine options"),                                                                           \
        ENGINE_OPT_("device", OPT_TEXT, device, "auto|KIND[:N,...|:all]",                                    \
                    "where to compute: cpu, cuda (auto)", 0, 0),                                             \
        ENGINE_OPT_("precision", OPT_TEXT, precision, "auto|bf16|f32",                                       \
                    "of products (auto: bf16 where the hardware has it)", 0, 0),                             \
        ENGINE_OPT_("threads", OPT_INT, threads, "N", "worker threads (all processors)", 1, 4096),           \
        ENGINE_OPT_("mem-max", OPT_SIZE, mem_max, "SIZE",                                                    \
                    "memory for hidden states; more documents take more passes", 0, 0),                      \
        ENGINE_OPT_("gpu-mem", OPT_SIZE, gpu_mem, "SIZE", "device memory to use at most (what is free)", 0,  \
                    0),                                                                                      \
        ENGINE_OPT_("list-devices", OPT_CALL, list_devices, NULL, NULL, 0, 0),                               \
        ENGINE_OPT_("states-on-host", OPT_FLAG, states_on_host, NULL, NULL, 0, 0),                           \
        ENGINE_OPT_("chunk-tokens", OPT_INT, chunk_tokens, "N", NULL, 1, INT32_MAX),                         \
        ENGINE_OPT_("ignore-key", OPT_LIST, ignore_keys, "KEY",                                              \
                    "config.json key that is known not to matter; may be repeated", 0, 0)

/* engine_open with the options and the progress display; dies when it fails. Contradictions are usage
 * errors. */
struct engine *open_engine(void);
/* model_open with --ignore-key; dies when it fails. */
void open_model(struct model *m, const char *arg);
/* --mem-max and a display that says what is going on in which pass; valid until the next call. */
const struct pass_options *pass_display(const char *what);
/* ,"device":...,"library":...,"precision":...,"threads":N */
void json_engine_members(FILE *f, const struct engine *en);
/* "cpu, oneDNN 2.6.3 (avx512_core_bf16), bf16, 2 threads" on stderr with -v. */
void detail_engine(const struct engine *en);

#endif
