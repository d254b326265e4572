/* The compiled step: `__init__.py` describes the computation and the files in C.

The functions of this module take jobs (engine.h), which are plain bytes.  They release
the GIL while they run.  Callers must check the length behind every pointer.
*/
#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifndef Py_GIL_DISABLED
#define Py_LIMITED_API 0x030B0000
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if defined(__SSE2__) || defined(_M_X64)
#include <xmmintrin.h>
#define HAS_MODE 1
#else
#define HAS_MODE 0
#endif

#include "engine.h"
#include "meeting.h"

#if defined(_MSC_VER)
#define RESTRICT __restrict
#define ALWAYS_INLINE __forceinline
#else
#define RESTRICT restrict
#define ALWAYS_INLINE inline __attribute__((always_inline))
#endif

/* A sum may be taken in any order, so that it can be vectorized. */
#if defined(__GNUC__)
#define AS_PRAGMA(text) _Pragma(#text)
#define SIMD_SUM(name) AS_PRAGMA(omp simd reduction(+ : name))
#define SIMD_SUMS(...) AS_PRAGMA(omp simd reduction(+ : __VA_ARGS__))
#else
#define SIMD_SUM(name)
#define SIMD_SUMS(...)
#endif

/* Load a cache line that is needed soon. */
#if defined(__GNUC__)
#define PREFETCH(address) __builtin_prefetch(address)
#else
#define PREFETCH(address) ((void)(address))
#endif

/* Bytes of the vectors in bins.h; elsewhere, they are single numbers. */
#define VECTOR_BYTES 32

#define AHEAD 4           /* rows between the one that is copied and the one fetched */
#define FLUSH_EVERY 256    /* as in `optimizers` */
#define MEASURED_ROWS 256 /* as in `held_out` */
#define SCORED_ROWS 256 /* a divisor of held_out.BLOCK_ROWS */
#define DIRECT_PRODUCT 900000 /* a little less than `blas.DIRECT_PRODUCT` */
#define MOVED_AT_ONCE 4096 /* number of weights whose squares are added in REAL */
#define STORED_AT_ONCE 256 /* numbers of a sparse row */
#define MOST_BUFFERS 32

/* The buffers that a call has allocated, each aligned to a cache line. */
typedef struct {
    void *memory[MOST_BUFFERS];
    int n, failed;
} Buffers;

static void *take(Buffers *buffers, int64_t n_bytes) {
    char *found = malloc((size_t)n_bytes + 64);
    buffers->failed |= !found;
    buffers->memory[buffers->n++] = found;
    return found ? found + (64 - (uintptr_t)found % 64) % 64 : NULL;
}
static void give_back(Buffers *buffers) {
    for (int i = 0; i < buffers->n; i++) free(buffers->memory[i]);
}

/* The number of rows per product that needs no packing, or all: see `blas.row_parts`.

There must not be many parts: 11 parts of 200 rows take 1.4 times as long as one packed
product, 11 parts of 32 rows 0.65 times.
*/
static int64_t rows_at_once(int64_t n_rows, int64_t n_multiplications) {
    int64_t most = DIRECT_PRODUCT / n_multiplications, n_parts;
    int64_t least = n_rows < 4 * 48 ? n_rows / 4 : 48;
    if (least < 8) least = 8;
    if (most >= n_rows || most < least) return n_rows > 0 ? n_rows : 1;
    n_parts = (n_rows + most - 1) / most;
    return (n_rows + n_parts - 1) / n_parts;
}

/* The constants of one step, the same for all members. */
typedef struct {
    int64_t b, rows_of_penalty; /* rows of the batch, and the divisor of the penalty */
    double rate, step;          /* step: Adam's rate with the bias correction */
    double scale, shrink;       /* factors of the gradient, and of a weight in the penalty */
    double kept;                /* decay of the running mean */
    int flushes, averages;
} Step;

/* Adam's rate in step t, with the correction for the bias of its moments. */
static double unbiased(const Rule *R, double rate, int64_t t) {
    if (R->optimizer != ADAM) return rate;
    return rate * sqrt(1 - pow(R->beta_2, t)) / (1 - pow(R->beta_1, t));
}

/* The step that follows `steps` others, on b rows. */
static Step step_of(const Training *J, int64_t steps, int64_t b) {
    int64_t t = J->t + steps + 1, n_taken = J->n_taken + steps + 1;
    Step S = {.b = b, .rows_of_penalty = J->penalty_rows ? J->penalty_rows : b};
    S.rate = J->rates[steps];
    S.step = unbiased(&J->rule, S.rate, t);
    S.scale = 1.0 / b;
    S.shrink = J->alpha / S.rows_of_penalty;
    S.flushes = t % FLUSH_EVERY == 0;
    S.averages = J->every && n_taken % J->every == 0;
    if (S.averages) {
        double terms = (double)(n_taken / J->every);
        S.kept = terms / (terms + 3);
        if (S.kept > J->longest) S.kept = J->longest;
    }
    return S;
}

/* Whether products take the stored numbers of sparse rows. */
static int is_stored(const Features *F) { return F->indptr && !F->by_gemm; }

/* The number of columns that products take: all, or those before the bins. */
static int64_t n_plain(const Training *J) {
    return J->bins.codes ? J->bins.plain : J->d;
}

/* The most numbers that a batch of sparse rows stores, among n_rows from `start`. */
static int64_t most_stored(const Training *J, int64_t start, int64_t n_rows) {
    const int64_t *indptr = J->features.indptr;
    int64_t most = 0, found = 0;
    for (int64_t i = 0; i < n_rows; i++) {
        int64_t row = J->order ? J->order[start + i] : start + i;
        if (i % J->batch == 0) found = 0;
        found += indptr[row + 1] - indptr[row];
        if (found > most) most = found;
    }
    return most;
}

static ALWAYS_INLINE float root_float(float x) { return sqrtf(x); }
static ALWAYS_INLINE double root_double(double x) { return sqrt(x); }

/* The arithmetic for every processor of this kind ... */
#define VARIANT _plain
#define root_float_plain root_float
#define root_double_plain root_double
#include "variants.h"
#undef VARIANT

/* ... and for processors that multiply eight numbers at a time: a sixth faster. */
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__)
#define HAS_VECTOR_VARIANT 1
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#define VARIANT _avx2
#define root_float_avx2 root_float
#define root_double_avx2 root_double
#include "variants.h"
#undef VARIANT
#pragma GCC pop_options
#define DISPATCH(J, name, ...) \
    (J->vector ? (J->is_double ? name##_double_avx2(__VA_ARGS__) \
                               : name##_float_avx2(__VA_ARGS__)) \
               : (J->is_double ? name##_double_plain(__VA_ARGS__) \
                               : name##_float_plain(__VA_ARGS__)))
#else
#define HAS_VECTOR_VARIANT 0
#define DISPATCH(J, name, ...) \
    (J->is_double ? name##_double_plain(__VA_ARGS__) : name##_float_plain(__VA_ARGS__))
#endif

/* From here on, this thread takes numbers below the normal ones as 0; returns the mode
   before.  The penalty makes weights of what counts for nothing so small that squares of
   their slopes would be such numbers, which processors are slow at: up to a fifth of an
   epoch. */
static unsigned without_subnormals(void) {
#if HAS_MODE
    unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040);
    return before;
#else
    return 0;
#endif
}
static void back_to(unsigned mode) {
#if HAS_MODE
    _mm_setcsr(mode);
#else
    (void)mode;
#endif
}

/* The job in a Python object: a pointer to exactly this many bytes, or NULL. */
static void *job_of(PyObject *object, Py_buffer *view, size_t n_bytes) {
    if (PyObject_GetBuffer(object, view, PyBUF_SIMPLE) < 0) return NULL;
    if ((size_t)view->len == n_bytes) return view->buf;
    PyErr_Format(PyExc_ValueError, "A job of %zd bytes was given; it has %zu.", view->len,
                 n_bytes);
    PyBuffer_Release(view);
    return NULL;
}

static PyObject *finished(Py_buffer *view, int failed) {
    PyBuffer_Release(view);
    if (failed) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *train(PyObject *self, PyObject *args) {
    PyObject *object, *meeting;
    Py_buffer view;
    long long first, last, start, n_rows, steps;
    int failed;
    (void)self;
    if (!PyArg_ParseTuple(args, "OLLLLLO", &object, &first, &last, &start, &n_rows, &steps,
                          &meeting))
        return NULL;
    const Training *J = job_of(object, &view, sizeof(Training));
    if (!J) return NULL;
    Meeting *T = J->r ? PyCapsule_GetPointer(meeting, "meeting") : NULL;
    if (J->r && !T) {
        PyBuffer_Release(&view);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    unsigned mode = without_subnormals();
    if (T) failed = DISPATCH(J, train_together, J, first, last, start, n_rows, steps, T);
    else failed = DISPATCH(J, train, J, first, last, start, n_rows, steps);
    back_to(mode);
    Py_END_ALLOW_THREADS
    return finished(&view, failed);
}

static void close_capsule(PyObject *capsule) {
    close_meeting(PyCapsule_GetPointer(capsule, "meeting"));
}

/* A meeting of at most n_threads threads; each of them calls `train` once. */
static PyObject *meeting(PyObject *self, PyObject *args) {
    long long M, n_threads, slope_bytes;
    (void)self;
    if (!PyArg_ParseTuple(args, "LLL", &M, &n_threads, &slope_bytes)) return NULL;
    if (M < 1 || slope_bytes < 1 || n_threads < 1 || (n_threads > 1 && !CAN_MEET)) {
        PyErr_SetString(PyExc_ValueError, "No such meeting is possible.");
        return NULL;
    }
    Meeting *T = open_meeting(M, n_threads, (size_t)slope_bytes);
    if (!T) return PyErr_NoMemory();
    PyObject *capsule = PyCapsule_New(T, "meeting", close_capsule);
    if (!capsule) close_meeting(T);
    return capsule;
}

static PyObject *score(PyObject *self, PyObject *args) {
    PyObject *object;
    Py_buffer view;
    long long first, last;
    int failed;
    (void)self;
    if (!PyArg_ParseTuple(args, "OLL", &object, &first, &last)) return NULL;
    const Scoring *J = job_of(object, &view, sizeof(Scoring));
    if (!J) return NULL;
    Py_BEGIN_ALLOW_THREADS
    failed = DISPATCH(J, score, J, first, last);
    Py_END_ALLOW_THREADS
    return finished(&view, failed);
}

static PyObject *measure(PyObject *self, PyObject *args) {
    PyObject *object;
    Py_buffer view;
    long long first, last;
    int failed;
    (void)self;
    if (!PyArg_ParseTuple(args, "OLL", &object, &first, &last)) return NULL;
    const Measuring *J = job_of(object, &view, sizeof(Measuring));
    if (!J) return NULL;
    Py_BEGIN_ALLOW_THREADS
    failed = DISPATCH(J, measure, J, first, last);
    Py_END_ALLOW_THREADS
    return finished(&view, failed);
}

/* Split rows into codes and shares; return whether all rows have that form. */
static PyObject *split(PyObject *self, PyObject *args) {
    PyObject *object;
    Py_buffer view;
    int found;
    (void)self;
    if (!PyArg_ParseTuple(args, "O", &object)) return NULL;
    const Splitting *J = job_of(object, &view, sizeof(Splitting));
    if (!J) return NULL;
    Py_BEGIN_ALLOW_THREADS
    found = DISPATCH(J, split, J);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&view);
    return PyBool_FromLong(found);
}

/* Take a step of an optimizer; return the squared norm of the penalized weights before it. */
static PyObject *move(PyObject *self, PyObject *args) {
    PyObject *object;
    Py_buffer view;
    long long t, n_rows;
    double rate, norm;
    (void)self;
    if (!PyArg_ParseTuple(args, "OLLd", &object, &t, &n_rows, &rate)) return NULL;
    const Moving *J = job_of(object, &view, sizeof(Moving));
    if (!J) return NULL;
    Step S = {.b = n_rows, .rate = rate, .step = unbiased(&J->rule, rate, t), .scale = 1};
    S.shrink = J->alpha / n_rows;
    S.flushes = t % FLUSH_EVERY == 0;
    Py_BEGIN_ALLOW_THREADS
    unsigned mode = without_subnormals();
    norm = DISPATCH(J, move, J, &S);
    back_to(mode);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&view);
    return PyFloat_FromDouble(norm);
}

/* Copy between the layout of `Parameters`, members side by side, and one row per member. */
static PyObject *reorder(PyObject *self, PyObject *args) {
    unsigned long long flat_, rows_;
    long long d, h, k, M, size, bytes, to_rows;
    (void)self;
    if (!PyArg_ParseTuple(args, "KKLLLLLLL", &flat_, &rows_, &d, &h, &k, &M, &size, &bytes,
                          &to_rows))
        return NULL;
    char *flat = (char *)(uintptr_t)flat_, *rows = (char *)(uintptr_t)rows_;
    Py_BEGIN_ALLOW_THREADS
    for (int64_t j = 0; j < M; j++) {
        char *own = rows + j * size * bytes;
        /* b1, W1 row by row, W2, b2: position in flat, and length */
        int64_t W2_at = M * h * (1 + d), b2_at = W2_at + M * h * k;
        for (int64_t i = 0; i < d + 3; i++) {
            int64_t at, n = h;
            if (i <= d) at = (i * M + j) * h;
            else if (i == d + 1) at = W2_at + j * h * k, n = h * k;
            else at = b2_at + j * k, n = k;
            if (to_rows) memcpy(own, flat + at * bytes, n * bytes);
            else memcpy(flat + at * bytes, own, n * bytes);
            own += n * bytes;
        }
    }
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

/* Whether threads can take steps together. */
static PyObject *can_meet(PyObject *self, PyObject *unused) {
    (void)self;
    (void)unused;
    return PyBool_FromLong(CAN_MEET);
}

/* Whether this processor has the instructions of the second variant. */
static PyObject *has_vector(PyObject *self, PyObject *unused) {
    int found = 0;
    (void)self;
    (void)unused;
#if HAS_VECTOR_VARIANT
    found = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    return PyBool_FromLong(found);
}

static PyMethodDef functions[] = {
    {"train", train, METH_VARARGS, "Train members over some rows."},
    {"meeting", meeting, METH_VARARGS, "For threads that take steps together."},
    {"can_meet", can_meet, METH_NOARGS, "Whether a meeting may have several threads."},
    {"move", move, METH_VARARGS, "A step of an optimizer, by a gradient."},
    {"score", score, METH_VARARGS, "Scores of the rows held out from members."},
    {"measure", measure, METH_VARARGS, "The loss of scores at a temperature."},
    {"split", split, METH_VARARGS, "The bins of rows, from their columns."},
    {"reorder", reorder, METH_VARARGS, "From one layout of parameters to the other."},
    {"has_vector", has_vector, METH_NOARGS, "Whether jobs may set `vector`."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_engine", "The compiled step.", 0, functions, slots,
    NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__engine(void) { return PyModuleDef_Init(&module); }
