/* Threads that take steps together: no step begins before all members took the last one.

Members that share feature scales need this, since the slopes of all of them move the
scales.  A thread claims a member for a step, its own ones first and then any that is
left, so nobody waits for a thread that does not run; whoever finishes the last member
ends the step.  What a member computes does not depend on who claimed it, and slopes are
added up in the order of the members: results have the same bits whoever does what.

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

/* A number that threads write, in a cache line of its own. */
typedef struct {
    ATOMIC int64_t value;
    char rest[64 - sizeof(int64_t)];
} Shared;

/* Where a thread sleeps: its lock is taken, and released to wake it. */
typedef struct {
    Shared sleeps;
    PyThread_type_lock lock;
} Seat;

typedef struct {
    Shared steps;     /* that all members took */
    Shared n_done;    /* of all steps, by all members */
    Shared n_seated;  /* threads that came */
    int64_t M, n_seats;
    Shared *claimed;  /* (M,): steps of each member that were claimed */
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

/* NULL where there is no memory. */
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

/* A member that nobody has claimed for the step behind `steps` others, or -1. */
static int64_t claim(Meeting *T, int64_t steps, int64_t first, int64_t last) {
    int64_t n_own = last - first;
    for (int64_t i = 0; i < T->M; i++) {
        /* one's own in their order, then the others', from their end */
        int64_t j = i < n_own ? first + i : T->M - 1 - (i - n_own);
        if (i >= n_own && j < last) j -= n_own;
        int64_t expected = steps;
        if (atomic_load(&T->claimed[j].value) == steps &&
            atomic_compare_exchange_strong(&T->claimed[j].value, &expected, steps + 1))
            return j;
    }
    return -1;
}

/* Whether all members now took the step behind `steps` others. */
static int is_last(Meeting *T, int64_t steps) {
    return atomic_fetch_add(&T->n_done.value, 1) + 1 == T->M * (steps + 1);
}

/* Begin the next step, behind `steps` others. */
static void begin_step(Meeting *T, int64_t steps) {
    atomic_store(&T->steps.value, steps);
    for (int64_t i = 0; i < T->n_seats; i++)
        if (atomic_load(&T->seats[i].sleeps.value) &&
            atomic_exchange(&T->seats[i].sleeps.value, 0))
            PyThread_release_lock(T->seats[i].lock);
}

/* Wait until a step begins behind more than `steps` others. */
static void wait_for_step(Meeting *T, int64_t steps, int64_t seat) {
    Seat *own = T->seats + seat;
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load(&T->steps.value) != steps) return;
        PAUSE();
    }
    atomic_store(&own->sleeps.value, 1);
    /* Whoever clears `sleeps` decides: if it was not this thread, its lock is, or is
       about to be, released. */
    if (atomic_load(&T->steps.value) == steps || !atomic_exchange(&own->sleeps.value, 0))
        PyThread_acquire_lock(own->lock, 1);
}
