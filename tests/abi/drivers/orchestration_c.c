/* The calls of an orchestration scenario, with fuse.h. */
#define _POSIX_C_SOURCE 200809L
#include "orchestration.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static fuse_orchestrator_t *fuse;

static char *copy(const char *text) {
    char *out = text ? strdup(text) : NULL;
    if (text && !out) driver_die("no memory");
    return out;
}

static struct outcome last_error(fuse_status_t status) {
    char text[2048] = "";
    fuse_last_error(fuse, text, sizeof text, NULL);
    struct outcome out = {status, copy(text)};
    return out;
}

void call_take(fuse_orchestrator_t *handle, int old_is_useless) {
    if (!old_is_useless) fuse_orchestrator_close(fuse);
    fuse = handle;
}

struct outcome call_connect(const char *url, const char *token) {
    char error[1040] = "";
    fuse_orchestrator_t *handle = NULL;
    struct outcome out = {fuse_orchestrator_connect(url, token, &handle, error, sizeof error), copy(error)};
    if (out.status == FUSE_OK) call_take(handle, 0);
    return out;
}

static void done(void *user, fuse_status_t status, const char *text, size_t length) {
    struct outcome *out = user;
    if (strlen(text) != length) driver_die("the length of an answer is wrong");
    out->status = status;
    out->text = copy(text);
    driver_told();
}

/* An `_async` call: accepted, it is waited for; refused, nobody is told. */
static struct outcome later(fuse_status_t accepted, struct outcome *out) {
    if (accepted != FUSE_OK) return last_error(accepted);
    driver_wait();
    return *out;
}

static struct outcome now(fuse_status_t status, char *text) {
    struct outcome out = {status, copy(text)};
    fuse_string_free(text);
    return out;
}

static uint64_t number(const char *text) { return text ? strtoull(text, NULL, 10) : 0; }

/* NAME(orchestrator, ...) by either form. */
#define CALL(function, ...)                                                                        \
    if (!strcmp(c->name, #function))                                                               \
        return c->later ? later(fuse_orchestrator_##function##_async(fuse, __VA_ARGS__, done, &told), &told) \
                        : (status = fuse_orchestrator_##function(fuse, __VA_ARGS__, &text), now(status, text))
#define CALL_0(function)                                                                           \
    if (!strcmp(c->name, #function))                                                               \
        return c->later ? later(fuse_orchestrator_##function##_async(fuse, done, &told), &told)    \
                        : (status = fuse_orchestrator_##function(fuse, &text), now(status, text))

static struct outcome about_fleet(const struct call *c) {
    const char *const *a = c->args;
    struct outcome told = {FUSE_OK, NULL};
    fuse_status_t status;
    char *text = NULL;
    CALL(register_host, a[0]);
    CALL(host, a[0]);
    CALL(hosts, a[0]);
    CALL(cordon, a[0]);
    CALL(uncordon, a[0]);
    CALL(drain_host, a[0], a[1]);
    CALL(host_drain, a[0]);
    CALL(remove_host, a[0], (uint32_t)number(a[1]));
    CALL_0(dead_letters);
    CALL(retry_dead_letter, a[0]);
    CALL(dismiss_dead_letter, a[0]);
    CALL(check, number(a[0]));
    CALL(create_api_key, a[0]);
    CALL_0(api_keys);
    CALL(revoke_api_key, a[0]);
    if (!strcmp(c->name, "newest_event")) {
        uint64_t newest = 0;
        char digits[24];
        if (c->later) return later(fuse_orchestrator_newest_event_async(fuse, done, &told), &told);
        status = fuse_orchestrator_newest_event(fuse, &newest);
        if (status != FUSE_OK) return last_error(status);
        snprintf(digits, sizeof digits, "%" PRIu64, newest);
        told.text = copy(digits);
        return told;
    }
    driver_die(c->name);
    return told;
}

struct outcome call_make(const struct call *c) {
    const char *const *a = c->args;
    struct outcome told = {FUSE_OK, NULL};
    fuse_status_t status;
    char *text = NULL;
    CALL(provision, a[0], a[1]);
    CALL(wait_running, a[0], number(a[1]));
    CALL(get, a[0]);
    CALL(list, a[0]);
    CALL(drain, a[0]);
    CALL(destroy, a[0]);
    CALL(fork, a[0], a[1]);
    CALL(exec, a[0], a[1]);
    CALL(upload, a[0], a[1], (uint32_t)number(a[2]), (const uint8_t *)a[3], strlen(a[3]));
    CALL(logs, a[0], a[1]);
    CALL(rotate_token, a[0]);
    CALL(create_snapshot, a[0], a[1]);
    CALL(snapshot, a[0]);
    CALL(snapshots, a[0]);
    CALL(lineage, a[0]);
    CALL(resolve_snapshot, a[0], a[1]);
    CALL(restore_snapshot, a[0]);
    CALL(delete_snapshot, a[0]);
    return about_fleet(c);
}

/* ---- Events ---- */

struct frames {
    fuse_stream_t *stream;
    uint64_t left;
    char *lines;
};

static void frame(void *user, fuse_status_t status, const char *text, size_t length) {
    struct frames *frames = user;
    if (frames->left == 0) return;
    if (status != FUSE_OK) driver_die(text);
    size_t old = frames->lines ? strlen(frames->lines) : 0;
    char *lines = realloc(frames->lines, old + length + 2);
    if (!lines) driver_die("no memory");
    frames->lines = lines;
    memcpy(lines + old, text, length);
    strcpy(lines + old + length, "\n");
    if (--frames->left > 0) return;
    if (driver_is_still) fuse_stream_close(frames->stream);
    driver_told();
}

struct outcome call_events(uint64_t after, uint64_t newest) {
    struct frames frames = {NULL, newest - after, NULL};
    struct outcome out = {FUSE_OK, NULL};
    char query[64], *error = NULL;
    if (newest <= after) return out;
    snprintf(query, sizeof query, "{\"after\":\"%" PRIu64 "\"}", after);
    out.status = fuse_orchestrator_events(fuse, query, frame, &frames, NULL, &frames.stream, &error);
    if (out.status != FUSE_OK) return now(out.status, error);
    driver_wait();
    if (!driver_is_still) fuse_stream_close(frames.stream);
    out.text = frames.lines;
    return out;
}

struct outcome call_close(void) {
    struct outcome out = {fuse_orchestrator_close(fuse), NULL};
    fuse = NULL;
    return out;
}
