/* fuse_module.h: what a Fuse edge module may import, and what it exports.
 *
 * For modules written in C or C++ and built freestanding for wasm32 with clang:
 *
 *   clang-14 --target=wasm32-unknown-unknown -O2 -ffreestanding -nostdlib -mbulk-memory \
 *            -fvisibility=hidden -Iinclude -Wl,--no-entry -Wl,--strip-all \
 *            -Wl,--stack-first -Wl,-z,stack-size=8192 -o hello.wasm hello.c
 *
 *   #include <fuse_module.h>
 *   FUSE_MODULE_STEP { FUSE_LOG(FUSE_LOG_INFO, "hello"); }
 *
 * There is no libc, no WASI and no thread under a module. The imports below are all there is,
 * beside the HAL groups that the host registers itself (FUSE_HAL_IMPORT). Each import needs
 * the capability that stands next to it in the module's policy: a call without it is a policy
 * violation, which ends the step, leaves the module Trapped and is written to the security
 * log. An import whose group the host did not compile in or did not enable makes the module
 * fail to load, so declare only what you use: clang emits no import for an unused declaration.
 *
 * C++: give global objects constant initial values and build with -Werror=global-constructors.
 * The linker runs other constructors at every call of every export, not once.
 *
 * The guide is docs/modules.md.
 */
#ifndef FUSE_MODULE_H
#define FUSE_MODULE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define FUSE_EXTERN_C extern "C"
#else
#define FUSE_EXTERN_C extern
#endif

#ifdef __wasm__
#define FUSE_WASM_IMPORT(name) __attribute__((import_module("env"), import_name(#name)))
#define FUSE_WASM_EXPORT(name) __attribute__((export_name(#name), visibility("default")))
#else
/* Built natively (unit tests of module code), imports are plain functions that the test
 * defines, and exports are plain functions that it calls. */
#define FUSE_WASM_IMPORT(name)
#define FUSE_WASM_EXPORT(name)
#endif

/* ---- Exports ------------------------------------------------------------------------------
 *
 * Each of these is followed by the function's body:
 *
 *   FUSE_MODULE_STEP { ... }
 *
 * All run under the policy's quota (cpu_quota_us, fuel_quota) and stack_size. */

/* module_step: required. One unit of work. Called by the host's run_step or tick; returns when
 * the work is done: a module never waits or loops for ever, it is stepped again. */
#define FUSE_MODULE_STEP                                                                         \
    FUSE_EXTERN_C FUSE_WASM_EXPORT(module_step) void module_step(void);                          \
    void module_step(void)

/* module_init: optional. Once, at the first start, before any step. A trap here leaves the
 * module Trapped. */
#define FUSE_MODULE_INIT                                                                         \
    FUSE_EXTERN_C FUSE_WASM_EXPORT(module_init) void module_init(void);                          \
    void module_init(void)

/* module_deinit: optional. At unload, if the module was ever started and is neither Trapped
 * nor QuotaExceeded. Its trap is logged and otherwise ignored. */
#define FUSE_MODULE_DEINIT                                                                       \
    FUSE_EXTERN_C FUSE_WASM_EXPORT(module_deinit) void module_deinit(void);                      \
    void module_deinit(void)

/* Any other export, for example a function that a test calls:
 *   FUSE_MODULE_EXPORT(uint32_t, frames_seen, (void)) { return seen; } */
#define FUSE_MODULE_EXPORT(result, name, params)                                                 \
    FUSE_EXTERN_C FUSE_WASM_EXPORT(name) result name params;                                     \
    result name params

/* ---- Capabilities -------------------------------------------------------------------------
 *
 * Bits of a policy's `capabilities`, for reference: a module cannot read or change its policy. */
#define FUSE_CAP_TEMP_SENSOR (UINT32_C(1) << 0) /* temp_get_reading */
#define FUSE_CAP_TIMER (UINT32_C(1) << 1)       /* timer_get_timestamp */
#define FUSE_CAP_CAMERA (UINT32_C(1) << 2)      /* camera_last_frame */
#define FUSE_CAP_LOG (UINT32_C(1) << 3)         /* module_log_event */
#define FUSE_CAP_EVENT_POST (UINT32_C(1) << 4)  /* fuse_event_post */
/* Bits 8 to 31 belong to the HAL groups that a host registers. */
#define FUSE_CAP_HAL_FIRST 8
#define FUSE_CAP_HAL_LAST 31

/* ---- Built-in imports --------------------------------------------------------------------- */

/* Temperature. Capability TEMP_SENSOR, HAL group `temp`.
 * Returns degrees Celsius; 0 where the host registered no sensor.
 * Traps: without the capability. */
FUSE_EXTERN_C FUSE_WASM_IMPORT(temp_get_reading) float temp_get_reading(void);

/* Time. Capability TIMER, HAL group `timer`.
 * Returns microseconds of a monotonic clock whose zero the host chose: fit for differences,
 * not for dates. 0 where the host registered no clock.
 * Traps: without the capability. */
FUSE_EXTERN_C FUSE_WASM_IMPORT(timer_get_timestamp) int64_t timer_get_timestamp(void);

/* The newest camera frame. Capability CAMERA, HAL group `camera`.
 * Copies the raw bytes of the newest frame to `buffer`, at most `max_len` of them. Returns the
 * number of bytes written, 1 to max_len; 0 where there is no frame yet, or no camera. A frame
 * longer than max_len is cut. Format and size of a frame are the host's: agree on them.
 * Traps: without the capability; if max_len is 0; if buffer .. buffer + max_len is not wholly
 * inside the module's memory (however short the frame is). */
FUSE_EXTERN_C FUSE_WASM_IMPORT(camera_last_frame) int64_t
    camera_last_frame(void *buffer, uint32_t max_len);

/* One line for the log. Capability LOG, always there.
 * `text` need not end in NUL; bytes after the first FUSE_LOG_TEXT_MAX are cut, control bytes
 * are escaped, `len` 0 does nothing. `level` is one of FUSE_LOG_*; any other value counts as
 * FUSE_LOG_FATAL.
 * Traps: without the capability; if text .. text + len is not wholly inside the module's memory. */
FUSE_EXTERN_C FUSE_WASM_IMPORT(module_log_event) void
    module_log_event(const char *text, uint32_t len, uint32_t level);

#define FUSE_LOG_DEBUG UINT32_C(0)
#define FUSE_LOG_INFO UINT32_C(1)
#define FUSE_LOG_FATAL UINT32_C(2)
#define FUSE_LOG_TEXT_MAX 127 /* bytes */

/* Logs a string literal without counting its bytes by hand. */
#define FUSE_LOG(level, literal) module_log_event("" literal, (uint32_t)sizeof(literal) - 1u, (level))

/* Posts an event. Capability EVENT_POST, always there.
 * `event_id` is 0 to FUSE_EVENT_MAX; names are given to ids by the application's configuration.
 * Every module that subscribes to the id becomes due: in this tick if it runs later in the
 * tick's order, else in the next one. Two posts before that are one activation.
 * Traps: without the capability; if event_id is above FUSE_EVENT_MAX. Both are policy
 * violations. */
FUSE_EXTERN_C FUSE_WASM_IMPORT(fuse_event_post) void fuse_event_post(uint32_t event_id);

#define FUSE_EVENT_MAX UINT32_C(31)

/* ---- Imports of the host's own HAL groups -------------------------------------------------
 *
 * Declares a function of a group that the host registered. Its capability is the bit that the
 * group was registered with; its types must be the registered ones (int32_t/uint32_t and
 * pointers are i32, int64_t/uint64_t are i64, float is f32, double is f64), or the module
 * fails to load. A callback that fails traps the step with the callback's code.
 *
 *   FUSE_HAL_IMPORT(int32_t, downlink_write, (const void *bytes, uint32_t len));
 */
#define FUSE_HAL_IMPORT(result, name, params)                                                    \
    FUSE_EXTERN_C FUSE_WASM_IMPORT(name) result name params

#endif /* FUSE_MODULE_H */
