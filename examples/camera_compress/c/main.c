/* camera_compress in C: a module that the runtime steps at an interval takes each camera frame, encodes it without loss
 * and hands it to a HAL group that this program registers. A second module asks for a sensor that its policy does not
 * grant, and is stopped for it; the first does not notice.
 *
 * usage: camera_compress [OUT] [EXAMPLES]
 */
#define _POSIX_C_SOURCE 200809L
#include <fuse.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "frames.h"

/* The hardware: a camera that shows the sky, a clock, and a downlink. */
static struct {
    uint8_t newest[FRAME_BYTES];
    uint8_t packet[2 * FRAME_BYTES];
    size_t packet_length;
} hardware;

static int32_t camera(void *user, uint8_t *buffer, size_t capacity, size_t *out_written) {
    (void)user;
    *out_written = capacity < FRAME_BYTES ? capacity : FRAME_BYTES;
    memcpy(buffer, hardware.newest, *out_written);
    return 0;
}

static int32_t timer(void *user, int64_t *out_us) {
    struct timespec now;
    (void)user;
    clock_gettime(CLOCK_MONOTONIC, &now);
    *out_us = now.tv_sec * 1000000LL + now.tv_nsec / 1000;
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
    fprintf(stderr, "camera_compress: %s: %s: %s\n", tried, fuse_status_name(status), why);
    exit(1);
}

/* Ends the program when a call on the runtime failed. */
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

/* Makes the runtime, with the hardware behind its HAL, and loads and starts the application. */
static fuse_runtime_t *boot(const char *folder) {
    static const fuse_hal_type_t params[] = {FUSE_HAL_IN};
    fuse_runtime_config_t config = FUSE_RUNTIME_CONFIG_INIT;
    fuse_hal_function_t write = FUSE_HAL_FUNCTION_INIT;
    fuse_hal_group_t downlink = FUSE_HAL_GROUP_INIT;
    const fuse_hal_function_t *functions[] = {&write};
    fuse_runtime_t *runtime = NULL;
    fuse_module_id_t modules[2];
    size_t count = 0;
    char why[1040];

    fuse_app_t *app = read_app(folder);
    config.app = app;
    fuse_status_t status = fuse_runtime_new(&config, NULL, &runtime, why, sizeof why);
    if (status != FUSE_OK) fail("make the runtime", status, why);
    check(runtime, "set the camera", fuse_runtime_set_camera(runtime, camera, NULL, NULL));
    check(runtime, "set the timer", fuse_runtime_set_timer(runtime, timer, NULL, NULL));
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

/* Sleeps until something is due and ticks once; again, until `module` was among it. */
static void step_until_due(fuse_runtime_t *runtime, fuse_module_id_t module) {
    for (;;) {
        uint64_t us;
        fuse_module_id_t ran[2];
        size_t count;
        check(runtime, "ask for the deadline", fuse_runtime_next_deadline(runtime, &us));
        if (us == FUSE_NEVER) fail("wait", FUSE_ERR_WRONG_STATE, "no module is due any more");
        struct timespec sleep = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};
        nanosleep(&sleep, NULL);
        check(runtime, "tick", fuse_runtime_tick(runtime, ran, NULL, 2, &count, NULL));
        for (size_t i = 0; i < count && i < 2; i++)
            if (ran[i] == module) return;
    }
}

/* Prints the security log. Says whether thermal_probe was refused, and only it. */
static int print_end(fuse_runtime_t *runtime, fuse_module_id_t compress) {
    fuse_log_record_t record = FUSE_LOG_RECORD_INIT;
    fuse_module_info_t info = FUSE_MODULE_INFO_INIT;
    fuse_module_id_t probe;
    uint64_t sequence = 0;
    while (fuse_runtime_log_next(runtime, &sequence, &record) == FUSE_OK)
        if (record.source == FUSE_LOG_SOURCE_SECURITY) printf("security log: %s\n", record.text);
    check(runtime, "find", fuse_runtime_find(runtime, "thermal_probe", &probe));
    check(runtime, "look", fuse_runtime_module_info(runtime, probe, &info));
    int refused = info.state == FUSE_STATE_TRAPPED && info.failure == FUSE_ERR_POLICY_VIOLATION;
    check(runtime, "look", fuse_runtime_module_info(runtime, compress, &info));
    return refused && info.state == FUSE_STATE_RUNNING;
}

int main(int argc, char **argv) {
    const char *out = argc > 1 ? argv[1] : ".", *examples = argc > 2 ? argv[2] : "../..";
    static uint8_t frame[FRAME_BYTES];
    char path[4096];
    struct report report;
    struct sky sky;
    fuse_module_id_t compress;

    snprintf(path, sizeof path, "%s/frames/hubble_deep_field.pgm", examples);
    if (!sky_load(&sky, path) || !report_begin(&report, out)) return 1;
    snprintf(path, sizeof path, "%s/camera_compress", examples);
    fuse_runtime_t *runtime = boot(path);
    check(runtime, "find", fuse_runtime_find(runtime, "camera_compress", &compress));
    for (uint32_t number = 0; number < SWEEP; number++) {
        sky_frame(&sky, number, frame);
        memcpy(hardware.newest, frame, FRAME_BYTES);
        hardware.packet_length = 0;
        step_until_due(runtime, compress);
        struct outcome outcome = {hardware.packet_length ? hardware.packet : NULL, hardware.packet_length,
                                  hardware.packet_length ? "taken" : "no packet"};
        report_add(&report, number, frame, &outcome);
    }
    int refused = print_end(runtime, compress);
    fuse_runtime_close(runtime);
    sky_free(&sky);
    return report_end(&report) && refused && report.kept == SWEEP ? 0 : 1;
}
