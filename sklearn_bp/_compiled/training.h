/* Training over many batches: of members by themselves, or with shared feature scales.

Included once per REAL, with N(name) as that type's name.
*/

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
    N(optimizer_step)(&J->rule, J->r, slopes, 0, J->r_first, J->r_second, d, 0, S);
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
    int64_t most = J->batch < n_rows ? J->batch : n_rows;
    N(Workspace) D = N(allocate)(J, most, start, n_rows, &buffers);
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
    int64_t most = J->batch < n_rows ? J->batch : n_rows;
    N(Workspace) D = N(allocate)(J, most, start, n_rows, &buffers);
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
