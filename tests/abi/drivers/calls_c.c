/* The calls of a scenario, with fuse.h. Built with FLIGHT, it is linked with libfuse-flight.a, which has neither a compiler nor
 * JSON: then what those give comes from another driver. */
#define _GNU_SOURCE
#include "driver.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char call_error[ERROR_CAPACITY];
static fuse_runtime_t *runtime;
static fuse_app_t *app;

/* Keeps the text of a failure of a call on a handle. */
static fuse_status_t of(const void *handle, fuse_status_t status) {
    call_error[0] = 0;
    if (status != FUSE_OK) fuse_last_error(handle, call_error, sizeof call_error, NULL);
    return status;
}

#ifdef FLIGHT
static fuse_status_t not_there(void) {
    snprintf(call_error, sizeof call_error, "the flight library has neither a compiler nor JSON");
    return FUSE_ERR_UNIMPLEMENTED;
}

fuse_status_t call_policy_json(const char *json, fuse_policy_t *out) {
    (void)json;
    (void)out;
    return not_there();
}

fuse_status_t call_compile(const uint8_t *source, size_t length, uint32_t metering, const char *target, int portable,
                           struct bytes *out) {
    (void)source;
    (void)length;
    (void)metering;
    (void)target;
    (void)portable;
    (void)out;
    return not_there();
}

fuse_status_t call_app_json(const char *json) {
    (void)json;
    return not_there();
}
#else
fuse_status_t call_policy_json(const char *json, fuse_policy_t *out) {
    return fuse_policy_from_json(json, strlen(json), out, call_error, sizeof call_error);
}

fuse_status_t call_compile(const uint8_t *source, size_t length, uint32_t metering, const char *target, int portable,
                           struct bytes *out) {
    fuse_compile_options_t options = FUSE_COMPILE_OPTIONS_INIT;
    uint8_t *start = NULL;
    size_t made = 0;
    options.metering = metering;
    options.target = strcmp(target, "-") ? target : NULL;
    options.portable = (uint32_t)portable;
    fuse_status_t status = fuse_compile(source, length, &options, &start, &made, call_error, sizeof call_error);
    if (status != FUSE_OK) return status;
    out->data = malloc(made);
    out->length = made;
    memcpy(out->data, start, made);
    return fuse_bytes_free(start, made);
}

fuse_status_t call_app_json(const char *json) {
    call_app_close();
    return fuse_app_from_json(json, strlen(json), &app, call_error, sizeof call_error);
}

#endif

fuse_status_t call_policy_bytes(const uint8_t *bytes, size_t length, fuse_policy_t *out) {
    return fuse_policy_from_bytes(bytes, length, out, call_error, sizeof call_error);
}

fuse_status_t call_policy_to_bytes(const fuse_policy_t *policy, uint8_t out[FUSE_POLICY_BYTES]) {
    size_t length = 0;
    call_error[0] = 0;
    return fuse_policy_to_bytes(policy, out, FUSE_POLICY_BYTES, &length);
}

fuse_status_t call_app_binary(const uint8_t *bytes, size_t length) {
    call_app_close();
    return fuse_app_from_binary(bytes, length, &app, call_error, sizeof call_error);
}

fuse_status_t call_app_pack(struct bytes *out) {
    fuse_status_t status = fuse_app_to_binary(app, NULL, 0, &out->length);
    if (status != FUSE_ERR_BUFFER_TOO_SMALL) return of(app, status);
    out->data = malloc(out->length);
    return of(app, fuse_app_to_binary(app, out->data, out->length, &out->length));
}

fuse_status_t call_app_artifact(uint32_t index, const uint8_t *bytes, size_t length) {
    return of(app, fuse_app_set_artifact(app, index, bytes, length));
}

fuse_status_t call_app_module(uint32_t index, char name[FUSE_NAME_CAPACITY], char binary[4096]) {
    fuse_app_module_t module = FUSE_APP_MODULE_INIT;
    fuse_status_t status = fuse_app_module(app, index, &module);
    if (status != FUSE_OK) return status;
    memcpy(name, module.name, FUSE_NAME_CAPACITY);
    return fuse_app_module_binary(app, index, binary, 4096, NULL);
}

void call_app_close(void) {
    fuse_app_close(app);
    app = NULL;
}

static uint64_t timestamp(void *user) { return *(uint64_t *)user; }

#ifdef FLIGHT
static void give_platform(fuse_platform_t *platform, int quota_timer) { flight_platform(platform, quota_timer); }
#else
static void give_platform(fuse_platform_t *platform, int quota_timer) {
    platform->flags = quota_timer ? FUSE_PLATFORM_OWN_QUOTA_TIMER : 0;
}
#endif

fuse_status_t call_new(int for_app, int no_compile, uint32_t stack_bytes_max, int quota_timer) {
    fuse_runtime_config_t config = FUSE_RUNTIME_CONFIG_INIT;
    fuse_platform_t platform = FUSE_PLATFORM_INIT;
    call_close();
    config.app = for_app ? app : NULL;
    config.no_compile_on_load = (uint32_t)no_compile;
    config.stack_bytes_max = stack_bytes_max;
    config.step_timing = FUSE_TIMING_EVERY;
    platform.user = &driver_clock_us;
    platform.timestamp_us = timestamp;
    give_platform(&platform, quota_timer);
    return fuse_runtime_new(&config, &platform, &runtime, call_error, sizeof call_error);
}

void call_close(void) {
    fuse_runtime_close(runtime);
    runtime = NULL;
}

static int32_t fetch(void *user, const char *name, const char *binary, const uint8_t **out, size_t *out_length) {
    (void)user;
    (void)name;
    return driver_fetch(binary, out, out_length) ? 0 : 1;
}

fuse_status_t call_load_app(fuse_module_id_t *ids, size_t capacity, size_t *count) {
    return of(runtime, fuse_runtime_load_app(runtime, app, fetch, NULL, ids, capacity, count));
}

fuse_status_t call_load(const char *name, const uint8_t *artifact, size_t length, const fuse_policy_t *policy,
                        fuse_module_id_t *out) {
    return of(runtime, fuse_runtime_load(runtime, name, artifact, length, policy, out));
}

fuse_status_t call_update(fuse_module_id_t id, const uint8_t *artifact, size_t length) {
    return of(runtime, fuse_runtime_update(runtime, id, artifact, length));
}

fuse_status_t call_plain(const char *what, fuse_module_id_t id) {
    if (!strcmp(what, "start")) return of(runtime, fuse_runtime_start(runtime, id));
    if (!strcmp(what, "pause")) return of(runtime, fuse_runtime_pause(runtime, id));
    if (!strcmp(what, "run_step")) return of(runtime, fuse_runtime_run_step(runtime, id));
    if (!strcmp(what, "unload")) return of(runtime, fuse_runtime_unload(runtime, id));
    if (!strcmp(what, "restart_module")) return of(runtime, fuse_runtime_restart_module(runtime, id));
    if (!strcmp(what, "stop")) return of(runtime, fuse_runtime_stop(runtime));
    if (!strcmp(what, "restart")) return of(runtime, fuse_runtime_restart(runtime));
    if (!strcmp(what, "tick")) return of(runtime, fuse_runtime_tick(runtime, NULL, NULL, 0, NULL, NULL));
    return FUSE_ERR_INVALID_ARG;
}

fuse_status_t call_tick(fuse_module_id_t *ids, fuse_status_t *statuses, size_t capacity, size_t *ran) {
    return of(runtime, fuse_runtime_tick(runtime, ids, statuses, capacity, ran, NULL));
}

fuse_status_t call_post(uint32_t event) { return of(runtime, fuse_runtime_post_event(runtime, event)); }

struct posting {
    fuse_poster_t *poster;
    uint32_t event;
    fuse_status_t status;
};

static void *post(void *user) {
    struct posting *posting = user;
    posting->status = fuse_poster_post(posting->poster, posting->event);
    return NULL;
}

fuse_status_t call_post_from_thread(uint32_t event) {
    struct posting posting = {NULL, event, FUSE_OK};
    pthread_t thread;
    fuse_status_t status = of(runtime, fuse_runtime_poster(runtime, &posting.poster));
    if (status != FUSE_OK) return status;
    pthread_create(&thread, NULL, post, &posting);
    pthread_join(thread, NULL);
    fuse_poster_close(posting.poster);
    if (posting.status != FUSE_OK) snprintf(call_error, sizeof call_error, "event id %u does not exist; ids are 0 to 31", event);
    return posting.status;
}

fuse_status_t call_clear(uint32_t event) { return of(runtime, fuse_runtime_clear_event(runtime, event)); }
fuse_status_t call_deadline(uint64_t *out) { return of(runtime, fuse_runtime_next_deadline(runtime, out)); }

static int32_t temp(void *user, float *out) {
    struct answer answer = driver_answer("temp_get_reading", "", 0);
    (void)user;
    *out = (float)answer.real;
    return answer.fail;
}

static int32_t timer(void *user, int64_t *out) {
    struct answer answer = driver_answer("timer_get_timestamp", "", 0);
    (void)user;
    *out = answer.integer;
    return answer.fail;
}

static int32_t camera(void *user, uint8_t *buffer, size_t capacity, size_t *out) {
    char arguments[32];
    (void)user;
    snprintf(arguments, sizeof arguments, "i%zu", capacity);
    struct answer answer = driver_answer("camera_last_frame", arguments, 0);
    if (answer.fail) return answer.fail;
    size_t length = answer.bytes_length < capacity ? answer.bytes_length : capacity;
    if (length) memcpy(buffer, answer.bytes, length);
    *out = answer.has_claim ? answer.claim : length;
    return 0;
}

fuse_status_t call_set_callback(const char *function) {
    if (!strcmp(function, "temp_get_reading")) return of(runtime, fuse_runtime_set_temp(runtime, temp, NULL, NULL));
    if (!strcmp(function, "timer_get_timestamp")) return of(runtime, fuse_runtime_set_timer(runtime, timer, NULL, NULL));
    if (!strcmp(function, "camera_last_frame")) return of(runtime, fuse_runtime_set_camera(runtime, camera, NULL, NULL));
    return FUSE_ERR_INVALID_ARG;
}

/* Appends one argument to a list of them. */
static void show(char *list, size_t capacity, fuse_hal_call_t *call, size_t index, fuse_hal_type_t type) {
    size_t at = strlen(list), length = 0;
    const uint8_t *input = NULL;
    uint8_t *output = NULL;
    int32_t i32 = 0;
    int64_t i64 = 0;
    float f32 = 0;
    double f64 = 0;
    if (at) list[at++] = ',';
    char *to = list + at;
    size_t room = capacity - at;
    switch (type) {
    case FUSE_HAL_I32: fuse_hal_call_i32(call, index, &i32); snprintf(to, room, "i%d", i32); return;
    case FUSE_HAL_I64: fuse_hal_call_i64(call, index, &i64); snprintf(to, room, "i%lld", (long long)i64); return;
    case FUSE_HAL_F32: fuse_hal_call_f32(call, index, &f32); snprintf(to, room, "f%.17g", (double)f32); return;
    case FUSE_HAL_F64: fuse_hal_call_f64(call, index, &f64); snprintf(to, room, "f%.17g", f64); return;
    case FUSE_HAL_OUT: fuse_hal_call_output(call, index, &output, &length); snprintf(to, room, "i%zu", length); return;
    default:
        fuse_hal_call_input(call, index, &input, &length);
        *to++ = 'x';
        for (size_t i = 0; i < length && (size_t)(to - list) + 3 < capacity; i++, to += 2) sprintf(to, "%02x", input[i]);
        *to = 0;
    }
}

static int32_t host_function(void *user, fuse_hal_call_t *call) {
    struct group_function *function = user;
    static char arguments[1 << 18];
    fuse_module_id_t module = 0;
    uint8_t *output = NULL;
    size_t length = 0;
    arguments[0] = 0;
    for (size_t i = 0; i < function->param_count; i++) show(arguments, sizeof arguments, call, i, function->params[i]);
    fuse_hal_call_module(call, &module);
    struct answer answer = driver_answer(function->name, arguments, module);
    if (answer.fail) return answer.fail;
    for (size_t i = 0; i < function->param_count; i++) {
        if (function->params[i] != FUSE_HAL_OUT && function->params[i] != FUSE_HAL_INOUT) continue;
        fuse_hal_call_output(call, i, &output, &length);
        if (answer.bytes_length < length) length = answer.bytes_length;
        if (length) memcpy(output, answer.bytes, length);
        break;
    }
    if (answer.wrong_type && function->result != FUSE_HAL_NONE)
        return function->result == FUSE_HAL_F64 ? fuse_hal_call_return_i32(call, 0) : fuse_hal_call_return_f64(call, 0);
    switch (function->result) {
    case FUSE_HAL_I32: return fuse_hal_call_return_i32(call, (int32_t)answer.integer);
    case FUSE_HAL_I64: return fuse_hal_call_return_i64(call, answer.integer);
    case FUSE_HAL_F32: return fuse_hal_call_return_f32(call, (float)answer.real);
    case FUSE_HAL_F64: return fuse_hal_call_return_f64(call, answer.real);
    default: return 0;
    }
}

fuse_status_t call_register(const char *name, uint32_t bit, const struct group_function *given, size_t count) {
    fuse_hal_function_t functions[32];
    const fuse_hal_function_t *pointers[32];
    fuse_hal_group_t group = FUSE_HAL_GROUP_INIT;
    for (size_t i = 0; i < count; i++) {
        fuse_hal_function_t function = FUSE_HAL_FUNCTION_INIT;
        struct group_function *kept = malloc(sizeof *kept);
        *kept = given[i];
        function.name = kept->name;
        function.params = kept->params;
        function.param_count = kept->param_count;
        function.result = kept->result;
        function.callback = host_function;
        function.user = kept;
        function.finalizer = free;
        functions[i] = function;
        pointers[i] = &functions[i];
    }
    group.name = name;
    group.bit = bit;
    group.functions = pointers;
    group.function_count = count;
    return of(runtime, fuse_runtime_register_group(runtime, &group));
}

fuse_status_t call_info(fuse_module_id_t id, fuse_module_info_t *out) {
    return of(runtime, fuse_runtime_module_info(runtime, id, out));
}

fuse_status_t call_failure(fuse_module_id_t id, char out[512]) {
    return of(runtime, fuse_runtime_module_failure(runtime, id, out, 512, NULL));
}

fuse_status_t call_stats(fuse_module_id_t id, fuse_module_stats_t *out) {
    return of(runtime, fuse_runtime_module_stats(runtime, id, out));
}

fuse_status_t call_log_next(uint64_t *sequence, fuse_log_record_t *out) {
    return fuse_runtime_log_next(runtime, sequence, out);
}

fuse_status_t call_log_counts(uint64_t *next, uint64_t *lost, uint64_t *lost_security) {
    return of(runtime, fuse_runtime_log_counts(runtime, next, lost, lost_security));
}

fuse_status_t call_modules(fuse_module_id_t *ids, size_t capacity, size_t *count) {
    return of(runtime, fuse_runtime_modules(runtime, ids, capacity, count));
}

fuse_status_t call_find(const char *name, fuse_module_id_t *out) {
    return of(runtime, fuse_runtime_find(runtime, name, out));
}
