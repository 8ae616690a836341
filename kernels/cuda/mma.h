/*
 * mma.h -- the tensor core instructions of compute capability 8.0 and later, as this backend uses them: bf16
 * tiles of 16 x 8 x 16 with f32 sums, tiles in shared memory whose 16-byte chunks are permuted so that
 * neither copies nor ldmatrix meet bank conflicts.
 */
#ifndef MOE_KERNELS_MMA_H
#define MOE_KERNELS_MMA_H

#include <stdint.h>

/* Copies 16 bytes without waiting; bytes 0 writes zeros and reads nothing. */
static __device__ __forceinline__ void copy16(uint32_t dst, const void *src, int bytes)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(dst), "l"(src), "r"(bytes)
                 : "memory");
}

static __device__ __forceinline__ void copy_commit(void)
{
    asm volatile("cp.async.commit_group;\n" ::: "memory");
}

#define copy_wait(left) asm volatile("cp.async.wait_group %0;\n" ::"n"(left) : "memory")

static __device__ __forceinline__ void load4x(uint32_t *r, uint32_t at)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
}

static __device__ __forceinline__ void load4x_turned(uint32_t *r, uint32_t at)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
}

/* d [16][8] += a [16][16] b [16][8] */
static __device__ __forceinline__ void mma(float *d, const uint32_t *a, const uint32_t *b)
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};\n"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#endif
