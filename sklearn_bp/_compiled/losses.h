/* Losses and output errors: log-loss of two or more classes, and squared error.

Included once per REAL, with N(name) as that type's name.
*/

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
