/* host.h: what the camera hosts in C have in common: the hardware behind the HAL, and the runtime with an application in
 * it. Failures end the program, after saying what was tried and why it did not work. */
#ifndef EXAMPLE_HOST_H
#define EXAMPLE_HOST_H

#include <fuse.h>

#include "frames.h"

enum { HOST_MODULES = 2 };

/* A camera that shows the sky, and a downlink. */
struct hardware {
    uint8_t newest[FRAME_BYTES];
    uint8_t packet[2 * FRAME_BYTES];
    size_t packet_length;
};
extern struct hardware hardware;

/* What became of the frame: `why` says it where no packet came. */
struct outcome hardware_outcome(const char *why);

/* Ends the program. */
_Noreturn void host_fail(const char *tried, fuse_status_t status, const char *why);
/* Ends the program when a call on the runtime failed. */
void host_check(fuse_runtime_t *runtime, const char *tried, fuse_status_t status);
/* Reads app_config.json of a folder. */
fuse_app_t *host_read_app(const char *folder);
/* Makes the runtime for an application, with camera and downlink behind its HAL. */
fuse_runtime_t *host_connect(fuse_app_t *app);
/* Loads the modules of an application from its folder and starts them; the application is closed. */
void host_start(fuse_runtime_t *runtime, fuse_app_t *app, const char *folder, fuse_module_id_t modules[HOST_MODULES]);

#endif
