/* driver.h: the two halves of a scenario driver. driver.c reads commands and prints what came of them; calls_c.c and
 * calls_cpp.cpp carry them out, one with fuse.h, the other with fuse.hpp. */
#ifndef DRIVER_H
#define DRIVER_H

#include <fuse.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { ERROR_CAPACITY = 2048, IDS_MAX = 4096 };

/* Bytes that were allocated with malloc. */
struct bytes {
    uint8_t *data;
    size_t length;
};

/* ---- Given by driver.c ---- */

/* The scenario's clock, in microseconds. */
extern uint64_t driver_clock_us;

/* What a callback is to do at its next call. */
struct answer {
    int64_t integer;
    double real;
    int wrong_type;    /* return another type */
    int has_claim;     /* claim to have written `claim` bytes */
    size_t claim;
    int32_t fail;      /* 0: it succeeds */
    const uint8_t *bytes;
    size_t bytes_length;
    char reenter[16];  /* a call to try on the runtime; "": none */
};

/* Notes a call of a function with its arguments (as text), does of the script's next answer what does not depend on the
 * signature, and gives the answer. `module` is the caller, or 0. */
struct answer driver_answer(const char *function, const char *arguments, fuse_module_id_t module);

/* One function of a host group. */
struct group_function {
    char name[80];
    fuse_hal_type_t params[64];
    size_t param_count;
    fuse_hal_type_t result;
};

/* The artifact of an application's module; 0 when there is none. */
int driver_fetch(const char *binary, const uint8_t **out, size_t *out_length);

/* ---- Given by board.c, with the flight library ---- */

/* Gives the library its arena; before any other call. */
void flight_begin(void);
/* Fills in what a machine without an operating system gives: pages that can be made executable, and a quota timer. */
void flight_platform(fuse_platform_t *platform, int quota_timer);

/* ---- Given by calls_c.c and calls_cpp.cpp. Failures leave their text in `error`. ---- */

extern char call_error[ERROR_CAPACITY];

fuse_status_t call_policy_json(const char *json, fuse_policy_t *out);
fuse_status_t call_policy_bytes(const uint8_t *bytes, size_t length, fuse_policy_t *out);
fuse_status_t call_policy_to_bytes(const fuse_policy_t *policy, uint8_t out[FUSE_POLICY_BYTES]);
fuse_status_t call_compile(const uint8_t *source, size_t length, uint32_t metering, const char *target, int portable,
                           struct bytes *out);

/* The application that the following calls are about. */
fuse_status_t call_app_json(const char *json);
fuse_status_t call_app_binary(const uint8_t *bytes, size_t length);
fuse_status_t call_app_pack(struct bytes *out);
fuse_status_t call_app_artifact(uint32_t index, const uint8_t *bytes, size_t length);
fuse_status_t call_app_module(uint32_t index, char name[FUSE_NAME_CAPACITY], char binary[4096]);
void call_app_close(void);

/* A new runtime, in place of the one before; for the application when `for_app`. */
fuse_status_t call_new(int for_app, int no_compile, uint32_t stack_bytes_max, int quota_timer);
void call_close(void);
fuse_status_t call_load_app(fuse_module_id_t *ids, size_t capacity, size_t *count);
fuse_status_t call_load(const char *name, const uint8_t *artifact, size_t length, const fuse_policy_t *policy,
                        fuse_module_id_t *out);
fuse_status_t call_update(fuse_module_id_t id, const uint8_t *artifact, size_t length);
/* "start", "pause", "run_step", "unload", "restart_module" on a module; "stop", "restart", "tick" on the runtime. */
fuse_status_t call_plain(const char *what, fuse_module_id_t id);
fuse_status_t call_tick(fuse_module_id_t *ids, fuse_status_t *statuses, size_t capacity, size_t *ran);
fuse_status_t call_post(uint32_t event);
fuse_status_t call_post_from_thread(uint32_t event);
fuse_status_t call_clear(uint32_t event);
fuse_status_t call_deadline(uint64_t *out);
fuse_status_t call_set_callback(const char *function);
fuse_status_t call_register(const char *name, uint32_t bit, const struct group_function *functions, size_t count);

fuse_status_t call_info(fuse_module_id_t id, fuse_module_info_t *out);
fuse_status_t call_failure(fuse_module_id_t id, char out[512]);
fuse_status_t call_stats(fuse_module_id_t id, fuse_module_stats_t *out);
fuse_status_t call_log_next(uint64_t *sequence, fuse_log_record_t *out);
fuse_status_t call_log_counts(uint64_t *next, uint64_t *lost, uint64_t *lost_security);
fuse_status_t call_modules(fuse_module_id_t *ids, size_t capacity, size_t *count);
fuse_status_t call_find(const char *name, fuse_module_id_t *out);

#ifdef __cplusplus
}
#endif
#endif
