#!/bin/sh
# Compile std_locks.c into $1 for the standard library at hand, and print what rustc needs to link it.
set -eu
library=$(rustc --print target-libdir)
args="-Clink-arg=$1 -Clink-arg=-Wl,--wrap=__tsan_atomic_thread_fence"
define() {
    name=$(cat "$library"/libstd-*.rlib | grep -aoE "_R[A-Za-z0-9_]*$2\b" | sort -u)
    [ "$(echo "$name" | grep -c .)" = 1 ] || { echo "std_locks.sh: the standard library has no one function $2" >&2; exit 1; }
    defines="${defines-} -D$1=$name"
    args="$args -Clink-arg=-Wl,--wrap=$name"
}
define LOCK 3std3sys4sync5mutex5futexNtB2_5Mutex14lock_contended
define READ 3std3sys4sync6rwlock5futexNtB2_6RwLock14read_contended
define WRITE 3std3sys4sync6rwlock5futexNtB2_6RwLock15write_contended
define ONCE 3std3sys4sync4once5futexNtB5_4Once4call
define WAIT 3std3sys4sync7condvar5futexNtB2_7Condvar4wait
mkdir -p "$(dirname "$1")"
# shellcheck disable=SC2086
cc -O1 -fPIC -fexceptions $defines -c "$(dirname "$0")/std_locks.c" -o "$1"
echo "$args"
