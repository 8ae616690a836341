/* device_inline.h -- functions in headers that the host and a GPU's kernels share. */
#ifndef MOE_BASE_DEVICE_INLINE_H
#define MOE_BASE_DEVICE_INLINE_H

#ifdef __CUDACC__
#define DEVICE_INLINE static __host__ __device__ __forceinline__
#else
#define DEVICE_INLINE static inline
#endif

#endif
