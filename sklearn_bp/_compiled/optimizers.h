/* Updates by the optimizers, tiny weights set to 0, and the running mean of weights.

Included once per REAL, with N(name) as that type's name.
*/

/* Steps of the optimizers, in one pass: the formulas of `optimizers`.

g is the gradient of a sum over the batch, and scale turns it into a mean.  shrink is the
factor of the penalty, keep that of a weight decay.  They return the squared norm of w
before the update.
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

/* Update n numbers from `at` on, of which g is the gradient; `penalized` numbers are
   weights, not intercepts.  Returns the squared norm of the numbers before. */
static REAL N(optimizer_step)(const Rule *R, REAL *w, const REAL *g, int64_t at, REAL *m,
                              REAL *v, int64_t n, int penalized, const Step *S) {
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

/* Set tiny numbers to 0. */
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

/* A step on a whole vector, part by part, so that the sum of squares has little rounding. */
static double N(move)(const Moving *J, const Step *S) {
    REAL *theta = J->theta, *m = J->first, *v = J->second;
    double norm = 0;
    for (int64_t at = 0, to; at < J->n; at = to) {
        int64_t end = at < J->low ? J->low : at < J->high ? J->high : J->n;
        int penalized = J->low <= at && at < J->high;
        to = end - at < MOVED_AT_ONCE ? end : at + MOVED_AT_ONCE;
        double squares = N(optimizer_step)(&J->rule, theta, (const REAL *)J->g + at, at, m,
                                           v, to - at, penalized, S);
        if (penalized) norm += squares;
        if (!S->flushes) continue;
        N(flush)(theta + at, to - at);
        N(flush)(v + at, to - at);
        if (m) N(flush)(m + at, to - at);
    }
    return norm;
}
