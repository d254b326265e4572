/* Held-out rows: their scores, and the loss of scores at a temperature.

Included once per REAL, with N(name) as that type's name.
*/

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
