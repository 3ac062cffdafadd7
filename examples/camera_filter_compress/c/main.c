/* camera_filter_compress in C: two modules in a chain, neither of which polls. The camera interrupts when it has a
 * frame: a signal handler posts CAMERA_FRAME_READY. frame_filter wakes on that and posts DATA_CAPTURED when the frame is
 * worth keeping; frame_compress wakes on that, in the same tick, and sends the encoded frame down.
 *
 * usage: camera_filter_compress [OUT] [EXAMPLES]
 */
#define _POSIX_C_SOURCE 200809L
#include <fuse.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frames.h"

static struct {
    uint8_t newest[FRAME_BYTES];
    uint8_t packet[2 * FRAME_BYTES];
    size_t packet_length;
} hardware;

/* What the interrupt uses: set before the handler is there, and never changed after. */
static const fuse_poster_t *poster;
static uint32_t frame_ready;

static void interrupt(int signal) {
    (void)signal;
    fuse_poster_post(poster, frame_ready);
}

static int32_t camera(void *user, uint8_t *buffer, size_t capacity, size_t *out_written) {
    (void)user;
    *out_written = capacity < FRAME_BYTES ? capacity : FRAME_BYTES;
    memcpy(buffer, hardware.newest, *out_written);
    return 0;
}

static int32_t downlink_write(void *user, fuse_hal_call_t *call) {
    const uint8_t *bytes;
    size_t length;
    (void)user;
    fuse_hal_call_input(call, 0, &bytes, &length);
    if (length > sizeof hardware.packet) return 1;
    memcpy(hardware.packet, bytes, length);
    hardware.packet_length = length;
    return fuse_hal_call_return_i32(call, (int32_t)length);
}

static _Noreturn void fail(const char *tried, fuse_status_t status, const char *why) {
    fprintf(stderr, "camera_filter_compress: %s: %s: %s\n", tried, fuse_status_name(status), why);
    exit(1);
}

static void check(fuse_runtime_t *runtime, const char *tried, fuse_status_t status) {
    char why[1040] = "";
    if (status == FUSE_OK) return;
    fuse_last_error(runtime, why, sizeof why, NULL);
    fail(tried, status, why);
}

static fuse_app_t *read_app(const char *folder) {
    static char json[65536];
    char path[4200], why[1040];
    fuse_app_t *app = NULL;
    snprintf(path, sizeof path, "%s/app_config.json", folder);
    FILE *file = fopen(path, "rb");
    size_t length = file ? fread(json, 1, sizeof json, file) : 0;
    if (!file) fail("read the application", FUSE_ERR_INVALID_ARG, path);
    fclose(file);
    fuse_status_t status = fuse_app_from_json(json, length, &app, why, sizeof why);
    if (status != FUSE_OK) fail("read the application", status, why);
    return app;
}

/* Makes the runtime, connects camera and downlink, loads and starts the application. */
static fuse_runtime_t *boot(const char *folder, fuse_module_id_t modules[2]) {
    static const fuse_hal_type_t params[] = {FUSE_HAL_IN};
    fuse_runtime_config_t config = FUSE_RUNTIME_CONFIG_INIT;
    fuse_hal_function_t write = FUSE_HAL_FUNCTION_INIT;
    fuse_hal_group_t downlink = FUSE_HAL_GROUP_INIT;
    const fuse_hal_function_t *functions[] = {&write};
    fuse_runtime_t *runtime = NULL;
    size_t count = 0;
    char why[1040];

    fuse_app_t *app = read_app(folder);
    fuse_status_t status = fuse_app_event(app, "CAMERA_FRAME_READY", &frame_ready);
    if (status != FUSE_OK) fail("find the event", status, "CAMERA_FRAME_READY");
    config.app = app;
    status = fuse_runtime_new(&config, NULL, &runtime, why, sizeof why);
    if (status != FUSE_OK) fail("make the runtime", status, why);
    check(runtime, "set the camera", fuse_runtime_set_camera(runtime, camera, NULL, NULL));
    write.name = "downlink_write";
    write.params = params;
    write.param_count = 1;
    write.result = FUSE_HAL_I32;
    write.callback = downlink_write;
    downlink.name = "downlink";
    downlink.bit = 8;
    downlink.functions = functions;
    downlink.function_count = 1;
    check(runtime, "register the downlink", fuse_runtime_register_group(runtime, &downlink));
    check(runtime, "load", fuse_runtime_load_app_files(runtime, app, folder, modules, 2, &count));
    for (size_t i = 0; i < count; i++) check(runtime, "start", fuse_runtime_start(runtime, modules[i]));
    fuse_app_close(app);
    return runtime;
}

/* What frame_filter said of the frame since `sequence`: the part of its log line after the verdict. */
static void verdict(fuse_runtime_t *runtime, uint64_t sequence, char why[FUSE_LOG_TEXT_CAPACITY]) {
    static const char prefix[] = "frame_filter: ";
    fuse_log_record_t record = FUSE_LOG_RECORD_INIT;
    strcpy(why, "no verdict");
    while (fuse_runtime_log_next(runtime, &sequence, &record) == FUSE_OK) {
        if (strncmp(record.text, prefix, sizeof prefix - 1) != 0) continue;
        const char *comma = strstr(record.text, ", ");
        strcpy(why, comma ? comma + 2 : record.text + sizeof prefix - 1);
        return;
    }
}

int main(int argc, char **argv) {
    const char *out = argc > 1 ? argv[1] : ".", *examples = argc > 2 ? argv[2] : "../..";
    fuse_module_id_t modules[2];
    fuse_poster_t *handle = NULL;
    char path[4096], why[FUSE_LOG_TEXT_CAPACITY];
    struct sigaction action;
    struct report report;
    struct sky sky;

    snprintf(path, sizeof path, "%s/frames/hubble_deep_field.pgm", examples);
    if (!sky_load(&sky, path) || !report_begin(&report, out)) return 1;
    snprintf(path, sizeof path, "%s/camera_filter_compress", examples);
    fuse_runtime_t *runtime = boot(path, modules);
    check(runtime, "make a poster", fuse_runtime_poster(runtime, &handle));
    poster = handle;
    memset(&action, 0, sizeof action);
    action.sa_handler = interrupt;
    sigaction(SIGUSR1, &action, NULL);

    for (uint32_t number = 0; number < SWEEP; number++) {
        uint64_t seen;
        sky_frame(&sky, number, hardware.newest);
        hardware.packet_length = 0;
        raise(SIGUSR1); /* what the camera's hardware does */
        check(runtime, "read the log", fuse_runtime_log_counts(runtime, &seen, NULL, NULL));
        check(runtime, "tick", fuse_runtime_tick(runtime, NULL, NULL, 0, NULL, NULL));
        verdict(runtime, seen, why);
        struct outcome outcome = {hardware.packet_length ? hardware.packet : NULL, hardware.packet_length, why};
        report_add(&report, number, hardware.newest, &outcome);
    }

    int healthy = 1;
    for (int i = 0; i < 2; i++) {
        fuse_module_info_t info = FUSE_MODULE_INFO_INIT;
        check(runtime, "look", fuse_runtime_module_info(runtime, modules[i], &info));
        printf("%-16s %s\n", info.name, fuse_state_name(info.state));
        healthy &= info.state == FUSE_STATE_RUNNING;
        check(runtime, "unload", fuse_runtime_unload(runtime, modules[i]));
    }
    signal(SIGUSR1, SIG_IGN);
    fuse_poster_close(handle);
    fuse_runtime_close(runtime);
    sky_free(&sky);
    return report_end(&report) && healthy && report.failed == 0 ? 0 : 1;
}
