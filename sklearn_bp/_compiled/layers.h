/* The layers forward and backward: BLAS products, and plain loops between them.

Included once per REAL, with N(name) as that type's name.  The letters are those of
`_network`, for the n rows of a batch that a member learns from:

    a1 (n, h)      hidden layer            delta1 (n, h)   hidden error
    z2 (k, n)      scores, one row per output, then in the same place
    delta2 (k, n)  output error, times the weights of the rows

All matrices are in C order.
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
