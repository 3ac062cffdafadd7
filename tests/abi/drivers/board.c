/* What the flight library takes from its host, as a program on Linux can give it: one arena, pages that become executable, and
 * a timer of the thread's CPU time whose handler expires a quota. */
#define _GNU_SOURCE
#include "driver.h"

#include <fuse_flight.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { ARENA_BYTES = 256 * 1024 * 1024 };

static const fuse_quota_expiry_t *expiry;
static volatile uint64_t armed; /* the token of the quota that runs */
static timer_t timer;

static void panicked(void *user, const char *text, size_t length) {
    (void)user;
    fprintf(stderr, "driver: the library panicked: %.*s\n", (int)length, text);
    _exit(71);
}

static int32_t publish(void *user, const uint8_t *start, size_t length) {
    (void)user;
    return mprotect((void *)(uintptr_t)start, length, PROT_READ | PROT_EXEC);
}

static int32_t unpublish(void *user, const uint8_t *start, size_t length) {
    (void)user;
    return mprotect((void *)(uintptr_t)start, length, PROT_READ | PROT_WRITE);
}

static void on_signal(int number) {
    (void)number;
    fuse_quota_expire(expiry, armed);
}

static int32_t init(void *user, const fuse_quota_expiry_t *given) {
    struct sigevent event = {0};
    struct sigaction action = {0};
    (void)user;
    expiry = given;
    action.sa_handler = on_signal;
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGALRM;
    if (sigaction(SIGALRM, &action, NULL)) return 1;
    return timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer);
}

static void set(uint32_t us) {
    const struct itimerspec in = {{0, 0}, {us / 1000000, (long)(us % 1000000) * 1000}};
    timer_settime(timer, 0, &in, NULL);
}

static void arm(void *user, uint32_t us, uint64_t token) {
    (void)user;
    armed = token;
    set(us);
}

static void cancel(void *user) {
    (void)user;
    set(0);
}

void flight_begin(void) {
    fuse_arena_t arena = FUSE_ARENA_INIT;
    arena.memory = mmap(NULL, ARENA_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    arena.length = ARENA_BYTES;
    arena.panic = panicked;
    if (arena.memory == MAP_FAILED || fuse_arena_give(&arena) != FUSE_OK) exit(72);
}

void flight_platform(fuse_platform_t *platform, int quota_timer) {
#ifndef NO_NATIVE_CODE
    platform->code_publish = publish;
    platform->code_unpublish = unpublish;
#else
    (void)publish;
    (void)unpublish;
#endif
    if (!quota_timer) return;
    platform->init = init;
    platform->quota_arm = arm;
    platform->quota_cancel = cancel;
    platform->quota_resolution_us = 1;
}
