/*
 * gemm_hopper.cu -- products on Hopper's tensor cores. One block to a multiprocessor goes over tiles of 128
 * rows by N columns: one warpgroup feeds a ring of stages, x row by row (so that it may gather) and W, which
 * is packed as it is to lie in shared memory, in one piece; two warpgroups multiply 64 rows each, straight
 * from there, and store their sums while the ring fills with the next tile.
 */
#include "gemm_finish.h"
#include "hopper.h"

enum { THREADS = 3 * WARPGROUP, DEEP = TILE_ROW, CHUNK = 8, STAGES = 4, ALIGN = 1024, SUPER = 8 };
enum { X_BYTES = TILE_M * TILE_ROW_BYTES, FEED_REGS = 56, SUM_REGS = 224, LEAD = 2, LEAD_BARRIER = 3 };
enum { ROWS_A_THREAD = TILE_M * CHUNK / WARPGROUP, ROW_STEP = WARPGROUP / CHUNK };

static __host__ __device__ constexpr int stage_bytes(int n)
{
    return X_BYTES + n * TILE_ROW_BYTES;
}

/* The ring, its barriers, and biases of two tiles in turn for each half. */
static __host__ __device__ constexpr int shared_bytes(int n)
{
    return ALIGN + STAGES * stage_bytes(n) + 2 * STAGES * 8 + 4 * n * (int)sizeof(float);
}

/* Whether x comes row by row: it must when the rows are gathered, and of tiles that begin anywhere (those of
 * experts) it is also faster than the copy engine. */
static __host__ __device__ __forceinline__ bool by_rows(const struct gemm &g)
{
    return g.tiles.count != NULL;
}

#ifdef HOPPER

/* ---- instructions ---- */

#define NAMES120                                                                                             \
    NAMES64 ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,%80,%81,%82,%83,%84,%85,%86,"  \
            "%87,%88,%89,%90,%91,%92,%93,%94,%95,%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,"   \
            "%108,%109,%110,%111,%112,%113,%114,%115,%116,%117,%118,%119"
#define NAMES128     NAMES120 ",%120,%121,%122,%123,%124,%125,%126,%127"
#define SUMS64(d, i) SUMS16(d, i), SUMS16(d, i + 16), SUMS16(d, i + 32), SUMS16(d, i + 48)
#define WGMMA(n, names, x, w, add, ...)                                                                      \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" add ", 0;\n"                                           \
                 "wgmma.mma_async.sync.aligned.m64n" n "k16.f32.bf16.bf16 {" names "}, %" x ", %" w          \
                 ", p, 1, 1, 0, 0;\n}\n"                                                                     \
                 : __VA_ARGS__                                                                               \
                 : "l"(a), "l"(b), "r"(keep))

/* d [64][N] = a [64][16] b [16][N], += if keep; b in rows of its transpose. */
static __device__ __forceinline__ void multiply16(float (&d)[128], uint64_t a, uint64_t b, int keep)
{
    WGMMA("256", NAMES128, "128", "129", "130", SUMS64(d, 0), SUMS64(d, 64));
}

static __device__ __forceinline__ void multiply16(float (&d)[120], uint64_t a, uint64_t b, int keep)
{
    WGMMA("240", NAMES120, "120", "121", "122", SUMS64(d, 0), SUMS16(d, 64), SUMS16(d, 80), SUMS16(d, 96),
          SUMS4(d, 112), SUMS4(d, 116));
}

static __device__ __forceinline__ void multiply16(float (&d)[64], uint64_t a, uint64_t b, int keep)
{
    WGMMA("128", NAMES64, "64", "65", "66", SUMS64(d, 0));
}

/* `bytes` from device memory that arrive at `barrier`. */
static __device__ __forceinline__ void copy_piece(uint32_t dst, const void *src, uint32_t bytes,
                                                  uint32_t barrier)
{
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];\n" ::"r"(
            dst),
        "l"(src), "r"(bytes), "r"(barrier)
        : "memory");
}

/* copy16, and what follows into the L2: the next step's. */
static __device__ __forceinline__ void copy16_ahead(uint32_t dst, const void *src, int bytes)
{
    asm volatile("cp.async.cg.shared.global.L2::256B [%0], [%1], 16, %2;\n" ::"r"(dst), "l"(src), "r"(bytes)
                 : "memory");
}

/* Arrives when this thread's copies up to here have. */
static __device__ __forceinline__ void copies_arrive(uint32_t barrier)
{
    asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];\n" ::"r"(barrier) : "memory");
}

/* Between what ordinary accesses wrote and what the tensor cores read. */
static __device__ __forceinline__ void fence_tensor(void)
{
    asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
}

#define registers_fewer(n) asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"((int)(n)))
#define registers_more(n)  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"((int)(n)))

/* ---- what a block goes over ---- */

/* The ring: step i of all uses stage i % STAGES for the (i / STAGES)th time. */
struct ring {
    uint32_t stage, full, empty; /* addresses */
};

static __device__ __forceinline__ uint32_t at_step(uint32_t of, uint32_t i, uint32_t size)
{
    return of + i % STAGES * size;
}

struct walk {
    int rows, columns; /* tiles */
};

/* Tiles that run at the same time share rows of x and columns of W: SUPER tiles of rows go down a column of
 * tiles, then the next column. false: there are no more. */
template <int N>
static __device__ __forceinline__ bool tile_find(const struct gemm &g, const struct walk &w, int tile,
                                                 struct block *b)
{
    int band = tile / (SUPER * w.columns), in = tile - band * SUPER * w.columns;
    int rows = w.rows - band * SUPER < SUPER ? w.rows - band * SUPER : SUPER;

    if (rows <= 0 || in >= rows * w.columns)
        return false;
    block_find(g, band * SUPER + in % rows, b);
    b->column = in / rows * N;
    return true;
}

/* ---- feeding ---- */

/* The rows of x that this thread copies a chunk of. */
static __device__ __forceinline__ void rows_find(const struct gemm &g, const struct block &b,
                                                 int32_t (&row)[ROWS_A_THREAD])
{
#pragma unroll
    for (int i = 0; i < ROWS_A_THREAD; i++) {
        int r = (int)threadIdx.x % WARPGROUP / CHUNK + i * ROW_STEP;

        row[i] = r >= b.rows ? 0 : g.gather ? g.tiles.slot[b.at + r] : (int32_t)b.at + r;
    }
}

/* Step i of the ring: columns from k of x and of W. */
template <int N>
static __device__ __forceinline__ void feed_step(const struct gemm &g, const CUtensorMap *map,
                                                 const struct block &b, const struct ring &ring, uint32_t i,
                                                 int k, const uint32_t (&at)[ROWS_A_THREAD])
{
    int thread = (int)threadIdx.x % WARPGROUP, chunk = thread % CHUNK, first = thread / CHUNK;
    uint32_t columns = (uint32_t)(g.w_rows - b.column < N ? g.w_rows - b.column : N) * TILE_ROW_BYTES;
    uint32_t stage = at_step(ring.stage, i, stage_bytes(N)), full = at_step(ring.full, i, 8);
    uint32_t dst = stage + (uint32_t)(first * TILE_ROW_BYTES + ((chunk ^ (first & 7)) << 4));
    bool in = k + chunk * CHUNK < g.in;

    barrier_wait(at_step(ring.empty, i, 8), (int)(i / STAGES & 1) ^ 1);
    if (thread == 0) {
        const uint8_t *w = (const uint8_t *)b.w +
                           ((size_t)(k / DEEP) * (size_t)g.w_rows + (size_t)b.column) * TILE_ROW_BYTES;

        barrier_expect(full, columns + (by_rows(g) ? 0 : X_BYTES));
        copy_piece(stage + X_BYTES, w, columns, full);
        if (!by_rows(g))
            tile_load(stage, map, full, k, (int)b.at, 0);
    }
    if (!by_rows(g))
        return;
#pragma unroll
    for (int j = 0; j < ROWS_A_THREAD; j++)
        copy16_ahead(dst + (uint32_t)(j * ROW_STEP * TILE_ROW_BYTES),
                     (const uint8_t *)g.x + (size_t)(at[j] + (uint32_t)(k / CHUNK)) * 16,
                     in && first + j * ROW_STEP < b.rows ? 16 : 0);
    copies_arrive(full);
}

template <int N>
static __device__ void feed(const struct gemm &g, const CUtensorMap *map, const struct walk &w,
                            const struct ring &ring, int steps)
{
    int32_t row[ROWS_A_THREAD];
    uint32_t at[ROWS_A_THREAD], i = 0;
    struct block b, next;
    int tile = (int)blockIdx.x;
    bool more = tile_find<N>(g, w, tile, &next);

    if (more)
        rows_find(g, next, row);
    while (more) {
        b = next;
#pragma unroll
        for (int j = 0; j < ROWS_A_THREAD; j++)
            at[j] = (uint32_t)(g.gather ? row[j] / g.topk : row[j]) * (uint32_t)(g.in / CHUNK) +
                    threadIdx.x % CHUNK;
        tile += (int)gridDim.x;
        more = tile_find<N>(g, w, tile, &next);
        for (int s = 0; s < steps; s++, i++) {
            if (s == steps / 2 && more) /* by when it is known where the next tile is */
                rows_find(g, next, row);
            feed_step<N>(g, map, b, ring, i, s * DEEP, at);
        }
    }
}

/* ---- multiplying ---- */

template <int N>
static __device__ __forceinline__ void multiply(float (&acc)[N / 2], const struct ring &ring, uint32_t *i,
                                                int steps, int half)
{
    for (int s = 0; s < steps; s++, ++*i) {
        uint32_t x = at_step(ring.stage, *i, stage_bytes(N)), w = x + X_BYTES;

        barrier_wait(at_step(ring.full, *i, 8), (int)(*i / STAGES & 1));
        fence_tensor();
        wgmma_begin();
#pragma unroll
        for (int k = 0; k < DEEP / 16; k++)
            multiply16(acc, tile_rows(x + (uint32_t)(half * 64 * TILE_ROW_BYTES + k * 32)),
                       tile_rows(w + (uint32_t)k * 32), s | k);
        wgmma_commit();
        wgmma_wait(1);
        if (half == 0 && *i == LEAD - 1)
            asm volatile("bar.arrive %0, 256;\n" ::"n"((int)LEAD_BARRIER) : "memory");
        if (s > 0 && threadIdx.x % WARP == 0)
            barrier_arrive(at_step(ring.empty, *i - 1, 8));
    }
    wgmma_wait(0);
    wgmma_pin(acc);
    if (threadIdx.x % WARP == 0)
        barrier_arrive(at_step(ring.empty, *i - 1, 8));
}

/* A half without rows only says that it is done. */
static __device__ __forceinline__ void pass_over(const struct ring &ring, uint32_t *i, int steps)
{
    for (int s = 0; s < steps; s++, ++*i) {
        barrier_wait(at_step(ring.full, *i, 8), (int)(*i / STAGES & 1));
        if (threadIdx.x % WARP == 0)
            barrier_arrive(at_step(ring.empty, *i, 8));
    }
}

/* ---- multiplying, tile after tile ---- */

template <int N>
static __device__ void consume(const struct gemm &g, const struct walk &w, const struct ring &ring, int steps,
                               float *biases)
{
    int half = (int)threadIdx.x / WARPGROUP - 1, thread = (int)threadIdx.x % WARPGROUP;
    int row = half * 64 + thread / WARP * 16 + thread % WARP / 4, turns = 0;
    float acc[N / 2] = {};
    struct sums s = {.lane2 = thread % 4 * 2};
    struct block b;
    uint32_t i = 0;

    /* the second half stays LEAD steps behind, so that one multiplies while the other stores */
    if (half == 1)
        asm volatile("bar.sync %0, 256;\n" ::"n"((int)LEAD_BARRIER) : "memory");
    for (int tile = (int)blockIdx.x; tile_find<N>(g, w, tile, &b); tile += (int)gridDim.x) {
        float *bias = biases + (turns++ % 2 * 2 + half) * N, mine[2];
        int32_t slot[2];

        if (b.rows <= half * 64) {
            pass_over(ring, &i, steps);
            continue;
        }
        /* what is needed in the end is asked for now */
#pragma unroll
        for (int r = 0; r < 2; r++) {
            s.have[r] = row + r * 8 < b.rows;
            s.row[r] = (int32_t)b.at + row + r * 8;
            slot[r] = s.have[r] && g.mode == GEMM_SCATTER && g.tiles.slot ? g.tiles.slot[s.row[r]] : s.row[r];
            mine[r] = bias_of(g, b, b.column + thread + r * WARPGROUP);
        }
        multiply<N>(acc, ring, &i, steps, half);
        s.bias = bias;
        bias[thread] = mine[0];
        if (thread + WARPGROUP < N)
            bias[thread + WARPGROUP] = mine[1];
        asm volatile("bar.sync %0, 128;\n" ::"r"(half + 1) : "memory");
        if (g.mode == GEMM_ACT && g.act == ACT_SILU_GLU)
            finish_act<N, ACT_SILU_GLU>(g, b, s, acc);
        else if (g.mode == GEMM_ACT)
            finish_act<N, ACT_OSS_GLU>(g, b, s, acc);
        else if (g.mode == GEMM_SCATTER)
            finish_scatter<N>(g, b, s, acc, slot, w.columns);
        else if (g.mode == GEMM_ADD)
            finish_add<N>(g, b, s, acc);
        else
            finish_store<N>(g, b, s, acc);
    }
    if (half == 0 && i < LEAD)
        asm volatile("bar.arrive %0, 256;\n" ::"n"((int)LEAD_BARRIER) : "memory");
}

#endif

template <int N>
__global__ void __launch_bounds__(THREADS, 1)
    gemm_hopper(const __grid_constant__ struct gemm g, const __grid_constant__ CUtensorMap map)
{
#ifdef HOPPER
    extern __shared__ uint8_t shared[];
    uint32_t base = (uint32_t)__cvta_generic_to_shared(shared);
    struct ring ring = {.stage = (base + ALIGN - 1) / ALIGN * ALIGN};
    struct walk w = {g.tiles.count ? *g.tiles.count : (int)((g.n + TILE_M - 1) / TILE_M),
                     (g.out + N - 1) / N};
    int steps = (g.in + DEEP - 1) / DEEP;

    ring.full = ring.stage + STAGES * stage_bytes(N);
    ring.empty = ring.full + STAGES * 8;
    if (threadIdx.x < STAGES) {
        barrier_init(ring.full + threadIdx.x * 8, by_rows(g) ? WARPGROUP + 1 : 1);
        barrier_init(ring.empty + threadIdx.x * 8, 2 * WARPGROUP / WARP);
        asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory");
    }
    __syncthreads();
    if (threadIdx.x < WARPGROUP) {
        registers_fewer(FEED_REGS);
        feed<N>(g, &map, w, ring, steps);
        asm volatile("cp.async.wait_all;\n" ::: "memory");
    } else {
        registers_more(SUM_REGS);
        consume<N>(g, w, ring, steps, (float *)(void *)(shared + (ring.empty - base) + STAGES * 8));
    }
#endif
}

/* Whether there is code for this device: made for 9.0 itself, not from older PTX. */
bool cuda_gemm_wgmma(void)
{
    struct cudaFuncAttributes a;

    return cudaFuncGetAttributes(&a, gemm_hopper<256>) == cudaSuccess && a.binaryVersion == 90 &&
           a.ptxVersion == 90;
}

static bool hopper_takes(const struct cuda *c, const struct matrix *m)
{
    return c->wgmma && !m->f32 && m->in % CHUNK == 0 && columns_of(m) % BAND == 0 &&
           (!m->paired || m->out / 2 % BAND == 0);
}

/* The width that wastes least; wider ones read x less often. */
static int hopper_tile(const struct gemm *g)
{
    static const int widths[] = {256, 240, 128};
    int64_t least = INT64_MAX;
    int best = 0;

    for (int n : widths) {
        int64_t cost = ceil_div(g->out, n) * (n + 16);

        if (cost < least) {
            least = cost;
            best = n;
        }
    }
    return best;
}

/* Tiles of TILE_M rows by DEEP of x [n][in]. */
static bool map_rows(CUtensorMap *m, const void *x, int64_t n, int in)
{
    cuuint64_t size[3] = {(cuuint64_t)in, (cuuint64_t)n, 1};
    cuuint64_t step[2] = {(cuuint64_t)in * 2, (cuuint64_t)in * 2 * (cuuint64_t)n};
    cuuint32_t box[3] = {DEEP, TILE_M, 1}, one[3] = {1, 1, 1};
    encode_fn encode = encoder();

    return encode &&
           encode(m, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, (void *)x, size, step, box, one,
                  CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                  CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

template <int N> static void hopper_launch(struct cuda *c, const struct gemm *g)
{
    CUtensorMap map = {};
    int64_t tiles = (g->tiles.count ? g->tiles.most : ceil_div(g->n, TILE_M)) * ceil_div(g->out, N);

    cuda_ok(
        c, cudaFuncSetAttribute(gemm_hopper<N>, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes(N)),
        "gemm");
    if (!by_rows(*g) && !map_rows(&map, g->x, g->n, g->in))
        cuda_ok(c, cudaErrorInvalidValue, "gemm");
    gemm_hopper<N>
        <<<(unsigned)(tiles < c->processors ? tiles : c->processors), THREADS, shared_bytes(N)>>>(*g, map);
}

static void hopper_run(struct cuda *c, const struct gemm *g)
{
    int n = hopper_tile(g);

    if (n == 256)
        hopper_launch<256>(c, g);
    else if (n == 240)
        hopper_launch<240>(c, g);
    else
        hopper_launch<128>(c, g);
}

const struct maker maker_wgmma = {"wgmma", hopper_takes, hopper_tile, hopper_run};
