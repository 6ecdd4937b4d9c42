/*
 * libraft calls io_destroy by libc's syscall(3), which stands in for here: a definition in the program comes before the
 * library's. The context has nothing under way by then, so it does not matter when it goes. Where no thread can be had
 * the call is made at once, as it would have been. All other calls pass through.
 */
#include "raft/store/aio.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/base.h"

typedef long syscall_fn(long number, ...);

static syscall_fn *next_syscall(void) {
    static _Atomic(syscall_fn *) found;
    syscall_fn *next = atomic_load_explicit(&found, memory_order_relaxed);
    if (next) return next;
    next = (syscall_fn *)dlsym(RTLD_NEXT, "syscall");
    KW_ASSERT(next);
    atomic_store_explicit(&found, next, memory_order_relaxed);
    return next;
}

static _Atomic bool offloaded;

void kw_aio_offload(void) {
    next_syscall();
    atomic_store(&offloaded, true);
}

static void *destroy_run(void *context) {
    next_syscall()(SYS_io_destroy, (long)(intptr_t)context);
    return NULL;
}

static bool destroy_elsewhere(long context) {
    pthread_attr_t attr;
    pthread_t thread;
    if (pthread_attr_init(&attr)) return false;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    bool begun = pthread_create(&thread, &attr, destroy_run, (void *)(intptr_t)context) == 0;
    pthread_attr_destroy(&attr);
    return begun;
}

/* As libc declares it. Six arguments are more than any call takes that comes with fewer; the rest is not looked at. */
long syscall(long number, ...) {
    long args[6];
    va_list list;
    va_start(list, number);
    for (size_t i = 0; i < KW_ARRAY_LEN(args); i++) args[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_io_destroy && atomic_load(&offloaded) && destroy_elsewhere(args[0])) return 0;
    return next_syscall()(number, args[0], args[1], args[2], args[3], args[4], args[5]);
}
