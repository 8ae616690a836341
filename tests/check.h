/*
 * check.h -- the whole test framework of the C tests: a failing CHECK prints where and what, the program
 * goes on, and ends with status 1. Status 77: everything was skipped (said on stdout as "skip: WHY").
 */
#ifndef MOE_TESTS_CHECK_H
#define MOE_TESTS_CHECK_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check_failed, check_passed;

#define CHECK(cond) CHECK_MSG(cond, "%s", #cond)
#define CHECK_MSG(cond, ...)                                                                                 \
    do {                                                                                                     \
        if (cond) {                                                                                          \
            check_passed++;                                                                                  \
        } else {                                                                                             \
            check_failed++;                                                                                  \
            printf("%s:%d: ", __FILE__, __LINE__);                                                           \
            printf(__VA_ARGS__);                                                                             \
            printf("\n");                                                                                    \
        }                                                                                                    \
    } while (0)
#define CHECK_STR(a, b) CHECK_MSG(strcmp((a), (b)) == 0, "'%s' is not '%s'", (a), (b))
/* |a - b| <= abs + rel * |b| */
#define CHECK_NEAR(a, b, abs_tol, rel_tol)                                                                   \
    CHECK_MSG(fabs((double)(a) - (double)(b)) <= (abs_tol) + (rel_tol)*fabs((double)(b)),                    \
              "%s = %.9g is not %.9g", #a, (double)(a), (double)(b))
/* As the last statement of main. */
#define CHECK_END()                                                                                          \
    do {                                                                                                     \
        printf("%s: %d checks passed, %d failed\n", __FILE__, check_passed, check_failed);                   \
        return check_failed ? 1 : 0;                                                                         \
    } while (0)
#define CHECK_SKIP(why)                                                                                      \
    do {                                                                                                     \
        printf("skip: %s: %s\n", __FILE__, why);                                                             \
        return 77;                                                                                           \
    } while (0)

/* The folder with reference data beside the checkout; MOE_SHARED overrides. */
static inline const char *shared_dir(void)
{
    const char *s = getenv("MOE_SHARED");

    return s ? s : "../shared";
}

/* Set by make check-gpu: what can run on either device runs on the GPU. */
static inline int on_gpu(void)
{
    const char *s = getenv("MOE_DEVICE");

    return s && strcmp(s, "cuda") == 0;
}

#endif
