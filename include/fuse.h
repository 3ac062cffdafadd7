/* fuse.h: the C interface of Fuse. Generated from fuse-ffi by cbindgen; do not edit.
 *
 * Fuse runs code that you do not trust, next to code that must not fail: WebAssembly modules under a policy that a
 * person can review, stepped by the host (fuse_runtime_), and microVM sandboxes (fuse_orchestrator_). The same
 * header serves the full library (libfuse.so, libfuse.a) and the flight library (libfuse-flight.a); a function of
 * which the comment says "Full build only" is not in the flight library.
 *
 *     fuse_runtime_t *runtime;
 *     fuse_module_id_t module;
 *     char error[256];
 *     if (fuse_runtime_new(NULL, NULL, &runtime, error, sizeof error) != FUSE_OK) return fail(error);
 *     if (fuse_runtime_load_file(runtime, "hello", "hello.fuse", NULL, &module) != FUSE_OK) ...
 *     fuse_runtime_start(runtime, module);
 *     while (fuse_runtime_tick(runtime, NULL, NULL, 0, NULL, NULL) == FUSE_OK) sleep_until_due(runtime);
 *     fuse_runtime_close(runtime);
 *
 * Rules for all functions:
 *
 * - They return FUSE_OK or why they failed. The text of the last failure on a handle is read with fuse_last_error;
 *   functions without a handle write it to a buffer of the caller.
 * - Pointers must point to what their type says for as long as the call runs. NULL is FUSE_ERR_INVALID_ARG unless the
 *   comment says what it means. Texts are UTF-8; those without a length end with a zero.
 * - Every struct begins with its size: make it with its _INIT macro, so that programs and libraries of different
 *   versions understand each other. Fields are only ever added at the end. A NULL function means: not there.
 * - A runtime and an application belong to one thread at a time; a poster to any thread or interrupt; an orchestrator
 *   to any thread.
 * - A callback gets the `user` pointer that was registered with it, runs on the thread that is in the call, must not
 *   call the same runtime except to post events, and must not unwind or longjmp.
 * - A handle is closed once. Calls on a closed handle are FUSE_ERR_INVALID_ARG for the last 64 handles closed.
 * - "Allocates: no" is meant after load and start, and while nothing fails where it says "on failure".
 */


#ifndef FUSE_RUNTIME_FUSE_H
#define FUSE_RUNTIME_FUSE_H

#include <stddef.h>
#include <stdint.h>

/* A deadline that never comes: only an event or the host itself can make a module due. */
#define FUSE_NEVER UINT64_MAX
/* The code of the trap when a callback set another type of result than its signature says, or none. */
#define FUSE_HAL_RESULT_MISMATCH INT32_MIN
/* The code of the trap that fuse.hpp gives when a callback threw. */
#define FUSE_HAL_CALLBACK_THREW (INT32_MIN + 1)


/**
 * The major version of the ABI: the number in the SONAME. Within one, functions, constants and trailing fields are
 * added, and nothing else changes.
 */
#define FUSE_ABI_MAJOR 1

/**
 * The minor version of the ABI: it grows with each addition.
 */
#define FUSE_ABI_MINOR 0

/**
 * The version of the ABI that this header describes: the major version times 65536, plus the minor version.
 */
#define FUSE_ABI_VERSION 65536

/**
 * The library contains the compiler: it loads .wasm and .wat, and has fuse_compile.
 */
#define FUSE_FEATURE_COMPILER 1

/**
 * The library reads policies and applications as JSON.
 */
#define FUSE_FEATURE_JSON 2

/**
 * The library has its own platform (Linux) and reads files.
 */
#define FUSE_FEATURE_PLATFORM 4

/**
 * The library contains the orchestrator.
 */
#define FUSE_FEATURE_ORCHESTRATOR 8

/**
 * Capability: temp_get_reading.
 */
#define FUSE_CAP_TEMP_SENSOR 1

/**
 * Capability: timer_get_timestamp.
 */
#define FUSE_CAP_TIMER 2

/**
 * Capability: camera_last_frame.
 */
#define FUSE_CAP_CAMERA 4

/**
 * Capability: module_log_event.
 */
#define FUSE_CAP_LOG 8

/**
 * Capability: fuse_event_post.
 */
#define FUSE_CAP_EVENT_POST 16

/**
 * Activation: due when step_interval_us has passed since the last step.
 */
#define FUSE_ACTIVATE_INTERVAL 1

/**
 * Activation: due when an event that it subscribes to has been posted.
 */
#define FUSE_ACTIVATE_EVENT 2

/**
 * Activation: stepped by fuse_runtime_run_step only.
 */
#define FUSE_ACTIVATE_MANUAL 4

/**
 * Length of the binary form of a policy, in bytes.
 */
#define FUSE_POLICY_BYTES 32

/**
 * Bytes of a name in a struct: at most 64, and zeros to the end.
 */
#define FUSE_NAME_CAPACITY 72

/**
 * Metering: wall-clock quotas (cpu_quota_us).
 */
#define FUSE_METERING_WALL 1

/**
 * Metering: fuel quotas (fuel_quota), counted instructions.
 */
#define FUSE_METERING_FUEL 2

/**
 * Metering: both.
 */
#define FUSE_METERING_BOTH 3

/**
 * Traps of modules are found by checks in the code; the signal handlers of the process stay its own.
 */
#define FUSE_TRAPS_EXPLICIT 0

/**
 * Traps of modules are found by guard pages and signal handlers, which the engine installs for the process. Full build only.
 */
#define FUSE_TRAPS_SIGNALS 1

/**
 * Bytes of an engine identity in a struct.
 */
#define FUSE_IDENTITY_CAPACITY 256

/**
 * Platform flag: time is the host's, and quotas are enforced by the library's own timer (full build on Linux). For
 * simulation and replay. quota_arm and quota_cancel must be NULL.
 */
#define FUSE_PLATFORM_OWN_QUOTA_TIMER 1

/**
 * Timing: each step of a module with a wall quota; of one without, the first 16 and then one in 64.
 */
#define FUSE_TIMING_SAMPLED 0

/**
 * Timing: each step.
 */
#define FUSE_TIMING_EVERY 1

/**
 * The histogram of step times.
 */
#define FUSE_HISTOGRAM_STEP 0

/**
 * The histogram of times from an event to the start of the step that it caused.
 */
#define FUSE_HISTOGRAM_LATENCY 1

/**
 * Buckets of a histogram: bucket n counts the times of 2^n to 2^(n+1) - 1 nanoseconds, bucket 0 also zero, the last one
 * everything longer.
 */
#define FUSE_HISTOGRAM_BUCKETS 40

/**
 * A record for developers.
 */
#define FUSE_LOG_LEVEL_DEBUG 0

/**
 * A record for operators.
 */
#define FUSE_LOG_LEVEL_INFO 1

/**
 * Something failed. Security records are always of this level.
 */
#define FUSE_LOG_LEVEL_FATAL 2

/**
 * Written by a module.
 */
#define FUSE_LOG_SOURCE_MODULE 0

/**
 * Written by the runtime, about a violation, trap, quota or refused load. Modules can neither forge nor flush these.
 */
#define FUSE_LOG_SOURCE_SECURITY 1

/**
 * Bytes of the text of a record in a struct: at most 127, and a zero.
 */
#define FUSE_LOG_TEXT_CAPACITY 128

/**
 * How many events there are; their ids are 0 to 31.
 */
#define FUSE_EVENT_COUNT 32

/**
 * An application configuration: one reviewable file with limits, events, HAL groups, modules and policies. It belongs
 * to one thread at a time.
 */
typedef struct fuse_app_t fuse_app_t;

/**
 * A terminal in an environment. Close it with fuse_attach_close. Any thread may write to it.
 */
typedef struct fuse_attach_t fuse_attach_t;

/**
 * One call of a host function, while its callback runs.
 */
typedef struct fuse_hal_call_t fuse_hal_call_t;

/**
 * A control plane for microVM sandboxes, in this process or behind the REST API. It may be used from any thread, from
 * many at once.
 *
 * Requests and answers are JSON texts: the bodies and queries of the REST API. `out` (may be NULL) of a call receives
 * the answer, or NULL where there is none; when the call failed, it receives the error body of the REST API. Free both
 * with fuse_string_free. fuse_last_error gives the message of the last failure on any thread.
 *
 * Calls wait until they are done. Each has an `_async` form, which tells a completion callback instead; inside callbacks
 * of the library only those may be called, the others are FUSE_ERR_WRONG_STATE there. Those that give a handle, or close
 * the orchestrator, have none: a program that must not wait for them makes them on a thread of its own.
 */
typedef struct fuse_orchestrator_t fuse_orchestrator_t;

/**
 * Posts events into one runtime, from any thread, signal handler or interrupt handler, also while the runtime
 * steps, and after it was closed (nothing happens then). It has to be closed as well.
 */
typedef struct fuse_poster_t fuse_poster_t;

/**
 * Ends a call whose quota ran out; the host's quota timer gets it in fuse_platform_t.init. Valid until the runtime is
 * closed: stop the timer before that.
 */
typedef struct fuse_quota_expiry_t fuse_quota_expiry_t;

/**
 * Runs modules under policies, step by step. It belongs to one thread at a time.
 */
typedef struct fuse_runtime_t fuse_runtime_t;

/**
 * A stream under way: events, or a log. Close it with fuse_stream_close.
 */
typedef struct fuse_stream_t fuse_stream_t;

/**
 * What a call came to: FUSE_OK, FUSE_END, or one of the FUSE_ERR_ numbers. Numbers are never given another meaning;
 * treat one that you do not know as a failure.
 */
typedef int32_t fuse_status_t;

/**
 * The policy of one module. FUSE_POLICY_INIT allows nothing but to run: no capability, one page of memory, no growth,
 * 64 KiB of stack, no quota, interval activation without an interval.
 */
typedef struct fuse_policy_t {
    /**
     * sizeof(fuse_policy_t).
     */
    uint32_t struct_size;
    /**
     * The HAL groups that it may call: FUSE_CAP_ bits; bits 8 to 31 are the host's own groups.
     */
    uint32_t capabilities;
    /**
     * Hard cap of linear memory, in pages of 64 KiB (0 to 65536). A module that starts with more does not load.
     */
    uint32_t memory_pages_max;
    /**
     * Stack of this module, in bytes (1024 to the runtime's stack_bytes_max). Deeper recursion traps it alone.
     */
    uint32_t stack_size;
    /**
     * How many bytes its memory may grow beyond the initial size, rounded down to whole pages.
     */
    uint32_t heap_size;
    /**
     * Longest that one call of the module may run, in microseconds of its own CPU time; 0 = unlimited.
     */
    uint32_t cpu_quota_us;
    /**
     * Least time between the starts of two successful steps, in microseconds; 0 = none.
     */
    uint32_t step_interval_us;
    /**
     * What makes it due: FUSE_ACTIVATE_ bits; 0 means FUSE_ACTIVATE_INTERVAL.
     */
    uint32_t activation_mask;
    /**
     * The events that wake it: bit n is event n.
     */
    uint32_t event_subscribe;
    /**
     * Order within a tick (0 to 255): lower runs first. FUSE_POLICY_INIT sets 128.
     */
    uint32_t priority;
    /**
     * Instructions that one call may execute; 0 = unlimited.
     */
    uint64_t fuel_quota;
} fuse_policy_t;

/**
 * What concerns the whole runtime.
 */
typedef struct fuse_app_info_t {
    /**
     * sizeof(fuse_app_info_t).
     */
    uint32_t struct_size;
    /**
     * Most modules at a time.
     */
    uint32_t max_modules;
    /**
     * FUSE_METERING_.
     */
    uint32_t metering;
    /**
     * The built-in groups that modules may use: FUSE_CAP_ bits.
     */
    uint32_t hal_groups;
    /**
     * Most bytes of linear memory that all modules together may reach; 0 = unlimited.
     */
    uint64_t memory_pool_bytes;
    /**
     * Bytes for the log.
     */
    uint64_t log_pool_bytes;
    /**
     * How many modules are listed.
     */
    uint32_t module_count;
    /**
     * How many events have names.
     */
    uint32_t event_count;
    /**
     * How many HAL groups of the host are declared.
     */
    uint32_t custom_group_count;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * The application's name.
     */
    char name[FUSE_NAME_CAPACITY];
} fuse_app_info_t;

/**
 * One module of an application.
 */
typedef struct fuse_app_module_t {
    /**
     * sizeof(fuse_app_module_t).
     */
    uint32_t struct_size;
    /**
     * 1 when the application carries the module's artifact, else 0.
     */
    uint32_t has_artifact;
    /**
     * Its name.
     */
    char name[FUSE_NAME_CAPACITY];
} fuse_app_module_t;

/**
 * What an artifact is.
 */
typedef struct fuse_artifact_info_t {
    /**
     * sizeof(fuse_artifact_info_t).
     */
    uint32_t struct_size;
    /**
     * FUSE_METERING_: what its code was compiled for.
     */
    uint32_t metering;
    /**
     * FUSE_TRAPS_: how its code finds traps.
     */
    uint32_t traps;
    /**
     * 1 when this machine and this library can run its code, else 0.
     */
    uint32_t runs_here;
    /**
     * Length of the code, in bytes.
     */
    uint64_t code_bytes;
    /**
     * Length of the WebAssembly that it carries, in bytes; 0 = none.
     */
    uint64_t portable_bytes;
    /**
     * SHA-256 of the code.
     */
    uint8_t code_sha256[32];
    /**
     * The engine that it needs: version, target, processor level and settings, as text.
     */
    char identity[FUSE_IDENTITY_CAPACITY];
} fuse_artifact_info_t;

/**
 * How to compile. FUSE_COMPILE_OPTIONS_INIT: for this machine's architecture, wall metering, explicit traps, with
 * the WebAssembly inside.
 */
typedef struct fuse_compile_options_t {
    /**
     * sizeof(fuse_compile_options_t).
     */
    uint32_t struct_size;
    /**
     * FUSE_METERING_: that of the runtimes that it will run in.
     */
    uint32_t metering;
    /**
     * FUSE_TRAPS_: that of the runtimes that it will run in.
     */
    uint32_t traps;
    /**
     * 1: the artifact also carries the WebAssembly, so that a host with a compiler can compile it again. 0: not.
     */
    uint32_t portable;
    /**
     * "x86_64", "aarch64", "riscv64", "s390x", "pulley32", "pulley64", "pulley32be" or "pulley64be"; NULL: this machine.
     */
    const char *target;
    /**
     * Instructions that it may use: "common", "base", "v3" or "native"; NULL: "common".
     */
    const char *cpu;
} fuse_compile_options_t;

/**
 * How a runtime is set up. FUSE_RUNTIME_CONFIG_INIT gives the defaults: every built-in HAL group, 32 modules, wall
 * metering, 512 KiB of stack at most, 64 KiB of log.
 */
typedef struct fuse_runtime_config_t {
    /**
     * sizeof(fuse_runtime_config_t).
     */
    uint32_t struct_size;
    /**
     * FUSE_METERING_; 0 = FUSE_METERING_WALL. Quotas that it cannot enforce are refused at load.
     */
    uint32_t metering;
    /**
     * Most modules at a time (1 to 65536); 0 = 32.
     */
    uint32_t max_modules;
    /**
     * Largest stack_size that a policy may ask for, in bytes (1024 to 2 MiB); 0 = 512 KiB. The stepping thread must
     * have this much stack and 256 KiB more.
     */
    uint32_t stack_bytes_max;
    /**
     * Most bytes of linear memory that all modules together may reach; 0 = unlimited.
     */
    uint64_t memory_pool_bytes;
    /**
     * Bytes for the log (at most 1 GiB); 0 = 64 KiB.
     */
    uint64_t log_pool_bytes;
    /**
     * The built-in HAL groups that modules may use: FUSE_CAP_ bits, log and event always; 0 = all of them.
     */
    uint32_t hal_groups;
    /**
     * FUSE_TRAPS_.
     */
    uint32_t traps;
    /**
     * FUSE_TIMING_: which steps are timed.
     */
    uint32_t step_timing;
    /**
     * 1: what is not an artifact for this engine is refused, even where the library has the compiler. 0: it is compiled.
     */
    uint32_t no_compile_on_load;
    /**
     * NULL, or the application that the runtime is for: its limits, metering, groups and events are then those of the
     * runtime, and the fields metering, max_modules, memory_pool_bytes, log_pool_bytes and hal_groups must be 0. Needed
     * for fuse_runtime_load_app. It may be closed after the call.
     */
    const struct fuse_app_t *app;
} fuse_runtime_config_t;

/**
 * The machine under a runtime: time and a quota timer. All functions are called on the thread that uses the runtime,
 * get `user`, must not call the runtime, and must not unwind.
 */
typedef struct fuse_platform_t {
    /**
     * sizeof(fuse_platform_t).
     */
    uint32_t struct_size;
    /**
     * FUSE_PLATFORM_ bits, or 0.
     */
    uint32_t flags;
    /**
     * Given to each function. Must stay valid until the runtime is closed.
     */
    void *user;
    /**
     * Called once, before anything else; may be NULL. `expiry` is for the quota timer's handler. Anything but 0 is a
     * failure: the runtime is then not made, and the number is in the error's text.
     */
    int32_t (*init)(void *user, const struct fuse_quota_expiry_t *expiry);
    /**
     * Time in microseconds from any fixed point; required. When it goes backwards, that counts as standing still.
     */
    uint64_t (*timestamp_us)(void *user);
    /**
     * Starts the quota timer: when the stepping thread has used `quota_us` microseconds of CPU time (of wall time where
     * there is no clock for CPU time), its handler calls fuse_quota_expire with `token`. One quota is armed at a time.
     * NULL: there is no quota timer, and policies with cpu_quota_us are refused at load.
     */
    void (*quota_arm)(void *user, uint32_t quota_us, uint64_t token);
    /**
     * Stops the quota timer. An expiry that comes all the same is harmless. NULL exactly when quota_arm is.
     */
    void (*quota_cancel)(void *user);
    /**
     * Resolution of the quota timer, in microseconds: quotas are rounded up to a multiple. 0 and 1 mean exact.
     */
    uint32_t quota_resolution_us;
    /**
     * What native code must be aligned to, in bytes, a power of two; 0 = 4096. Used where code_publish is.
     */
    uint32_t code_alignment;
    /**
     * Makes `length` bytes from `start` executable and no longer writable, and brings the instruction cache up to date;
     * 0 when it did. Used in builds without an operating system only; NULL there: code for the interpreter only.
     */
    int32_t (*code_publish)(void *user, const uint8_t *start, size_t length);
    /**
     * Takes that back; 0 when it did. NULL exactly when code_publish is.
     */
    int32_t (*code_unpublish)(void *user, const uint8_t *start, size_t length);
} fuse_platform_t;

/**
 * Names one loaded module of one runtime; never 0, and never used again after its module is unloaded.
 */
typedef uint64_t fuse_module_id_t;

/**
 * Gives the artifact of a module of an application that does not carry it: `binary` is where the configuration says that
 * it is. The bytes must stay until the next call of this function, or the end of the call that called it. Returns 0, or
 * a number of the host's for what went wrong. Runs on the calling thread; must not call the runtime or unwind.
 */
typedef int32_t (*fuse_fetch_fn)(void *user,
                                 const char *name,
                                 const char *binary,
                                 const uint8_t **out,
                                 size_t *out_length);

/**
 * Where a module is in its life: FUSE_STATE_.
 */
typedef int32_t fuse_state_t;

/**
 * What the runtime knows of one module.
 */
typedef struct fuse_module_info_t {
    /**
     * sizeof(fuse_module_info_t).
     */
    uint32_t struct_size;
    /**
     * FUSE_STATE_. While the runtime is stopped, a module that runs otherwise is Paused.
     */
    fuse_state_t state;
    /**
     * Its id.
     */
    fuse_module_id_t id;
    /**
     * Why it is Trapped or QuotaExceeded: FUSE_ERR_TRAP, FUSE_ERR_POLICY_VIOLATION or FUSE_ERR_QUOTA_EXCEEDED; else
     * FUSE_OK. fuse_runtime_module_failure says more.
     */
    fuse_status_t failure;
    /**
     * The events that wait for it: bit n is event n.
     */
    uint32_t latch;
    /**
     * Size of its linear memory now, in bytes.
     */
    uint64_t memory_bytes;
    /**
     * Its name.
     */
    char name[FUSE_NAME_CAPACITY];
} fuse_module_info_t;

/**
 * What a module did since it was loaded. It survives a restart and an update of the module. Times are in nanoseconds;
 * medians and 99th percentiles are upper bounds within a factor of two.
 */
typedef struct fuse_module_stats_t {
    /**
     * sizeof(fuse_module_stats_t).
     */
    uint32_t struct_size;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * Steps that ended well.
     */
    uint64_t steps;
    /**
     * Calls of the module that trapped, failures of callbacks among them.
     */
    uint64_t traps;
    /**
     * Calls that violated the policy.
     */
    uint64_t violations;
    /**
     * Calls that used up a quota.
     */
    uint64_t quota_hits;
    /**
     * Instructions that the last step used, in a runtime with fuel metering.
     */
    uint64_t fuel_last;
    /**
     * The most that one step used.
     */
    uint64_t fuel_peak;
    /**
     * Instructions that all steps used.
     */
    uint64_t fuel_total;
    /**
     * Largest size of linear memory, in bytes.
     */
    uint64_t memory_peak_bytes;
    /**
     * How many steps were timed.
     */
    uint64_t step_count;
    /**
     * Mean time of a step.
     */
    uint64_t step_mean_ns;
    /**
     * Median.
     */
    uint64_t step_p50_ns;
    /**
     * 99th percentile.
     */
    uint64_t step_p99_ns;
    /**
     * The longest.
     */
    uint64_t step_max_ns;
    /**
     * How many times from an event to the start of the step that it caused were measured.
     */
    uint64_t latency_count;
    /**
     * Their mean.
     */
    uint64_t latency_mean_ns;
    /**
     * Their median.
     */
    uint64_t latency_p50_ns;
    /**
     * Their 99th percentile.
     */
    uint64_t latency_p99_ns;
    /**
     * The longest.
     */
    uint64_t latency_max_ns;
} fuse_module_stats_t;

/**
 * One record of the log.
 */
typedef struct fuse_log_record_t {
    /**
     * sizeof(fuse_log_record_t).
     */
    uint32_t struct_size;
    /**
     * FUSE_LOG_LEVEL_.
     */
    int32_t level;
    /**
     * Position in the whole log: from 0, one more with each record of either source.
     */
    uint64_t sequence;
    /**
     * When, in microseconds of the platform's clock.
     */
    uint64_t timestamp_us;
    /**
     * The module that wrote it, or that it is about; 0 for a refused load.
     */
    fuse_module_id_t module;
    /**
     * FUSE_LOG_SOURCE_.
     */
    int32_t source;
    /**
     * Length of the text, in bytes.
     */
    uint32_t text_length;
    /**
     * What it says: printable UTF-8 with a zero at its end.
     */
    char text[FUSE_LOG_TEXT_CAPACITY];
} fuse_log_record_t;

/**
 * Gets each record of the log as it is written, on the thread that steps or loads, inside that call. It must not call
 * its runtime, except to post events; `record` lives until it returns; it must not unwind.
 */
typedef void (*fuse_log_sink_fn)(void *user, const struct fuse_log_record_t *record);

/**
 * Frees what a `user` pointer points to. Called once, on the thread that makes the last use impossible: when the
 * callback is replaced, when its runtime is closed, or when the call that should have taken it fails. It must not
 * call the library on the same handle, throw or unwind. Null: nothing is to be freed.
 */
typedef void (*fuse_finalizer_t)(void *user);

/**
 * A callback gives the temperature in degrees Celsius. Callbacks run on the thread that steps, inside the call that
 * steps; they must not call their runtime (they get FUSE_ERR_WRONG_STATE), except to post events; their pointers live
 * until they return. They return 0, or a number of the host's for what went wrong: the module then traps with that
 * number and nothing else happens. They must not unwind: a C++ exception that leaves a callback ends the program.
 */
typedef int32_t (*fuse_temp_fn)(void *user, float *out_celsius);

/**
 * A callback gives a monotonic time in microseconds. The rules are those of fuse_temp_fn.
 */
typedef int32_t (*fuse_timer_fn)(void *user, int64_t *out_us);

/**
 * A callback copies the newest camera frame into `buffer`, at most `capacity` bytes, and says how many it wrote; 0 when
 * there is no frame. The buffer is the module's own memory. The rules are those of fuse_temp_fn.
 */
typedef int32_t (*fuse_camera_fn)(void *user, uint8_t *buffer, size_t capacity, size_t *out_written);

/**
 * The type of a parameter or result of a host function: FUSE_HAL_.
 */
typedef int32_t fuse_hal_type_t;

/**
 * A function of a HAL group of the host. It reads its parameters and sets its result with the fuse_hal_call_
 * functions; `call` lives until it returns. The rules are those of fuse_temp_fn.
 */
typedef int32_t (*fuse_hal_fn)(void *user, struct fuse_hal_call_t *call);

/**
 * One function of a HAL group.
 */
typedef struct fuse_hal_function_t {
    /**
     * sizeof(fuse_hal_function_t).
     */
    uint32_t struct_size;
    /**
     * Type of the result: FUSE_HAL_NONE, _I32, _I64, _F32 or _F64.
     */
    fuse_hal_type_t result;
    /**
     * Name of the import, in the module "env".
     */
    const char *name;
    /**
     * Types of the parameters; NULL when there are none.
     */
    const fuse_hal_type_t *params;
    /**
     * How many, at most 16.
     */
    size_t param_count;
    /**
     * The function.
     */
    fuse_hal_fn callback;
    /**
     * Given to the function.
     */
    void *user;
    /**
     * Frees `user`.
     */
    fuse_finalizer_t finalizer;
} fuse_hal_function_t;

/**
 * A HAL group of the host.
 */
typedef struct fuse_hal_group_t {
    /**
     * sizeof(fuse_hal_group_t).
     */
    uint32_t struct_size;
    /**
     * Its capability bit in policies, 8 to 31.
     */
    uint32_t bit;
    /**
     * Its name.
     */
    const char *name;
    /**
     * Pointers to its functions.
     */
    const struct fuse_hal_function_t *const *functions;
    /**
     * How many, at most 256.
     */
    size_t function_count;
} fuse_hal_group_t;

/**
 * How to open a control plane in this process.
 */
typedef struct fuse_open_options_t {
    /**
     * sizeof(fuse_open_options_t).
     */
    uint32_t struct_size;
    /**
     * 0.
     */
    uint32_t flags;
    /**
     * What the host `default` is to be: "auto", "local" or "stub"; NULL: "auto".
     */
    const char *provider;
    /**
     * The folder of this machine's VMs and images; NULL: that of the environment variable FUSE_HOST_DATA, else
     * /var/lib/fuse-host-agent. One process at a time works on it.
     */
    const char *host_data;
} fuse_open_options_t;

/**
 * Learns how an `_async` call ended: FUSE_OK with the answer, or a failure with the error body of the REST API. Called
 * once for each call that was accepted, on a thread of the library, also when the orchestrator is closed before the
 * call is done (FUSE_ERR_UNAVAILABLE). `text` (`length` bytes and a zero) lives until it returns. It must not wait,
 * call functions of the library that do, or unwind.
 */
typedef void (*fuse_completion_fn)(void *user, fuse_status_t status, const char *text, size_t length);

/**
 * Gets what a terminal shows, on a thread of the library: FUSE_OK with bytes; FUSE_END with the program's exit code, after
 * which nothing follows; FUSE_ERR_UNAVAILABLE when the connection broke off, the same. The bytes live until it returns.
 * While it runs, the program in the guest is held back. The rules of fuse_completion_fn hold.
 */
typedef void (*fuse_attach_fn)(void *user,
                               fuse_status_t status,
                               const uint8_t *bytes,
                               size_t length,
                               int32_t exit_code);

/**
 * It worked.
 */
#define FUSE_OK 0

/**
 * It worked, and there is no further one: the end of something that is read one by one.
 */
#define FUSE_END 64

/**
 * An argument, a policy or a configuration is not valid; a null pointer; a handle that is closed or of another kind.
 */
#define FUSE_ERR_INVALID_ARG 1

/**
 * There is nothing of this id or name. Ids are never used twice, so a stale id ends here.
 */
#define FUSE_ERR_NOT_FOUND 2

/**
 * The runtime already holds max_modules modules.
 */
#define FUSE_ERR_MODULE_LIMIT 3

/**
 * The artifact was refused; nothing was changed.
 */
#define FUSE_ERR_LOAD_FAILED 4

/**
 * The module called what its policy does not allow. It is now FUSE_STATE_TRAPPED.
 */
#define FUSE_ERR_POLICY_VIOLATION 5

/**
 * The module used up its wall-clock or fuel quota. It is now FUSE_STATE_QUOTA_EXCEEDED.
 */
#define FUSE_ERR_QUOTA_EXCEEDED 6

/**
 * The module trapped, or a callback failed under it. It is now FUSE_STATE_TRAPPED.
 */
#define FUSE_ERR_TRAP 7

/**
 * The module's step interval has not passed since its last successful step.
 */
#define FUSE_ERR_INTERVAL_NOT_ELAPSED 8

/**
 * Not legal in the state that the module or the runtime is in; also a call from inside a callback of the same handle.
 */
#define FUSE_ERR_WRONG_STATE 9

/**
 * The caller's buffer is too small. The length needed has been written.
 */
#define FUSE_ERR_BUFFER_TOO_SMALL 10

/**
 * The library itself failed. The handle takes no further call but its close.
 */
#define FUSE_ERR_INTERNAL 11

/**
 * An earlier call on this handle came to FUSE_ERR_INTERNAL. Close it.
 */
#define FUSE_ERR_POISONED 12

/**
 * There is not enough memory for this. Nothing was changed.
 */
#define FUSE_ERR_OUT_OF_MEMORY 13

/**
 * It contradicts what is there: a name or key that is taken, or a state that does not allow it.
 */
#define FUSE_ERR_CONFLICT 14

/**
 * The caller is not known, or may not do this.
 */
#define FUSE_ERR_UNAUTHORIZED 15

/**
 * Not now: no capacity, or a host, a store or a server that does not answer. Try again later.
 */
#define FUSE_ERR_UNAVAILABLE 16

/**
 * The provider or the server cannot do this.
 */
#define FUSE_ERR_UNIMPLEMENTED 17

/**
 * Too many bytes.
 */
#define FUSE_ERR_TOO_LARGE 18

/**
 * Something else failed in the control plane; the message says what.
 */
#define FUSE_ERR_FAILED 19

/**
 * Loaded and checked, never started.
 */
#define FUSE_STATE_LOADED 0

/**
 * Started: it is stepped when due.
 */
#define FUSE_STATE_RUNNING 1

/**
 * Held by the host, or by the stop of the whole runtime.
 */
#define FUSE_STATE_PAUSED 2

/**
 * It trapped or violated its policy. It can be restarted or unloaded.
 */
#define FUSE_STATE_TRAPPED 3

/**
 * It used up a quota. It can be restarted or unloaded.
 */
#define FUSE_STATE_QUOTA_EXCEEDED 4

/**
 * No result.
 */
#define FUSE_HAL_NONE 0

/**
 * A 32-bit integer.
 */
#define FUSE_HAL_I32 1

/**
 * A 64-bit integer.
 */
#define FUSE_HAL_I64 2

/**
 * A 32-bit float.
 */
#define FUSE_HAL_F32 3

/**
 * A 64-bit float.
 */
#define FUSE_HAL_F64 4

/**
 * A buffer that the host reads: two wasm parameters, pointer and length. A range outside the module's memory traps the
 * module before the callback is called.
 */
#define FUSE_HAL_IN 5

/**
 * A buffer that the host writes.
 */
#define FUSE_HAL_OUT 6

/**
 * A buffer that the host reads and writes.
 */
#define FUSE_HAL_INOUT 7

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The name of a status, such as "FUSE_ERR_TRAP"; "unknown status" for a number that this library does not know. The
 * text lives as long as the program.
 *
 * ISR-safe: yes; allocates: no; blocks: no; thread-safe: yes.
 */
const char *fuse_status_name(fuse_status_t status);

/**
 * The version of the ABI that the library has, as FUSE_ABI_VERSION. A program works with a library of the same
 * major version and of an equal or larger minor version.
 *
 * ISR-safe: yes; allocates: no; blocks: no; thread-safe: yes.
 */
uint32_t fuse_abi_version(void);

/**
 * What the library contains: a set of the FUSE_FEATURE_ bits.
 *
 * ISR-safe: yes; allocates: no; blocks: no; thread-safe: yes.
 */
uint32_t fuse_features(void);

/**
 * The version of Fuse, such as "0.1.0". The text lives as long as the program.
 *
 * ISR-safe: yes; allocates: no; blocks: no; thread-safe: yes.
 */
const char *fuse_library_version(void);

/**
 * The engine that artifacts must be compiled for, such as "wasmtime-48.0.8". The text lives as long as the program.
 *
 * ISR-safe: yes; allocates: no; blocks: no; thread-safe: yes.
 */
const char *fuse_engine_version(void);

/**
 * Copies the text of the last failure on a handle, with a zero at its end: what was tried, on what, why it failed
 * and what to do. Works for each kind of handle that a failure is kept in (runtime, application, orchestrator), also
 * from inside a callback, and also when the handle is poisoned. The text is empty when nothing has failed; a later
 * failure replaces it, a success does not.
 *
 * `length` (may be NULL) receives the bytes needed, the zero among them: at most 1025.
 *
 * FUSE_ERR_BUFFER_TOO_SMALL when `capacity` is less; nothing is copied then. FUSE_ERR_INVALID_ARG for a handle that is
 * closed or has no text.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: as the handle.
 */
fuse_status_t fuse_last_error(const void *handle,
                              char *buffer,
                              size_t capacity,
                              size_t *length);

/**
 * Reads the binary form of a policy, for uplinks: exactly 32 bytes, eight little-endian 32-bit numbers in the order
 * capabilities, memory_pages_max, stack_size, heap_size, cpu_quota_us, step_interval_us, activation_mask,
 * event_subscribe. Priority and fuel quota take their defaults.
 *
 * `out`: set its struct_size first. `error` (may be NULL) receives why it failed, cut to `error_capacity` bytes.
 *
 * FUSE_ERR_INVALID_ARG for another length and for a field out of range.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_policy_from_bytes(const uint8_t *bytes,
                                     size_t length,
                                     struct fuse_policy_t *out,
                                     char *error,
                                     size_t error_capacity);

/**
 * Writes the binary form of a policy; see fuse_policy_from_bytes. Priority and fuel quota are not in it.
 *
 * `buffer` has `capacity` bytes; `length` (may be NULL) receives 32.
 *
 * FUSE_ERR_BUFFER_TOO_SMALL; FUSE_ERR_INVALID_ARG for a policy that is not valid.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_policy_to_bytes(const struct fuse_policy_t *policy,
                                   uint8_t *buffer,
                                   size_t capacity,
                                   size_t *length);

/**
 * Reads a policy from JSON: the same fields as in app_config.json; masks may be numbers or lists of names.
 *
 * `out`: set its struct_size first. `error` (may be NULL) receives why it failed, with the JSON path, cut to
 * `error_capacity` bytes.
 *
 * FUSE_ERR_INVALID_ARG for text that is not a policy. Full build only.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_policy_from_json(const char *json,
                                    size_t length,
                                    struct fuse_policy_t *out,
                                    char *error,
                                    size_t error_capacity);

/**
 * Reads an application from app_config.json and checks all of it. Close it with fuse_app_close.
 *
 * `error` (may be NULL) receives why it failed, with the JSON path, cut to `error_capacity` bytes.
 *
 * FUSE_ERR_INVALID_ARG for unknown fields, unknown names, duplicates, values out of range. Full build only.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_app_from_json(const char *json,
                                 size_t length,
                                 struct fuse_app_t **out,
                                 char *error,
                                 size_t error_capacity);

/**
 * Reads an application from the binary that `fuse module pack` writes; its length and SHA-256 are checked first. Close
 * it with fuse_app_close.
 *
 * `error` (may be NULL) receives why it failed, cut to `error_capacity` bytes.
 *
 * FUSE_ERR_INVALID_ARG for what is damaged or not valid.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_app_from_binary(const uint8_t *bytes,
                                   size_t length,
                                   struct fuse_app_t **out,
                                   char *error,
                                   size_t error_capacity);

/**
 * Writes the binary form, with the artifacts that the application carries.
 *
 * `buffer` has `capacity` bytes; `length` (may be NULL) receives how many are needed.
 *
 * FUSE_ERR_BUFFER_TOO_SMALL.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_app_to_binary(struct fuse_app_t *app, uint8_t *buffer, size_t capacity, size_t *length);

/**
 * What concerns the whole runtime. `out`: set its struct_size first.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_app_info(struct fuse_app_t *app, struct fuse_app_info_t *out);

/**
 * The id of the event with this name.
 *
 * FUSE_ERR_NOT_FOUND.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_app_event(struct fuse_app_t *app, const char *name, uint32_t *out_event);

/**
 * One of the application's modules, counted from 0 in load order. `out`: set its struct_size first.
 *
 * FUSE_ERR_NOT_FOUND for an index that is too large.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_app_module(struct fuse_app_t *app, uint32_t index, struct fuse_app_module_t *out);

/**
 * The policy of one of the application's modules. `out`: set its struct_size first.
 *
 * FUSE_ERR_NOT_FOUND for an index that is too large.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_app_module_policy(struct fuse_app_t *app, uint32_t index, struct fuse_policy_t *out);

/**
 * Where the artifact of one of the application's modules is: its field "binary", a path relative to the configuration.
 *
 * `buffer` has `capacity` bytes; `length` (may be NULL) receives how many are needed, the zero at the end among them.
 *
 * FUSE_ERR_NOT_FOUND for an index that is too large; FUSE_ERR_BUFFER_TOO_SMALL.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_app_module_binary(struct fuse_app_t *app,
                                     uint32_t index,
                                     char *buffer,
                                     size_t capacity,
                                     size_t *length);

/**
 * Puts an artifact into the application, so that the binary form carries it. The bytes are copied.
 *
 * FUSE_ERR_NOT_FOUND for an index that is too large.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_app_set_artifact(struct fuse_app_t *app, uint32_t index, const uint8_t *artifact, size_t length);

/**
 * Closes an application. Runtimes that were made of it are not touched. NULL is allowed and does nothing.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_app_close(struct fuse_app_t *app);

/**
 * Looks into an artifact: all its hashes are checked, nothing is run. `out`: set its struct_size first.
 *
 * `error` (may be NULL) receives why it was refused, cut to `error_capacity` bytes.
 *
 * FUSE_ERR_LOAD_FAILED for what is no artifact, truncated, damaged or of another format version.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_artifact_inspect(const uint8_t *artifact,
                                    size_t length,
                                    struct fuse_artifact_info_t *out,
                                    char *error,
                                    size_t error_capacity);

/**
 * Compiles a module (.wasm or .wat) ahead of time. The same input and options give the same bytes. `options` may be
 * NULL: FUSE_COMPILE_OPTIONS_INIT.
 *
 * `out` receives the artifact and `out_length` its length; free it with fuse_bytes_free. `error` (may be NULL)
 * receives why it failed, cut to `error_capacity` bytes.
 *
 * FUSE_ERR_INVALID_ARG when the module or an option is not valid. Full build only. Takes milliseconds to seconds.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_compile(const uint8_t *source,
                           size_t length,
                           const struct fuse_compile_options_t *options,
                           uint8_t **out,
                           size_t *out_length,
                           char *error,
                           size_t error_capacity);

/**
 * Frees bytes that the library allocated for the caller. NULL is allowed and does nothing.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_bytes_free(uint8_t *bytes, size_t length);

/**
 * Tells the runtime that the quota with this token ran out: the call that it names ends, if it still runs. For the
 * handler of the host's quota timer. Atomics only; calling it again is harmless, and mends a first call that came too
 * early to be seen.
 *
 * ISR-safe: yes; allocates: no; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_quota_expire(const struct fuse_quota_expiry_t *expiry, uint64_t token);

/**
 * Makes a runtime. Close it with fuse_runtime_close.
 *
 * `config` may be NULL: FUSE_RUNTIME_CONFIG_INIT. `platform` may be NULL in the full build on Linux: the library's own
 * clock, and a thread that enforces quotas. The struct is copied; what its `user` points to must stay.
 * `error` (may be NULL) receives why it failed, cut to `error_capacity` bytes.
 *
 * FUSE_ERR_INVALID_ARG for a configuration or platform that is not valid or could not be set up.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_runtime_new(const struct fuse_runtime_config_t *config,
                               const struct fuse_platform_t *platform,
                               struct fuse_runtime_t **out,
                               char *error,
                               size_t error_capacity);

/**
 * Closes a runtime: its modules are dropped (without module_deinit; unload them first where that matters), finalizers
 * are called. Its posters stay valid. NULL is allowed and does nothing. A poisoned runtime can be closed.
 *
 * FUSE_ERR_WRONG_STATE from inside a callback of this runtime; it then stays open.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_runtime_close(struct fuse_runtime_t *runtime);

/**
 * Starts a module that is Loaded or Paused. The first start runs module_init, under the policy.
 *
 * FUSE_ERR_NOT_FOUND; FUSE_ERR_WRONG_STATE; the failure of module_init (FUSE_ERR_TRAP, FUSE_ERR_POLICY_VIOLATION,
 * FUSE_ERR_QUOTA_EXCEEDED), which leaves the module failed.
 *
 * ISR-safe: no; allocates: on failure; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_runtime_start(struct fuse_runtime_t *runtime, fuse_module_id_t id);

/**
 * Pauses a module that is Running. Events that come meanwhile wait for it.
 *
 * FUSE_ERR_NOT_FOUND; FUSE_ERR_WRONG_STATE.
 *
 * ISR-safe: no; allocates: on failure; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_runtime_pause(struct fuse_runtime_t *runtime, fuse_module_id_t id);

/**
 * Restarts a module that is Trapped or QuotaExceeded, from its artifact: fresh memory, module_init, then Running. Its
 * statistics go on.
 *
 * FUSE_ERR_NOT_FOUND; FUSE_ERR_WRONG_STATE; FUSE_ERR_LOAD_FAILED or the failure of module_init, which leave it failed.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_runtime_restart_module(struct fuse_runtime_t *runtime,
                                          fuse_module_id_t id);

/**
 * Unloads a module in any state. module_deinit runs, under the policy, if the module was ever started and has not
 * failed; its failure is logged and not returned.
 *
 * FUSE_ERR_NOT_FOUND.
 *
 * ISR-safe: no; allocates: on failure; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_runtime_unload(struct fuse_runtime_t *runtime, fuse_module_id_t id);

/**
 * Stops the runtime: every Running module is held, and no module runs until fuse_runtime_restart. Events still latch.
 *
 * FUSE_ERR_WRONG_STATE when it is stopped already.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_runtime_stop(struct fuse_runtime_t *runtime);

/**
 * Lifts a stop: the modules that it held run again; those that the host had paused itself stay paused.
 *
 * FUSE_ERR_WRONG_STATE when the runtime is not stopped.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_runtime_restart(struct fuse_runtime_t *runtime);

/**
 * Whether the runtime is stopped: 1 or 0.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_runtime_is_stopped(struct fuse_runtime_t *runtime, uint32_t *out_stopped);

/**
 * Loads a module from an artifact (in builds with the compiler also from .wasm or .wat): hashes are checked, imports
 * resolved, memory made, the start function run. Its state is then FUSE_STATE_LOADED. The bytes are not used after the
 * call.
 *
 * `name` is 1 to 64 bytes. `policy` may be NULL: FUSE_POLICY_INIT. `out` receives the module's id.
 *
 * FUSE_ERR_INVALID_ARG for a name that is taken or a policy that the runtime cannot enforce; FUSE_ERR_MODULE_LIMIT;
 * FUSE_ERR_LOAD_FAILED for everything about the artifact. Each refusal is logged; nothing else changes.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_runtime_load(struct fuse_runtime_t *runtime,
                                const char *name,
                                const uint8_t *artifact,
                                size_t length,
                                const struct fuse_policy_t *policy,
                                fuse_module_id_t *out);

/**
 * fuse_runtime_load from a file. It is read once and checked in memory, so that nobody can change it between the check
 * and the use. Builds with files only.
 *
 * As fuse_runtime_load; FUSE_ERR_LOAD_FAILED when the file cannot be read.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: no.
 */
fuse_status_t fuse_runtime_load_file(struct fuse_runtime_t *runtime,
                                     const char *name,
                                     const char *path,
                                     const struct fuse_policy_t *policy,
                                     fuse_module_id_t *out);

/**
 * Loads all modules of an application, in order, into a runtime that was made for it (fuse_runtime_config_t.app). They
 * are not started. On a failure, what this call loaded is unloaded again.
 *
 * `fetch` gives the artifacts that the application does not carry; NULL when it carries all. `ids` (may be NULL) receives
 * the modules' ids as far as `capacity` goes, and `out_count` (may be NULL) how many modules there are.
 *
 * FUSE_ERR_INVALID_ARG when the application is not the one that the runtime was made for, or declares a group that the
 * host did not register; else as fuse_runtime_load, and FUSE_ERR_LOAD_FAILED when `fetch` fails.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_runtime_load_app(struct fuse_runtime_t *runtime,
                                    const struct fuse_app_t *app,
                                    fuse_fetch_fn fetch,
                                    void *user,
                                    fuse_module_id_t *ids,
                                    size_t capacity,
                                    size_t *out_count);

/**
 * fuse_runtime_load_app with artifacts from files: each module's "binary" is a path relative to `folder`. Builds with
 * files only.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: no.
 */
fuse_status_t fuse_runtime_load_app_files(struct fuse_runtime_t *runtime,
                                          const struct fuse_app_t *app,
                                          const char *folder,
                                          fuse_module_id_t *ids,
                                          size_t capacity,
                                          size_t *out_count);

/**
 * Replaces a module's artifact between steps. The new one is loaded, checked and (if the module was started) initialised
 * before the old one is deinitialised and dropped; its memory is fresh. A failed module runs again. Name, id, policy,
 * statistics and waiting events stay. The bytes are not used after the call.
 *
 * As fuse_runtime_load, and the failure of the new module_init. The old one then goes on as if nothing had happened.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_runtime_update(struct fuse_runtime_t *runtime,
                                  fuse_module_id_t id,
                                  const uint8_t *artifact,
                                  size_t length);

/**
 * The id of the module with this name.
 *
 * FUSE_ERR_NOT_FOUND.
 *
 * ISR-safe: no; allocates: on failure; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_runtime_find(struct fuse_runtime_t *runtime, const char *name, fuse_module_id_t *out);

/**
 * The ids of all modules. `ids` has room for `capacity`; `out_count` receives how many there are.
 *
 * FUSE_ERR_BUFFER_TOO_SMALL when there are more than `capacity`; nothing is written to `ids` then.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_runtime_modules(struct fuse_runtime_t *runtime,
                                   fuse_module_id_t *ids,
                                   size_t capacity,
                                   size_t *out_count);

/**
 * The name of a state, such as "Running"; "unknown state" for a number that this library does not know. The text lives
 * as long as the program.
 *
 * ISR-safe: yes; allocates: no; blocks: no; thread-safe: yes.
 */
const char *fuse_state_name(fuse_state_t state);

/**
 * What is known of a module. `out`: set its struct_size first.
 *
 * FUSE_ERR_NOT_FOUND.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_runtime_module_info(struct fuse_runtime_t *runtime,
                                       fuse_module_id_t id,
                                       struct fuse_module_info_t *out);

/**
 * Why a module is Trapped or QuotaExceeded, as text; empty when it is not.
 *
 * `buffer` has `capacity` bytes; `length` (may be NULL) receives how many are needed, the zero at the end among them.
 *
 * FUSE_ERR_NOT_FOUND; FUSE_ERR_BUFFER_TOO_SMALL.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_runtime_module_failure(struct fuse_runtime_t *runtime,
                                          fuse_module_id_t id,
                                          char *buffer,
                                          size_t capacity,
                                          size_t *length);

/**
 * The policy of a module. `out`: set its struct_size first.
 *
 * FUSE_ERR_NOT_FOUND.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_runtime_module_policy(struct fuse_runtime_t *runtime,
                                         fuse_module_id_t id,
                                         struct fuse_policy_t *out);

/**
 * Copies a part of a module's linear memory as it is now: for looking at a module that failed.
 *
 * `out_size` (may be NULL) receives the size of the whole memory, in bytes.
 *
 * FUSE_ERR_NOT_FOUND; FUSE_ERR_INVALID_ARG when the part is not inside the memory.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_runtime_module_memory(struct fuse_runtime_t *runtime,
                                         fuse_module_id_t id,
                                         uint64_t offset,
                                         uint8_t *buffer,
                                         size_t length,
                                         uint64_t *out_size);

/**
 * Statistics of a module. `out`: set its struct_size first.
 *
 * FUSE_ERR_NOT_FOUND.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_runtime_module_stats(struct fuse_runtime_t *runtime,
                                        fuse_module_id_t id,
                                        struct fuse_module_stats_t *out);

/**
 * A histogram of a module (`which`: FUSE_HISTOGRAM_STEP or FUSE_HISTOGRAM_LATENCY). `buckets` has room for `capacity`
 * numbers; FUSE_HISTOGRAM_BUCKETS are written.
 *
 * FUSE_ERR_NOT_FOUND; FUSE_ERR_BUFFER_TOO_SMALL.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_runtime_module_histogram(struct fuse_runtime_t *runtime,
                                            fuse_module_id_t id,
                                            uint32_t which,
                                            uint64_t *buckets,
                                            size_t capacity);

/**
 * Steps one module now, whatever its activation. Only where that contains FUSE_ACTIVATE_INTERVAL, the interval must have
 * passed. The events that wait for it stay.
 *
 * In this order: FUSE_ERR_WRONG_STATE when the runtime is stopped; FUSE_ERR_NOT_FOUND; FUSE_ERR_WRONG_STATE when the
 * module is not Running; FUSE_ERR_INTERVAL_NOT_ELAPSED; then the failure of the step: FUSE_ERR_TRAP,
 * FUSE_ERR_POLICY_VIOLATION, FUSE_ERR_QUOTA_EXCEEDED.
 *
 * ISR-safe: no; allocates: on failure; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_runtime_run_step(struct fuse_runtime_t *runtime,
                                    fuse_module_id_t id);

/**
 * Steps every module that is due, once each, by priority and then load order. A failure of one is reported and does
 * not stop the others: the call succeeds.
 *
 * `modules` and `statuses` (each may be NULL) receive which modules ran, in order, and how each ended, as far as
 * `capacity` goes. `out_ran` and `out_failed` (each may be NULL) receive how many ran and how many of them failed.
 *
 * FUSE_ERR_WRONG_STATE when the runtime is stopped.
 *
 * ISR-safe: no; allocates: on failure; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_runtime_tick(struct fuse_runtime_t *runtime,
                                fuse_module_id_t *modules,
                                fuse_status_t *statuses,
                                size_t capacity,
                                size_t *out_ran,
                                size_t *out_failed);

/**
 * How long the host may sleep until a module is due, in microseconds: 0 when one is, FUSE_NEVER when only an event or
 * the host itself can make one due.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_runtime_next_deadline(struct fuse_runtime_t *runtime, uint64_t *out_us);

/**
 * Posts an event (0 to 31), on the thread that uses the runtime; also from inside its callbacks. Other threads and
 * interrupts use a fuse_poster_t.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_runtime_post_event(struct fuse_runtime_t *runtime, uint32_t event);

/**
 * Takes an event (0 to 31) back from the latches of all modules.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_runtime_clear_event(struct fuse_runtime_t *runtime, uint32_t event);

/**
 * Reads the oldest kept record whose number is at least `*sequence`, and sets `*sequence` to one past its number: the
 * log is read by calling this, first with 0, until it returns FUSE_END. A gap in the numbers is what was overwritten in
 * between. `out`: set its struct_size first.
 *
 * FUSE_END when there is none; nothing is written then.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_runtime_log_next(struct fuse_runtime_t *runtime,
                                    uint64_t *sequence,
                                    struct fuse_log_record_t *out);

/**
 * Figures of the log: the number that the next record will get, and how many records of modules and how many security
 * records were overwritten. Each pointer may be NULL.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_runtime_log_counts(struct fuse_runtime_t *runtime,
                                      uint64_t *out_next_sequence,
                                      uint64_t *out_lost,
                                      uint64_t *out_lost_security);

/**
 * Sets the log's sink. The records are kept in the log all the same. `sink` NULL: there is none. `finalizer` (may be
 * NULL) is called with `user` once, when the sink is replaced, the runtime is closed, or this call fails.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_runtime_set_log_sink(struct fuse_runtime_t *runtime,
                                        fuse_log_sink_fn sink,
                                        void *user,
                                        fuse_finalizer_t finalizer);

/**
 * Makes a handle that posts events into `runtime`. Close it with fuse_poster_close.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_runtime_poster(struct fuse_runtime_t *runtime, struct fuse_poster_t **out);

/**
 * Posts an event (0 to 31): every loaded module that subscribes to it latches it. Two posts before a subscriber's next
 * step are one activation. One atomic operation.
 *
 * ISR-safe: yes; allocates: no; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_poster_post(const struct fuse_poster_t *poster,
                               uint32_t event);

/**
 * Posts an event with the time of its cause, in microseconds of the platform's clock, so that the latency in the
 * subscribers' statistics counts from there. Two atomic operations.
 *
 * ISR-safe: yes; allocates: no; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_poster_post_at(const struct fuse_poster_t *poster, uint32_t event, uint64_t timestamp_us);

/**
 * Closes a poster. No other thread and no interrupt may use it any more. NULL is allowed and does nothing.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_poster_close(struct fuse_poster_t *poster);

/**
 * Sets the temperature sensor. `callback` NULL: there is none, and modules read 0. `finalizer` (may be NULL) is called
 * with `user` once, when the callback is replaced, the runtime is closed, or this call fails.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_runtime_set_temp(struct fuse_runtime_t *runtime,
                                    fuse_temp_fn callback,
                                    void *user,
                                    fuse_finalizer_t finalizer);

/**
 * Sets the clock that modules read. Otherwise as fuse_runtime_set_temp.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_runtime_set_timer(struct fuse_runtime_t *runtime,
                                     fuse_timer_fn callback,
                                     void *user,
                                     fuse_finalizer_t finalizer);

/**
 * Sets the camera. Otherwise as fuse_runtime_set_temp. A callback that says it wrote more than there is room counts as
 * having filled the buffer.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_runtime_set_camera(struct fuse_runtime_t *runtime,
                                      fuse_camera_fn callback,
                                      void *user,
                                      fuse_finalizer_t finalizer);

/**
 * Registers a HAL group of the host: GPIO, UART, a downlink. Modules that are loaded from now on may import its
 * functions, if their policy has its bit. What the structs point to is copied; `user` pointers are kept, and each
 * function's finalizer is called once, when the runtime is closed or when this call fails (as far as the structs could be
 * read).
 *
 * FUSE_ERR_INVALID_ARG when a name, bit or signature is not valid or is taken, or when the application declares a
 * group of this name or bit in another shape.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_runtime_register_group(struct fuse_runtime_t *runtime,
                                          const struct fuse_hal_group_t *group);

/**
 * The module that called.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_hal_call_module(struct fuse_hal_call_t *call, fuse_module_id_t *out);

/**
 * The 32-bit integer at a parameter, counted from 0, a buffer as one.
 *
 * FUSE_ERR_INVALID_ARG when there is no such parameter or it has another type.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_hal_call_i32(struct fuse_hal_call_t *call, size_t param, int32_t *out);

/**
 * The 64-bit integer at a parameter. Otherwise as fuse_hal_call_i32.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_hal_call_i64(struct fuse_hal_call_t *call, size_t param, int64_t *out);

/**
 * The 32-bit float at a parameter. Otherwise as fuse_hal_call_i32.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_hal_call_f32(struct fuse_hal_call_t *call, size_t param, float *out);

/**
 * The 64-bit float at a parameter. Otherwise as fuse_hal_call_i32.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_hal_call_f64(struct fuse_hal_call_t *call, size_t param, double *out);

/**
 * The bytes of a buffer that the host may read (FUSE_HAL_IN, FUSE_HAL_INOUT). They lie in the module's memory, have
 * been checked, and are there until the callback returns. For another parameter the length is 0.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_hal_call_input(struct fuse_hal_call_t *call,
                                  size_t param,
                                  const uint8_t **out,
                                  size_t *out_length);

/**
 * The bytes of a buffer that the host may write (FUSE_HAL_OUT, FUSE_HAL_INOUT). Otherwise as fuse_hal_call_input.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_hal_call_output(struct fuse_hal_call_t *call, size_t param, uint8_t **out, size_t *out_length);

/**
 * Sets the result: a 32-bit integer. It must have the type of the signature, or the module traps with
 * FUSE_HAL_RESULT_MISMATCH.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_hal_call_return_i32(struct fuse_hal_call_t *call, int32_t value);

/**
 * Sets the result: a 64-bit integer. Otherwise as fuse_hal_call_return_i32.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_hal_call_return_i64(struct fuse_hal_call_t *call, int64_t value);

/**
 * Sets the result: a 32-bit float. Otherwise as fuse_hal_call_return_i32.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_hal_call_return_f32(struct fuse_hal_call_t *call, float value);

/**
 * Sets the result: a 64-bit float. Otherwise as fuse_hal_call_return_i32.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
 */
fuse_status_t fuse_hal_call_return_f64(struct fuse_hal_call_t *call, double value);

/**
 * Frees a text that the library gave. NULL is allowed and does nothing.
 *
 * ISR-safe: no; allocates: no; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_string_free(char *text);

/**
 * Opens a control plane whose state ends with the program, with one stub host: for trying out and for tests. Close it
 * with fuse_orchestrator_close.
 *
 * `error` (may be NULL) receives why it failed, cut to `error_capacity` bytes. Full build only.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_in_memory(struct fuse_orchestrator_t **out, char *error, size_t error_capacity);

/**
 * Opens a control plane whose state is in a directory, which is made when it is not there: fuse_orchestrator_open_with
 * with FUSE_OPEN_OPTIONS_INIT, so that environments are real VMs of this machine where there can be some, and else those
 * of the stub, with a warning on the standard error. Close it with fuse_orchestrator_close.
 *
 * `error` (may be NULL) receives why it failed, cut to `error_capacity` bytes.
 *
 * FUSE_ERR_UNAVAILABLE when another process has the directory open, or it cannot be written. Full build only.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_open(const char *directory,
                                     struct fuse_orchestrator_t **out,
                                     char *error,
                                     size_t error_capacity);

/**
 * Opens a control plane whose state is in a directory, which is made when it is not there. `options` (may be NULL:
 * FUSE_OPEN_OPTIONS_INIT) say what runs its environments, which is the host `default`:
 *
 * - "auto": real VMs of this machine where QEMU or Firecracker is installed and an image is (`fuse image build` makes
 *   one); else the stub, which runs commands in memory and isolates nothing. A line on the standard error then says
 *   so, and why. A directory with real VMs never goes back to the stub.
 * - "local": real VMs, or FUSE_ERR_UNAVAILABLE with what is missing and what to do.
 * - "stub": the stub, without a warning.
 *
 * fuse_orchestrator_provider tells which it became. VMs outlive the program; the next one that opens the directory
 * takes them over. Their VMMs are child processes of this one: a program that waits for any child sees theirs end, and
 * before Linux 5.10 the library handles SIGCHLD, and calls the handler that was there. Close it with
 * fuse_orchestrator_close.
 *
 * `error` (may be NULL) receives why it failed, cut to `error_capacity` bytes.
 *
 * FUSE_ERR_UNAVAILABLE also when another process has the directory open, or it cannot be written; FUSE_ERR_CONFLICT when
 * the environments of the directory need another provider; FUSE_ERR_INVALID_ARG for another name. Full build only.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_open_with(const char *directory,
                                          const struct fuse_open_options_t *options,
                                          struct fuse_orchestrator_t **out,
                                          char *error,
                                          size_t error_capacity);

/**
 * What ran the environments of an orchestrator when it was opened: the JSON object {"name", "url", "why"} of its host
 * `default`. `name` is "local" (VMs of this machine), "stub", or "remote" (somebody registered a host agent under that
 * name); `why` says why it is the stub, or why its VMs cannot be reached, and is left out where all is as it should be.
 * NULL for one behind the REST API, whose hosts are the server's affair.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_provider(struct fuse_orchestrator_t *orchestrator,
                                         char **out);

/**
 * Connects to a control plane behind the REST API, such as "https://fuse.example.org:8080", with a bearer token: the
 * master token or an API key; NULL: without one. Every function does the same as with one in this process. Close it with
 * fuse_orchestrator_close; the server goes on.
 *
 * `error` (may be NULL) receives why it failed, cut to `error_capacity` bytes.
 *
 * FUSE_ERR_INVALID_ARG for a URL that is none; FUSE_ERR_UNAVAILABLE when nothing answers. A token that the server does not
 * take is FUSE_ERR_UNAUTHORIZED from the first call. Full build only.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_connect(const char *url,
                                        const char *token,
                                        struct fuse_orchestrator_t **out,
                                        char *error,
                                        size_t error_capacity);

/**
 * Closes an orchestrator: the work of a control plane in this process ends in order, one behind the REST API goes on.
 * Calls that run on other threads end; completions of calls that are not done are told FUSE_ERR_UNAVAILABLE; streams
 * end. It takes at most about 10 s. NULL is allowed and does nothing.
 *
 * FUSE_ERR_WRONG_STATE inside a callback of the library; it then stays open. Another failure is that of the last write:
 * the handle is closed all the same.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: no.
 */
fuse_status_t fuse_orchestrator_close(struct fuse_orchestrator_t *orchestrator);

/**
 * Asks for an environment. `request`: the body of POST /v1/environments. The answer is the environment in state
 * "provisioning": it comes up in the background; wait for it with fuse_orchestrator_wait_running or follow its
 * events. `key` (may be NULL) is an idempotency key: an equal request with an equal key gets the environment that
 * the first one made.
 *
 * FUSE_ERR_INVALID_ARG with every problem at once; FUSE_ERR_CONFLICT when the task has a live environment or the
 * key was used for another request; FUSE_ERR_UNAVAILABLE when no host can take it.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_provision(struct fuse_orchestrator_t *orchestrator,
                                          const char *request,
                                          const char *key,
                                          char **out);

/**
 * fuse_orchestrator_provision that does not wait: `done` is told the answer.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_provision_async(struct fuse_orchestrator_t *orchestrator,
                                                const char *request,
                                                const char *key,
                                                fuse_completion_fn done,
                                                void *user);

/**
 * Waits until an environment runs, at most `limit_ms` milliseconds. The answer is the environment.
 *
 * FUSE_ERR_UNAVAILABLE when it takes longer (it goes on), FUSE_ERR_NOT_FOUND, FUSE_ERR_FAILED or another failure
 * when it failed or was destroyed instead.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_wait_running(struct fuse_orchestrator_t *orchestrator,
                                             const char *id,
                                             uint64_t limit_ms,
                                             char **out);

/**
 * fuse_orchestrator_wait_running that does not wait: `done` is told the answer.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_wait_running_async(struct fuse_orchestrator_t *orchestrator,
                                                   const char *id,
                                                   uint64_t limit_ms,
                                                   fuse_completion_fn done,
                                                   void *user);

/**
 * One environment; also one that ended, while its record is kept.
 *
 * FUSE_ERR_NOT_FOUND.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_get(struct fuse_orchestrator_t *orchestrator, const char *id, char **out);

/**
 * fuse_orchestrator_get that does not wait: `done` is told the answer.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_get_async(struct fuse_orchestrator_t *orchestrator,
                                          const char *id,
                                          fuse_completion_fn done,
                                          void *user);

/**
 * A page of environments, by id. `query` (may be NULL): an object with the query of GET /v1/environments, all
 * texts: task_id, state, host_id, limit (50, at most 200), cursor. The answer has "environments" and, when there
 * are more, "next_cursor".
 *
 * FUSE_ERR_INVALID_ARG for a cursor that no list gave out.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_list(struct fuse_orchestrator_t *orchestrator, const char *query, char **out);

/**
 * fuse_orchestrator_list that does not wait: `done` is told the answer.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_list_async(struct fuse_orchestrator_t *orchestrator,
                                           const char *query,
                                           fuse_completion_fn done,
                                           void *user);

/**
 * Tells a running environment to end its work: it becomes "draining", and its drain command runs. It is not
 * destroyed for that. The answer is the environment.
 *
 * FUSE_ERR_CONFLICT when it does not run; FUSE_ERR_UNAVAILABLE when the drain command failed: it is draining all
 * the same.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_drain(struct fuse_orchestrator_t *orchestrator, const char *id, char **out);

/**
 * fuse_orchestrator_drain that does not wait: `done` is told the answer.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_drain_async(struct fuse_orchestrator_t *orchestrator,
                                            const char *id,
                                            fuse_completion_fn done,
                                            void *user);

/**
 * Destroys an environment, whatever it is doing. There is no answer.
 *
 * FUSE_ERR_NOT_FOUND.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_destroy(struct fuse_orchestrator_t *orchestrator, const char *id, char **out);

/**
 * fuse_orchestrator_destroy that does not wait: `done` is told the answer.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_destroy_async(struct fuse_orchestrator_t *orchestrator,
                                              const char *id,
                                              fuse_completion_fn done,
                                              void *user);

/**
 * Forks a running environment: the new one begins with the disk of the source, on the same host, with credentials
 * of its own. `request`: the body of POST /v1/environments/{id}:fork. The answer is the new environment, which
 * comes up in the background.
 *
 * FUSE_ERR_NOT_FOUND; FUSE_ERR_CONFLICT when it does not run; FUSE_ERR_UNAVAILABLE when the host has no room.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_fork(struct fuse_orchestrator_t *orchestrator,
                                     const char *id,
                                     const char *request,
                                     char **out);

/**
 * fuse_orchestrator_fork that does not wait: `done` is told the answer.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_fork_async(struct fuse_orchestrator_t *orchestrator,
                                           const char *id,
                                           const char *request,
                                           fuse_completion_fn done,
                                           void *user);

/**
 * Runs a command in a running environment and waits for it. `request`: the body of POST /v1/environments/{id}:exec.
 * The answer has its exit code and its output. Beyond its time (60 s, at most 10 min) it is killed and its exit
 * code is 124.
 *
 * FUSE_ERR_NOT_FOUND; FUSE_ERR_CONFLICT when the environment does not run.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_exec(struct fuse_orchestrator_t *orchestrator,
                                     const char *id,
                                     const char *request,
                                     char **out);

/**
 * fuse_orchestrator_exec that does not wait: `done` is told the answer.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_exec_async(struct fuse_orchestrator_t *orchestrator,
                                           const char *id,
                                           const char *request,
                                           fuse_completion_fn done,
                                           void *user);

/**
 * Writes a file in a running environment: `length` bytes, at most 48 MiB, at an absolute `path`, with a mode such
 * as 0644. The bytes are copied. There is no answer.
 *
 * FUSE_ERR_NOT_FOUND; FUSE_ERR_CONFLICT when the environment does not run; FUSE_ERR_TOO_LARGE.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_upload(struct fuse_orchestrator_t *orchestrator,
                                       const char *id,
                                       const char *path,
                                       uint32_t mode,
                                       const uint8_t *bytes,
                                       size_t length,
                                       char **out);

/**
 * fuse_orchestrator_upload that does not wait: `done` is told the answer.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_upload_async(struct fuse_orchestrator_t *orchestrator,
                                             const char *id,
                                             const char *path,
                                             uint32_t mode,
                                             const uint8_t *bytes,
                                             size_t length,
                                             fuse_completion_fn done,
                                             void *user);

/**
 * Reads the end of a log of an environment, also of one that ended while its record is kept. `source`: "console",
 * "startup" or "agent"; NULL: "console". Secrets are replaced. The answer is the text of the log, which is not
 * JSON; NULL when it is empty.
 *
 * FUSE_ERR_NOT_FOUND.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_logs(struct fuse_orchestrator_t *orchestrator,
                                     const char *id,
                                     const char *source,
                                     char **out);

/**
 * fuse_orchestrator_logs that does not wait: `done` is told the answer.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_logs_async(struct fuse_orchestrator_t *orchestrator,
                                           const char *id,
                                           const char *source,
                                           fuse_completion_fn done,
                                           void *user);

/**
 * Gives a running environment new credentials. When it returns, its agent takes the new token and no other. There
 * is no answer.
 *
 * FUSE_ERR_NOT_FOUND; FUSE_ERR_CONFLICT when the environment does not run.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_rotate_token(struct fuse_orchestrator_t *orchestrator, const char *id, char **out);

/**
 * fuse_orchestrator_rotate_token that does not wait: `done` is told the answer.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_rotate_token_async(struct fuse_orchestrator_t *orchestrator,
                                                   const char *id,
                                                   fuse_completion_fn done,
                                                   void *user);

/**
 * Opens a terminal in a running environment. While it is open the environment counts as used.
 *
 * `request` (may be NULL): an object with cmd (a list of texts; left out: a login shell), rows and cols (24 and 80).
 * `finalizer` (may be NULL) is called with `user` once, when the terminal ends or is closed, or when this call fails.
 * `out_error` (may be NULL) receives the error body when this call failed.
 *
 * FUSE_ERR_NOT_FOUND; FUSE_ERR_CONFLICT when the environment does not run.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_attach(struct fuse_orchestrator_t *orchestrator,
                                       const char *id,
                                       const char *request,
                                       fuse_attach_fn output,
                                       void *user,
                                       fuse_finalizer_t finalizer,
                                       struct fuse_attach_t **out,
                                       char **out_error);

/**
 * Types bytes, at most 1 MiB at once. They are copied. Waits while the guest does not read.
 *
 * FUSE_END when the program has ended; FUSE_ERR_UNAVAILABLE inside a callback of the library, when it would have to wait.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_attach_write(struct fuse_attach_t *attach,
                                const uint8_t *bytes,
                                size_t length);

/**
 * Tells a new size of the terminal, 1 to 65535 rows and columns.
 *
 * As fuse_attach_write.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_attach_resize(struct fuse_attach_t *attach, uint32_t rows, uint32_t cols);

/**
 * Closes a terminal: the program in the guest loses it. When it returns, the callback runs no more and its finalizer was
 * called; called from inside the callback itself, that is the callback's last run. NULL is allowed and does nothing.
 *
 * ISR-safe: no; allocates: no; blocks: until the callback returns; thread-safe: no.
 */
fuse_status_t fuse_attach_close(struct fuse_attach_t *attach);

/**
 * Takes a snapshot of a running environment and waits until it is ready. `request` (may be NULL): the body of POST
 * /v1/environments/{id}/snapshots. The answer is the snapshot.
 *
 * FUSE_ERR_NOT_FOUND; FUSE_ERR_CONFLICT when the environment does not run.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_create_snapshot(struct fuse_orchestrator_t *orchestrator,
                                                const char *id,
                                                const char *request,
                                                char **out);

/**
 * fuse_orchestrator_create_snapshot that does not wait: `done` is told the answer.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_create_snapshot_async(struct fuse_orchestrator_t *orchestrator,
                                                      const char *id,
                                                      const char *request,
                                                      fuse_completion_fn done,
                                                      void *user);

/**
 * One snapshot.
 *
 * FUSE_ERR_NOT_FOUND.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_snapshot(struct fuse_orchestrator_t *orchestrator, const char *id, char **out);

/**
 * fuse_orchestrator_snapshot that does not wait: `done` is told the answer.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_snapshot_async(struct fuse_orchestrator_t *orchestrator,
                                               const char *id,
                                               fuse_completion_fn done,
                                               void *user);

/**
 * A page of snapshots, newest first. `query` (may be NULL): an object with the query of GET /v1/snapshots, all
 * texts: vm_id, task_id, state, mode, name, arch, limit (50, at most 200), cursor. The answer has "snapshots" and,
 * when there are more, "next_cursor".
 *
 * FUSE_ERR_INVALID_ARG for a cursor that no list gave out.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_snapshots(struct fuse_orchestrator_t *orchestrator, const char *query, char **out);

/**
 * fuse_orchestrator_snapshots that does not wait: `done` is told the answer.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_snapshots_async(struct fuse_orchestrator_t *orchestrator,
                                                const char *query,
                                                fuse_completion_fn done,
                                                void *user);

/**
 * The ancestors of a snapshot, its parent first; at most 1,000. The answer has "snapshots".
 *
 * FUSE_ERR_NOT_FOUND.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_lineage(struct fuse_orchestrator_t *orchestrator, const char *id, char **out);

/**
 * fuse_orchestrator_lineage that does not wait: `done` is told the answer.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_lineage_async(struct fuse_orchestrator_t *orchestrator,
                                              const char *id,
                                              fuse_completion_fn done,
                                              void *user);

/**
 * Finds the newest ready snapshot of a layer of a build, for an architecture: "amd64" or "arm64". The answer has "found"
 * and, when there is one, "snapshot".
 *
 * FUSE_ERR_INVALID_ARG for another architecture, or an empty layer.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_resolve_snapshot(struct fuse_orchestrator_t *orchestrator,
                                                 const char *layer_key,
                                                 const char *arch,
                                                 char **out);

/**
 * fuse_orchestrator_resolve_snapshot that does not wait: `done` is told the answer.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_resolve_snapshot_async(struct fuse_orchestrator_t *orchestrator,
                                                       const char *layer_key,
                                                       const char *arch,
                                                       fuse_completion_fn done,
                                                       void *user);

/**
 * Sets the environment that a snapshot was made of back to it, in place. Its credentials stay those of now. There
 * is no answer.
 *
 * FUSE_ERR_NOT_FOUND; FUSE_ERR_CONFLICT when it is not ready or the environment does not run.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_restore_snapshot(struct fuse_orchestrator_t *orchestrator,
                                                 const char *id,
                                                 char **out);

/**
 * fuse_orchestrator_restore_snapshot that does not wait: `done` is told the answer.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_restore_snapshot_async(struct fuse_orchestrator_t *orchestrator,
                                                       const char *id,
                                                       fuse_completion_fn done,
                                                       void *user);

/**
 * Deletes a snapshot, bytes and record. There is no answer.
 *
 * FUSE_ERR_NOT_FOUND; FUSE_ERR_CONFLICT when others were made of it or it is in use.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_delete_snapshot(struct fuse_orchestrator_t *orchestrator, const char *id, char **out);

/**
 * fuse_orchestrator_delete_snapshot that does not wait: `done` is told the answer.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_delete_snapshot_async(struct fuse_orchestrator_t *orchestrator,
                                                      const char *id,
                                                      fuse_completion_fn done,
                                                      void *user);

/**
 * Registers a host, or registers it again: then its record keeps its age, its cordon and everything on it.
 * `request`: the body of POST /v1/hosts. The answer is the host.
 *
 * FUSE_ERR_INVALID_ARG with every problem at once; FUSE_ERR_UNAVAILABLE when the host does not answer and its
 * capacity is not fully declared.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_register_host(struct fuse_orchestrator_t *orchestrator,
                                              const char *request,
                                              char **out);

/**
 * fuse_orchestrator_register_host that does not wait: `done` is told the answer.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_register_host_async(struct fuse_orchestrator_t *orchestrator,
                                                    const char *request,
                                                    fuse_completion_fn done,
                                                    void *user);

/**
 * One host.
 *
 * FUSE_ERR_NOT_FOUND.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_host(struct fuse_orchestrator_t *orchestrator, const char *id, char **out);

/**
 * fuse_orchestrator_host that does not wait: `done` is told the answer.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_host_async(struct fuse_orchestrator_t *orchestrator,
                                           const char *id,
                                           fuse_completion_fn done,
                                           void *user);

/**
 * A page of hosts, by id. `query` (may be NULL): an object with limit (50, at most 200) and cursor, both texts. The
 * answer has "hosts" and, when there are more, "next_cursor".
 *
 * FUSE_ERR_INVALID_ARG for a cursor that no list gave out.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_hosts(struct fuse_orchestrator_t *orchestrator, const char *query, char **out);

/**
 * fuse_orchestrator_hosts that does not wait: `done` is told the answer.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_hosts_async(struct fuse_orchestrator_t *orchestrator,
                                            const char *query,
                                            fuse_completion_fn done,
                                            void *user);

/**
 * Lets no new environments go to a host. Those that it has go on. There is no answer.
 *
 * FUSE_ERR_NOT_FOUND.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_cordon(struct fuse_orchestrator_t *orchestrator, const char *id, char **out);

/**
 * fuse_orchestrator_cordon that does not wait: `done` is told the answer.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_cordon_async(struct fuse_orchestrator_t *orchestrator,
                                             const char *id,
                                             fuse_completion_fn done,
                                             void *user);

/**
 * Lets new environments go to a host again. There is no answer.
 *
 * FUSE_ERR_NOT_FOUND.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_uncordon(struct fuse_orchestrator_t *orchestrator, const char *id, char **out);

/**
 * fuse_orchestrator_uncordon that does not wait: `done` is told the answer.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_uncordon_async(struct fuse_orchestrator_t *orchestrator,
                                               const char *id,
                                               fuse_completion_fn done,
                                               void *user);

/**
 * Empties a host: cordons it, drains each of its environments, and destroys each when its drain command has ended, or
 * when its time is over. `query` (may be NULL): an object with limit_seconds, a text: how long the drain of one
 * environment may take; left out: as configured, 15 min. Returns when the order is durable; it is carried out in the
 * background, and an uncordon takes it back. The answer is that of fuse_orchestrator_host_drain.
 *
 * FUSE_ERR_NOT_FOUND; FUSE_ERR_INVALID_ARG for a limit that is no number of seconds.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_drain_host(struct fuse_orchestrator_t *orchestrator,
                                           const char *id,
                                           const char *query,
                                           char **out);

/**
 * fuse_orchestrator_drain_host that does not wait: `done` is told the answer.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_drain_host_async(struct fuse_orchestrator_t *orchestrator,
                                                 const char *id,
                                                 const char *query,
                                                 fuse_completion_fn done,
                                                 void *user);

/**
 * How the emptying of a host goes. The answer has since, limit_seconds, environments (how many there were), left (how
 * many there are), states and, when the host is empty, finished_at; NULL when nobody asked for it.
 *
 * FUSE_ERR_NOT_FOUND.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_host_drain(struct fuse_orchestrator_t *orchestrator, const char *id, char **out);

/**
 * fuse_orchestrator_host_drain that does not wait: `done` is told the answer.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_host_drain_async(struct fuse_orchestrator_t *orchestrator,
                                                 const char *id,
                                                 fuse_completion_fn done,
                                                 void *user);

/**
 * Removes a host. `force` 1: whatever it holds; its environments count as gone, and the operator vouches for that.
 * 0: it must hold none. There is no answer.
 *
 * FUSE_ERR_NOT_FOUND; FUSE_ERR_CONFLICT when it is in use; FUSE_ERR_INVALID_ARG for another `force`.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_remove_host(struct fuse_orchestrator_t *orchestrator,
                                            const char *id,
                                            uint32_t force,
                                            char **out);

/**
 * fuse_orchestrator_remove_host that does not wait: `done` is told the answer.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_remove_host_async(struct fuse_orchestrator_t *orchestrator,
                                                  const char *id,
                                                  uint32_t force,
                                                  fuse_completion_fn done,
                                                  void *user);

/**
 * All dead letters: what the control plane tried and gave up for now. The answer has "dead_letters".
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_dead_letters(struct fuse_orchestrator_t *orchestrator, char **out);

/**
 * fuse_orchestrator_dead_letters that does not wait: `done` is told the answer.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_dead_letters_async(struct fuse_orchestrator_t *orchestrator,
                                                   fuse_completion_fn done,
                                                   void *user);

/**
 * Tries now what a dead letter is about. It goes when that succeeds, or when there was nothing to try. There is no
 * answer.
 *
 * FUSE_ERR_NOT_FOUND; what the try fails with.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_retry_dead_letter(struct fuse_orchestrator_t *orchestrator,
                                                  const char *key,
                                                  char **out);

/**
 * fuse_orchestrator_retry_dead_letter that does not wait: `done` is told the answer.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_retry_dead_letter_async(struct fuse_orchestrator_t *orchestrator,
                                                        const char *key,
                                                        fuse_completion_fn done,
                                                        void *user);

/**
 * Takes a dead letter away. Work that is behind it goes on, and writes a new one when it fails again. There is no
 * answer.
 *
 * FUSE_ERR_NOT_FOUND.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_dismiss_dead_letter(struct fuse_orchestrator_t *orchestrator,
                                                    const char *key,
                                                    char **out);

/**
 * fuse_orchestrator_dismiss_dead_letter that does not wait: `done` is told the answer.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_dismiss_dead_letter_async(struct fuse_orchestrator_t *orchestrator,
                                                          const char *key,
                                                          fuse_completion_fn done,
                                                          void *user);

/**
 * Asks whether the control plane can act, at most `limit_ms` milliseconds: what a readiness check wants to know.
 * There is no answer.
 *
 * FUSE_ERR_UNAVAILABLE.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_check(struct fuse_orchestrator_t *orchestrator, uint64_t limit_ms, char **out);

/**
 * fuse_orchestrator_check that does not wait: `done` is told the answer.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_check_async(struct fuse_orchestrator_t *orchestrator,
                                            uint64_t limit_ms,
                                            fuse_completion_fn done,
                                            void *user);

/**
 * Makes an API key of 256 random bits. `request` (may be NULL): the body of POST /v1/api-keys. The answer is the
 * key with its secret, which is told this once: overwrite the text before freeing it.
 *
 * FUSE_ERR_INVALID_ARG.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_create_api_key(struct fuse_orchestrator_t *orchestrator,
                                               const char *request,
                                               char **out);

/**
 * fuse_orchestrator_create_api_key that does not wait: `done` is told the answer.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_create_api_key_async(struct fuse_orchestrator_t *orchestrator,
                                                     const char *request,
                                                     fuse_completion_fn done,
                                                     void *user);

/**
 * All API keys, newest first, revoked ones too, without their secrets. The answer has "api_keys".
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_api_keys(struct fuse_orchestrator_t *orchestrator, char **out);

/**
 * fuse_orchestrator_api_keys that does not wait: `done` is told the answer.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_api_keys_async(struct fuse_orchestrator_t *orchestrator,
                                               fuse_completion_fn done,
                                               void *user);

/**
 * Revokes an API key: it is refused from now on. Revoking twice is once. There is no answer.
 *
 * FUSE_ERR_NOT_FOUND.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_revoke_api_key(struct fuse_orchestrator_t *orchestrator, const char *id, char **out);

/**
 * fuse_orchestrator_revoke_api_key that does not wait: `done` is told the answer.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_revoke_api_key_async(struct fuse_orchestrator_t *orchestrator,
                                                     const char *id,
                                                     fuse_completion_fn done,
                                                     void *user);

/**
 * Follows events: each is told to `callback` with FUSE_OK and the JSON of a frame of GET /v1/events, in order, on a thread
 * of the library. A failure is told with its status and the stream goes on; FUSE_END is the end: the control plane is
 * gone.
 *
 * `query` (may be NULL): an object with the query of GET /v1/events, all texts: after (a number; left out: from now on),
 * subject_kind, subject_id. `finalizer` (may be NULL) is called with `user` once, when the stream ends, or when this call
 * fails. `out_error` (may be NULL) receives the error body when this call failed. The rules of fuse_completion_fn hold.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_events(struct fuse_orchestrator_t *orchestrator,
                                       const char *query,
                                       fuse_completion_fn callback,
                                       void *user,
                                       fuse_finalizer_t finalizer,
                                       struct fuse_stream_t **out,
                                       char **out_error);

/**
 * Reads the end of a log of an environment, and then what is written from now on: each piece is told to `callback` with
 * FUSE_OK and the text, on a thread of the library; FUSE_END when the environment has ended and everything was told; a
 * failure ends it too.
 *
 * `source`: "console", "startup" or "agent"; NULL: "console". Otherwise as fuse_orchestrator_events.
 *
 * FUSE_ERR_NOT_FOUND.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_follow_logs(struct fuse_orchestrator_t *orchestrator,
                                            const char *id,
                                            const char *source,
                                            fuse_completion_fn callback,
                                            void *user,
                                            fuse_finalizer_t finalizer,
                                            struct fuse_stream_t **out,
                                            char **out_error);

/**
 * The number of the newest event; 0 when there is none.
 *
 * ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_newest_event(struct fuse_orchestrator_t *orchestrator, uint64_t *out_sequence);

/**
 * fuse_orchestrator_newest_event that does not wait: `done` is told the number, in decimal digits.
 *
 * ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
 */
fuse_status_t fuse_orchestrator_newest_event_async(struct fuse_orchestrator_t *orchestrator,
                                                   fuse_completion_fn done,
                                                   void *user);

/**
 * Ends a stream. When it returns, its callback runs no more and its finalizer was called; called from inside the
 * callback itself, that is the callback's last run, and the finalizer is called after it. NULL is allowed and does
 * nothing.
 *
 * ISR-safe: no; allocates: no; blocks: until the callback returns; thread-safe: no.
 */
fuse_status_t fuse_stream_close(struct fuse_stream_t *stream);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* FUSE_RUNTIME_FUSE_H */

/* What each struct begins as. */
#define FUSE_POLICY_INIT {sizeof(fuse_policy_t), 0, 1, 65536, 0, 0, 0, FUSE_ACTIVATE_INTERVAL, 0, 128, 0}
#define FUSE_RUNTIME_CONFIG_INIT {sizeof(fuse_runtime_config_t), 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL}
#define FUSE_PLATFORM_INIT {sizeof(fuse_platform_t), 0, NULL, NULL, NULL, NULL, NULL, 0, 0, NULL, NULL}
#define FUSE_APP_INFO_INIT {sizeof(fuse_app_info_t), 0, 0, 0, 0, 0, 0, 0, 0, 0, {0}}
#define FUSE_APP_MODULE_INIT {sizeof(fuse_app_module_t), 0, {0}}
#define FUSE_ARTIFACT_INFO_INIT {sizeof(fuse_artifact_info_t), 0, 0, 0, 0, 0, {0}, {0}}
#define FUSE_COMPILE_OPTIONS_INIT {sizeof(fuse_compile_options_t), FUSE_METERING_WALL, 0, 1, NULL, NULL}
#define FUSE_OPEN_OPTIONS_INIT {sizeof(fuse_open_options_t), 0, NULL, NULL}
#define FUSE_HAL_FUNCTION_INIT {sizeof(fuse_hal_function_t), FUSE_HAL_NONE, NULL, NULL, 0, NULL, NULL, NULL}
#define FUSE_HAL_GROUP_INIT {sizeof(fuse_hal_group_t), 0, NULL, NULL, 0}
#define FUSE_MODULE_INFO_INIT {sizeof(fuse_module_info_t), 0, 0, 0, 0, 0, {0}}
#define FUSE_MODULE_STATS_INIT {sizeof(fuse_module_stats_t), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
#define FUSE_LOG_RECORD_INIT {sizeof(fuse_log_record_t), 0, 0, 0, 0, 0, 0, {0}}
