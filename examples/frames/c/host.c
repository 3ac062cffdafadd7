#include "host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct hardware hardware;

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

struct outcome hardware_outcome(const char *why) {
    struct outcome outcome = {hardware.packet_length ? hardware.packet : NULL, hardware.packet_length, why};
    return outcome;
}

_Noreturn void host_fail(const char *tried, fuse_status_t status, const char *why) {
    fprintf(stderr, "%s: %s: %s\n", tried, fuse_status_name(status), why);
    exit(1);
}

void host_check(fuse_runtime_t *runtime, const char *tried, fuse_status_t status) {
    char why[1040] = "";
    if (status == FUSE_OK) return;
    fuse_last_error(runtime, why, sizeof why, NULL);
    host_fail(tried, status, why);
}

fuse_app_t *host_read_app(const char *folder) {
    static char json[65536];
    char path[4200], why[1040];
    fuse_app_t *app = NULL;
    snprintf(path, sizeof path, "%s/app_config.json", folder);
    FILE *file = fopen(path, "rb");
    size_t length = file ? fread(json, 1, sizeof json, file) : 0;
    if (!file) host_fail("read the application", FUSE_ERR_INVALID_ARG, path);
    fclose(file);
    fuse_status_t status = fuse_app_from_json(json, length, &app, why, sizeof why);
    if (status != FUSE_OK) host_fail("read the application", status, why);
    return app;
}

fuse_runtime_t *host_connect(fuse_app_t *app) {
    static const fuse_hal_type_t params[] = {FUSE_HAL_IN};
    fuse_runtime_config_t config = FUSE_RUNTIME_CONFIG_INIT;
    fuse_hal_function_t write = FUSE_HAL_FUNCTION_INIT;
    fuse_hal_group_t downlink = FUSE_HAL_GROUP_INIT;
    const fuse_hal_function_t *functions[] = {&write};
    fuse_runtime_t *runtime = NULL;
    char why[1040];

    config.app = app;
    fuse_status_t status = fuse_runtime_new(&config, NULL, &runtime, why, sizeof why);
    if (status != FUSE_OK) host_fail("make the runtime", status, why);
    host_check(runtime, "set the camera", fuse_runtime_set_camera(runtime, camera, NULL, NULL));
    write.name = "downlink_write";
    write.params = params;
    write.param_count = 1;
    write.result = FUSE_HAL_I32;
    write.callback = downlink_write;
    downlink.name = "downlink";
    downlink.bit = 8;
    downlink.functions = functions;
    downlink.function_count = 1;
    host_check(runtime, "register the downlink", fuse_runtime_register_group(runtime, &downlink));
    return runtime;
}

void host_start(fuse_runtime_t *runtime, fuse_app_t *app, const char *folder, fuse_module_id_t modules[HOST_MODULES]) {
    size_t count = 0;
    host_check(runtime, "load", fuse_runtime_load_app_files(runtime, app, folder, modules, HOST_MODULES, &count));
    for (size_t i = 0; i < count; i++) host_check(runtime, "start", fuse_runtime_start(runtime, modules[i]));
    fuse_app_close(app);
}
