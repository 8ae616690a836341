/*
 * least_squares.h -- private to judge: ridge regression.
 */
#ifndef MOE_JUDGE_LEAST_SQUARES_H
#define MOE_JUDGE_LEAST_SQUARES_H

#include "base/err.h"

/*
 * x with (M + r D) x = v, D = diag M, by Cholesky's method: m [n][n], symmetric and not negative; x
 * [n][width], v on entry. Rows where M's diagonal is 0 become 0. Refused: a matrix that is not positive
 * definite even so.
 */
int ridge_solve(const double *m, int n, double ridge, double *x, int width, struct err *e);

#endif
