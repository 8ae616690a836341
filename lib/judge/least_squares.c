/* least_squares.c -- normal equations by Cholesky, in f64. */
#include "judge/least_squares.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

/* l [n][n] lower triangle in place. */
static int cholesky(double *l, int n, struct err *e)
{
    int i, j, k;

    for (j = 0; j < n; j++)
        for (i = j; i < n; i++) {
            double sum = l[i * n + j];

            for (k = 0; k < j; k++)
                sum -= l[i * n + k] * l[j * n + k];
            if (i > j)
                l[i * n + j] = sum / l[j * n + j];
            else if (sum > 0)
                l[j * n + j] = sqrt(sum);
            else
                return err_set(e, ERR_INPUT,
                               "the least squares have no single solution: a larger ridge helps");
        }
    return 0;
}

static void take_off(double *to, double factor, const double *from, int width)
{
    int i;

    for (i = 0; i < width; i++)
        to[i] -= factor * from[i];
}

static void divide(double *row, double by, int width)
{
    int i;

    for (i = 0; i < width; i++)
        row[i] /= by;
}

static void substitute(const double *l, int n, double *x, size_t width)
{
    int i, k;

    for (i = 0; i < n; i++) {
        for (k = 0; k < i; k++)
            take_off(x + (size_t)i * width, l[i * n + k], x + (size_t)k * width, (int)width);
        divide(x + (size_t)i * width, l[i * n + i], (int)width);
    }
    for (i = n - 1; i >= 0; i--) {
        for (k = i + 1; k < n; k++)
            take_off(x + (size_t)i * width, l[k * n + i], x + (size_t)k * width, (int)width);
        divide(x + (size_t)i * width, l[i * n + i], (int)width);
    }
}

int ridge_solve(const double *m, int n, double ridge, double *x, int width, struct err *e)
{
    double *l = mem_new((size_t)n * (size_t)n, sizeof *l, e);
    int i, j, rc;

    if (!l)
        return -1;
    for (i = 0; i < n; i++) {
        double d = m[i * n + i];

        for (j = 0; j < n; j++)
            l[i * n + j] = m[i * n + j];
        l[i * n + i] = d > 0 ? d * (1 + ridge) : 1;
        for (j = 0; j < width && !(d > 0); j++)
            x[(size_t)i * (size_t)width + (size_t)j] = 0;
    }
    rc = cholesky(l, n, e);
    if (!rc)
        substitute(l, n, x, (size_t)width);
    free(l);
    return rc;
}
