/* Rules 3 and 6: no global state; handles that are closed, of another kind or nonsense. */
#include "check.h"

#include <pthread.h>

static uint64_t clock_of(void *user) { return *(uint64_t *)user; }

static fuse_runtime_t *on_clock(uint64_t *clock) {
    fuse_platform_t platform = FUSE_PLATFORM_INIT;
    fuse_runtime_t *runtime = NULL;
    platform.user = clock;
    platform.timestamp_us = clock_of;
    IS(FUSE_OK, fuse_runtime_new(NULL, &platform, &runtime, NULL, 0));
    return runtime;
}

static void two_runtimes(void) {
    uint64_t early = 0, late = 1000000;
    fuse_runtime_t *a = on_clock(&early), *b = on_clock(&late);
    fuse_policy_t policy = FUSE_POLICY_INIT;
    fuse_poster_t *poster;
    size_t ran;
    policy.activation_mask = FUSE_ACTIVATE_EVENT;
    policy.event_subscribe = 1u << 7;
    fuse_module_id_t in_a = load(a, "same", EMPTY_MODULE, &policy), in_b = load(b, "same", EMPTY_MODULE, &policy);
    IS(FUSE_OK, fuse_runtime_start(a, in_a));
    IS(FUSE_OK, fuse_runtime_start(b, in_b));
    IS(FUSE_OK, fuse_runtime_poster(a, &poster));
    IS(FUSE_OK, fuse_poster_post(poster, 7));
    IS(FUSE_OK, fuse_runtime_tick(b, NULL, NULL, 0, &ran, NULL));
    CHECK(ran == 0);
    IS(FUSE_OK, fuse_runtime_tick(a, NULL, NULL, 0, &ran, NULL));
    CHECK(ran == 1);
    /* A failure of one leaves no trace in the other. */
    char text[256];
    IS(FUSE_ERR_WRONG_STATE, fuse_runtime_start(a, in_a));
    IS(FUSE_OK, fuse_last_error(b, text, sizeof text, NULL));
    CHECK(text[0] == 0);
    IS(FUSE_OK, fuse_runtime_close(a));
    IS(FUSE_OK, fuse_runtime_run_step(b, in_b));
    IS(FUSE_OK, fuse_poster_post(poster, 7)); /* outlives its runtime */
    IS(FUSE_OK, fuse_poster_close(poster));
    IS(FUSE_OK, fuse_runtime_close(b));
}

static void closed_and_foreign(void) {
    fuse_runtime_t *runtime = new_runtime();
    fuse_poster_t *poster;
    fuse_app_t *app;
    char text[64];
    static const char json[] = "{\"application\": {\"name\": \"a\"}, \"modules\": []}";
    static uint64_t nonsense[64];
    IS(FUSE_OK, fuse_runtime_poster(runtime, &poster));
    IS(FUSE_OK, fuse_app_from_json(json, strlen(json), &app, NULL, 0));
    /* Of another kind. */
    IS(FUSE_ERR_INVALID_ARG, fuse_runtime_stop((fuse_runtime_t *)poster));
    IS(FUSE_ERR_INVALID_ARG, fuse_runtime_stop((fuse_runtime_t *)app));
    IS(FUSE_ERR_INVALID_ARG, fuse_poster_post((fuse_poster_t *)runtime, 1));
    IS(FUSE_ERR_INVALID_ARG, fuse_app_close((fuse_app_t *)runtime));
    IS(FUSE_ERR_INVALID_ARG, fuse_last_error(poster, text, sizeof text, NULL));
    /* Nonsense. */
    IS(FUSE_ERR_INVALID_ARG, fuse_runtime_stop((fuse_runtime_t *)nonsense));
    IS(FUSE_ERR_INVALID_ARG, fuse_runtime_stop((fuse_runtime_t *)((uintptr_t)runtime + 1)));
    IS(FUSE_ERR_INVALID_ARG, fuse_poster_post((fuse_poster_t *)((uintptr_t)poster + 2), 1));
    /* Closed. */
    IS(FUSE_OK, fuse_poster_close(poster));
    IS(FUSE_OK, fuse_app_close(app));
    IS(FUSE_OK, fuse_runtime_close(runtime));
    IS(FUSE_ERR_INVALID_ARG, fuse_poster_post(poster, 1));
    IS(FUSE_ERR_INVALID_ARG, fuse_poster_close(poster));
    IS(FUSE_ERR_INVALID_ARG, fuse_app_close(app));
    IS(FUSE_ERR_INVALID_ARG, fuse_runtime_tick(runtime, NULL, NULL, 0, NULL, NULL));
    IS(FUSE_ERR_INVALID_ARG, fuse_runtime_close(runtime));
    IS(FUSE_ERR_INVALID_ARG, fuse_last_error(runtime, text, sizeof text, NULL));
    /* Closing nothing is allowed. */
    IS(FUSE_OK, fuse_runtime_close(NULL));
    IS(FUSE_OK, fuse_poster_close(NULL));
    IS(FUSE_OK, fuse_app_close(NULL));
}

/* Rule 14: a runtime moves between threads. */
static void *use(void *user) {
    fuse_runtime_t *runtime = user;
    fuse_module_id_t id = 0;
    IS(FUSE_OK, fuse_runtime_find(runtime, "moved", &id));
    IS(FUSE_OK, fuse_runtime_run_step(runtime, id));
    IS(FUSE_OK, fuse_runtime_close(runtime));
    return NULL;
}

static void on_another_thread(void) {
    pthread_t thread;
    fuse_runtime_t *runtime = new_runtime();
    start(runtime, "moved", EMPTY_MODULE, 0);
    CHECK(pthread_create(&thread, NULL, use, runtime) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
}

int main(void) {
    two_runtimes();
    closed_and_foreign();
    on_another_thread();
    for (int i = 0; i < 200; i++) fuse_runtime_close(new_runtime()); /* more shells than are kept */
    return 0;
}
