/* Rule 14: posts from threads and from a signal handler, while the runtime steps. Requirement FLIGHT-04. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <pthread.h>
#include <signal.h>

enum { THREADS = 3, POSTS = 20000 };
static fuse_poster_t *poster;

static void *post(void *user) {
    for (int i = 0; i < POSTS; i++) {
        IS(FUSE_OK, fuse_poster_post(poster, (uint32_t)(uintptr_t)user));
        IS(FUSE_OK, fuse_poster_post_at(poster, (uint32_t)(uintptr_t)user, 1));
    }
    IS(FUSE_ERR_INVALID_ARG, fuse_poster_post(poster, 32));
    return NULL;
}

static void handler(int signal) {
    (void)signal;
    fuse_poster_post(poster, 9);
}

int main(void) {
    fuse_runtime_t *runtime = new_runtime();
    fuse_policy_t policy = FUSE_POLICY_INIT;
    fuse_module_stats_t stats = FUSE_MODULE_STATS_INIT;
    pthread_t threads[THREADS];
    struct sigaction action;
    policy.activation_mask = FUSE_ACTIVATE_EVENT;
    policy.event_subscribe = 0x207;
    fuse_module_id_t module = load(runtime, "listener", EMPTY_MODULE, &policy);
    IS(FUSE_OK, fuse_runtime_start(runtime, module));
    IS(FUSE_OK, fuse_runtime_poster(runtime, &poster));
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    sigaction(SIGUSR1, &action, NULL);
    for (uintptr_t i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, post, (void *)i) == 0);
    for (int i = 0; i < 2000; i++) {
        if (i % 10 == 0) raise(SIGUSR1);
        IS(FUSE_OK, fuse_runtime_tick(runtime, NULL, NULL, 0, NULL, NULL));
    }
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    IS(FUSE_OK, fuse_runtime_tick(runtime, NULL, NULL, 0, NULL, NULL));
    IS(FUSE_OK, fuse_runtime_module_stats(runtime, module, &stats));
    CHECK(stats.steps >= 200 && stats.steps <= 2001);
    IS(FUSE_OK, fuse_poster_close(poster));
    IS(FUSE_OK, fuse_runtime_close(runtime));
    return 0;
}
