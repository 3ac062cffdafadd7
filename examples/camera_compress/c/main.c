/* camera_compress in C: a module that the runtime steps at an interval takes each camera frame, encodes it without loss
 * and hands it to a HAL group that this program registers. A second module asks for a sensor that its policy does not
 * grant, and is stopped for it; the first does not notice.
 *
 * usage: camera_compress [OUT] [EXAMPLES]
 */
#define _POSIX_C_SOURCE 200809L
#include <fuse.h>

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "host.h"

static int32_t timer(void *user, int64_t *out_us) {
    struct timespec now;
    (void)user;
    clock_gettime(CLOCK_MONOTONIC, &now);
    *out_us = now.tv_sec * 1000000LL + now.tv_nsec / 1000;
    return 0;
}

/* Makes the runtime, with the hardware and a clock behind its HAL, and loads and starts the application. */
static fuse_runtime_t *boot(const char *folder) {
    fuse_module_id_t modules[HOST_MODULES];
    fuse_app_t *app = host_read_app(folder);
    fuse_runtime_t *runtime = host_connect(app);
    host_check(runtime, "set the timer", fuse_runtime_set_timer(runtime, timer, NULL, NULL));
    host_start(runtime, app, folder, modules);
    return runtime;
}

/* Sleeps until something is due and ticks once; again, until `module` was among it. */
static void step_until_due(fuse_runtime_t *runtime, fuse_module_id_t module) {
    for (;;) {
        uint64_t us;
        fuse_module_id_t ran[2];
        size_t count;
        host_check(runtime, "ask for the deadline", fuse_runtime_next_deadline(runtime, &us));
        if (us == FUSE_NEVER) host_fail("wait", FUSE_ERR_WRONG_STATE, "no module is due any more");
        struct timespec sleep = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};
        nanosleep(&sleep, NULL);
        host_check(runtime, "tick", fuse_runtime_tick(runtime, ran, NULL, 2, &count, NULL));
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
    host_check(runtime, "find", fuse_runtime_find(runtime, "thermal_probe", &probe));
    host_check(runtime, "look", fuse_runtime_module_info(runtime, probe, &info));
    int refused = info.state == FUSE_STATE_TRAPPED && info.failure == FUSE_ERR_POLICY_VIOLATION;
    host_check(runtime, "look", fuse_runtime_module_info(runtime, compress, &info));
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
    host_check(runtime, "find", fuse_runtime_find(runtime, "camera_compress", &compress));
    for (uint32_t number = 0; number < SWEEP; number++) {
        sky_frame(&sky, number, frame);
        memcpy(hardware.newest, frame, FRAME_BYTES);
        hardware.packet_length = 0;
        step_until_due(runtime, compress);
        struct outcome outcome = hardware_outcome(hardware.packet_length ? "taken" : "no packet");
        report_add(&report, number, frame, &outcome);
    }
    int refused = print_end(runtime, compress);
    fuse_runtime_close(runtime);
    sky_free(&sky);
    return report_end(&report) && refused && report.kept == SWEEP ? 0 : 1;
}
