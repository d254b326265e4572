/* A step of one member on a batch: forward, backward, and the update of its weights.

Included once per REAL, with N(name) as that type's name.  The letters are
those of layers.h.
*/

/* Forward and backward for rows `from` to `to` of the b rows of the batch: adds to the
gradient of a member, and returns the loss of these rows.

If is_first, the gradient of W1 (with several outputs, that of W2 too) is written, not
added to.  `own` is the weight of a row for the member.  With stored numbers,
`step_of_stored` computes the gradient of W1.
*/
static double N(backprop)(const Training *J, const N(Workspace) *D, int64_t from,
                          int64_t to, int64_t b, int64_t y_stride, REAL own,
                          const REAL *theta, const REAL *s, int is_first) {
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

/* Update n numbers of member j from `at` on, of which g is the gradient: the optimizer,
   tiny weights, the running mean.  Returns the squared norm of the penalized weights
   before the update. */
static double N(update)(const Training *J, const Step *S, int64_t j, const REAL *g,
                        int64_t at, int64_t n, int penalized) {
    int64_t own = j * J->size;
    REAL *theta = (REAL *)J->theta + own, *v = (REAL *)J->second + own;
    REAL *m = J->first ? (REAL *)J->first + own : NULL;
    double squares = N(optimizer_step)(&J->rule, theta, g, at, m, v, n, penalized, S);
    if (S->flushes) {
        N(flush)(theta + at, n);
        N(flush)(v + at, n);
        if (m) N(flush)(m + at, n);
    }
    if (S->averages) N(take_mean)((REAL *)J->average + own + at, theta + at, n, S->kept);
    return penalized ? squares : 0;
}

/* Gradient and update of the W1 of member j, by the stored numbers of the batch.

W1 is updated `part` features at a time, while their gradient is in the cache.  The rows
that the member learns from, n from `first` on, are two runs of the rows of a feature.
slopes are as in `step`.
*/
static double N(step_of_stored)(const Training *J, const N(Workspace) *D, const Step *S,
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

/* A step of member j on the batch in the workspace.

slopes (d,), unless NULL, receive the derivatives of its loss by the scales s.
*/
static void N(step)(const Training *J, const N(Workspace) *D, const Step *S, int64_t j,
                    const REAL *s, REAL *slopes) {
    int64_t d = J->d, h = J->h, k = J->k, b = S->b;
    int64_t W2_at = h + d * h, b2_at = W2_at + h * k;
    const REAL *theta = (const REAL *)J->theta + j * J->size, *W1 = theta + h;
    REAL *g_W1 = D->g + h, *g_W2 = D->g_W2, *g_b2 = g_W2 + h * k;
    /* It learns from all rows but those held out from it. */
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
        total += N(backprop)(J, D, i, to, b, y_stride, (REAL)J->member_weights[j], theta,
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
