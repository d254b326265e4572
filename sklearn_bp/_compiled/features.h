/* Rows of features: copied into a batch, and sparse rows times a matrix.

Sparse rows are copied as dense rows, or as their stored numbers.  The products of stored
numbers are sums of the rows of a matrix (`add_rows`).

Included once per REAL, with N(name) as that type's name.
*/

/* A row of a matrix, or another run of numbers, times s if there is one. */
static void N(copy_row)(REAL *RESTRICT to, const REAL *RESTRICT from, int64_t stride,
                        const REAL *RESTRICT s, int64_t d) {
    if (stride != 1 && s) for (int64_t j = 0; j < d; j++) to[j] = s[j] * from[j * stride];
    else if (stride != 1) for (int64_t j = 0; j < d; j++) to[j] = from[j * stride];
    else if (s) for (int64_t j = 0; j < d; j++) to[j] = s[j] * from[j];
    else memcpy(to, from, sizeof(REAL) * d);
}

/* The numbers that a sparse row stores from `at` on, times s, and their columns. */
static void N(copy_stored)(REAL *RESTRICT to, int32_t *RESTRICT columns,
                           const Features *F, int64_t at, int64_t n,
                           const REAL *RESTRICT s) {
    const REAL *x = (const REAL *)F->X + at;
    if (F->is_long)
        for (int64_t e = 0; e < n; e++)
            columns[e] = (int32_t)((const int64_t *)F->indices + at)[e];
    else memcpy(columns, (const int32_t *)F->indices + at, sizeof(int32_t) * n);
    if (s) for (int64_t e = 0; e < n; e++) to[e] = s[columns[e]] * x[e];
    else memcpy(to, x, sizeof(REAL) * n);
}

/* A row of features (d,), times s if there is one. */
static void N(copy_features)(REAL *RESTRICT to, const Features *F, int64_t row,
                             const REAL *RESTRICT s, int64_t d) {
    const REAL *X = F->X;
    if (!F->indptr) {
        N(copy_row)(to, X + row * F->row_stride, F->column_stride, s, d);
        return;
    }
    memset(to, 0, sizeof(REAL) * d);
    for (int64_t e = F->indptr[row]; e < F->indptr[row + 1]; e++) {
        int64_t j = F->is_long ? ((const int64_t *)F->indices)[e]
                               : ((const int32_t *)F->indices)[e];
        to[j] += s ? s[j] * X[e] : X[e];
    }
}

/* Load a dense row into the cache, to be copied soon. */
static void N(fetch)(const Features *F, int64_t row, int64_t d) {
    if (F->indptr || F->column_stride != 1) return;
    const char *x = (const char *)((const REAL *)F->X + row * F->row_stride);
    for (int64_t at = 0; at < (int64_t)sizeof(REAL) * d; at += 64) PREFETCH(x + at);
}

/* to (h,) += the sum of n rows of a matrix, row at[i] + shift times x[i]: a sparse row
   times a matrix. */
static void N(add_rows)(REAL *RESTRICT to, const REAL *RESTRICT matrix, int64_t stride,
                        int64_t shift, const int32_t *RESTRICT at,
                        const REAL *RESTRICT x, int64_t n, int64_t h) {
    int64_t e = 0;
#define ROW(i) (matrix + (at[e + (i)] + shift) * stride)
    for (; e + 8 <= n; e += 8) {
        const REAL *RESTRICT m0 = ROW(0), *RESTRICT m1 = ROW(1), *RESTRICT m2 = ROW(2);
        const REAL *RESTRICT m3 = ROW(3), *RESTRICT m4 = ROW(4), *RESTRICT m5 = ROW(5);
        const REAL *RESTRICT m6 = ROW(6), *RESTRICT m7 = ROW(7);
        REAL x0 = x[e], x1 = x[e + 1], x2 = x[e + 2], x3 = x[e + 3];
        REAL x4 = x[e + 4], x5 = x[e + 5], x6 = x[e + 6], x7 = x[e + 7];
        for (int64_t u = 0; u < h; u++)
            to[u] += ((x0 * m0[u] + x1 * m1[u]) + (x2 * m2[u] + x3 * m3[u])) +
                     ((x4 * m4[u] + x5 * m5[u]) + (x6 * m6[u] + x7 * m7[u]));
    }
    for (; e + 4 <= n; e += 4) {
        const REAL *RESTRICT m0 = ROW(0), *RESTRICT m1 = ROW(1), *RESTRICT m2 = ROW(2);
        const REAL *RESTRICT m3 = ROW(3);
        REAL x0 = x[e], x1 = x[e + 1], x2 = x[e + 2], x3 = x[e + 3];
        for (int64_t u = 0; u < h; u++)
            to[u] += (x0 * m0[u] + x1 * m1[u]) + (x2 * m2[u] + x3 * m3[u]);
    }
    for (; e + 2 <= n; e += 2) {
        const REAL *RESTRICT m0 = ROW(0), *RESTRICT m1 = ROW(1);
        REAL x0 = x[e], x1 = x[e + 1];
        for (int64_t u = 0; u < h; u++) to[u] += x0 * m0[u] + x1 * m1[u];
    }
    for (; e < n; e++) {
        const REAL *RESTRICT m0 = ROW(0);
        REAL x0 = x[e];
        for (int64_t u = 0; u < h; u++) to[u] += x0 * m0[u];
    }
#undef ROW
}
