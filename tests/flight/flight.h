/* What the tests of the flight library share: a board whose clock is moved by hand, and a way to fail. */
#ifndef FLIGHT_H
#define FLIGHT_H

#include <fcntl.h>
#include <fuse_flight.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(condition)                                                              \
    do {                                                                              \
        if (!(condition)) {                                                           \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            _exit(1);                                                                 \
        }                                                                             \
    } while (0)

#define PAGE 4096u
#define CAP_DOWNLINK 8
#define ALL_CAPS (31u | 1u << CAP_DOWNLINK)

typedef struct {
    const char *name;
    const uint8_t *bytes;
    size_t length;
    fuse_policy_t policy;
} module_t;

static uint64_t now_us;

static inline uint64_t timestamp_us(void *user) {
    (void)user;
    return now_us;
}

static inline int32_t publish(void *user, const uint8_t *start, size_t length) {
    (void)user;
    return mprotect((void *)(uintptr_t)start, length, PROT_READ | PROT_EXEC);
}

static inline int32_t unpublish(void *user, const uint8_t *start, size_t length) {
    (void)user;
    return mprotect((void *)(uintptr_t)start, length, PROT_READ | PROT_WRITE);
}

static inline fuse_platform_t platform(void) {
    fuse_platform_t table = FUSE_PLATFORM_INIT;
    table.timestamp_us = timestamp_us;
    table.code_publish = publish;
    table.code_unpublish = unpublish;
    return table;
}

static inline int32_t temperature(void *user, float *out) {
    (void)user;
    *out = 21.5f;
    return 0;
}

static inline int32_t timer(void *user, int64_t *out) {
    (void)user;
    *out = (int64_t)now_us;
    return 0;
}

static inline int32_t camera(void *user, uint8_t *buffer, size_t capacity, size_t *out_written) {
    (void)user;
    memset(buffer, 7, capacity);
    *out_written = capacity;
    return 0;
}

static uint64_t downlinked;

static inline int32_t downlink(void *user, fuse_hal_call_t *call) {
    const uint8_t *bytes;
    size_t length;
    (void)user;
    if (fuse_hal_call_input(call, 0, &bytes, &length) != FUSE_OK) return 1;
    downlinked += length;
    return fuse_hal_call_return_i32(call, (int32_t)length);
}

static inline fuse_status_t register_downlink(fuse_runtime_t *runtime) {
    static const fuse_hal_type_t params[] = {FUSE_HAL_IN};
    fuse_hal_function_t function = FUSE_HAL_FUNCTION_INIT;
    fuse_hal_group_t group = FUSE_HAL_GROUP_INIT;
    const fuse_hal_function_t *functions[] = {&function};
    function.name = "downlink";
    function.result = FUSE_HAL_I32;
    function.params = params;
    function.param_count = 1;
    function.callback = downlink;
    group.name = "downlink";
    group.bit = CAP_DOWNLINK;
    group.functions = functions;
    group.function_count = 1;
    return fuse_runtime_register_group(runtime, &group);
}

/* A panic ends the process with this. */
#define PANICKED 42

static inline void on_panic(void *user, const char *text, size_t length) {
    (void)user;
    CHECK(text[length] == 0);
    fprintf(stderr, "panic: %s\n", text);
    _exit(PANICKED);
}

/* An arena of this length, with a page after it that cannot be touched. */
static inline fuse_status_t give_arena(size_t length) {
    fuse_arena_t arena = FUSE_ARENA_INIT;
    size_t whole = (length + PAGE - 1) / PAGE * PAGE;
    uint8_t *start = mmap(NULL, whole + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(start != MAP_FAILED && mprotect(start + whole, PAGE, PROT_NONE) == 0);
    /* What the host gives need not be zero. */
    memset(start, 0xa5, whole);
    arena.memory = start;
    arena.length = length;
    arena.panic = on_panic;
    return fuse_arena_give(&arena);
}

static inline fuse_arena_stats_t figures(void) {
    fuse_arena_stats_t stats = FUSE_ARENA_STATS_INIT;
    CHECK(fuse_arena_stats(&stats) == FUSE_OK);
    return stats;
}

static inline module_t module(const char *name, const char *folder, const char *file, fuse_policy_t policy) {
    module_t module = {name, NULL, 0, policy};
    char path[512];
    struct stat info;
    snprintf(path, sizeof path, "%s/%s", folder, file);
    int descriptor = open(path, O_RDONLY);
    if (descriptor < 0 || fstat(descriptor, &info) != 0) {
        perror(path);
        _exit(1);
    }
    module.length = (size_t)info.st_size;
    module.bytes = mmap(NULL, module.length, PROT_READ | PROT_WRITE, MAP_PRIVATE, descriptor, 0);
    CHECK(module.bytes != MAP_FAILED);
    close(descriptor);
    return module;
}

static inline fuse_policy_t policy(uint32_t pages, uint32_t heap, uint32_t interval_us) {
    fuse_policy_t policy = FUSE_POLICY_INIT;
    policy.memory_pages_max = pages;
    policy.heap_size = heap;
    policy.stack_size = 8192;
    policy.step_interval_us = interval_us;
    return policy;
}

static inline module_t gauge(const char *folder) {
    module_t gauge_ = module("gauge", folder, "gauge.fuse", policy(2, 65536, 1000));
    gauge_.policy.capabilities = ALL_CAPS;
    return gauge_;
}

static inline module_t listener(const char *folder) {
    module_t listener_ = module("listener", folder, "listener.fuse", policy(1, 0, 0));
    listener_.policy.activation_mask = FUSE_ACTIVATE_EVENT;
    listener_.policy.event_subscribe = 1u << 1;
    return listener_;
}

static inline fuse_runtime_config_t config(uint32_t max_modules) {
    fuse_runtime_config_t config = FUSE_RUNTIME_CONFIG_INIT;
    config.max_modules = max_modules;
    config.log_pool_bytes = 8192;
    return config;
}

static inline fuse_status_t load(fuse_runtime_t *runtime, const module_t *module, fuse_module_id_t *out) {
    return fuse_runtime_load(runtime, module->name, module->bytes, module->length, &module->policy, out);
}

/* How a child that runs `work` ended. */
static inline int in_child(int (*work)(void)) {
    int status;
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) _exit(work());
    CHECK(waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

#endif
