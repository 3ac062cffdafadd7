/* A program of the first release, built with its header (beside this file), run with the library of today. Do not change
 * it: it stands for the programs that are out there. */
#include <fuse.h>

#include <stdio.h>
#include <string.h>

static int32_t temperature(void *user, float *out) {
    ++*(int *)user;
    *out = 21.5f;
    return 0;
}

static void finalize(void *user) { *(int *)user += 100; }

#define MUST(call)                                                                                 \
    do {                                                                                           \
        fuse_status_t status_ = (call);                                                            \
        if (status_ != FUSE_OK) return fprintf(stderr, "line %d: %s\n", __LINE__, fuse_status_name(status_)), 1; \
    } while (0)

int main(void) {
    static const char source[] = "(module (import \"env\" \"temp_get_reading\" (func $r (result f32)))"
                                 "(func (export \"module_step\") (drop (call $r))))";
    fuse_runtime_config_t config = FUSE_RUNTIME_CONFIG_INIT;
    fuse_policy_t policy = FUSE_POLICY_INIT;
    fuse_module_info_t info = FUSE_MODULE_INFO_INIT;
    fuse_module_stats_t stats = FUSE_MODULE_STATS_INIT;
    fuse_log_record_t record = FUSE_LOG_RECORD_INIT;
    fuse_runtime_t *runtime = NULL;
    fuse_poster_t *poster = NULL;
    fuse_module_id_t id = 0;
    uint64_t sequence = 0, deadline = 0;
    char error[1040];
    size_t ran = 0;
    int calls = 0;

    if (fuse_abi_version() >> 16 != FUSE_ABI_MAJOR || fuse_abi_version() < FUSE_ABI_VERSION) return 2;
    config.max_modules = 2;
    MUST(fuse_runtime_new(&config, NULL, &runtime, error, sizeof error));
    MUST(fuse_runtime_set_temp(runtime, temperature, &calls, finalize));
    policy.capabilities = FUSE_CAP_TEMP_SENSOR;
    policy.activation_mask = FUSE_ACTIVATE_INTERVAL | FUSE_ACTIVATE_EVENT;
    policy.event_subscribe = 2;
    policy.step_interval_us = 60000000;
    MUST(fuse_runtime_load(runtime, "thermometer", (const uint8_t *)source, strlen(source), &policy, &id));
    MUST(fuse_runtime_start(runtime, id));
    MUST(fuse_runtime_tick(runtime, NULL, NULL, 0, &ran, NULL));
    MUST(fuse_runtime_next_deadline(runtime, &deadline));
    MUST(fuse_runtime_poster(runtime, &poster));
    MUST(fuse_poster_post(poster, 1));
    MUST(fuse_runtime_tick(runtime, NULL, NULL, 0, &ran, NULL));
    if (fuse_runtime_run_step(runtime, id) != FUSE_ERR_INTERVAL_NOT_ELAPSED) return 3;
    MUST(fuse_last_error(runtime, error, sizeof error, NULL));
    MUST(fuse_runtime_module_info(runtime, id, &info));
    MUST(fuse_runtime_module_stats(runtime, id, &stats));
    if (fuse_runtime_log_next(runtime, &sequence, &record) != FUSE_END) return 4;
    if (strcmp(info.name, "thermometer") || info.state != FUSE_STATE_RUNNING || stats.steps != 2 || calls != 2) return 5;
    if (deadline == 0 || deadline > 60000000 || !*error) return 6;
    MUST(fuse_poster_close(poster));
    MUST(fuse_runtime_unload(runtime, id));
    MUST(fuse_runtime_close(runtime));
    return calls == 102 ? 0 : 7;
}
