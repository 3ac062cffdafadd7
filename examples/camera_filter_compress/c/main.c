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
#include <string.h>

#include "host.h"

/* What the interrupt uses: set before the handler is there, and never changed after. */
static const fuse_poster_t *poster;
static uint32_t frame_ready;

static void interrupt(int signal) {
    (void)signal;
    fuse_poster_post(poster, frame_ready);
}

/* Makes the runtime, connects camera and downlink, loads and starts the application. */
static fuse_runtime_t *boot(const char *folder, fuse_module_id_t modules[HOST_MODULES]) {
    fuse_app_t *app = host_read_app(folder);
    fuse_status_t status = fuse_app_event(app, "CAMERA_FRAME_READY", &frame_ready);
    if (status != FUSE_OK) host_fail("find the event", status, "CAMERA_FRAME_READY");
    fuse_runtime_t *runtime = host_connect(app);
    host_start(runtime, app, folder, modules);
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
    fuse_module_id_t modules[HOST_MODULES];
    fuse_poster_t *handle = NULL;
    char path[4096], why[FUSE_LOG_TEXT_CAPACITY];
    struct sigaction action;
    struct report report;
    struct sky sky;

    snprintf(path, sizeof path, "%s/frames/hubble_deep_field.pgm", examples);
    if (!sky_load(&sky, path) || !report_begin(&report, out)) return 1;
    snprintf(path, sizeof path, "%s/camera_filter_compress", examples);
    fuse_runtime_t *runtime = boot(path, modules);
    host_check(runtime, "make a poster", fuse_runtime_poster(runtime, &handle));
    poster = handle;
    memset(&action, 0, sizeof action);
    action.sa_handler = interrupt;
    sigaction(SIGUSR1, &action, NULL);

    for (uint32_t number = 0; number < SWEEP; number++) {
        uint64_t seen;
        sky_frame(&sky, number, hardware.newest);
        hardware.packet_length = 0;
        raise(SIGUSR1); /* what the camera's hardware does */
        host_check(runtime, "read the log", fuse_runtime_log_counts(runtime, &seen, NULL, NULL));
        host_check(runtime, "tick", fuse_runtime_tick(runtime, NULL, NULL, 0, NULL, NULL));
        verdict(runtime, seen, why);
        struct outcome outcome = hardware_outcome(why);
        report_add(&report, number, hardware.newest, &outcome);
    }

    int healthy = 1;
    for (int i = 0; i < HOST_MODULES; i++) {
        fuse_module_info_t info = FUSE_MODULE_INFO_INIT;
        host_check(runtime, "look", fuse_runtime_module_info(runtime, modules[i], &info));
        printf("%-16s %s\n", info.name, fuse_state_name(info.state));
        healthy &= info.state == FUSE_STATE_RUNNING;
        host_check(runtime, "unload", fuse_runtime_unload(runtime, modules[i]));
    }
    signal(SIGUSR1, SIG_IGN);
    fuse_poster_close(handle);
    fuse_runtime_close(runtime);
    sky_free(&sky);
    return report_end(&report) && healthy && report.failed == 0 ? 0 : 1;
}
