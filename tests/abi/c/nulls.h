/* nulls.h: what the program that is made of the header needs. */
#include "check.h"

static fuse_runtime_t *runtime;
static fuse_app_t *app;
static fuse_poster_t *poster;
static fuse_orchestrator_t *orchestrator;
static const fuse_quota_expiry_t *expiry;
/* Room for whatever is written. */
static uint64_t memory[1 << 16];
static int calls;

static int32_t keep(void *user, const fuse_quota_expiry_t *given) {
    (void)user;
    expiry = given;
    return 0;
}

static uint64_t now(void *user) {
    (void)user;
    return 1;
}

/* A struct as a program would begin it, anew for each call. */
#define INIT(type, begin)                                                                          \
    static type *init_##type(void) {                                                               \
        static type value;                                                                         \
        const type fresh = begin;                                                                  \
        value = fresh;                                                                             \
        return &value;                                                                             \
    }
INIT(fuse_policy_t, FUSE_POLICY_INIT)
INIT(fuse_runtime_config_t, FUSE_RUNTIME_CONFIG_INIT)
INIT(fuse_platform_t, FUSE_PLATFORM_INIT)
INIT(fuse_app_info_t, FUSE_APP_INFO_INIT)
INIT(fuse_app_module_t, FUSE_APP_MODULE_INIT)
INIT(fuse_artifact_info_t, FUSE_ARTIFACT_INFO_INIT)
INIT(fuse_compile_options_t, FUSE_COMPILE_OPTIONS_INIT)
INIT(fuse_open_options_t, FUSE_OPEN_OPTIONS_INIT)
INIT(fuse_hal_group_t, FUSE_HAL_GROUP_INIT)
INIT(fuse_module_info_t, FUSE_MODULE_INFO_INIT)
INIT(fuse_module_stats_t, FUSE_MODULE_STATS_INIT)
INIT(fuse_log_record_t, FUSE_LOG_RECORD_INIT)

static void prepare(void) {
    static const char json[] = "{\"application\": {\"name\": \"a\"}, \"modules\": []}";
    fuse_platform_t platform = FUSE_PLATFORM_INIT;
    platform.init = keep;
    platform.timestamp_us = now;
    IS(FUSE_OK, fuse_runtime_new(NULL, &platform, &runtime, NULL, 0));
    IS(FUSE_OK, fuse_app_from_json(json, strlen(json), &app, NULL, 0));
    IS(FUSE_OK, fuse_runtime_poster(runtime, &poster));
    IS(FUSE_OK, fuse_orchestrator_in_memory(&orchestrator, NULL, 0));
}

/* Handles of each kind that were closed. */
static struct {
    fuse_runtime_t *runtime;
    fuse_app_t *app;
    fuse_poster_t *poster;
    fuse_orchestrator_t *orchestrator;
    fuse_stream_t *stream;
    fuse_attach_t *attach;
} closed;

static void nobody(void *user, fuse_status_t status, const char *text, size_t length) {
    (void)user;
    (void)status;
    (void)text;
    (void)length;
}

static void nothing(void *user, fuse_status_t status, const uint8_t *bytes, size_t length, int32_t exit_code) {
    (void)user;
    (void)status;
    (void)bytes;
    (void)length;
    (void)exit_code;
}

static void prepare_closed(void) {
    static const char json[] = "{\"application\": {\"name\": \"b\"}, \"modules\": []}";
    char id[] = "fuse-closed";
    IS(FUSE_OK, fuse_runtime_new(NULL, NULL, &closed.runtime, NULL, 0));
    IS(FUSE_OK, fuse_runtime_poster(closed.runtime, &closed.poster));
    IS(FUSE_OK, fuse_app_from_json(json, strlen(json), &closed.app, NULL, 0));
    IS(FUSE_OK, fuse_orchestrator_in_memory(&closed.orchestrator, NULL, 0));
    IS(FUSE_OK, fuse_orchestrator_provision(closed.orchestrator, "{\"task_id\":\"closed\"}", NULL, NULL));
    IS(FUSE_OK, fuse_orchestrator_wait_running(closed.orchestrator, id, 60000, NULL));
    IS(FUSE_OK, fuse_orchestrator_attach(closed.orchestrator, id, NULL, nothing, NULL, NULL, &closed.attach, NULL));
    IS(FUSE_OK, fuse_orchestrator_events(closed.orchestrator, NULL, nobody, NULL, NULL, &closed.stream, NULL));
    IS(FUSE_OK, fuse_attach_close(closed.attach));
    IS(FUSE_OK, fuse_stream_close(closed.stream));
    IS(FUSE_OK, fuse_orchestrator_close(closed.orchestrator));
    IS(FUSE_OK, fuse_app_close(closed.app));
    IS(FUSE_OK, fuse_poster_close(closed.poster));
    IS(FUSE_OK, fuse_runtime_close(closed.runtime));
}

static void finish(void) {
    IS(FUSE_OK, fuse_orchestrator_close(orchestrator));
    IS(FUSE_OK, fuse_poster_close(poster));
    IS(FUSE_OK, fuse_app_close(app));
    IS(FUSE_OK, fuse_runtime_close(runtime));
    printf("%d\n", calls);
}

enum { REFUSED = -1 };

/* All pointers are NULL. */
static void all(const char *function, int wanted, fuse_status_t status) {
    calls++;
    if (wanted == REFUSED ? status != FUSE_ERR_INVALID_ARG : status != wanted) {
        fprintf(stderr, "%s with NULLs: %s\n", function, fuse_status_name(status));
        exit(1);
    }
}

/* One handle is closed or of another kind. */
static void bad(const char *function, const char *handle, fuse_status_t status) {
    calls++;
    if (status != FUSE_ERR_INVALID_ARG) {
        fprintf(stderr, "%s with %s: %s\n", function, handle, fuse_status_name(status));
        exit(1);
    }
}

/* One pointer is NULL. Where that is allowed the call may work; it never fails inside. */
static void one(const char *function, const char *parameter, fuse_status_t status) {
    calls++;
    if (status == FUSE_ERR_INTERNAL || status == FUSE_ERR_POISONED) {
        fprintf(stderr, "%s with %s NULL: %s\n", function, parameter, fuse_status_name(status));
        exit(1);
    }
}
