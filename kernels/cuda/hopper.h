/*
 * hopper.h -- what compute capability 9.0 adds and this backend uses: barriers in shared memory that count
 * bytes, the tensor copy engine, products of a warpgroup (wgmma). PTX ISA 9.0, sections 9.7.9, 9.7.13
 * and 9.7.15.
 *
 * A tile lies in shared memory as the copy engine's 128-byte permutation leaves it: rows of 64 bf16, 16-byte
 * chunk c of row r at chunk c ^ (r & 7); it begins at a multiple of 1024 bytes. Wider rows are several tiles.
 */
#ifndef MOE_KERNELS_HOPPER_H
#define MOE_KERNELS_HOPPER_H

#include <cuda.h>
#include <stdint.h>

/* Code made for 9.0 itself; wgmma exists nowhere else. */
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define HOPPER 1
#endif

enum { WARPGROUP = 128, TILE_ROW = 64, TILE_ROW_BYTES = 128 };

typedef CUresult (*encode_fn)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *, const cuuint64_t *,
                              const cuuint64_t *, const cuuint32_t *, const cuuint32_t *,
                              CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion,
                              CUtensorMapFloatOOBfill);

/* The driver's function, found at run time: nothing links to the driver. NULL: it has none. */
static inline encode_fn encoder(void)
{
    void *f = NULL;
    cudaDriverEntryPointQueryResult r;

    if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &f, 12000, cudaEnableDefault, &r) !=
            cudaSuccess ||
        r != cudaDriverEntryPointSuccess)
        return NULL;
    return (encode_fn)f;
}

#ifdef HOPPER

/* ---- barriers: 8 bytes of shared memory; a phase ends after `count` arrivals and all bytes expected ---- */

static __device__ __forceinline__ void barrier_init(uint32_t at, uint32_t count)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(at), "r"(count) : "memory");
}

/* Before anybody uses them, followed by __syncthreads. */
static __device__ __forceinline__ void barriers_ready(void)
{
    asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
}

static __device__ __forceinline__ void barrier_arrive(uint32_t at)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(at) : "memory");
}

static __device__ __forceinline__ void barrier_expect(uint32_t at, uint32_t bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(at), "r"(bytes) : "memory");
}

/* Until the phase of this parity has ended; the one before the first counts as ended with parity 1. */
static __device__ __forceinline__ void barrier_wait(uint32_t at, int parity)
{
    asm volatile("{\n"
                 ".reg .pred done;\n"
                 "again:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                 "@done bra ready;\n"
                 "bra again;\n"
                 "ready:\n"
                 "}\n" ::"r"(at),
                 "r"(parity)
                 : "memory");
}

/* The tile at column x, row y of matrix z; what lies outside is zero. Its bytes arrive at `barrier`. */
static __device__ __forceinline__ void tile_load(uint32_t dst, const CUtensorMap *map, uint32_t barrier,
                                                 int x, int y, int z)
{
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], "
                 "[%1, {%3, %4, %5}], [%2];\n" ::"r"(dst),
                 "l"(map), "r"(barrier), "r"(x), "r"(y), "r"(z)
                 : "memory");
}

/* ---- products ---- */

/* A tile, or the rows and columns of it from an address on, as an operand: rows are 16 elements deep, and
 * eight rows after eight. */
static __device__ __forceinline__ uint64_t tile_rows(uint32_t at)
{
    return (uint64_t)1 << 62 | (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 16 | (at & 0x3ffff) >> 4;
}

/* The same where columns run along N and rows are the depth; `next` bytes to the tile of the next 64. */
static __device__ __forceinline__ uint64_t tile_columns(uint32_t at, uint32_t next)
{
    return (uint64_t)1 << 62 | (uint64_t)(1024 >> 4) << 32 | (uint64_t)(next >> 4) << 16 |
           (at & 0x3ffff) >> 4;
}

/* The same operand `bytes` further on. */
static __device__ __forceinline__ uint64_t tile_at(uint64_t tile, uint32_t bytes)
{
    return tile >> 32 << 32 | ((uint32_t)tile + (bytes >> 4));
}

static __device__ __forceinline__ void wgmma_begin(void)
{
    asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory");
}

static __device__ __forceinline__ void wgmma_commit(void)
{
    asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory");
}

/* Until all but the latest `left` groups are done. */
#define wgmma_wait(left) asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(left) : "memory")

/* Keeps the compiler from moving uses of sums across. */
template <int N> static __device__ __forceinline__ void wgmma_pin(float (&d)[N])
{
#pragma unroll
    for (int i = 0; i < N; i++)
        asm volatile("" : "+f"(d[i])::"memory");
}

#define SUMS4(d, i)  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define SUMS16(d, i) SUMS4(d, i), SUMS4(d, i + 4), SUMS4(d, i + 8), SUMS4(d, i + 12)
#define NAMES32                                                                                              \
    "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27," \
    "%28,%29,%30,%31"
#define NAMES64                                                                                              \
    NAMES32 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,"  \
            "%55,%56,%57,%58,%59,%60,%61,%62,%63"

/* d [64][128] = a [64][16] b [16][128], += if add; b in rows of its transpose. */
static __device__ __forceinline__ void wgmma_rows(float (&d)[64], uint64_t a, uint64_t b, int add)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" NAMES64
                 "}, %64, %65, p, 1, 1, 0, 0;\n}\n"
                 : SUMS16(d, 0), SUMS16(d, 16), SUMS16(d, 32), SUMS16(d, 48)
                 : "l"(a), "l"(b), "r"(add));
}

/* d [64][128] += a [64][16] b [16][128]; a in registers, b in columns of its transpose. */
static __device__ __forceinline__ void wgmma_columns(float (&d)[64], const uint32_t *a, uint64_t b)
{
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" NAMES64
                 "}, {%64,%65,%66,%67}, %68, 1, 1, 1, 1;\n"
                 : SUMS16(d, 0), SUMS16(d, 16), SUMS16(d, 32), SUMS16(d, 48)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

/* The same for 64 columns. */
static __device__ __forceinline__ void wgmma_columns(float (&d)[32], const uint32_t *a, uint64_t b)
{
    asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" NAMES32
                 "}, {%32,%33,%34,%35}, %36, 1, 1, 1, 1;\n"
                 : SUMS16(d, 0), SUMS16(d, 16)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

#endif
#endif
