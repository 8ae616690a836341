/*
 * registry.h -- finds and opens the CUDA backend, which is a shared object of its own (kernels/cuda/), so
 * that the programs start where there is no CUDA.
 */
#ifndef MOE_ENGINE_CUDA_LOAD_H
#define MOE_ENGINE_CUDA_LOAD_H

#include "device/device.h"

/* The shared object's one symbol. Its first argument is MOE_CONTRACT (contract.h, made by the Makefile), a
 * checksum of the headers that describe struct ops and what it works on: it keeps an object of another build
 * out. The name changes with the arguments. */
#define CUDA_OPEN_SYMBOL "moe_cuda_open_v3"
typedef int cuda_open_fn(uint32_t contract, struct device **out, const struct engine_options *o,
                         struct err *e);

/*
 * Looks for libmoe-cuda.so at $MOE_CUDA_LIB, else beside the program, one folder up, and in ../lib/moe-tools.
 * The message says whether the object, a library that it needs, the driver, the GPU or code for it is
 * missing. found, if not NULL: there is such a file, so somebody meant to use it.
 */
int cuda_load(struct device **out, const struct engine_options *o, bool *found, struct err *e);

#endif
