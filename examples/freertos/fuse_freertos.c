#include "fuse_freertos.h"

#define TICK_US (1000000u / configTICK_RATE_HZ)

static int32_t init(void *user, const fuse_quota_expiry_t *expiry) {
    ((fuse_freertos_t *)user)->expiry = expiry;
    return 0;
}

/* Called by the task that uses the runtime only, so `last` and `wraps` have one writer. It must be called at least once in
 * each wrap of the tick count (49 days with 32 bits and a tick of 1 ms); serving does. */
static uint64_t timestamp_us(void *user) {
    fuse_freertos_t *port = user;
    TickType_t now = xTaskGetTickCount();
    if (now < port->last) port->wraps++;
    port->last = now;
    return (port->wraps * ((uint64_t)portMAX_DELAY + 1) + now) * TICK_US;
}

static void quota_arm(void *user, uint32_t quota_us, uint64_t token) {
    fuse_freertos_t *port = user;
    /* Whole ticks already: quota_resolution_us says so. One more, since the current tick has begun. */
    port->token = token;
    port->deadline = xTaskGetTickCount() + quota_us / TICK_US + 1;
    port->armed = 1;
}

static void quota_cancel(void *user) { ((fuse_freertos_t *)user)->armed = 0; }

void fuse_freertos_platform(fuse_freertos_t *port, fuse_platform_t *out) {
    fuse_platform_t table = FUSE_PLATFORM_INIT;
    table.user = port;
    table.init = init;
    table.timestamp_us = timestamp_us;
    table.quota_arm = quota_arm;
    table.quota_cancel = quota_cancel;
    table.quota_resolution_us = TICK_US;
    *out = table;
}

void fuse_freertos_tick(fuse_freertos_t *port) {
    /* It stays armed: an expiry that came before the module could see it is repeated by the next tick. */
    if (port->armed && (TickType_t)(xTaskGetTickCountFromISR() - port->deadline) <= portMAX_DELAY / 2) {
        fuse_quota_expire(port->expiry, port->token);
    }
}

fuse_status_t fuse_freertos_post_from_isr(fuse_freertos_t *port, uint32_t event, BaseType_t *woken) {
    fuse_status_t status = fuse_poster_post(port->poster, event);
    if (status == FUSE_OK && port->task) vTaskNotifyGiveFromISR(port->task, woken);
    return status;
}

fuse_status_t fuse_freertos_post(fuse_freertos_t *port, uint32_t event) {
    fuse_status_t status = fuse_poster_post(port->poster, event);
    if (status == FUSE_OK && port->task) xTaskNotifyGive(port->task);
    return status;
}

/* How long to sleep: up to whole ticks, so that what is due has become so. */
static TickType_t ticks_until(uint64_t wait_us) {
    uint64_t ticks;
    if (wait_us == FUSE_NEVER) return portMAX_DELAY;
    ticks = wait_us / TICK_US + (wait_us % TICK_US != 0);
    /* Half of a wrap at most, so that timestamp_us sees each of them. */
    return ticks < portMAX_DELAY / 2 ? (TickType_t)ticks : portMAX_DELAY / 2;
}

static fuse_status_t serve(fuse_runtime_t *runtime, fuse_freertos_after_tick_fn after_tick, void *user) {
    for (;;) {
        uint64_t wait_us;
        size_t ran, failed;
        fuse_status_t status = fuse_runtime_next_deadline(runtime, &wait_us);
        if (status != FUSE_OK) return status;
        if (wait_us > 0) ulTaskNotifyTake(pdTRUE, ticks_until(wait_us));
        status = fuse_runtime_tick(runtime, NULL, NULL, 0, &ran, &failed);
        if (status != FUSE_OK) return status;
        if (after_tick(user, runtime, ran, failed) != 0) return FUSE_OK;
    }
}

fuse_status_t fuse_freertos_serve(fuse_freertos_t *port, fuse_runtime_t *runtime, fuse_freertos_after_tick_fn after_tick,
                                  void *user) {
    fuse_status_t status = fuse_runtime_poster(runtime, &port->poster);
    if (status != FUSE_OK) return status;
    port->task = xTaskGetCurrentTaskHandle();
    status = serve(runtime, after_tick, user);
    port->task = NULL;
    return status;
}
