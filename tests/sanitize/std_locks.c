/* What the thread sanitizer does not see of the standard library.
 *
 * The library comes compiled without it. Most of a lock is generic or inlined, and so compiled here, with it; what waits is not:
 * a lock that was taken after waiting would order nothing, and whatever one thread hands to another through a `Condvar`, as
 * rayon does at the end of each job, would be reported. The linker puts these in the place of the functions that wait (`--wrap`);
 * they say what happens in them. The names are those of the library at hand, see `sanitize-thread` in the Makefile.
 */
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
