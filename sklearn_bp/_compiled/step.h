/* The steps of an epoch, member by member: BLAS products, and plain loops between them.

Included once per REAL, with N(name) as that type's name.  The letters are those of
`_network`, for the n rows of a batch that a member learns from:

    a1 (n, h)      hidden layer            delta1 (n, h)   hidden error
    z2 (k, n)      scores, one row per output, then in the same place
    delta2 (k, n)  output error, times the weights of the rows

All matrices are in C order.  Sparse rows have two forms here: copied as dense rows, or
as their stored numbers (`Stored`), of which all products are sums of matrix rows.
*/

typedef void (*N(gemm_t))(char *, char *, int *, int *, int *, REAL *, REAL *, int *,
                          REAL *, int *, REAL *, REAL *, int *);

/* c (m, n) = op(a) op(b) + beta c; a_T and b_T say whether a and b are transposed. */
static void N(product)(const void *gemm, const REAL *a, int64_t lda, int a_T,
                       const REAL *b, int64_t ldb, int b_T, REAL beta, REAL *c,
                       int64_t ldc, int64_t m, int64_t n, int64_t inner) {
    /* Fortran reads C's rows as columns: c^T = op(b)^T op(a)^T. */
    REAL one = 1;
    int m_ = (int)n, n_ = (int)m, k_ = (int)inner;
    int lda_ = (int)ldb, ldb_ = (int)lda, ldc_ = (int)ldc;
    N(gemm_t) function;
    memcpy(&function, &gemm, sizeof function);
    function(b_T ? "T" : "N", a_T ? "T" : "N", &m_, &n_, &k_, &one, (REAL *)b, &lda_,
             (REAL *)a, &ldb_, &beta, c, &ldc_);
}

static ALWAYS_INLINE REAL N(dot)(const REAL *RESTRICT a, const REAL *RESTRICT b,
                                 int64_t n) {
    REAL sum = 0;
    SIMD_SUM(sum)
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* f(z), and f'(z) as a function of a = f(z); inlined with a constant `activation`. */
static ALWAYS_INLINE REAL N(activated)(int activation, REAL z) {
    if (activation == RELU) return 0 > z ? 0 : z;
    if (activation == TANH) return N(tanh)(z);
    if (activation == LOGISTIC) return 1 / (1 + N(exp)(-z));
    return z;
}
static ALWAYS_INLINE REAL N(times_slope)(int activation, REAL a, REAL delta) {
    if (activation == RELU) return a > 0 ? delta : 0;
    if (activation == TANH) return delta * (1 - a * a);
    if (activation == LOGISTIC) return delta * a * (1 - a);
    return delta;
}

/* a1 = f(a1 + b1); with a single output also z2 = a1 W2 + b2.  Here and below, values
   that are the same for all rows are loaded once for four rows. */
static ALWAYS_INLINE void N(hidden_layer)(int activation, REAL *RESTRICT a1,
                                          const REAL *RESTRICT b1, int64_t b, int64_t h,
                                          const REAL *RESTRICT W2, REAL b2,
                                          REAL *RESTRICT z2) {
    int64_t i = 0;
    for (; z2 && i + 4 <= b; i += 4) {
        REAL *RESTRICT p = a1 + i * h, *RESTRICT q = p + h, *RESTRICT r = q + h;
        REAL *RESTRICT t = r + h, sp = 0, sq = 0, sr = 0, st = 0;
        SIMD_SUMS(sp, sq, sr, st)
        for (int64_t u = 0; u < h; u++) {
            REAL of_u = b1[u], to_u = W2[u];
            p[u] = N(activated)(activation, p[u] + of_u);
            q[u] = N(activated)(activation, q[u] + of_u);
            r[u] = N(activated)(activation, r[u] + of_u);
            t[u] = N(activated)(activation, t[u] + of_u);
            sp += p[u] * to_u, sq += q[u] * to_u, sr += r[u] * to_u, st += t[u] * to_u;
        }
        z2[i] = b2 + sp, z2[i + 1] = b2 + sq, z2[i + 2] = b2 + sr, z2[i + 3] = b2 + st;
    }
    for (; i < b; i++) {
        REAL *RESTRICT row = a1 + i * h;
        for (int64_t u = 0; u < h; u++) row[u] = N(activated)(activation, row[u] + b1[u]);
        if (z2) z2[i] = b2 + N(dot)(row, W2, h);
    }
}
static void N(hidden)(int64_t activation, REAL *a1, const REAL *b1, int64_t b, int64_t h,
                      const REAL *W2, REAL b2, REAL *z2) {
    switch (activation) {
    case RELU: N(hidden_layer)(RELU, a1, b1, b, h, W2, b2, z2); break;
    case TANH: N(hidden_layer)(TANH, a1, b1, b, h, W2, b2, z2); break;
    case LOGISTIC: N(hidden_layer)(LOGISTIC, a1, b1, b, h, W2, b2, z2); break;
    default: N(hidden_layer)(IDENTITY, a1, b1, b, h, W2, b2, z2);
    }
}

/* delta1 *= f'(z1), where delta1 is delta2 W2^T on entry; adds to dL/db1. */
static ALWAYS_INLINE void N(hidden_errors)(int activation, REAL *RESTRICT delta1,
                                           const REAL *RESTRICT a1, int64_t b, int64_t h,
                                           REAL *RESTRICT g_b1) {
    int64_t i = 0;
    for (; i + 4 <= b; i += 4) {
        const REAL *RESTRICT a = a1 + i * h;
        REAL *RESTRICT p = delta1 + i * h, *RESTRICT q = p + h, *RESTRICT r = q + h;
        REAL *RESTRICT t = r + h;
        for (int64_t u = 0; u < h; u++) {
            p[u] = N(times_slope)(activation, a[u], p[u]);
            q[u] = N(times_slope)(activation, a[u + h], q[u]);
            r[u] = N(times_slope)(activation, a[u + 2 * h], r[u]);
            t[u] = N(times_slope)(activation, a[u + 3 * h], t[u]);
            g_b1[u] += (p[u] + q[u]) + (r[u] + t[u]);
        }
    }
    for (; i < b; i++) {
        const REAL *RESTRICT a = a1 + i * h;
        REAL *RESTRICT delta = delta1 + i * h;
        for (int64_t u = 0; u < h; u++) {
            delta[u] = N(times_slope)(activation, a[u], delta[u]);
            g_b1[u] += delta[u];
        }
    }
}
/* With a single output: delta1 = (delta2 W2^T) f'(z1), which overwrites a1; adds to
   dL/db1 and dL/dW2. */
static ALWAYS_INLINE void N(hidden_errors_of_one)(
    int activation, REAL *RESTRICT a1, int64_t b, int64_t h, REAL *RESTRICT g_b1,
    const REAL *RESTRICT delta2, const REAL *RESTRICT W2, REAL *RESTRICT g_W2) {
    int64_t i = 0;
    for (; i + 4 <= b; i += 4) {
        REAL *RESTRICT p = a1 + i * h, *RESTRICT q = p + h, *RESTRICT r = q + h;
        REAL *RESTRICT t = r + h;
        REAL ep = delta2[i], eq = delta2[i + 1], er = delta2[i + 2], et = delta2[i + 3];
        for (int64_t u = 0; u < h; u++) {
            REAL from_u = W2[u];
            g_W2[u] += (ep * p[u] + eq * q[u]) + (er * r[u] + et * t[u]);
            p[u] = N(times_slope)(activation, p[u], ep * from_u);
            q[u] = N(times_slope)(activation, q[u], eq * from_u);
            r[u] = N(times_slope)(activation, r[u], er * from_u);
            t[u] = N(times_slope)(activation, t[u], et * from_u);
            g_b1[u] += (p[u] + q[u]) + (r[u] + t[u]);
        }
    }
    for (; i < b; i++) {
        REAL *RESTRICT a = a1 + i * h;
        REAL error = delta2[i];
        for (int64_t u = 0; u < h; u++) {
            g_W2[u] += error * a[u];
            a[u] = N(times_slope)(activation, a[u], error * W2[u]);
            g_b1[u] += a[u];
        }
    }
}
/* The hidden error in both cases; delta1 is NULL for a single output. */
static REAL *N(hidden_error)(int64_t activation, REAL *delta1, REAL *a1, int64_t b,
                             int64_t h, REAL *g_b1, const REAL *delta2, const REAL *W2,
                             REAL *g_W2) {
#define CASE(A) \
    if (delta1) N(hidden_errors)(A, delta1, a1, b, h, g_b1); \
    else N(hidden_errors_of_one)(A, a1, b, h, g_b1, delta2, W2, g_W2); \
    break;
    switch (activation) {
    case RELU: CASE(RELU)
    case TANH: CASE(TANH)
    case LOGISTIC: CASE(LOGISTIC)
    default: CASE(IDENTITY)
    }
#undef CASE
    return delta1 ? delta1 : a1;
}

/* -log p, finite also for p = 0; NaN stays NaN. */
static ALWAYS_INLINE REAL N(minus_log)(REAL p) {
    return -N(log)(EPSILON > p ? EPSILON : p);
}

/* From scores z2 (k, b) to the loss of each row, and to the errors delta2 (in z2).

Y is (k, b), its rows y_stride numbers apart; loss and spare are (b,).  The errors are
not multiplied by the weights of the rows here.
*/
static void N(losses)(int64_t kind, REAL *RESTRICT z2, const REAL *RESTRICT Y,
                      int64_t y_stride, REAL *RESTRICT loss, REAL *RESTRICT spare,
                      int64_t b, int64_t k) {
    if (kind == CATEGORICAL_LOG_LOSS) {
        for (int64_t i = 0; i < b; i++) spare[i] = z2[i];
        for (int64_t c = 1; c < k; c++) {
            const REAL *RESTRICT z = z2 + c * b;
            for (int64_t i = 0; i < b; i++) spare[i] = spare[i] < z[i] ? z[i] : spare[i];
        }
        for (int64_t i = 0; i < b; i++) loss[i] = 0;
        for (int64_t c = 0; c < k; c++) {
            REAL *RESTRICT z = z2 + c * b;
            for (int64_t i = 0; i < b; i++) z[i] = N(exp)(z[i] - spare[i]);
            for (int64_t i = 0; i < b; i++) loss[i] += z[i];
        }
        for (int64_t i = 0; i < b; i++) spare[i] = 1 / loss[i];
        for (int64_t i = 0; i < b; i++) loss[i] = 0;
        for (int64_t c = 0; c < k; c++) {
            REAL *RESTRICT z = z2 + c * b;
            const REAL *RESTRICT y = Y + c * y_stride;
            for (int64_t i = 0; i < b; i++) {
                REAL p = z[i] * spare[i];
                loss[i] += p * y[i];
                z[i] = p - y[i];
            }
        }
        for (int64_t i = 0; i < b; i++) loss[i] = N(minus_log)(loss[i]);
        return;
    }
    for (int64_t i = 0; i < b; i++) loss[i] = 0;
    for (int64_t c = 0; c < k; c++) {
        REAL *RESTRICT z = z2 + c * b;
        const REAL *RESTRICT y = Y + c * y_stride;
        if (kind == BINARY_LOG_LOSS) {
            for (int64_t i = 0; i < b; i++) {
                REAL p = 1 / (1 + N(exp)(-z[i]));
                loss[i] += N(minus_log)(y[i] > 0 ? p : 1 - p);
                z[i] = p - y[i];
            }
        } else {
            REAL share = (REAL)1 / (REAL)k;
            for (int64_t i = 0; i < b; i++) {
                REAL error = z[i] - y[i];
                loss[i] += (REAL)0.5 * error * error * share;
                z[i] = error * share;
            }
        }
    }
}

/* Steps of the optimizers, in one pass: the formulas of `optimizers`.

g is the gradient of a sum over the batch, and scale turns it into a mean.  shrink is the
factor of the penalty, keep that of a weight decay.  They return the squared norm of w.
*/
static REAL N(adam)(REAL *RESTRICT w, const REAL *RESTRICT g, REAL *RESTRICT m,
                    REAL *RESTRICT v, int64_t n, REAL scale, REAL shrink, REAL keep,
                    const double *betas, REAL step, REAL epsilon) {
    REAL beta_1 = (REAL)betas[0], of_g = (REAL)(1 - betas[0]);
    REAL beta_2 = (REAL)betas[1], of_g2 = (REAL)(1 - betas[1]), norm = 0;
    SIMD_SUM(norm)
    for (int64_t i = 0; i < n; i++) {
        REAL wi = keep * w[i];
        REAL x = scale * g[i] + shrink * wi;
        REAL mi = beta_1 * m[i] + of_g * x, vi = beta_2 * v[i] + of_g2 * x * x;
        norm += wi * wi;
        m[i] = mi;
        v[i] = vi;
        w[i] = wi - step * mi / (N(root)(vi) + epsilon);
    }
    return norm;
}
static REAL N(rmsprop)(REAL *RESTRICT w, const REAL *RESTRICT g, REAL *RESTRICT v,
                       int64_t n, REAL scale, REAL shrink, double rho_, REAL rate,
                       REAL epsilon) {
    REAL rho = (REAL)rho_, of_g2 = (REAL)(1 - rho_), norm = 0;
    SIMD_SUM(norm)
    for (int64_t i = 0; i < n; i++) {
        REAL x = scale * g[i] + shrink * w[i], vi = rho * v[i] + of_g2 * x * x;
        norm += w[i] * w[i];
        v[i] = vi;
        w[i] -= rate * x / (N(root)(vi) + epsilon);
    }
    return norm;
}
static REAL N(sgd)(REAL *RESTRICT w, const REAL *RESTRICT g, REAL *RESTRICT v, int64_t n,
                   REAL scale, REAL shrink, REAL momentum, REAL rate, REAL ahead) {
    REAL norm = 0;
    SIMD_SUM(norm)
    for (int64_t i = 0; i < n; i++) {
        REAL x = rate * (scale * g[i] + shrink * w[i]), vi = momentum * v[i] - x;
        norm += w[i] * w[i];
        v[i] = vi;
        w[i] += ahead ? momentum * vi - x : vi;
    }
    return norm;
}

/* The optimizer's update of n numbers from `at` on, of which g is the gradient;
   `penalized` are weights, not intercepts. */
static REAL N(moved)(const Rule *R, REAL *w, const REAL *g, int64_t at, REAL *m, REAL *v,
                     int64_t n, int penalized, const Step *S) {
    REAL s = (REAL)S->scale, p = penalized ? (REAL)S->shrink : 0, eps = (REAL)R->epsilon;
    double betas[2] = {R->beta_1, R->beta_2};
    if (!n) return 0;
    w += at, v += at;
    if (R->optimizer == ADAM) {
        REAL keep = penalized ? (REAL)(1 - S->rate * R->decay) : 1;
        return N(adam)(w, g, m + at, v, n, s, p, keep, betas, (REAL)S->step, eps);
    }
    if (R->optimizer == RMSPROP)
        return N(rmsprop)(w, g, v, n, s, p, R->beta_2, (REAL)S->rate, eps);
    return N(sgd)(w, g, v, n, s, p, (REAL)R->beta_1, (REAL)S->rate,
                  R->optimizer == NESTEROV);
}

static void N(flush)(REAL *RESTRICT x, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        REAL size = x[i] < 0 ? -x[i] : x[i];
        x[i] = size < NEXT_TO_NOTHING ? 0 : x[i];
    }
}

static void N(take_mean)(REAL *RESTRICT mean, const REAL *RESTRICT w, int64_t n,
                         double decay) {
    REAL keep = (REAL)decay, take = (REAL)(1 - decay);
    for (int64_t i = 0; i < n; i++) mean[i] = keep * mean[i] + take * w[i];
}

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

/* The stored numbers of a batch of sparse rows, row by row and once more feature by
   feature: those of row i stand from starts[i] to stops[i], those of feature j from
   of_feature[j] to of_feature[j + 1], by row. */
typedef struct {
    REAL *x, *x_by_feature;
    int32_t *columns, *rows;
    int64_t *starts, *stops, *of_feature;
} N(Stored);

/* Where a member's step is worked out.

`g` has the gradient of b1, then of W1, then, from g_W2 on, of W2 and b2.  With stored
numbers W1 is stepped in parts of so many features, and g has room for one of them.
*/
typedef struct {
    REAL *x, *y, *w_all, *a1, *delta1, *z2, *w, *loss, *spare, *g, *g_W2, *W2_T;
    int64_t *ends, *next, part;
    N(Stored) stored;
    N(Binned) binned;
} N(Desk);

/* For batches of `most` rows, out of n_rows from `start`. */
static N(Desk) N(desk)(const Training *J, int64_t most, int64_t start, int64_t n_rows,
                       Buffers *buffers) {
    int64_t d = J->d, h = J->h, k = J->k;
    int64_t copies = J->folds ? 2 : 1;
    N(Desk) D = {0};
    D.part = d;
    if (!is_stored(&J->features)) {
        D.x = take(buffers, sizeof(REAL) * copies * most * n_plain(J));
        if (J->bins.codes) D.binned = N(room_for_bins)(&J->bins, most, h, 1, buffers);
    } else {
        int64_t n = most_stored(J, start, n_rows);
        D.part = h < MOVED_AT_ONCE ? MOVED_AT_ONCE / h : 1;
        if (D.part > d) D.part = d;
        D.stored.x = take(buffers, sizeof(REAL) * n);
        D.stored.x_by_feature = take(buffers, sizeof(REAL) * n);
        D.stored.columns = take(buffers, sizeof(int32_t) * n);
        D.stored.rows = take(buffers, sizeof(int32_t) * n);
        D.stored.starts = take(buffers, sizeof(int64_t) * most);
        D.stored.stops = take(buffers, sizeof(int64_t) * most);
        D.stored.of_feature = take(buffers, sizeof(int64_t) * (d + 1));
    }
    D.y = take(buffers, sizeof(REAL) * copies * most * k);
    D.w_all = take(buffers, sizeof(REAL) * copies * most);
    D.a1 = take(buffers, sizeof(REAL) * most * h);
    D.delta1 = k > 1 ? take(buffers, sizeof(REAL) * most * h) : NULL;
    D.z2 = take(buffers, sizeof(REAL) * most * k);
    D.w = take(buffers, sizeof(REAL) * most);
    D.loss = take(buffers, sizeof(REAL) * most);
    D.spare = take(buffers, sizeof(REAL) * most);
    D.g = take(buffers, sizeof(REAL) * (h + D.part * h + h * k + k));
    D.W2_T = take(buffers, sizeof(REAL) * h * k);
    D.ends = take(buffers, sizeof(int64_t) * (J->M + 1));
    D.next = take(buffers, sizeof(int64_t) * (J->M + 1));
    if (!buffers->failed) D.g_W2 = D.g + h + D.part * h;
    return D;
}

/* The stored numbers of n rows feature by feature. */
static void N(turn)(const N(Stored) *T, int64_t n, int64_t d) {
    int64_t *RESTRICT of_feature = T->of_feature, before = 0;
    memset(of_feature, 0, sizeof *of_feature * (d + 1));
    for (int64_t i = 0; i < n; i++)
        for (int64_t e = T->starts[i]; e < T->stops[i]; e++)
            of_feature[T->columns[e]]++;
    /* how many there are, then where they begin, then, once they are filled, end */
    for (int64_t j = 0; j < d; j++) {
        int64_t found = of_feature[j];
        of_feature[j] = before;
        before += found;
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t e = T->starts[i]; e < T->stops[i]; e++) {
            int64_t to = of_feature[T->columns[e]]++;
            T->rows[to] = (int32_t)i;
            T->x_by_feature[to] = T->x[e];
        }
    memmove(of_feature + 1, of_feature, sizeof *of_feature * d);
    of_feature[0] = 0;
}

/* The b rows of a batch, sorted by the member that they are held out from.

x is (b, d), y (k, b), w (b,); the rows held out from member j are from ends[j] to
ends[j + 1].  With folds, all rows follow a second time, and y is (k, 2 b).  So the rows
that member j learns from, after and before its held-out ones, are contiguous from
ends[j + 1] on.
Stored numbers are there once: row i + b is row i.
*/
static void N(gather)(const Training *J, int64_t start, int64_t b, const REAL *s,
                      const N(Desk) *D) {
    int64_t d = n_plain(J), k = J->k, y_stride = J->folds ? 2 * b : b, n_stored = 0;
    int64_t *RESTRICT ends = D->ends, *RESTRICT next = D->next;
    const Features *F = &J->features;
    const Bins *B = &J->bins;
    const N(Stored) *T = &D->stored;
    const REAL *Y = J->Y, *row_weights = J->row_weights;
    REAL *x = D->x, *y = D->y, *w = D->w_all;
    const uint8_t *flags = J->Y;
    if (J->folds) {
        memset(ends, 0, sizeof *ends * (J->M + 1));
        for (int64_t i = 0; i < b; i++)
            ends[J->folds[J->order ? J->order[start + i] : start + i] + 1]++;
        for (int64_t j = 0; j < J->M; j++) ends[j + 1] += ends[j];
        memcpy(next, ends, sizeof *ends * J->M);
    }
    for (int64_t i = 0; i < b; i++) {
        int64_t row = J->order ? J->order[start + i] : start + i;
        int64_t to = J->folds ? next[J->folds[row]]++ : i;
        if (x) {
            if (i + AHEAD < b) {
                int64_t at = start + i + AHEAD, later = J->order ? J->order[at] : at;
                N(fetch)(F, later, d);
                if (B->codes) N(fetch_bins)(B, later);
            }
            N(copy_features)(x + to * d, F, row, s, d);
            if (B->codes) N(copy_bins)(B, row, &D->binned, to);
        } else {
            int64_t n = F->indptr[row + 1] - F->indptr[row];
            T->starts[to] = n_stored;
            T->stops[to] = n_stored + n;
            N(copy_stored)(T->x + n_stored, T->columns + n_stored, F, F->indptr[row], n, s);
            n_stored += n;
        }
        for (int64_t c = 0; c < k; c++)
            y[c * y_stride + to] = J->Y_is_bytes ? (REAL)flags[row * k + c] : Y[row * k + c];
        w[to] = row_weights ? row_weights[row] : 1;
    }
    if (!x) N(turn)(T, b, J->d);
    if (B->codes) N(sort_by_bin)(B, &D->binned, b);
    if (!J->folds) return;
    if (x) memcpy(x + b * d, x, sizeof(REAL) * b * d);
    memcpy(w + b, w, sizeof(REAL) * b);
    for (int64_t c = 0; c < k; c++)
        memcpy(y + c * y_stride + b, y + c * y_stride, sizeof(REAL) * b);
}

/* A step on a whole vector, in parts, so that the sum of squares has little rounding. */
static double N(move)(const Moving *J, const Step *S) {
    REAL *theta = J->theta, *m = J->first, *v = J->second;
    double norm = 0;
    for (int64_t at = 0, to; at < J->n; at = to) {
        int64_t end = at < J->low ? J->low : at < J->high ? J->high : J->n;
        int penalized = J->low <= at && at < J->high;
        to = end - at < MOVED_AT_ONCE ? end : at + MOVED_AT_ONCE;
        double squares = N(moved)(&J->rule, theta, (const REAL *)J->g + at, at, m, v,
                                    to - at, penalized, S);
        if (penalized) norm += squares;
        if (!S->flushes) continue;
        N(flush)(theta + at, to - at);
        N(flush)(v + at, to - at);
        if (m) N(flush)(m + at, to - at);
    }
    return norm;
}

/* Add rows `from` to `to` of the b rows on the desk to a member's gradient; their loss.

The gradient of W1 (and of several outputs that of W2) has no values yet if is_first;
`own` is the weight of a row for the member.  With stored numbers the gradient of W1 is
left to `step_of_stored`.
*/
static double N(learn)(const Training *J, const N(Desk) *D, int64_t from, int64_t to,
                       int64_t b, int64_t y_stride, REAL own, const REAL *theta,
                       const REAL *s, int is_first) {
    int64_t d = n_plain(J), h = J->h, k = J->k, n = to - from, W2_at = h + J->d * h;
    const REAL *x = D->x ? D->x + from * d : NULL;
    const REAL *W1 = theta + h, *W2 = theta + W2_at, *b2 = W2 + h * k;
    REAL *g_W1 = D->g + h, *g_W2 = D->g_W2, *g_b2 = g_W2 + h * k;
    REAL *a1 = D->a1, *z2 = D->z2, *w = D->w;

    /* forward: a1 = f(x W1 + b1), z2 = a1 W2 + b2 */
    if (x) N(product)(J->gemm, x, d, 0, W1, h, 0, 0, a1, h, n, h, d);
    for (int64_t i = 0; !x && i < n; i++) {
        const N(Stored) *T = &D->stored;
        int64_t row = from + i < b ? from + i : from + i - b, at = T->starts[row];
        memset(a1 + i * h, 0, sizeof(REAL) * h);
        N(add_rows)(a1 + i * h, W1, h, 0, T->columns + at, T->x + at, T->stops[row] - at, h);
    }
    if (J->bins.codes) {
        N(find_sums)(&J->bins, &D->binned, W1 + d * h, h, s ? s + d : NULL, h);
        N(add_bins)(&J->bins, &D->binned, a1, from, n, b, h);
    }
    N(hidden)(J->activation, a1, theta, n, h, W2, b2[0], k == 1 ? z2 : NULL);
    if (k > 1) {
        for (int64_t c = 0; c < k; c++)
            for (int64_t i = 0; i < n; i++) z2[c * n + i] = b2[c];
        N(product)(J->gemm, D->W2_T, h, 0, a1, h, 1, 1, z2, n, k, n, h);
    }
    /* output error, and dL/db2 */
    N(losses)(J->loss, z2, D->y + from, y_stride, D->loss, D->spare, n, k);
    double total = 0;
    for (int64_t i = 0; i < n; i++) w[i] = own * D->w_all[from + i];
    SIMD_SUM(total)
    for (int64_t i = 0; i < n; i++) total += (double)(w[i] * D->loss[i]);
    for (int64_t c = 0; c < k; c++) {
        REAL *RESTRICT delta2 = z2 + c * n, sum = 0;
        for (int64_t i = 0; i < n; i++) delta2[i] *= w[i];
        SIMD_SUM(sum)
        for (int64_t i = 0; i < n; i++) sum += delta2[i];
        g_b2[c] += sum;
    }
    /* hidden error, and the gradients */
    if (k > 1) {
        N(product)(J->gemm, a1, h, 1, z2, n, 1, !is_first, g_W2, k, h, k, n);
        N(product)(J->gemm, z2, n, 1, D->W2_T, h, 0, 0, D->delta1, h, n, h, k);
    }
    REAL *delta1 = N(hidden_error)(J->activation, D->delta1, a1, n, h, D->g, z2, W2, g_W2);
    if (x) N(product)(J->gemm, x, d, 1, delta1, h, 0, !is_first, g_W1, h, d, h, n);
    if (J->bins.codes) {
        memset(delta1 + n * h, 0, sizeof(REAL) * (b - n) * h); /* rows held out */
        N(find_slopes)(&J->bins, &D->binned, delta1, D->g, from, b, s ? s + d : NULL,
                       g_W1 + d * h, h);
    }
    return total;
}

/* A step on n numbers of member j from `at` on, g being their gradient, with all that
   belongs to a step.  It returns the squared norm of the penalized weights before it. */
static double N(update)(const Training *J, const Step *S, int64_t j, const REAL *g,
                        int64_t at, int64_t n, int penalized) {
    int64_t own = j * J->size;
    REAL *theta = (REAL *)J->theta + own, *v = (REAL *)J->second + own;
    REAL *m = J->first ? (REAL *)J->first + own : NULL;
    double squares = N(moved)(&J->rule, theta, g, at, m, v, n, penalized, S);
    if (S->flushes) {
        N(flush)(theta + at, n);
        N(flush)(v + at, n);
        if (m) N(flush)(m + at, n);
    }
    if (S->averages) N(take_mean)((REAL *)J->average + own + at, theta + at, n, S->kept);
    return penalized ? squares : 0;
}

/* A step on the W1 of member j, of the stored numbers on the desk.

Features follow each other in parts: the gradient of some, and their step while that is
in the cache.  The rows of the member, n from `first` on, are two runs of those of a
feature.  slopes are as in `step`.
*/
static double N(step_of_stored)(const Training *J, const N(Desk) *D, const Step *S,
                                int64_t j, int64_t first, int64_t n, const REAL *s,
                                REAL *slopes) {
    int64_t d = J->d, h = J->h, b = S->b, n_before = first + n - b;
    const REAL *W1 = (const REAL *)J->theta + j * J->size + h;
    const REAL *delta1 = D->delta1 ? D->delta1 : D->a1;
    const N(Stored) *T = &D->stored;
    double norm = 0;
    for (int64_t from = 0, to; from < d; from = to) {
        to = d - from < D->part ? d : from + D->part;
        REAL *g_W1 = D->g + h;
        memset(g_W1, 0, sizeof(REAL) * (to - from) * h);
        for (int64_t i = from; i < to; i++) {
            int64_t at = T->of_feature[i], length = T->of_feature[i + 1] - at, low = 0;
            const int32_t *rows = T->rows + at;
            const REAL *x = T->x_by_feature + at;
            REAL *g = g_W1 + (i - from) * h;
            if (slopes) slopes[i] = 0;
            if (!length) continue;
            int64_t high = 0;
            if (J->folds)
                for (int64_t e = 0; e < length; e++)
                    low += rows[e] < n_before, high += rows[e] < first;
            N(add_rows)(g, delta1, h, b - first, rows, x, low, h);
            N(add_rows)(g, delta1, h, -first, rows + high, x + high, length - high, h);
            if (slopes) slopes[i] = N(dot)(W1 + i * h, g, h) / s[i];
        }
        norm += N(update)(J, S, j, g_W1, h + from * h, (to - from) * h, 1);
    }
    return norm;
}

/* A step of member j on the batch that lies on the desk.

slopes (d,), unless NULL, receive the derivatives of its loss by the scales s.
*/
static void N(step)(const Training *J, const N(Desk) *D, const Step *S, int64_t j,
                    const REAL *s, REAL *slopes) {
    int64_t d = J->d, h = J->h, k = J->k, b = S->b;
    int64_t W2_at = h + d * h, b2_at = W2_at + h * k;
    const REAL *theta = (const REAL *)J->theta + j * J->size, *W1 = theta + h;
    REAL *g_W1 = D->g + h, *g_W2 = D->g_W2, *g_b2 = g_W2 + h * k;
    /* Its rows: all but those held out from it. */
    int64_t first = J->folds ? D->ends[j + 1] : 0, y_stride = J->folds ? 2 * b : b;
    int64_t n = J->folds ? b - (D->ends[j + 1] - D->ends[j]) : b;
    int at_once = !D->x || J->bins.codes;
    int64_t part = at_once ? (n > 0 ? n : 1) : rows_at_once(n, d * h);
    double total = 0, norm = 0;

    if (k > 1)
        /* Transpose W2 for BLAS, which takes 0.3 to 0.7 of the time for small matrices
           that it need not transpose; with 5 classes this saves 8 % of a step */
        for (int64_t u = 0; u < h; u++)
            for (int64_t c = 0; c < k; c++) D->W2_T[c * h + u] = theta[W2_at + u * k + c];
    memset(D->g, 0, sizeof(REAL) * h);
    memset(g_b2, 0, sizeof(REAL) * k);
    if (k == 1 || !n) memset(g_W2, 0, sizeof(REAL) * h * k);
    if (D->x && !n) memset(g_W1, 0, sizeof(REAL) * d * h);
    for (int64_t i = first; i < first + n; i += part) {
        int64_t to = first + n - i < part ? first + n : i + part;
        total += N(learn)(J, D, i, to, b, y_stride, (REAL)J->member_weights[j], theta,
                          s, i == first);
    }
    if (D->x && slopes) {  /* x is s times the features, and so is dL/dW1 */
        for (int64_t i = 0; i < d; i++)
            slopes[i] = N(dot)(W1 + i * h, g_W1 + i * h, h) / s[i];
    }
    if (D->x) {
        norm = N(update)(J, S, j, g_W1, h, d * h + h * k, 1);
    } else {
        norm = N(step_of_stored)(J, D, S, j, first, n, s, slopes);
        norm += N(update)(J, S, j, g_W2, W2_at, h * k, 1);
    }
    N(update)(J, S, j, D->g, 0, h, 0);
    N(update)(J, S, j, g_b2, b2_at, k, 0);
    J->sums[SUMS * j] += total;
    J->sums[SUMS * j + 1] += norm * b / S->rows_of_penalty;
}

/* s = 1 + scale_speed r. */
static void N(find_scales)(const Training *J, REAL *s) {
    const REAL *r = J->r;
    for (int64_t i = 0; i < J->d; i++) {
        REAL q = 1 + (REAL)J->scale_speed * r[i], size = q < 0 ? -q : q;
        s[i] = size < SMALLEST_FACTOR ? SMALLEST_FACTOR : q;
    }
}

/* A step of r along the slopes (M, d), which are added up in the order of the members.
   `sums` has space for one number per group. */
static void N(move_scales)(const Training *J, const Step *S, REAL *slopes, REAL *sums) {
    int64_t d = J->d;
    for (int64_t j = 1; j < J->M; j++)
        for (int64_t i = 0; i < d; i++) slopes[i] += slopes[j * d + i];
    if (J->groups) {
        for (int64_t g = 0; g < J->n_groups; g++) sums[g] = 0;
        for (int64_t i = 0; i < d; i++) sums[J->groups[i]] += slopes[i];
        for (int64_t i = 0; i < d; i++) slopes[i] += (REAL)J->together * sums[J->groups[i]];
    }
    for (int64_t i = 0; i < d; i++) slopes[i] *= (REAL)J->scale_speed;
    N(moved)(&J->rule, J->r, slopes, 0, J->r_first, J->r_second, d, 0, S);
    if (S->flushes) {
        N(flush)(J->r, d);
        if (J->r_first) N(flush)(J->r_first, d);
    }
    if (S->averages) N(take_mean)(J->r_average, J->r, d, S->kept);
}

/* Train members `first` to `last` on n_rows rows from `start`, after `steps` steps. */
static int N(train)(const Training *J, int64_t first, int64_t last, int64_t start,
                    int64_t n_rows, int64_t steps) {
    Buffers buffers = {0};
    N(Desk) D = N(desk)(J, J->batch < n_rows ? J->batch : n_rows, start, n_rows, &buffers);
    if (buffers.failed) return give_back(&buffers), SKLEARN_BP_OUT_OF_MEMORY;
    for (int64_t stop = start + n_rows; start < stop; start += J->batch, steps++) {
        Step S = step_of(J, steps, stop - start < J->batch ? stop - start : J->batch);
        N(gather)(J, start, S.b, NULL, &D);
        for (int64_t j = first; j < last; j++) N(step)(J, &D, &S, j, NULL, NULL);
    }
    give_back(&buffers);
    return 0;
}

/* The same for members that share feature scales, with the threads of a meeting. */
static int N(train_together)(const Training *J, int64_t first, int64_t last, int64_t start,
                             int64_t n_rows, int64_t steps, Meeting *T) {
    int64_t d = J->d, n_steps = (n_rows + J->batch - 1) / J->batch, gathered = -1, now;
    REAL *slopes = T->slopes;
    Buffers buffers = {0};
    N(Desk) D = N(desk)(J, J->batch < n_rows ? J->batch : n_rows, start, n_rows, &buffers);
    REAL *s = take(&buffers, sizeof(REAL) * d);
    REAL *sums = J->groups ? take(&buffers, sizeof(REAL) * J->n_groups) : NULL;
    if (buffers.failed) return give_back(&buffers), SKLEARN_BP_OUT_OF_MEMORY;
    int64_t seat = atomic_fetch_add(&T->n_seated.value, 1);
    Step S = {0};
    while (seat < T->n_seats && (now = atomic_load(&T->steps.value)) < n_steps) {
        int64_t j = claim(T, now, first, last);
        if (j < 0) {
            wait_for_step(T, now, seat);
            continue;
        }
        /* The step does not end before this member is done, so J->r and s stay until then. */
        if (gathered != now) {
            int64_t at = now * J->batch, b = n_rows - at < J->batch ? n_rows - at : J->batch;
            S = step_of(J, steps + now, b);
            N(find_scales)(J, s);
            N(gather)(J, start + at, b, s, &D);
            gathered = now;
        }
        N(step)(J, &D, &S, j, s, slopes + j * d);
        if (is_last(T, now)) {
            N(move_scales)(J, &S, slopes, sums);
            begin_step(T, now + 1);
        }
    }
    give_back(&buffers);
    return 0;
}

/* a1 = x W1 of a sparse row: some of its stored numbers after the other. */
static void N(hidden_of_stored)(const Features *F, int64_t row, const REAL *W1,
                                int64_t stride, REAL *a1, int64_t h) {
    REAL x[STORED_AT_ONCE];
    int32_t columns[STORED_AT_ONCE];
    int64_t stop = F->indptr[row + 1];
    memset(a1, 0, sizeof(REAL) * h);
    for (int64_t at = F->indptr[row]; at < stop; at += STORED_AT_ONCE) {
        int64_t n = stop - at < STORED_AT_ONCE ? stop - at : STORED_AT_ONCE;
        N(copy_stored)(x, columns, F, at, n, NULL);
        N(add_rows)(a1, W1, stride, 0, columns, x, n, h);
    }
}

/* Scores, (n, k), of the rows held out from members `first` to `last`. */
static int N(score)(const Scoring *J, int64_t first, int64_t last) {
    int64_t d = J->d, h = J->h, k = J->k, wide = h * J->M, most = SCORED_ROWS;
    const Bins *B = &J->bins;
    int64_t m = B->m, plain = B->codes ? B->plain : d;
    N(Binned) D = {0};
    int stored = is_stored(&J->features);
    const REAL *X = J->features.X;
    Buffers buffers = {0};
    while (most > 8 && most * d * h > DIRECT_PRODUCT) most /= 2;
    REAL *copied = J->rows && !stored ? take(&buffers, sizeof(REAL) * most * d) : NULL;
    REAL *a1 = take(&buffers, sizeof(REAL) * most * h);
    if (B->codes) D = N(room_for_bins)(B, J->rows ? most : 0, h, 0, &buffers);
    if (buffers.failed) return give_back(&buffers), SKLEARN_BP_OUT_OF_MEMORY;
    for (int64_t j = first; j < last; j++) {
        const REAL *W1 = (const REAL *)J->W1 + j * h, *W2 = (const REAL *)J->W2 + j * h * k;
        const REAL *b1 = (const REAL *)J->b1 + j * h, *b2 = (const REAL *)J->b2 + j * k;
        if (B->codes) N(find_sums)(B, &D, W1 + plain * wide, wide, NULL, h);
        for (int64_t i = J->starts[j]; i < J->starts[j + 1]; i += most) {
            int64_t b = J->starts[j + 1] - i < most ? J->starts[j + 1] - i : most;
            const REAL *x = J->rows ? copied : X + i * d;
            const int64_t *rows = J->rows ? J->rows + i : NULL;
            REAL *RESTRICT z2 = (REAL *)J->scores + i * k;
            for (int64_t row = 0; rows && row < b; row++)
                if (stored)
                    N(hidden_of_stored)(&J->features, rows[row], W1, wide, a1 + row * h, h);
                else N(copy_features)(copied + row * d, &J->features, rows[row], NULL, plain);
            if (!stored) N(product)(J->gemm, x, d, 0, W1, wide, 0, 0, a1, h, b, h, plain);
            if (B->codes) {
                for (int64_t row = 0; rows && row < b; row++)
                    N(copy_bins)(B, rows[row], &D, row);
                if (!rows) D.codes = (uint16_t *)B->codes + i * m;
                if (!rows) D.shares = (REAL *)B->shares + i * m;
                N(add_bins)(B, &D, a1, 0, b, b, h);
            }
            N(hidden)(J->activation, a1, b1, b, h, W2, b2[0], k == 1 ? z2 : NULL);
            if (k == 1) continue;
            N(product)(J->gemm, a1, h, 0, W2, k, 0, 0, z2, k, b, k, h);
            for (int64_t row = 0; row < b; row++)
                for (int64_t c = 0; c < k; c++) z2[row * k + c] += b2[c];
        }
    }
    give_back(&buffers);
    return 0;
}

/* The weighted loss of scores times 1 / T, and its derivative with respect to 1 / T, for
   each of the blocks `first` to `last` of MEASURED_ROWS rows. */
static int N(measure)(const Measuring *J, int64_t first, int64_t last) {
    int64_t k = J->k, most = MEASURED_ROWS, step = J->row_stride, wide = J->column_stride;
    const REAL *Z = J->scores, *Y = J->Y;
    const uint8_t *flags = J->Y;
    REAL inverse = (REAL)J->inverse;
    double slopes[MEASURED_ROWS];
    Buffers buffers = {0};
    REAL *z = take(&buffers, sizeof(REAL) * most * k);
    REAL *z2 = take(&buffers, sizeof(REAL) * most * k);
    REAL *y = take(&buffers, sizeof(REAL) * most * k);
    REAL *loss = take(&buffers, sizeof(REAL) * most);
    REAL *spare = take(&buffers, sizeof(REAL) * most);
    if (buffers.failed) return give_back(&buffers), SKLEARN_BP_OUT_OF_MEMORY;
    for (int64_t block = first; block < last; block++) {
        int64_t start = block * most, b = J->n - start < most ? J->n - start : most;
        double total = 0, slope = 0;
        for (int64_t c = 0; c < k; c++) {
            int64_t at = start * step + c * wide;
            N(copy_row)(z + c * b, Z + at, step, NULL, b);
            if (!J->Y_is_bytes) N(copy_row)(y + c * b, Y + at, step, NULL, b);
            else if (step == 1) for (int64_t i = 0; i < b; i++) y[c * b + i] = flags[at + i];
            else for (int64_t i = 0; i < b; i++) y[c * b + i] = flags[at + i * step];
        }
        for (int64_t i = 0; i < b * k; i++) z2[i] = inverse * z[i];
        N(losses)(J->loss, z2, y, b, loss, spare, b, k);
        for (int64_t i = 0; i < b; i++) slopes[i] = 0;
        for (int64_t c = 0; c < k; c++) {
            const REAL *RESTRICT error = z2 + c * b, *RESTRICT of_c = z + c * b;
            for (int64_t i = 0; i < b; i++) slopes[i] += (double)error[i] * of_c[i];
        }
        const double *w = J->weights + start;
        SIMD_SUMS(total, slope)
        for (int64_t i = 0; i < b; i++) total += w[i] * loss[i], slope += w[i] * slopes[i];
        J->found[2 * block] = total;
        J->found[2 * block + 1] = slope;
    }
    give_back(&buffers);
    return 0;
}
