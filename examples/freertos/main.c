/* A flight program on FreeRTOS: a control task of high priority, a task that serves modules, and an interrupt that posts
 * events. Runs for two seconds of the kernel's time and then says what happened; 0 when all was as it must be. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuse_freertos.h"

#define ARENA_BYTES (512 * 1024)
#define RUN_TICKS 2000
#define CONTROL_TICKS 10
#define BUTTON_TICKS 50
#define EVENT_BUTTON 0
#define CAP_COOLER 8
#define QUOTA_US 20000

enum { THERMOSTAT, COOLER, RUNAWAY, MODULES };

static _Alignas(4096) unsigned char memory[ARENA_BYTES];
static fuse_freertos_t port;
static fuse_runtime_t *runtime;
static fuse_module_id_t ids[MODULES];
/* What happened. */
static volatile uint32_t presses, control_rounds;
static uint32_t cooled, ended, restarted;

/* --- the end of the program --------------------------------------------------------------------------------------- */

static _Noreturn void die(const char *what, const char *why) {
    fprintf(stderr, "%s: %s\n", what, why);
    _exit(1);
}

void on_assert(const char *file, int line) {
    fprintf(stderr, "%s:%d: an assertion of the kernel does not hold\n", file, line);
    abort();
}

static void on_panic(void *user, const char *text, size_t length) {
    (void)user;
    (void)length;
    die("libfuse", text);
}

static void need(const char *what, fuse_status_t status) {
    char text[256];
    if (status == FUSE_OK) return;
    if (runtime && fuse_last_error(runtime, text, sizeof text, NULL) == FUSE_OK && text[0]) die(what, text);
    die(what, fuse_status_name(status));
}

/* --- what the processor of this board needs for native code -------------------------------------------------------- */

static int32_t code_publish(void *user, const uint8_t *start, size_t length) {
    (void)user;
    return mprotect((void *)(uintptr_t)start, length, PROT_READ | PROT_EXEC);
}

static int32_t code_unpublish(void *user, const uint8_t *start, size_t length) {
    (void)user;
    return mprotect((void *)(uintptr_t)start, length, PROT_READ | PROT_WRITE);
}

/* --- what modules may do --------------------------------------------------------------------------------------------- */

static int32_t temperature(void *user, float *out) {
    (void)user;
    *out = 20;
    return 0;
}

static int32_t cooler_on(void *user, fuse_hal_call_t *call) {
    (void)user;
    cooled++;
    return fuse_hal_call_return_i32(call, 1) == FUSE_OK ? 0 : 1;
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
    need("register the cooler", fuse_runtime_register_group(runtime, &group));
}

/* --- setting up ------------------------------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    const char *file;
    fuse_policy_t policy;
} modules[MODULES] = {
    {"thermostat", "thermostat.fuse",
     {sizeof(fuse_policy_t), FUSE_CAP_TEMP_SENSOR | FUSE_CAP_LOG | FUSE_CAP_EVENT_POST, 1, 4096, 0, QUOTA_US * 50, 20000,
      FUSE_ACTIVATE_INTERVAL, 0, 100, 0}},
    {"cooler", "cooler.fuse",
     {sizeof(fuse_policy_t), 1u << CAP_COOLER, 1, 4096, 0, QUOTA_US * 50, 0, FUSE_ACTIVATE_EVENT, 1u << EVENT_BUTTON, 50, 0}},
    {"runaway", "runaway.fuse",
     {sizeof(fuse_policy_t), 0, 0, 4096, 0, QUOTA_US, 100000, FUSE_ACTIVATE_INTERVAL, 0, 200, 0}},
};

static const uint8_t *flash(const char *name, size_t *length) {
    struct stat file;
    int descriptor = open(name, O_RDONLY);
    if (descriptor < 0 || fstat(descriptor, &file) != 0) die(name, "not in the flash");
    const uint8_t *start = mmap(NULL, (size_t)file.st_size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    close(descriptor);
    *length = (size_t)file.st_size;
    return start;
}

static void set_up(void) {
    fuse_arena_t arena = FUSE_ARENA_INIT;
    fuse_runtime_config_t config = FUSE_RUNTIME_CONFIG_INIT;
    fuse_platform_t platform;
    char error[256] = "";
    arena.memory = memory;
    arena.length = sizeof memory;
    arena.panic = on_panic;
    need("give the arena", fuse_arena_give(&arena));
    fuse_freertos_platform(&port, &platform);
    platform.code_publish = code_publish;
    platform.code_unpublish = code_unpublish;
    config.max_modules = MODULES;
    config.log_pool_bytes = 16 * 1024;
    config.stack_bytes_max = 4096;
    if (fuse_runtime_new(&config, &platform, &runtime, error, sizeof error) != FUSE_OK) die("make the runtime", error);
    need("set the sensor", fuse_runtime_set_temp(runtime, temperature, NULL, NULL));
    register_cooler();
    for (int i = 0; i < MODULES; i++) {
        size_t length;
        const uint8_t *artifact = flash(modules[i].file, &length);
        need(modules[i].name, fuse_runtime_load(runtime, modules[i].name, artifact, length, &modules[i].policy, &ids[i]));
        need(modules[i].name, fuse_runtime_start(runtime, ids[i]));
    }
}

/* --- the tasks and the interrupt ------------------------------------------------------------------------------------- */

void vApplicationTickHook(void) {
    static uint32_t ticks;
    BaseType_t woken = pdFALSE;
    fuse_freertos_tick(&port);
    /* The button. A port yields at the end of its tick interrupt by itself. */
    if (port.task && ++ticks % BUTTON_TICKS == 0 && fuse_freertos_post_from_isr(&port, EVENT_BUTTON, &woken) == FUSE_OK) presses++;
}

/* Must run on time, whatever modules do. */
static void control(void *unused) {
    TickType_t wake = xTaskGetTickCount();
    (void)unused;
    for (;;) {
        xTaskDelayUntil(&wake, CONTROL_TICKS);
        control_rounds++;
    }
}

static int after_tick(void *user, fuse_runtime_t *of, size_t ran, size_t failed) {
    (void)user;
    (void)ran;
    if (failed > 0) {
        ended += (uint32_t)failed;
        /* The first five times it gets another chance. */
        if (restarted < 5 && fuse_runtime_restart_module(of, ids[RUNAWAY]) == FUSE_OK) restarted++;
    }
    return xTaskGetTickCount() >= RUN_TICKS;
}

static uint64_t steps(int module) {
    fuse_module_stats_t stats = FUSE_MODULE_STATS_INIT;
    need("statistics", fuse_runtime_module_stats(runtime, ids[module], &stats));
    return stats.steps;
}

static void report(void) {
    fuse_arena_stats_t arena = FUSE_ARENA_STATS_INIT;
    fuse_module_info_t runaway = FUSE_MODULE_INFO_INIT;
    need("read the arena", fuse_arena_stats(&arena));
    need("runaway", fuse_runtime_module_info(runtime, ids[RUNAWAY], &runaway));
    printf("control ran %u times, the button was pressed %u times\n", control_rounds, presses);
    printf("thermostat: %llu steps; cooler: %llu steps, %u calls; runaway: ended by its quota %u times, restarted %u times\n",
           (unsigned long long)steps(THERMOSTAT), (unsigned long long)steps(COOLER), cooled, ended, restarted);
    printf("arena: %llu of %llu bytes used at most\n", (unsigned long long)arena.peak, (unsigned long long)arena.length);
    fflush(stdout);
    /* Each must have run; how often is up to the machine that plays the board. */
    int good = control_rounds > 0 && presses > 0 && steps(THERMOSTAT) > 0 && cooled > 0 && cooled == steps(COOLER) &&
               cooled <= presses && restarted > 0 && ended >= restarted && runaway.state != FUSE_STATE_TRAPPED;
    _exit(good ? 0 : 1);
}

static void serve(void *unused) {
    (void)unused;
    set_up();
    need("serve", fuse_freertos_serve(&port, runtime, after_tick, NULL));
    report();
}

int main(void) {
    /* The simulator's tasks have stacks of their own; a board gives the serving task the runtime's stack_bytes_max and 256
     * KiB more. */
    static StackType_t control_stack[4096], serve_stack[4096];
    static StaticTask_t control_task, serve_task;
    xTaskCreateStatic(control, "control", 4096, NULL, 5, control_stack, &control_task);
    xTaskCreateStatic(serve, "fuse", 4096, NULL, 2, serve_stack, &serve_task);
    vTaskStartScheduler();
    return 1;
}
