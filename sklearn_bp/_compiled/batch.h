/* The workspace of a thread, and a batch of rows gathered into it.

Included once per REAL, with N(name) as that type's name.
*/

/* The stored numbers of a batch of sparse rows, row by row and once more feature by
   feature: those of row i stand from starts[i] to stops[i], those of feature j from
   of_feature[j] to of_feature[j + 1], by row. */
typedef struct {
    REAL *x, *x_by_feature;
    int32_t *columns, *rows;
    int64_t *starts, *stops, *of_feature;
} N(Stored);

/* The batch, and the buffers for the step of a member.

`g` has the gradient of b1, then of W1, then, from g_W2 on, of W2 and b2.  With stored
numbers W1 is updated `part` features at a time, and g has space for these.
*/
typedef struct {
    REAL *x, *y, *w_all, *a1, *delta1, *z2, *w, *loss, *spare, *g, *g_W2, *W2_T;
    int64_t *ends, *next, part;
    N(Stored) stored;
    N(Binned) binned;
} N(Workspace);

/* A workspace for batches of up to `most` rows, among n_rows from `start`. */
static N(Workspace) N(allocate)(const Training *J, int64_t most, int64_t start,
                                int64_t n_rows, Buffers *buffers) {
    int64_t d = J->d, h = J->h, k = J->k;
    int64_t copies = J->folds ? 2 : 1;
    N(Workspace) D = {0};
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

/* Sort the stored numbers of n rows by feature. */
static void N(sort_by_feature)(const N(Stored) *T, int64_t n, int64_t d) {
    int64_t *RESTRICT of_feature = T->of_feature, before = 0;
    memset(of_feature, 0, sizeof *of_feature * (d + 1));
    for (int64_t i = 0; i < n; i++)
        for (int64_t e = T->starts[i]; e < T->stops[i]; e++)
            of_feature[T->columns[e]]++;
    /* of_feature: the counts, then the starts, and the ends when all are filled */
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
                      const N(Workspace) *D) {
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
    if (!x) N(sort_by_feature)(T, b, J->d);
    if (B->codes) N(sort_by_bin)(B, &D->binned, b);
    if (!J->folds) return;
    if (x) memcpy(x + b * d, x, sizeof(REAL) * b * d);
    memcpy(w + b, w, sizeof(REAL) * b);
    for (int64_t c = 0; c < k; c++)
        memcpy(y + c * y_stride + b, y + c * y_stride, sizeof(REAL) * b);
}
