/* Rule 7: the control plane. JSON in and out, errors with bodies, completions, streams, terminals; on the stub host.
 * usage: orchestrator [URL TOKEN]   (without: in this process) */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <pthread.h>
#include <time.h>

static fuse_orchestrator_t *fuse;

/* What callbacks saw. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct seen {
    int calls, ended, finalized;
    fuse_status_t status;
    char text[65536];
} seen;

static void reset(void) {
    pthread_mutex_lock(&lock);
    memset(&seen, 0, sizeof seen);
    pthread_mutex_unlock(&lock);
}

static void note(fuse_status_t status, const char *text, size_t length) {
    pthread_mutex_lock(&lock);
    size_t old = strlen(seen.text), room = sizeof seen.text - 1 - old;
    seen.calls++;
    if (status != FUSE_OK) seen.ended++;
    seen.status = status;
    memcpy(seen.text + old, text, length < room ? length : room);
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void told(void *user, fuse_status_t status, const char *text, size_t length) {
    char *out = NULL;
    CHECK(user == &seen && strlen(text) == length);
    /* Nothing waits on a thread of the library. */
    IS(FUSE_ERR_WRONG_STATE, fuse_orchestrator_list(fuse, NULL, &out));
    CHECK(out && strstr(out, "_async"));
    fuse_string_free(out);
    note(status, text, length);
}

static void shown(void *user, fuse_status_t status, const uint8_t *bytes, size_t length, int32_t exit_code) {
    (void)user;
    (void)exit_code;
    note(status, (const char *)bytes, length);
}

static void finalizer(void *user) {
    CHECK(user == &seen);
    pthread_mutex_lock(&lock);
    seen.finalized++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* Waits until something is seen; a minute is far more than it takes. */
#define WAIT_FOR(what)                                                                             \
    do {                                                                                           \
        struct timespec end_;                                                                      \
        clock_gettime(CLOCK_REALTIME, &end_);                                                      \
        end_.tv_sec += 60;                                                                         \
        pthread_mutex_lock(&lock);                                                                 \
        while (!(what)) CHECK(pthread_cond_timedwait(&changed, &lock, &end_) == 0);                \
        pthread_mutex_unlock(&lock);                                                               \
    } while (0)

/* The text of a member of JSON that is a string. */
static char *member(const char *json, const char *name, char out[128]) {
    char key[64];
    snprintf(key, sizeof key, "\"%s\":\"", name);
    const char *at = json ? strstr(json, key) : NULL;
    CHECK(at != NULL);
    at += strlen(key);
    size_t length = strcspn(at, "\"");
    CHECK(length < 128);
    memcpy(out, at, length);
    out[length] = 0;
    return out;
}

/* A call whose answer must have a text in it. */
#define ANSWERS(part, call)                                                                        \
    do {                                                                                           \
        char *answer_ = NULL;                                                                      \
        const fuse_status_t status_ = (call);                                                      \
        if (status_ != FUSE_OK || !answer_ || !strstr(answer_, part)) {                            \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, fuse_status_name(status_), answer_ ? answer_ : "no answer"); \
            exit(1);                                                                               \
        }                                                                                          \
        fuse_string_free(answer_);                                                                 \
    } while (0)

static void life(void) {
    char *out = NULL, id[128], fork[128], snapshot[128];
    uint64_t newest = 0;
    IS(FUSE_OK, fuse_orchestrator_provision(fuse, "{\"task_id\":\"t1\"}", NULL, &out));
    member(out, "id", id);
    fuse_string_free(out);
    ANSWERS("\"running\"", fuse_orchestrator_wait_running(fuse, id, 30000, &answer_));
    ANSWERS(id, fuse_orchestrator_get(fuse, id, &answer_));
    ANSWERS(id, fuse_orchestrator_list(fuse, "{\"task_id\":\"t1\",\"limit\":\"5\"}", &answer_));
    ANSWERS("hello", fuse_orchestrator_exec(fuse, id, "{\"cmd\":[\"echo\",\"hello\"]}", &answer_));
    IS(FUSE_OK, fuse_orchestrator_upload(fuse, id, "/tmp/note", 0644, (const uint8_t *)"noted", 5, NULL));
    ANSWERS("noted", fuse_orchestrator_exec(fuse, id, "{\"cmd\":[\"cat\",\"/tmp/note\"]}", &answer_));
    IS(FUSE_OK, fuse_orchestrator_logs(fuse, id, "console", &out));
    fuse_string_free(out);
    IS(FUSE_OK, fuse_orchestrator_rotate_token(fuse, id, NULL));
    IS(FUSE_OK, fuse_orchestrator_create_snapshot(fuse, id, "{}", &out));
    member(out, "id", snapshot);
    fuse_string_free(out);
    ANSWERS(snapshot, fuse_orchestrator_snapshot(fuse, snapshot, &answer_));
    ANSWERS(snapshot, fuse_orchestrator_snapshots(fuse, NULL, &answer_));
    ANSWERS("snapshots", fuse_orchestrator_lineage(fuse, snapshot, &answer_));
    IS(FUSE_OK, fuse_orchestrator_create_snapshot(fuse, id, "{\"layer_key\":\"base\"}", &out));
    member(out, "id", fork);
    fuse_string_free(out);
    ANSWERS(fork, fuse_orchestrator_resolve_snapshot(fuse, "base", "amd64", &answer_));
    ANSWERS("\"found\":false", fuse_orchestrator_resolve_snapshot(fuse, "other", "amd64", &answer_));
    IS(FUSE_ERR_INVALID_ARG, fuse_orchestrator_resolve_snapshot(fuse, "base", "abacus", NULL));
    IS(FUSE_ERR_INVALID_ARG, fuse_orchestrator_resolve_snapshot(fuse, "", "amd64", NULL));
    IS(FUSE_OK, fuse_orchestrator_delete_snapshot(fuse, fork, NULL));
    IS(FUSE_OK, fuse_orchestrator_restore_snapshot(fuse, snapshot, NULL));
    IS(FUSE_OK, fuse_orchestrator_create_snapshot(fuse, id, NULL, &out));
    member(out, "id", fork);
    fuse_string_free(out);
    IS(FUSE_OK, fuse_orchestrator_delete_snapshot(fuse, fork, NULL));
    IS(FUSE_ERR_NOT_FOUND, fuse_orchestrator_snapshot(fuse, fork, NULL));
    IS(FUSE_OK, fuse_orchestrator_fork(fuse, id, "{\"task_id\":\"t2\"}", &out));
    member(out, "id", fork);
    fuse_string_free(out);
    ANSWERS("\"running\"", fuse_orchestrator_wait_running(fuse, fork, 30000, &answer_));
    ANSWERS("draining", fuse_orchestrator_drain(fuse, fork, &answer_));
    IS(FUSE_OK, fuse_orchestrator_destroy(fuse, fork, NULL));
    IS(FUSE_OK, fuse_orchestrator_newest_event(fuse, &newest));
    CHECK(newest > 0);

    /* A terminal. */
    fuse_attach_t *terminal = NULL;
    reset();
    IS(FUSE_OK, fuse_orchestrator_attach(fuse, id, "{\"rows\":30,\"cols\":100}", shown, &seen, finalizer, &terminal, &out));
    IS(FUSE_OK, fuse_attach_resize(terminal, 40, 120));
    IS(FUSE_ERR_INVALID_ARG, fuse_attach_resize(terminal, 0, 120));
    IS(FUSE_OK, fuse_attach_write(terminal, (const uint8_t *)"echo here\n", 10));
    WAIT_FOR(strstr(seen.text, "here"));
    IS(FUSE_OK, fuse_attach_close(terminal));
    CHECK(seen.finalized == 1);
    IS(FUSE_ERR_INVALID_ARG, fuse_attach_write(terminal, (const uint8_t *)"x", 1));

    /* A log that goes on, until the environment has ended. */
    fuse_stream_t *log = NULL;
    reset();
    IS(FUSE_OK, fuse_orchestrator_follow_logs(fuse, id, NULL, told, &seen, finalizer, &log, NULL));
    IS(FUSE_OK, fuse_orchestrator_destroy(fuse, id, NULL));
    WAIT_FOR(seen.status == FUSE_END && seen.finalized == 1);
    IS(FUSE_OK, fuse_stream_close(log));
    /* The fork's own snapshot is a child of this one. */
    IS(FUSE_ERR_CONFLICT, fuse_orchestrator_delete_snapshot(fuse, snapshot, &out));
    CHECK(strstr(out, "conflict"));
    fuse_string_free(out);
}

static void hosts_and_keys(void) {
    char *out = NULL, id[128];
    ANSWERS("\"hosts\":[{", fuse_orchestrator_hosts(fuse, NULL, &answer_));
    IS(FUSE_OK, fuse_orchestrator_hosts(fuse, NULL, &out));
    member(out, "id", id);
    fuse_string_free(out);
    ANSWERS(id, fuse_orchestrator_host(fuse, id, &answer_));
    IS(FUSE_OK, fuse_orchestrator_cordon(fuse, id, NULL));
    IS(FUSE_ERR_UNAVAILABLE, fuse_orchestrator_provision(fuse, "{\"task_id\":\"t3\"}", NULL, NULL));
    IS(FUSE_OK, fuse_orchestrator_uncordon(fuse, id, NULL));
    IS(FUSE_OK, fuse_orchestrator_host_drain(fuse, id, &out));
    CHECK(out == NULL); /* nobody asked for it */
    ANSWERS("\"limit_seconds\":90", fuse_orchestrator_drain_host(fuse, id, "{\"limit_seconds\":\"90\"}", &answer_));
    ANSWERS("\"left\":", fuse_orchestrator_host_drain(fuse, id, &answer_));
    ANSWERS("\"cordoned\"", fuse_orchestrator_host(fuse, id, &answer_));
    IS(FUSE_OK, fuse_orchestrator_uncordon(fuse, id, NULL)); /* takes the order back */
    IS(FUSE_ERR_INVALID_ARG, fuse_orchestrator_drain_host(fuse, id, "{\"limit_seconds\":\"soon\"}", NULL));
    IS(FUSE_ERR_NOT_FOUND, fuse_orchestrator_drain_host(fuse, "nowhere", NULL, NULL));
    IS(FUSE_ERR_NOT_FOUND, fuse_orchestrator_host_drain(fuse, "nowhere", NULL));
    ANSWERS("dead_letters", fuse_orchestrator_dead_letters(fuse, &answer_));
    IS(FUSE_ERR_NOT_FOUND, fuse_orchestrator_retry_dead_letter(fuse, "no/such", NULL));
    IS(FUSE_ERR_NOT_FOUND, fuse_orchestrator_dismiss_dead_letter(fuse, "no/such", NULL));
    IS(FUSE_OK, fuse_orchestrator_check(fuse, 5000, NULL));
    IS(FUSE_OK, fuse_orchestrator_create_api_key(fuse, "{\"label\":\"ground\"}", &out));
    CHECK(strstr(out, "fuse_sk_"));
    member(out, "id", id);
    fuse_string_free(out);
    ANSWERS(id, fuse_orchestrator_api_keys(fuse, &answer_));
    IS(FUSE_OK, fuse_orchestrator_revoke_api_key(fuse, id, NULL));
    IS(FUSE_ERR_NOT_FOUND, fuse_orchestrator_remove_host(fuse, "nowhere", 0, NULL));
    IS(FUSE_ERR_INVALID_ARG, fuse_orchestrator_remove_host(fuse, "nowhere", 2, NULL));
    IS(FUSE_ERR_INVALID_ARG, fuse_orchestrator_register_host(fuse, "{}", NULL));
}

static void errors(void) {
    char *out = NULL, text[1040];
    IS(FUSE_ERR_NOT_FOUND, fuse_orchestrator_get(fuse, "fuse-nowhere", &out));
    CHECK(out && strstr(out, "\"code\":\"not_found\""));
    fuse_string_free(out);
    IS(FUSE_OK, fuse_last_error(fuse, text, sizeof text, NULL));
    CHECK(strstr(text, "fuse-nowhere"));
    IS(FUSE_ERR_INVALID_ARG, fuse_orchestrator_provision(fuse, "{\"task_id\":", NULL, &out));
    CHECK(out && strstr(out, "invalid_argument"));
    fuse_string_free(out);
    IS(FUSE_ERR_INVALID_ARG, fuse_orchestrator_list(fuse, "{\"state\":\"asleep\"}", &out));
    CHECK(out && strstr(out, "asleep"));
    fuse_string_free(out);
    IS(FUSE_OK, fuse_orchestrator_provision(fuse, "{\"task_id\":\"twice\"}", "key-1", &out));
    fuse_string_free(out);
    IS(FUSE_ERR_CONFLICT, fuse_orchestrator_provision(fuse, "{\"task_id\":\"twice\"}", NULL, NULL));
    IS(FUSE_OK, fuse_orchestrator_provision(fuse, "{\"task_id\":\"twice\"}", "key-1", NULL)); /* the same again */
    IS(FUSE_ERR_INVALID_ARG, fuse_orchestrator_connect("no url", NULL, &fuse, text, sizeof text));
    CHECK(text[0]);
}

static void completions_and_events(void) {
    fuse_stream_t *events = NULL;
    reset();
    IS(FUSE_OK, fuse_orchestrator_events(fuse, "{\"after\":\"0\"}", told, &seen, finalizer, &events, NULL));
    WAIT_FOR(strstr(seen.text, "\"event\":"));
    IS(FUSE_OK, fuse_stream_close(events));
    CHECK(seen.finalized == 1);
    reset();
    IS(FUSE_OK, fuse_orchestrator_list_async(fuse, NULL, told, &seen));
    WAIT_FOR(seen.calls == 1);
    CHECK(seen.status == FUSE_OK && strstr(seen.text, "environments"));
    reset();
    IS(FUSE_OK, fuse_orchestrator_get_async(fuse, "fuse-nowhere", told, &seen));
    WAIT_FOR(seen.calls == 1);
    CHECK(seen.status == FUSE_ERR_NOT_FOUND && strstr(seen.text, "not_found"));
    IS(FUSE_ERR_INVALID_ARG, fuse_orchestrator_get_async(fuse, NULL, told, &seen));
    IS(FUSE_ERR_INVALID_ARG, fuse_orchestrator_list_async(fuse, NULL, NULL, &seen));
    /* A refused subscription gives its user pointer back as well. */
    reset();
    IS(FUSE_ERR_INVALID_ARG, fuse_orchestrator_events(fuse, "[", told, &seen, finalizer, &events, NULL));
    CHECK(seen.finalized == 1);
}

static void *list(void *user) {
    (void)user;
    for (int i = 0; i < 50; i++) IS(FUSE_OK, fuse_orchestrator_list(fuse, NULL, NULL));
    return NULL;
}

static void from_many_threads(void) {
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, list, NULL) == 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
}

static void late(void *user, fuse_status_t status, const char *text, size_t length) {
    (void)user;
    note(status, text, length);
}

/* What runs the environments of a control plane in this process: chosen, and told. This machine has no image there. */
static void providers(void) {
    char error[1040] = "", *out = NULL;
    fuse_orchestrator_t *plane = NULL;
    fuse_open_options_t options = FUSE_OPEN_OPTIONS_INIT;
    options.host_data = "no-vms";
    options.provider = "local";
    IS(FUSE_ERR_UNAVAILABLE, fuse_orchestrator_open_with("state", &options, &plane, error, sizeof error));
    CHECK(strstr(error, "local") && strstr(error, "fuse image build") && plane == NULL);
    options.provider = "qemu";
    IS(FUSE_ERR_INVALID_ARG, fuse_orchestrator_open_with("state", &options, &plane, error, sizeof error));
    CHECK(strstr(error, "auto, local or stub"));
    options.provider = NULL;
    options.flags = 1;
    IS(FUSE_ERR_INVALID_ARG, fuse_orchestrator_open_with("state", &options, &plane, error, sizeof error));
    options.flags = 0;
    options.struct_size--;
    IS(FUSE_ERR_INVALID_ARG, fuse_orchestrator_open_with("state", &options, &plane, error, sizeof error));
    CHECK(strstr(error, "fuse_open_options_t"));
    options.struct_size++;
    /* Without a choice: the stub, which says why. */
    IS(FUSE_OK, fuse_orchestrator_open_with("state", &options, &plane, error, sizeof error));
    IS(FUSE_OK, fuse_orchestrator_provider(plane, &out));
    CHECK(strstr(out, "\"name\":\"stub\"") && strstr(out, "fuse image build") && !strstr(out, "warning"));
    fuse_string_free(out);
    IS(FUSE_OK, fuse_orchestrator_close(plane));
    IS(FUSE_ERR_INVALID_ARG, fuse_orchestrator_provider(plane, &out));
    CHECK(out == NULL);
    options.provider = "stub";
    IS(FUSE_OK, fuse_orchestrator_open_with("state", &options, &plane, error, sizeof error));
    IS(FUSE_OK, fuse_orchestrator_provider(plane, &out));
    CHECK(strstr(out, "was asked for"));
    fuse_string_free(out);
    IS(FUSE_ERR_UNAVAILABLE, fuse_orchestrator_open_with("state", &options, &fuse, error, sizeof error)); /* it is open */
    IS(FUSE_OK, fuse_orchestrator_close(plane));
}

int main(int argc, char **argv) {
    char error[1040] = "";
    fuse_orchestrator_t *kept;
    fuse_stream_t *events = NULL;
    if (argc == 3) {
        IS(FUSE_ERR_UNAVAILABLE, fuse_orchestrator_connect("http://127.0.0.1:1", NULL, &fuse, error, sizeof error));
        CHECK(error[0]);
        IS(FUSE_OK, fuse_orchestrator_connect(argv[1], "not the token", &fuse, NULL, 0));
        IS(FUSE_ERR_UNAUTHORIZED, fuse_orchestrator_list(fuse, NULL, NULL));
        IS(FUSE_OK, fuse_orchestrator_close(fuse));
        IS(FUSE_OK, fuse_orchestrator_connect(argv[1], argv[2], &fuse, error, sizeof error));
        char *out = error;
        IS(FUSE_OK, fuse_orchestrator_provider(fuse, &out));
        CHECK(out == NULL); /* the server's affair */
    } else {
        providers();
        IS(FUSE_OK, fuse_orchestrator_in_memory(&fuse, error, sizeof error));
    }
    kept = fuse;
    life();
    hosts_and_keys();
    errors();
    fuse = kept;
    completions_and_events();
    from_many_threads();
    /* What is not done when it is closed is told so; a stream ends. */
    reset();
    IS(FUSE_OK, fuse_orchestrator_events(fuse, NULL, late, &seen, finalizer, &events, NULL));
    IS(FUSE_OK, fuse_orchestrator_wait_running_async(fuse, "fuse-nowhere", 60000, late, &seen));
    IS(FUSE_OK, fuse_orchestrator_close(fuse));
    CHECK(seen.ended >= 1 && seen.finalized == 1);
    IS(FUSE_ERR_INVALID_ARG, fuse_orchestrator_list(fuse, NULL, NULL));
    IS(FUSE_ERR_INVALID_ARG, fuse_orchestrator_close(fuse));
    IS(FUSE_OK, fuse_stream_close(events));
    return 0;
}
