/* The platform table: a clock, and a quota timer of the host's on a thread. Requirement FLIGHT-05. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

static const fuse_quota_expiry_t *expiry;
static atomic_uint_fast64_t armed, armed_us;
static atomic_int ended;

static int32_t init(void *user, const fuse_quota_expiry_t *given) {
    (void)user;
    expiry = given;
    return 0;
}

static int32_t init_fails(void *user, const fuse_quota_expiry_t *given) {
    (void)user;
    (void)given;
    return 5;
}

static uint64_t timestamp(void *user) {
    struct timespec now;
    (void)user;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void arm(void *user, uint32_t quota_us, uint64_t token) {
    (void)user;
    atomic_store(&armed_us, quota_us);
    atomic_store(&armed, token);
}

static void cancel(void *user) {
    (void)user;
    atomic_store(&armed, 0);
}

/* The timer: coarse, and late, as timers are. */
static void *timer(void *user) {
    (void)user;
    while (!atomic_load(&ended)) {
        uint64_t token = atomic_load(&armed);
        struct timespec wait = {0, 2000000};
        nanosleep(&wait, NULL);
        if (token && token == atomic_load(&armed)) fuse_quota_expire(expiry, token);
    }
    return NULL;
}

int main(void) {
    static const char loop[] = "(module (func (export \"module_step\") (loop (br 0))))";
    fuse_platform_t platform = FUSE_PLATFORM_INIT;
    fuse_runtime_t *runtime = NULL;
    fuse_policy_t policy = FUSE_POLICY_INIT;
    pthread_t thread;
    char error[256];

    IS(FUSE_ERR_INVALID_ARG, fuse_runtime_new(NULL, &platform, &runtime, error, sizeof error));
    CHECK(strstr(error, "timestamp_us"));
    platform.timestamp_us = timestamp;
    platform.init = init_fails;
    IS(FUSE_ERR_INVALID_ARG, fuse_runtime_new(NULL, &platform, &runtime, error, sizeof error));
    CHECK(strstr(error, "5"));
    platform.init = init;
    platform.quota_arm = arm;
    IS(FUSE_ERR_INVALID_ARG, fuse_runtime_new(NULL, &platform, &runtime, error, sizeof error));
    platform.quota_cancel = cancel;
    platform.flags = FUSE_PLATFORM_OWN_QUOTA_TIMER;
    IS(FUSE_ERR_INVALID_ARG, fuse_runtime_new(NULL, &platform, &runtime, error, sizeof error));
    platform.flags = 0;
    platform.quota_resolution_us = 1000;
    IS(FUSE_OK, fuse_runtime_new(NULL, &platform, &runtime, error, sizeof error));
    CHECK(pthread_create(&thread, NULL, timer, NULL) == 0);

    policy.cpu_quota_us = 1500;
    fuse_module_id_t module = load(runtime, "endless", loop, &policy);
    IS(FUSE_OK, fuse_runtime_start(runtime, module));
    IS(FUSE_ERR_QUOTA_EXCEEDED, fuse_runtime_run_step(runtime, module));
    CHECK(atomic_load(&armed_us) == 2000); /* rounded up to the timer's resolution */
    IS(FUSE_ERR_INVALID_ARG, fuse_quota_expire(NULL, 1));
    atomic_store(&ended, 1);
    pthread_join(thread, NULL);
    IS(FUSE_OK, fuse_runtime_close(runtime));
    return 0;
}
