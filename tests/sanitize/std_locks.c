/* What the thread sanitizer does not see of the standard library.
 *
 * The library comes compiled without it. Most of a lock is generic or inlined, and so compiled here, with it; what waits is not:
 * a lock that was taken after waiting would order nothing, and whatever one thread hands to another through a `Condvar` or a
 * `Once`, as rayon does with each job and with its threads, would be reported. The linker puts these in the place of the functions that wait (`--wrap`);
 * they say what happens in them. The names are those of the library at hand, see `sanitize-thread` in the Makefile.
 */
#include <stdint.h>
#include <unistd.h>

void __tsan_acquire(void *address);
void __tsan_release(void *address);

#define PASTE(a, b) a##b
#define NAMED(prefix, name) PASTE(prefix, name)

/* `Mutex::lock_contended(&self)`, `RwLock::read_contended(&self)` and `RwLock::write_contended(&self)`: the lock is taken. */
#define TAKES(name)                                    \
    void NAMED(__real_, name)(void *lock);             \
    void NAMED(__wrap_, name)(void *lock) {            \
        NAMED(__real_, name)(lock);                    \
        __tsan_acquire(lock);                          \
    }

TAKES(LOCK)
TAKES(READ)
TAKES(WRITE)

/* `Condvar::wait(&self, mutex)`: the lock is given back, and taken again. */
void NAMED(__real_, WAIT)(void *condvar, void *mutex);
void NAMED(__wrap_, WAIT)(void *condvar, void *mutex) {
    __tsan_release(mutex);
    NAMED(__real_, WAIT)(condvar, mutex);
    __tsan_acquire(mutex);
}

/* `Once::call(&self, ignore_poisoning, f: &mut dyn FnMut(&OnceState))`: what `f` does comes before what follows any call, and
 * before what follows finding it done, which is inlined. So `f` is called by another of its kind that says so when it ends. */
struct function {
    void *data;
    void *const *table; /* drop, size, alignment, call_once, call_mut */
    void *once;
};

static void run(struct function *f, void *state) {
    ((void (*)(void *, void *))f->table[4])(f->data, state);
    __tsan_release(f->once);
}

void NAMED(__real_, ONCE)(void *once, _Bool ignore_poisoning, void *data, void *const *table);
void NAMED(__wrap_, ONCE)(void *once, _Bool ignore_poisoning, void *data, void *const *table) {
    void *const own[] = {0, (void *)sizeof(struct function), (void *)_Alignof(struct function), 0, (void *)run};
    struct function f = {data, table, once};
    NAMED(__real_, ONCE)(once, ignore_poisoning, &f, own);
    __tsan_acquire(once);
}

/* A race between tasks is seen where two threads have them, and those of a test are so short that one has done them all before
 * another wakes. A thread of rayon puts up such a fence before it takes a task that it had laid aside: others get up to 127
 * microseconds to take it first. */
void __real___tsan_atomic_thread_fence(int order);
void __wrap___tsan_atomic_thread_fence(int order) {
    static _Thread_local uint32_t random;
    if (order == __ATOMIC_SEQ_CST) {
        random = random * 1664525 + 1013904223 + (uint32_t)(uintptr_t)&random;
        usleep(random >> 16 & 127);
    }
    __real___tsan_atomic_thread_fence(order);
}
