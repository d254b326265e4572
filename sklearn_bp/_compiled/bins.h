/* Products with the last columns of x, the bins of numeric columns, as sums of rows.

Of the bins of a column, a row x has the value low + span in all before one of them, low
in all after it, and low + share * span in this bin.  So, with s (d,) and running sums
K of span * s * W1 over the bins of a column, which begin with zeros,

    x W1 = low s W1 + the sum over columns of (1 - share) K[bin] + share K[bin + 1]

and a slope dL/dW1 is s (low * (1^T delta1) + span * (that of rows beyond the bin and of
share times those in it)).  Per row and column, this takes the time of about three
bins in a product.

Included once per REAL, with N(name) as that type's name.  h is a multiple of LANES.
*/
#if defined(__GNUC__)
typedef REAL N(V) __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(REAL)),
                                 may_alias));
#else
typedef REAL N(V);
#endif
#define LANES ((int64_t)(sizeof(N(V)) / sizeof(REAL)))
#define LOAD(from) (*(const N(V) *)(from))
#define STORE(to) (*(N(V) *)(to))
#define EACH for (int v = 0; v < n_v; v++)

/* The bins of the rows of a batch: codes and shares (b, m) by row; rows and shares once
   more bin by bin, those of bin i of K from of_bin[i] to of_bin[i + 1]. */
typedef struct {
    uint16_t *codes;
    REAL *shares, *shares_by_bin, *K, *base; /* K (n_bins + m, h), base (h,) */
    int32_t *rows, *of_bin;
} N(Binned);

static N(Binned) N(room_for_bins)(const Bins *B, int64_t most, int64_t h, int sorts,
                                  Buffers *buffers) {
    int64_t m = B->m, n_sums = B->starts[m] + m;
    N(Binned) D = {0};
    D.codes = take(buffers, sizeof(uint16_t) * most * m);
    D.shares = take(buffers, sizeof(REAL) * most * m);
    D.K = take(buffers, sizeof(REAL) * n_sums * h);
    D.base = take(buffers, sizeof(REAL) * h);
    if (!sorts) return D;
    D.shares_by_bin = take(buffers, sizeof(REAL) * most * m);
    D.rows = take(buffers, sizeof(int32_t) * most * m);
    D.of_bin = take(buffers, sizeof(int32_t) * (n_sums + 1));
    return D;
}

static void N(fetch_bins)(const Bins *B, int64_t row) {
    int64_t m = B->m;
    const char *codes = (const char *)(B->codes + row * m);
    const char *shares = (const char *)((const REAL *)B->shares + row * m);
    for (int64_t at = 0; at < (int64_t)sizeof(uint16_t) * m; at += 64) PREFETCH(codes + at);
    for (int64_t at = 0; at < (int64_t)sizeof(REAL) * m; at += 64) PREFETCH(shares + at);
}
static void N(copy_bins)(const Bins *B, int64_t row, const N(Binned) *D, int64_t to) {
    int64_t m = B->m;
    memcpy(D->codes + to * m, B->codes + row * m, sizeof(uint16_t) * m);
    memcpy(D->shares + to * m, (const REAL *)B->shares + row * m, sizeof(REAL) * m);
}

/* The rows of a batch bin by bin. */
static void N(sort_by_bin)(const Bins *B, const N(Binned) *D, int64_t b) {
    int64_t m = B->m, n_sums = B->starts[m] + m;
    int32_t *RESTRICT of_bin = D->of_bin, before = 0;
    memset(of_bin, 0, sizeof *of_bin * (n_sums + 1));
    for (int64_t e = 0; e < b * m; e++) of_bin[D->codes[e]]++;
    for (int64_t j = 0; j < n_sums; j++) {
        int32_t found = of_bin[j];
        of_bin[j] = before;
        before += found;
    }
    for (int64_t i = 0, e = 0; i < b; i++)
        for (int64_t c = 0; c < m; c++, e++) {
            int32_t to = of_bin[D->codes[e]]++;
            D->rows[to] = (int32_t)i;
            D->shares_by_bin[to] = D->shares[e];
        }
    memmove(of_bin + 1, of_bin, sizeof *of_bin * n_sums);
    of_bin[0] = 0;
}

/* K, and base = low s W1, of n_v vectors; W are the rows of W1 for the bins, which are
   `stride` numbers apart. */
static ALWAYS_INLINE void N(sums_of)(const Bins *B, const N(Binned) *D, const REAL *W,
                                     int64_t stride, const REAL *s, int64_t u,
                                     int64_t h, int n_v) {
    const REAL *low = B->low, *span = B->span;
    REAL *K = D->K + u;
    N(V) base[4] = {0};
    W += u;
    for (int64_t c = 0; c < B->m; c++, K += h) {
        N(V) sum[4] = {0};
        for (int64_t t = B->starts[c]; t < B->starts[c + 1]; t++, W += stride, K += h) {
            REAL l = s ? s[t] * low[t] : low[t], x = s ? s[t] * span[t] : span[t];
            EACH {
                N(V) w = LOAD(W + v * LANES);
                STORE(K + v * LANES) = sum[v];
                base[v] += l * w;
                sum[v] += x * w;
            }
        }
        EACH STORE(K + v * LANES) = sum[v];
    }
    EACH STORE(D->base + u + v * LANES) = base[v];
}

/* a1 (n, h) += x W1 of the bins, for the rows `from` to `from` + n, of which b is 0. */
static ALWAYS_INLINE void N(add_sums)(const Bins *B, const N(Binned) *D, REAL *a1,
                                      int64_t from, int64_t n, int64_t b, int64_t u,
                                      int64_t h, int n_v) {
    const REAL *K = D->K + u;
    int64_t m = B->m;
    N(V) base[4];
    EACH base[v] = LOAD(D->base + u + v * LANES);
    for (int64_t i = 0; i < n; i++) {
        int64_t row = from + i < b ? from + i : from + i - b;
        const uint16_t *codes = D->codes + row * m;
        const REAL *shares = D->shares + row * m;
        REAL *to = a1 + i * h + u;
        N(V) here[4], next[4];
        EACH here[v] = LOAD(to + v * LANES), next[v] = base[v];
        for (int64_t c = 0; c < m; c++) {
            const REAL *sums = K + codes[c] * h;
            REAL share = shares[c], rest = 1 - share;
            EACH here[v] += rest * LOAD(sums + v * LANES);
            EACH next[v] += share * LOAD(sums + h + v * LANES);
        }
        EACH STORE(to + v * LANES) = here[v] + next[v];
    }
}

/* The slopes g of the bins' rows of W1; row i of the batch has the error of row
   i - first, or i - first + b, of delta1 (b, h), whose sum over rows is of_all. */
static ALWAYS_INLINE void N(slopes_of_bins)(const Bins *B, const N(Binned) *D,
                                            const REAL *delta1, const REAL *of_all,
                                            int64_t first, int64_t b, const REAL *s,
                                            REAL *g, int64_t u, int64_t h, int n_v) {
    const REAL *low = B->low, *span = B->span;
    delta1 += u, g += u, of_all += u;
    for (int64_t c = 0; c < B->m; c++) {
        N(V) beyond[4] = {0};
        for (int64_t t = B->starts[c + 1] - 1; t >= B->starts[c]; t--) {
            REAL l = s ? s[t] * low[t] : low[t], x = s ? s[t] * span[t] : span[t];
            N(V) sum[4];
            EACH sum[v] = beyond[v];
            for (int32_t e = D->of_bin[t + c]; e < D->of_bin[t + c + 1]; e++) {
                int64_t row = D->rows[e] - first;
                const REAL *delta = delta1 + (row < 0 ? row + b : row) * h;
                REAL share = D->shares_by_bin[e];
                EACH {
                    N(V) error = LOAD(delta + v * LANES);
                    sum[v] += share * error;
                    beyond[v] += error;
                }
            }
            EACH STORE(g + t * h + v * LANES) = l * LOAD(of_all + v * LANES) + x * sum[v];
        }
    }
}

#define IN_VECTORS(call, ...) \
    do { \
        int64_t u = 0; \
        for (; u + 4 * LANES <= h; u += 4 * LANES) call(__VA_ARGS__, u, h, 4); \
        for (; u + LANES <= h; u += LANES) call(__VA_ARGS__, u, h, 1); \
    } while (0)

static void N(find_sums)(const Bins *B, const N(Binned) *D, const REAL *W, int64_t stride,
                         const REAL *s, int64_t h) {
    IN_VECTORS(N(sums_of), B, D, W, stride, s);
}
static void N(add_bins)(const Bins *B, const N(Binned) *D, REAL *a1, int64_t from,
                        int64_t n, int64_t b, int64_t h) {
    IN_VECTORS(N(add_sums), B, D, a1, from, n, b);
}
static void N(find_slopes)(const Bins *B, const N(Binned) *D, const REAL *delta1,
                           const REAL *of_all, int64_t first, int64_t b, const REAL *s,
                           REAL *g, int64_t h) {
    IN_VECTORS(N(slopes_of_bins), B, D, delta1, of_all, first, b, s, g);
}

/* The codes and shares of the rows X (n, d); 0 if any has another form. */
static int N(split)(const Splitting *J) {
    const Bins *B = &J->bins;
    const REAL *low = B->low, *span = B->span, *high = J->high;
    uint16_t *codes = (uint16_t *)B->codes;
    REAL *shares = (REAL *)B->shares;
    for (int64_t i = 0; i < J->n; i++) {
        const REAL *x = (const REAL *)J->X + i * J->d + B->plain;
        for (int64_t c = 0; c < B->m; c++, codes++, shares++) {
            int64_t t = B->starts[c], stop = B->starts[c + 1];
            while (t + 1 < stop && x[t] == high[t]) t++;
            *codes = (uint16_t)(t + c);
            *shares = (x[t] - low[t]) / span[t];
            for (t++; t < stop; t++)
                if (x[t] != low[t]) return 0;
        }
    }
    return 1;
}
#undef LANES
#undef LOAD
#undef STORE
#undef EACH
#undef IN_VECTORS
