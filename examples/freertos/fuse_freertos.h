/* Fuse on FreeRTOS: time, the quota timer, and a task that steps what is due.
 *
 *     static fuse_freertos_t port;
 *     fuse_platform_t platform;
 *     fuse_freertos_platform(&port, &platform);
 *     (code_publish and code_unpublish, where native code is to run)
 *     fuse_runtime_new(&config, &platform, &runtime, NULL, 0);
 *     fuse_freertos_serve(&port, runtime, after_tick, NULL);     in the task that owns the runtime; does not return
 *
 *     void vApplicationTickHook(void) { fuse_freertos_tick(&port); }
 *
 * The kernel needs configUSE_TICK_HOOK and task notifications, and nothing else: no timer task, no heap. A quota is looked
 * at in each tick interrupt, so its resolution is one tick: it is rounded up to whole ticks, and one tick more, since
 * the first may be about to end. With a hardware timer of its own a board does better: give quota_arm and quota_cancel
 * of that instead.
 *
 * A quota is time of the clock here, not of the module alone: a task of higher priority that runs meanwhile counts. Give
 * quotas room for that, or count instructions (fuel_quota), which nothing disturbs.
 */
#ifndef FUSE_FREERTOS_H
#define FUSE_FREERTOS_H

#include <fuse_flight.h>

#include "FreeRTOS.h"
#include "task.h"

/* One runtime's port. Zero it, or let it be static; it must outlive the runtime. */
typedef struct fuse_freertos_t {
    const fuse_quota_expiry_t *expiry;
    /* The armed quota. The interrupt reads it when `armed` is 1, and nothing writes it then. */
    volatile uint32_t armed;
    volatile TickType_t deadline;
    volatile uint64_t token;
    /* The kernel's tick count, made as wide as the library's time. */
    TickType_t last;
    uint64_t wraps;
    /* The task that serves, and how interrupts reach it. */
    TaskHandle_t task;
    fuse_poster_t *poster;
} fuse_freertos_t;

/* Fills the platform's table. Its code_publish and code_unpublish are left NULL: they are the processor's. */
void fuse_freertos_platform(fuse_freertos_t *port, fuse_platform_t *out);

/* To be called from vApplicationTickHook. */
void fuse_freertos_tick(fuse_freertos_t *port);

/* Posts an event from an interrupt, and wakes the task that serves. `woken` as in the kernel's ...FromISR functions. */
fuse_status_t fuse_freertos_post_from_isr(fuse_freertos_t *port, uint32_t event, BaseType_t *woken);

/* The same from a task. */
fuse_status_t fuse_freertos_post(fuse_freertos_t *port, uint32_t event);

/* After each tick of the runtime, on the task that serves: read the log, mend what failed, kick the watchdog. `failed` is
 * how many modules failed. 0 goes on; anything else ends fuse_freertos_serve with FUSE_OK. */
typedef int (*fuse_freertos_after_tick_fn)(void *user, fuse_runtime_t *runtime, size_t ran, size_t failed);

/* Steps what is due and sleeps until something is, in the task that owns the runtime. Returns when `after_tick` says so,
 * or with the status of the call that failed. */
fuse_status_t fuse_freertos_serve(fuse_freertos_t *port, fuse_runtime_t *runtime, fuse_freertos_after_tick_fn after_tick,
                                  void *user);

#endif
