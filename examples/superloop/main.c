/* A superloop: no operating system, no thread, no heap. Modules run under policies beside the flight program's own work.
 *
 * Everything that the library gets is here: one arena, a platform of six functions, the callbacks of two HAL groups.
 */
#include <fuse_flight.h>

#include "board.h"

/* The arena. Its length was worked out by fuse_required_memory; the program checks that it still suffices. */
#define ARENA_BYTES (512 * 1024)
static _Alignas(4096) unsigned char memory[ARENA_BYTES];

#define LOOPS 200
#define EVENT_HOT 0
#define CAP_COOLER 8

static fuse_runtime_t *runtime;

static _Noreturn void stop(const char *what, fuse_status_t status) {
    char text[256];
    board_say(what);
    board_say(fuse_status_name(status));
    if (runtime && fuse_last_error(runtime, text, sizeof text, NULL) == FUSE_OK) board_say(text);
    board_reset(1);
}

static void need(const char *what, fuse_status_t status) {
    if (status != FUSE_OK) stop(what, status);
}

/* The library cannot go on. */
static void on_panic(void *user, const char *text, size_t length) {
    (void)user;
    (void)length;
    board_say(text);
    board_reset(2);
}

/* --- the platform -------------------------------------------------------------------------------------------------- */

static const fuse_quota_expiry_t *expiry;
static volatile uint64_t armed_token;

static int32_t platform_init(void *user, const fuse_quota_expiry_t *given) {
    (void)user;
    expiry = given;
    return 0;
}

static uint64_t timestamp_us(void *user) {
    (void)user;
    return board_now_us();
}

/* In interrupt context: atomics only. */
static void on_quota(void) { fuse_quota_expire(expiry, armed_token); }

static void quota_arm(void *user, uint32_t quota_us, uint64_t token) {
    (void)user;
    armed_token = token;
    board_timer_arm(quota_us, on_quota);
}

static void quota_cancel(void *user) {
    (void)user;
    board_timer_stop();
}

static int32_t code_publish(void *user, const uint8_t *start, size_t length) {
    (void)user;
    return board_protect(start, length, 1);
}

static int32_t code_unpublish(void *user, const uint8_t *start, size_t length) {
    (void)user;
    return board_protect(start, length, 0);
}

/* --- what modules may do --------------------------------------------------------------------------------------------- */

static int32_t temperature(void *user, float *out) {
    (void)user;
    *out = board_temperature();
    return 0;
}

static int32_t cooler_on(void *user, fuse_hal_call_t *call) {
    int32_t degrees;
    (void)user;
    if (fuse_hal_call_i32(call, 0, &degrees) != FUSE_OK || degrees < 0 || degrees > 50) return 1;
    board_cool(degrees);
    return fuse_hal_call_return_i32(call, 1) == FUSE_OK ? 0 : 2;
}

static void register_cooler(void) {
    static const fuse_hal_type_t params[] = {FUSE_HAL_I32};
    fuse_hal_function_t function = FUSE_HAL_FUNCTION_INIT;
    fuse_hal_group_t group = FUSE_HAL_GROUP_INIT;
    const fuse_hal_function_t *functions[] = {&function};
    function.name = "cooler_on";
    function.result = FUSE_HAL_I32;
    function.params = params;
    function.param_count = 1;
    function.callback = cooler_on;
    group.name = "cooler";
    group.bit = CAP_COOLER;
    group.functions = functions;
    group.function_count = 1;
    need("register the group", fuse_runtime_register_group(runtime, &group));
}

/* --- the modules and their policies ---------------------------------------------------------------------------------- */

enum { THERMOSTAT, COOLER, RUNAWAY, MODULES };

static struct {
    const char *name;
    const char *file;
    const uint8_t *artifact;
    size_t length;
    fuse_policy_t policy;
} modules[MODULES] = {
    {"thermostat", "thermostat.fuse", NULL, 0,
     {sizeof(fuse_policy_t), FUSE_CAP_TEMP_SENSOR | FUSE_CAP_LOG | FUSE_CAP_EVENT_POST, 1, 4096, 0, 50000, 10000,
      FUSE_ACTIVATE_INTERVAL, 0, 100, 0}},
    {"cooler", "cooler.fuse", NULL, 0,
     {sizeof(fuse_policy_t), 1u << CAP_COOLER, 1, 4096, 0, 50000, 0, FUSE_ACTIVATE_EVENT, 1u << EVENT_HOT, 128, 0}},
    {"runaway", "runaway.fuse", NULL, 0,
     {sizeof(fuse_policy_t), 0, 0, 4096, 0, 2000, 50000, FUSE_ACTIVATE_INTERVAL, 0, 200, 0}},
};
static fuse_module_id_t ids[MODULES];

static uint64_t memory_needed(const fuse_runtime_config_t *config) {
    fuse_planned_module_t planned[MODULES];
    const fuse_planned_module_t *pointers[MODULES];
    fuse_memory_plan_t plan = FUSE_MEMORY_PLAN_INIT;
    uint64_t bytes = 0;
    for (int i = 0; i < MODULES; i++) {
        planned[i] = (fuse_planned_module_t)FUSE_PLANNED_MODULE_INIT;
        planned[i].artifact = modules[i].artifact;
        planned[i].artifact_length = modules[i].length;
        planned[i].policy = &modules[i].policy;
        pointers[i] = &planned[i];
    }
    plan.spare = 1;
    plan.config = config;
    plan.modules = pointers;
    plan.module_count = MODULES;
    plan.group_count = 1;
    plan.function_count = 1;
    need("plan the memory", fuse_required_memory(&plan, &bytes));
    return bytes;
}

static void start(void) {
    fuse_arena_t arena = FUSE_ARENA_INIT;
    fuse_platform_t platform = FUSE_PLATFORM_INIT;
    fuse_runtime_config_t config = FUSE_RUNTIME_CONFIG_INIT;
    char error[256] = "";
    config.max_modules = MODULES;
    config.log_pool_bytes = 16 * 1024;
    config.stack_bytes_max = 4096;
    for (int i = 0; i < MODULES; i++) {
        modules[i].artifact = board_flash(modules[i].file, &modules[i].length);
        if (!modules[i].artifact) stop(modules[i].file, FUSE_ERR_NOT_FOUND);
    }
    uint64_t bytes = memory_needed(&config);
    board_say_number("memory needed: ", bytes);
    if (bytes > sizeof memory) stop("ARENA_BYTES is too small", FUSE_ERR_OUT_OF_MEMORY);

    arena.memory = memory;
    arena.length = sizeof memory;
    arena.panic = on_panic;
    need("give the arena", fuse_arena_give(&arena));

    platform.init = platform_init;
    platform.timestamp_us = timestamp_us;
    platform.quota_arm = quota_arm;
    platform.quota_cancel = quota_cancel;
    platform.code_publish = code_publish;
    platform.code_unpublish = code_unpublish;
    fuse_status_t made = fuse_runtime_new(&config, &platform, &runtime, error, sizeof error);
    if (made != FUSE_OK) stop(error, made);
    need("set the sensor", fuse_runtime_set_temp(runtime, temperature, NULL, NULL));
    register_cooler();
    for (int i = 0; i < MODULES; i++) {
        need(modules[i].name, fuse_runtime_load(runtime, modules[i].name, modules[i].artifact, modules[i].length,
                                                &modules[i].policy, &ids[i]));
        need(modules[i].name, fuse_runtime_start(runtime, ids[i]));
    }
}

/* --- the loop ---------------------------------------------------------------------------------------------------------- */

static void drain_log(void) {
    static uint64_t sequence;
    fuse_log_record_t record = FUSE_LOG_RECORD_INIT;
    while (fuse_runtime_log_next(runtime, &sequence, &record) == FUSE_OK) {
        board_say_number("at us: ", record.timestamp_us);
        board_say(record.text);
    }
}

int main(void) {
    fuse_arena_stats_t before = FUSE_ARENA_STATS_INIT, after = FUSE_ARENA_STATS_INIT;
    uint64_t steps = 0;
    start();
    need("read the arena", fuse_arena_stats(&before));
    for (int loop = 0; loop < LOOPS; loop++) {
        uint64_t wait_us;
        size_t ran, failed;
        need("next deadline", fuse_runtime_next_deadline(runtime, &wait_us));
        board_wait_us(wait_us == FUSE_NEVER ? 1000 : wait_us);
        need("tick", fuse_runtime_tick(runtime, NULL, NULL, 0, &ran, &failed));
        steps += ran;
        if (failed > 0) {
            /* The flight program decides: here a module that failed begins anew. */
            need("restart", fuse_runtime_restart_module(runtime, ids[RUNAWAY]));
        }
        drain_log();
        /* A real board kicks its watchdog here. */
    }
    need("read the arena", fuse_arena_stats(&after));
    board_say_number("steps: ", steps);
    board_say_number("arena, most used: ", after.peak);
    board_say_number("arena, set aside: ", after.reserved);
    for (int i = 0; i < MODULES; i++) need("unload", fuse_runtime_unload(runtime, ids[i]));
    need("close", fuse_runtime_close(runtime));
    need("read the arena", fuse_arena_stats(&after));
    board_say_number("arena, blocks after the end: ", after.blocks);
    return 0;
}
