/* The hot calls of libfuse as a program in C makes them. */
#include <fuse.h>

/* Both return how many calls did not end well. */
uint32_t bench_c_steps(fuse_runtime_t *runtime, fuse_module_id_t module, uint32_t count) {
    uint32_t failed = 0;
    for (uint32_t i = 0; i < count; i++) failed += fuse_runtime_run_step(runtime, module) != FUSE_OK;
    return failed;
}

uint32_t bench_c_posts(const fuse_poster_t *poster, uint32_t event, uint32_t count) {
    uint32_t failed = 0;
    for (uint32_t i = 0; i < count; i++) failed += fuse_poster_post(poster, event) != FUSE_OK;
    return failed;
}

int32_t bench_c_timer(void *user, int64_t *out_us) {
    *out_us = ++*(int64_t *)user;
    return 0;
}

int32_t bench_c_gpio(void *user, fuse_hal_call_t *call) {
    int32_t pin = 0;
    fuse_hal_call_i32(call, 0, &pin);
    return fuse_hal_call_return_i32(call, *(int32_t *)user += pin + 1);
}
