/* Structures that Python and C share: the jobs, and the codes in them.

Every field takes eight bytes, so that no compiler puts gaps between them; the Python
modules list the same fields in the same order.  Lengths are in numbers, not
bytes.  REAL is float or double, as `is_double` says.
*/
#ifndef SKLEARN_BP_ENGINE_H
#define SKLEARN_BP_ENGINE_H

#include <stddef.h>
#include <stdint.h>

enum { IDENTITY, LOGISTIC, TANH, RELU };
enum { SQUARED_ERROR, BINARY_LOG_LOSS, CATEGORICAL_LOG_LOSS };
enum { SGD, NESTEROV, ADAM, RMSPROP };

/* An optimizer: its code, and its hyperparameters from `settings` of epochs.py. */
typedef struct {
    int64_t optimizer;
    double beta_1, beta_2, epsilon, decay;
} Rule;

/* The rows X (n, d): dense by its strides, or, where indptr is not NULL, CSR. */
typedef struct {
    const void *X;            /* REAL; of a CSR its stored numbers */
    const int64_t *indptr;    /* (n + 1,), or NULL */
    const void *indices;      /* the columns of the stored numbers */
    int64_t row_stride, column_stride; /* of a dense X, in numbers */
    int64_t is_long;          /* whether indices are int64_t, not int32_t */
    int64_t by_gemm;          /* whether rows of a CSR are copied as dense ones */
} Features;

/* The last columns of x, after `plain` others, which are the bins of m columns: bins.h. */
typedef struct {
    const uint16_t *codes;    /* (n, m): the bin of a row in each column, in K; or NULL */
    const void *shares;       /* REAL (n, m): where in the bin */
    const int64_t *starts;    /* (m + 1,): the first bin of each column */
    const void *low, *span;   /* REAL (starts[m],) */
    int64_t m, plain;
} Bins;

typedef struct {
    Features features;
    Bins bins;
    const void *Y;                 /* (n, k) */
    const void *row_weights;       /* REAL (n,), or NULL */
    const int32_t *folds;          /* (n,): the member that a row is held out from, or NULL */
    const int64_t *order;          /* (n_rows,) rows in the order of training, or NULL */
    const double *rates;           /* one rate per step */
    const double *member_weights;  /* (M,): the weight of each row for a member */
    /* The network: for each member, one row of b1 (h), W1 (d, h), W2 (h, k), b2 (k). */
    void *theta, *first, *second, *average; /* weights, moments, running mean or NULL */
    /* A scaling layer's r (d,), its moments and its running mean; or NULL. */
    void *r, *r_first, *r_second, *r_average;
    const int32_t *groups; /* (d,): the group of each scale, or NULL */
    double *sums; /* (M, SUMS): sums of losses and of squared norms, and padding, so that
                     no two threads write to the same cache line */
    const void *gemm;
    int64_t d, h, k, M, n_groups, size; /* size of a member's row in theta */
    int64_t batch, penalty_rows;       /* penalty_rows: 0 for those of the batch */
    int64_t t;                         /* steps of the optimizer so far */
    int64_t every, n_taken;            /* steps between updates of the mean; steps so far */
    int64_t is_double, Y_is_bytes, activation, loss, vector;
    Rule rule;
    double alpha, longest, scale_speed, together;
} Training;

typedef struct {
    void *theta, *g, *first, *second; /* (n,): weights, mean gradient, moments or NULL */
    int64_t n, low, high;             /* weights from low to high are penalized */
    int64_t is_double, vector;
    Rule rule;
    double alpha;
} Moving;

typedef struct {
    Features features;
    Bins bins;
    const int64_t *rows;    /* (n,): the held-out rows, member by member; NULL if X has
                               only these rows, (n, d) in C order */
    const int64_t *starts;  /* (M + 1,): the position of each member's first row */
    const void *b1, *W1, *W2, *b2; /* in the layout of `Parameters`: members side by side */
    void *scores;           /* (n, k) */
    const void *gemm;
    int64_t d, h, k, M, is_double, activation, vector;
} Scoring;

typedef struct {
    const void *scores, *Y;   /* (n, k), both with the strides below */
    const double *weights;    /* (n,) */
    double *found;            /* per block of rows, the loss and its slope along 1 / T */
    int64_t n, k, row_stride, column_stride, is_double, Y_is_bytes, loss, vector;
    double inverse;           /* 1 / T */
} Measuring;

typedef struct {
    Bins bins;                /* codes and shares are written */
    const void *X, *high;     /* REAL (n, d), and low + span of each bin */
    int64_t n, d, is_double, vector;
} Splitting;

#define SUMS 8
#define SKLEARN_BP_OUT_OF_MEMORY 1

#endif
