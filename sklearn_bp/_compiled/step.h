/* An epoch's steps, member by member: BLAS products and plain loops between them.

Included once per REAL, with N(name) as that type's name.  The letters are those of
`_network`, for the b rows of a batch that one member learns from:

    a1 (b, h)      hidden layer            delta1 (b, h)   hidden error
    z2 (k, b)      scores, one row per output, then in the same place
    delta2 (k, b)  output error, times the weights of the rows

All matrices are in C order.
*/

typedef void (*N(gemm_t))(char *, char *, int *, int *, int *, REAL *, REAL *, int *,
                          REAL *, int *, REAL *, REAL *, int *);

/* c (m, n) = op(a) op(b) + beta c; a_T and b_T say which is transposed. */
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

/* f(z), and f'(z) of a = f(z); `activation` is a constant wherever these are inlined. */
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

/* a1 = f(a1 + b1); of a single output also z2 = a1 W2 + b2. */
static ALWAYS_INLINE void N(hidden_layer)(int activation, REAL *RESTRICT a1,
                                          const REAL *RESTRICT b1, int64_t b, int64_t h,
                                          const REAL *RESTRICT W2, REAL b2,
                                          REAL *RESTRICT z2) {
    for (int64_t i = 0; i < b; i++) {
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

/* delta1 = (delta2 W2^T) f'(z1) and dL/db1; of a single output, whose product this
   multiplies out, also dL/dW2. Of several, delta1 comes as delta2 W2^T. */
static ALWAYS_INLINE void N(hidden_errors)(int activation, REAL *RESTRICT delta1,
                                           const REAL *RESTRICT a1, int64_t b, int64_t h,
                                           REAL *RESTRICT g_b1) {
    memset(g_b1, 0, sizeof(REAL) * h);
    for (int64_t i = 0; i < b; i++) {
        const REAL *RESTRICT a = a1 + i * h;
        REAL *RESTRICT delta = delta1 + i * h;
        for (int64_t u = 0; u < h; u++) {
            REAL q = N(times_slope)(activation, a[u], delta[u]);
            g_b1[u] += q;
            delta[u] = q;
        }
    }
}
static ALWAYS_INLINE void N(hidden_errors_of_one)(
    int activation, REAL *RESTRICT delta1, const REAL *RESTRICT a1, int64_t b, int64_t h,
    REAL *RESTRICT g_b1, const REAL *RESTRICT delta2, const REAL *RESTRICT W2,
    REAL *RESTRICT g_W2) {
    memset(g_b1, 0, sizeof(REAL) * h);
    memset(g_W2, 0, sizeof(REAL) * h);
    for (int64_t i = 0; i < b; i++) {
        const REAL *RESTRICT a = a1 + i * h;
        REAL *RESTRICT delta = delta1 + i * h;
        REAL error = delta2[i];
        for (int64_t u = 0; u < h; u++) {
            REAL q = N(times_slope)(activation, a[u], error * W2[u]);
            g_W2[u] += error * a[u];
            g_b1[u] += q;
            delta[u] = q;
        }
    }
}
static void N(hidden_error)(int64_t activation, REAL *delta1, const REAL *a1, int64_t b,
                            int64_t h, REAL *g_b1, const REAL *delta2, const REAL *W2,
                            REAL *g_W2) {
#define CASE(A) \
    if (g_W2) N(hidden_errors_of_one)(A, delta1, a1, b, h, g_b1, delta2, W2, g_W2); \
    else N(hidden_errors)(A, delta1, a1, b, h, g_b1); \
    break;
    switch (activation) {
    case RELU: CASE(RELU)
    case TANH: CASE(TANH)
    case LOGISTIC: CASE(LOGISTIC)
    default: CASE(IDENTITY)
    }
#undef CASE
}

/* -log p, finite also for p = 0; NaN stays. */
static ALWAYS_INLINE REAL N(minus_log)(REAL p) {
    return -N(log)(EPSILON > p ? EPSILON : p);
}

/* From scores z2 (k, b) to the loss of each row, and to the errors delta2 (in z2).

Y is (k, b); loss and spare are (b,).  Errors are not yet times the rows' weights.
*/
static void N(losses)(int64_t kind, REAL *RESTRICT z2, const REAL *RESTRICT Y,
                      REAL *RESTRICT loss, REAL *RESTRICT spare, int64_t b, int64_t k) {
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
            const REAL *RESTRICT y = Y + c * b;
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
        const REAL *RESTRICT y = Y + c * b;
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

g is the gradient of a sum over the batch, scale what makes a mean of it, shrink the
penalty's factor, keep what a weight decay leaves.  They return the squared norm of w.
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

/* What an optimizer does to n numbers; `penalized` are weights, not intercepts. */
static REAL N(moved)(const Training *J, REAL *w, const REAL *g, int64_t at, REAL *m,
                     REAL *v, int64_t n, int penalized, double scale, double shrink,
                     double rate, double step) {
    REAL s = (REAL)scale, p = penalized ? (REAL)shrink : 0, eps = (REAL)J->epsilon;
    double betas[2] = {J->beta_1, J->beta_2};
    if (!n) return 0;
    w += at, g += at, v += at;
    if (J->optimizer == ADAM) {
        REAL keep = penalized ? (REAL)(1 - rate * J->decay) : 1;
        return N(adam)(w, g, m + at, v, n, s, p, keep, betas, (REAL)step, eps);
    }
    if (J->optimizer == RMSPROP)
        return N(rmsprop)(w, g, v, n, s, p, J->beta_2, (REAL)rate, eps);
    return N(sgd)(w, g, v, n, s, p, (REAL)J->beta_1, (REAL)rate, J->optimizer == NESTEROV);
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

/* Rows of a matrix, each times s if there is one, to (b, d). */
static void N(copy_row)(REAL *RESTRICT to, const REAL *RESTRICT from, int64_t stride,
                        const REAL *RESTRICT s, int64_t d) {
    if (stride != 1 && s) for (int64_t j = 0; j < d; j++) to[j] = s[j] * from[j * stride];
    else if (stride != 1) for (int64_t j = 0; j < d; j++) to[j] = from[j * stride];
    else if (s) for (int64_t j = 0; j < d; j++) to[j] = s[j] * from[j];
    else memcpy(to, from, sizeof(REAL) * d);
}

/* The b rows of a batch, sorted by the member that they are held out from.

x is (b, d), y (k, b), w (b,); rows of member j are those from ends[j] to ends[j + 1].
*/
static void N(gather)(const Training *J, int64_t start, int64_t b, const REAL *s, REAL *x,
                      REAL *y, REAL *w, int64_t *ends, int64_t *next) {
    int64_t d = J->d, k = J->k;
    const REAL *X = J->X, *Y = J->Y, *row_weights = J->row_weights;
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
        N(copy_row)(x + to * d, X + row * J->row_stride, J->column_stride, s, d);
        if (J->Y_is_bytes) for (int64_t c = 0; c < k; c++) y[c * b + to] = flags[row * k + c];
        else for (int64_t c = 0; c < k; c++) y[c * b + to] = Y[row * k + c];
        w[to] = row_weights ? row_weights[row] : 1;
    }
}

/* Members `first` to `last` over n_rows rows from `start`, `steps` of them before. */
static int N(train)(const Training *J, int64_t first, int64_t last, int64_t start,
                    int64_t n_rows, int64_t steps) {
    int64_t d = J->d, h = J->h, k = J->k, M = J->M, most = J->batch, dh = d * h;
    int64_t W2_at = h + dh, b2_at = W2_at + h * k, n_parts, part;
    Buffers buffers = {0};
    if (most > n_rows) most = n_rows;
    REAL *x = take(&buffers, sizeof(REAL) * most * d);
    REAL *a1 = take(&buffers, sizeof(REAL) * most * h);
    REAL *delta1 = take(&buffers, sizeof(REAL) * most * h);
    REAL *z2 = take(&buffers, sizeof(REAL) * most * k);
    REAL *y_all = take(&buffers, sizeof(REAL) * most * k);
    REAL *y_own = take(&buffers, sizeof(REAL) * most * k);
    REAL *w_all = take(&buffers, sizeof(REAL) * most);
    REAL *w = take(&buffers, sizeof(REAL) * most);
    REAL *loss = take(&buffers, sizeof(REAL) * most);
    REAL *spare = take(&buffers, sizeof(REAL) * most);
    REAL *g = take(&buffers, sizeof(REAL) * J->size);
    REAL *W2_T = take(&buffers, sizeof(REAL) * h * k);
    REAL *s = J->r ? take(&buffers, sizeof(REAL) * d) : NULL;
    REAL *slopes = J->r ? take(&buffers, sizeof(REAL) * d) : NULL;
    int64_t *ends = take(&buffers, sizeof(int64_t) * (M + 1));
    int64_t *next = take(&buffers, sizeof(int64_t) * (M + 1));
    if (buffers.failed) return give_back(&buffers), SKLEARN_BP_OUT_OF_MEMORY;

    for (int64_t stop = start + n_rows; start < stop; start += J->batch, steps++) {
        int64_t b = stop - start < J->batch ? stop - start : J->batch;
        int64_t rows_of_penalty = J->penalty_rows ? J->penalty_rows : b;
        int64_t t = J->t + steps + 1, n_taken = J->n_taken + steps + 1;
        double rate = J->rates[steps], step = rate, decay = 0;
        double scale = 1.0 / b, shrink = J->alpha / rows_of_penalty;
        int flushes = t % FLUSH_EVERY == 0, averages = J->every && n_taken % J->every == 0;
        if (J->optimizer == ADAM)
            step *= sqrt(1 - pow(J->beta_2, t)) / (1 - pow(J->beta_1, t));
        if (averages) {
            double terms = (double)(n_taken / J->every);
            decay = terms / (terms + 3);
            if (decay > J->longest) decay = J->longest;
        }
        if (J->r) {
            const REAL *r = J->r;
            for (int64_t j = 0; j < d; j++) {
                REAL q = 1 + (REAL)J->scale_speed * r[j], size = q < 0 ? -q : q;
                s[j] = size < SMALLEST_FACTOR ? SMALLEST_FACTOR : q;
                slopes[j] = 0;
            }
        }
        N(gather)(J, start, b, s, x, y_all, w_all, ends, next);
        for (int64_t j = first; j < last; j++) {
            REAL *theta = (REAL *)J->theta + j * J->size, *m = NULL, *mean = NULL;
            REAL *v = (REAL *)J->second + j * J->size;
            REAL *b1 = theta, *W1 = theta + h, *W2 = theta + W2_at, *b2 = theta + b2_at;
            if (J->first) m = (REAL *)J->first + j * J->size;
            if (J->average) mean = (REAL *)J->average + j * J->size;
            /* Its rows: those before, and those behind, the ones held out from it. */
            int64_t low = b, high = b;
            if (J->folds) low = ends[j], high = ends[j + 1];
            int64_t n = b - (high - low), runs[2][2] = {{0, low}, {high, b}}, at;
            const REAL *y = y_all;
            REAL own = (REAL)J->member_weights[j];
            if (n < b) {
                for (int64_t c = 0; c < k; c++) {
                    memcpy(y_own + c * n, y_all + c * b, sizeof(REAL) * low);
                    memcpy(y_own + c * n + low, y_all + c * b + high,
                           sizeof(REAL) * (b - high));
                }
                y = y_own;
            }
            for (int64_t i = 0; i < low; i++) w[i] = own * w_all[i];
            for (int64_t i = high; i < b; i++) w[low + i - high] = own * w_all[i];

            /* forward: a1 = f(x W1 + b1), z2 = a1 W2 + b2 */
            for (int run = at = 0; run < 2; run++) {
                int64_t length = runs[run][1] - runs[run][0];
                part = rows_at_once(length, dh);
                for (int64_t i = runs[run][0]; i < runs[run][1]; i += part) {
                    n_parts = runs[run][1] - i < part ? runs[run][1] - i : part;
                    N(product)(J->gemm, x + i * d, d, 0, W1, h, 0, 0, a1 + at * h, h,
                               n_parts, h, d);
                    at += n_parts;
                }
            }
            N(hidden)(J->activation, a1, b1, n, h, W2, b2[0], k == 1 ? z2 : NULL);
            if (k > 1 && n) {
                for (int64_t c = 0; c < k; c++)
                    for (int64_t i = 0; i < n; i++) z2[c * n + i] = b2[c];
                /* BLAS takes small matrices best as they stand: 0.3 to 0.7 of the time
                   that it takes with W2 to be transposed, 8 % of a step of 5 classes */
                for (int64_t u = 0; u < h; u++)
                    for (int64_t c = 0; c < k; c++) W2_T[c * h + u] = W2[u * k + c];
                N(product)(J->gemm, W2_T, h, 0, a1, h, 1, 1, z2, n, k, n, h);
            }
            /* output error, and dL/db2 */
            N(losses)(J->loss, z2, y, loss, spare, n, k);
            double total = 0;
            SIMD_SUM(total)
            for (int64_t i = 0; i < n; i++) total += (double)(w[i] * loss[i]);
            J->totals[j] += total;
            for (int64_t c = 0; c < k; c++) {
                REAL *RESTRICT delta2 = z2 + c * n, sum = 0;
                for (int64_t i = 0; i < n; i++) delta2[i] *= w[i];
                SIMD_SUM(sum)
                for (int64_t i = 0; i < n; i++) sum += delta2[i];
                g[b2_at + c] = sum;
            }
            /* hidden error, and the gradients */
            if (k > 1 && n) {
                N(product)(J->gemm, a1, h, 1, z2, n, 1, 0, g + W2_at, k, h, k, n);
                N(product)(J->gemm, z2, n, 1, W2_T, h, 0, 0, delta1, h, n, h, k);
            } else memset(g + W2_at, 0, sizeof(REAL) * h * k);
            N(hidden_error)(J->activation, delta1, a1, n, h, g, z2, W2,
                            k == 1 ? g + W2_at : NULL);
            for (int run = at = 0; run < 2; run++) {
                int64_t length = runs[run][1] - runs[run][0];
                part = rows_at_once(length, dh);
                for (int64_t i = runs[run][0]; i < runs[run][1]; i += part) {
                    n_parts = runs[run][1] - i < part ? runs[run][1] - i : part;
                    N(product)(J->gemm, x + i * d, d, 1, delta1 + at * h, h, 0, at > 0,
                               g + h, h, d, h, n_parts);
                    at += n_parts;
                }
            }
            if (!at) memset(g + h, 0, sizeof(REAL) * dh);
            if (J->r)  /* x is s times the features, and so is dL/dW1 */
                for (int64_t i = 0; i < d; i++)
                    slopes[i] += N(dot)(W1 + i * h, g + h + i * h, h) / s[i];

            double norm = N(moved)(J, theta, g, h, m, v, dh + h * k, 1, scale, shrink,
                                   rate, step);
            J->norms[j] += norm * b / rows_of_penalty;
            N(moved)(J, theta, g, 0, m, v, h, 0, scale, 0, rate, step);
            N(moved)(J, theta, g, b2_at, m, v, k, 0, scale, 0, rate, step);
            if (flushes) {
                N(flush)(theta, J->size);
                N(flush)(v, J->size);
                if (m) N(flush)(m, J->size);
            }
            if (averages) N(take_mean)(mean, theta, J->size, decay);
        }
        if (J->r) {
            for (int64_t j = 0; j < d; j++) slopes[j] *= (REAL)J->scale_speed;
            N(moved)(J, J->r, slopes, 0, J->r_first, J->r_second, d, 0, scale, 0, rate,
                     step);
            if (flushes) {
                N(flush)(J->r, d);
                if (J->r_first) N(flush)(J->r_first, d);
            }
            if (averages) N(take_mean)(J->r_average, J->r, d, decay);
        }
    }
    give_back(&buffers);
    return 0;
}

/* Scores, (n, k), of the rows held out from members `first` to `last`. */
static int N(score)(const Scoring *J, int64_t first, int64_t last) {
    int64_t d = J->d, h = J->h, k = J->k, wide = h * J->M, most = SCORED_ROWS;
    const REAL *X = J->X;
    Buffers buffers = {0};
    while (most > 8 && most * d * h > DIRECT_PRODUCT) most /= 2;
    REAL *x = take(&buffers, sizeof(REAL) * most * d);
    REAL *a1 = take(&buffers, sizeof(REAL) * most * h);
    if (buffers.failed) return give_back(&buffers), SKLEARN_BP_OUT_OF_MEMORY;
    for (int64_t j = first; j < last; j++) {
        const REAL *W1 = (const REAL *)J->W1 + j * h, *W2 = (const REAL *)J->W2 + j * h * k;
        const REAL *b1 = (const REAL *)J->b1 + j * h, *b2 = (const REAL *)J->b2 + j * k;
        for (int64_t i = J->starts[j]; i < J->starts[j + 1]; i += most) {
            int64_t b = J->starts[j + 1] - i < most ? J->starts[j + 1] - i : most;
            REAL *z2 = (REAL *)J->scores + i * k;
            for (int64_t row = 0; row < b; row++)
                N(copy_row)(x + row * d, X + J->rows[i + row] * J->row_stride,
                            J->column_stride, NULL, d);
            N(product)(J->gemm, x, d, 0, W1, wide, 0, 0, a1, h, b, h, d);
            N(hidden)(J->activation, a1, b1, b, h, W2, b2[0], k == 1 ? z2 : NULL);
            if (k == 1) continue;
            for (int64_t row = 0; row < b; row++)
                memcpy(z2 + row * k, b2, sizeof(REAL) * k);
            N(product)(J->gemm, a1, h, 0, W2, k, 0, 1, z2, k, b, k, h);
        }
    }
    give_back(&buffers);
    return 0;
}

/* The weighted loss of scores times 1 / T, and its derivative with respect to 1 / T: of
   blocks `first` to `last` of MEASURED_ROWS rows, to be added up. */
static int N(measure)(const Measuring *J, int64_t first, int64_t last) {
    int64_t k = J->k, most = MEASURED_ROWS;
    const REAL *Z = J->scores, *Y = J->Y;
    const uint8_t *flags = J->Y;
    REAL inverse = (REAL)J->inverse;
    Buffers buffers = {0};
    REAL *z2 = take(&buffers, sizeof(REAL) * most * k);
    REAL *y = take(&buffers, sizeof(REAL) * most * k);
    REAL *loss = take(&buffers, sizeof(REAL) * most);
    REAL *spare = take(&buffers, sizeof(REAL) * most);
    if (buffers.failed) return give_back(&buffers), SKLEARN_BP_OUT_OF_MEMORY;
    for (int64_t block = first; block < last; block++) {
        int64_t start = block * most, b = J->n - start < most ? J->n - start : most;
        double total = 0, slope = 0;
        for (int64_t c = 0; c < k; c++)
            for (int64_t i = 0; i < b; i++) {
                int64_t at = (start + i) * k + c;
                z2[c * b + i] = inverse * Z[at];
                y[c * b + i] = J->Y_is_bytes ? (REAL)flags[at] : Y[at];
            }
        N(losses)(J->loss, z2, y, loss, spare, b, k);
        for (int64_t i = 0; i < b; i++) {
            double w = J->weights[start + i];
            const REAL *RESTRICT z = Z + (start + i) * k;
            double sum = 0;
            for (int64_t c = 0; c < k; c++) sum += (double)z2[c * b + i] * z[c];
            total += w * loss[i];
            slope += w * sum;
        }
        J->found[2 * block] = total;
        J->found[2 * block + 1] = slope;
    }
    give_back(&buffers);
    return 0;
}
