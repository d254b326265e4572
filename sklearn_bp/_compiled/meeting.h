/* Threads that take steps together: a step begins when all members have taken the last one.

Members that share feature scales need this, because the slopes of all members move the
scales.  A thread claims a member for a step, first among its own members and then among
the others, so no thread waits for one that is not running.  The thread that finishes the
last member ends the step.  The result of a member does not depend on the thread, and
slopes are added up in the order of the members, so the bits do not depend on the threads.

A thread that finds nothing to claim spins for some microseconds, and then sleeps.
Without C11's atomics (`CAN_MEET` is 0) a meeting has one thread.
*/
#if !defined(__STDC_NO_ATOMICS__)
#include <stdatomic.h>
#define CAN_MEET 1
#define ATOMIC _Atomic
#else
#define CAN_MEET 0
#define ATOMIC
#define atomic_load(at) (*(at))
#define atomic_store(at, value) (*(at) = (value))
#define atomic_fetch_add(at, more) ((*(at) += (more)) - (more))
#define atomic_exchange(at, value) (*(at) = (value))
#define atomic_compare_exchange_strong(at, old, new) \
    (*(at) == *(old) ? (*(at) = (new), 1) : 0)
#endif

#if defined(__GNUC__) && (defined(__x86_64__) || defined(__i386__))
#define PAUSE() __builtin_ia32_pause()
#elif defined(__GNUC__) && defined(__aarch64__)
#define PAUSE() __asm__ __volatile__("yield")
#else
#define PAUSE() ((void)0)
#endif
#define SPINS 400

/* A number that several threads write, in a separate cache line. */
typedef struct {
    ATOMIC int64_t value;
    char rest[64 - sizeof(int64_t)];
} Shared;

/* The seat of a thread: it sleeps on the lock, which another thread releases to wake it. */
typedef struct {
    Shared sleeps;
    PyThread_type_lock lock;
} Seat;

typedef struct {
    Shared steps;     /* number of steps that all members have taken */
    Shared n_done;    /* number of steps taken, summed over members */
    Shared n_seated;  /* number of threads that have joined */
    int64_t M, n_seats;
    Shared *claimed;  /* (M,): number of steps claimed for each member */
    Seat *seats;
    void *slopes;     /* REAL (M, d) */
} Meeting;

static void close_meeting(Meeting *T) {
    if (T->seats)
        for (int64_t i = 0; i < T->n_seats; i++)
            if (T->seats[i].lock) {
                PyThread_release_lock(T->seats[i].lock);
                PyThread_free_lock(T->seats[i].lock);
            }
    free(T->claimed);
    free(T->seats);
    free(T->slopes);
    free(T);
}

/* A new meeting; NULL if memory is short. */
static Meeting *open_meeting(int64_t M, int64_t n_seats, size_t slope_bytes) {
    Meeting *T = calloc(1, sizeof *T);
    if (!T) return NULL;
    T->M = M, T->n_seats = n_seats;
    T->claimed = calloc((size_t)M, sizeof *T->claimed);
    T->seats = calloc((size_t)n_seats, sizeof *T->seats);
    T->slopes = malloc(slope_bytes);
    int failed = !T->claimed || !T->seats || !T->slopes;
    for (int64_t i = 0; !failed && i < n_seats; i++) {
        T->seats[i].lock = PyThread_allocate_lock();
        if (T->seats[i].lock) PyThread_acquire_lock(T->seats[i].lock, 1);
        else failed = 1;
    }
    if (!failed) return T;
    close_meeting(T);
    return NULL;
}

/* A member that no thread has claimed for the step after `steps` others, or -1. */
static int64_t claim(Meeting *T, int64_t steps, int64_t first, int64_t last) {
    int64_t n_own = last - first;
    for (int64_t i = 0; i < T->M; i++) {
        /* own members in their order, then the others from the last one */
        int64_t j = i < n_own ? first + i : T->M - 1 - (i - n_own);
        if (i >= n_own && j < last) j -= n_own;
        int64_t expected = steps;
        if (atomic_load(&T->claimed[j].value) == steps &&
            atomic_compare_exchange_strong(&T->claimed[j].value, &expected, steps + 1))
            return j;
    }
    return -1;
}

/* Whether all members have now taken the step after `steps` others. */
static int is_last(Meeting *T, int64_t steps) {
    return atomic_fetch_add(&T->n_done.value, 1) + 1 == T->M * (steps + 1);
}

/* Begin the step after `steps` others. */
static void begin_step(Meeting *T, int64_t steps) {
    atomic_store(&T->steps.value, steps);
    for (int64_t i = 0; i < T->n_seats; i++)
        if (atomic_load(&T->seats[i].sleeps.value) &&
            atomic_exchange(&T->seats[i].sleeps.value, 0))
            PyThread_release_lock(T->seats[i].lock);
}

/* Wait until a later step begins than the one after `steps` others. */
static void wait_for_step(Meeting *T, int64_t steps, int64_t seat) {
    Seat *own = T->seats + seat;
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load(&T->steps.value) != steps) return;
        PAUSE();
    }
    atomic_store(&own->sleeps.value, 1);
    /* If another thread has cleared `sleeps`, it has released the lock or is about to. */
    if (atomic_load(&T->steps.value) == steps || !atomic_exchange(&own->sleeps.value, 0))
        PyThread_acquire_lock(own->lock, 1);
}
