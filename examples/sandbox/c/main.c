/* The whole life of a sandbox: provision, exec, snapshot, restore, fork, drain, destroy, with its events at the end.
 *
 * Its VMs are those of this machine, in this process; where QEMU or Firecracker and an image are not installed, the stub
 * stands in, which keeps VMs in memory and isolates nothing. The first line says which it is, and why.
 *
 * usage: sandbox DIRECTORY OF THE STATE */
#define _POSIX_C_SOURCE 200809L
#include <fuse.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A guest that is interpreted, on a machine that is busy, comes up late. */
#define SOON_MS 300000

/* Counts in memory alone, in a process that a snapshot takes along. As JSON. */
#define COUNTER                                                                                    \
    "echo 'made at boot' > /notes\\n"                                                              \
    "(i=0; while :; do i=$((i + 1)); echo $i > /run/next; mv /run/next /run/count; sleep 0.1; done)" \
    " < /dev/null > /dev/null 2>&1 &"
#define NOTES "echo 'made at boot' > /notes"

static fuse_orchestrator_t *plane;

/* Ends the program when a call failed, with the error body that it gave. */
static void must(fuse_status_t status, const char *doing, char *const *answer) {
    if (status == FUSE_OK) return;
    fprintf(stderr, "sandbox: %s: %s: %s\n", doing, fuse_status_name(status), answer && *answer ? *answer : "");
    exit(1);
}

/* A member of a JSON object that is a string, without its escapes; empty when it is not there. */
static char *text_of(const char *json, const char *name) {
    char key[64], *out = calloc(1, strlen(json) + 1), *to = out;
    snprintf(key, sizeof key, "\"%s\":\"", name);
    const char *at = strstr(json, key);
    if (!out) abort();
    for (at = at ? at + strlen(key) : ""; *at && *at != '"'; at++) {
        if (*at != '\\') *to++ = *at;
        else if (*++at == 'n') *to++ = '\n';
        else *to++ = *at;
    }
    return out;
}

/* A member that is a number; 0 when it is not there. */
static unsigned long number_of(const char *json, const char *name) {
    char key[64];
    snprintf(key, sizeof key, "\"%s\":", name);
    const char *at = strstr(json, key);
    return at ? strtoul(at + strlen(key), NULL, 10) : 0;
}

/* What a command line of a guest writes; the program ends when it fails. The line is JSON already. */
static char *output_of(const char *id, const char *line) {
    char request[512], *answer;
    snprintf(request, sizeof request, "{\"shell\":\"%s\"}", line);
    must(fuse_orchestrator_exec(plane, id, request, &answer), line, &answer);
    if (number_of(answer, "exit_code") != 0) {
        fprintf(stderr, "sandbox: %s: %s\n", line, answer);
        exit(1);
    }
    char *output = text_of(answer, "stdout");
    fuse_string_free(answer);
    return output;
}

static void show(const char *id, const char *line) {
    char *output = output_of(id, line), *rest = output;
    printf("%s $ %s\n", id, line);
    for (char *text = strtok_r(output, "\n", &rest); text; text = strtok_r(NULL, "\n", &rest)) printf("    %s\n", text);
    free(output);
}

/* How far the counter of a guest is, when it has gone beyond `least`. */
static unsigned long count_beyond(const char *id, unsigned long least) {
    for (int tries = 0; tries < 600; tries++) {
        char *output = output_of(id, "cat /run/count 2> /dev/null || echo 0");
        const unsigned long now = strtoul(output, NULL, 10);
        free(output);
        if (now > least) return now;
        nanosleep(&(struct timespec){0, 100000000}, NULL);
    }
    fprintf(stderr, "sandbox: %s does not count beyond %lu\n", id, least);
    exit(1);
}

/* Events come on a thread of the library. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int ended;

static void print_event(void *user, fuse_status_t status, const char *text, size_t length) {
    const unsigned long newest = *(const unsigned long *)user;
    const unsigned long sequence = status == FUSE_OK ? number_of(text, "sequence") : newest;
    (void)length;
    if (status == FUSE_OK) {
        const char *subject = strstr(text, "\"subject\":");
        char *event = text_of(text, "event"), *id = text_of(subject ? subject : "", "id");
        printf("  event %3lu  %-20s %s\n", sequence, event, id);
        free(event);
        free(id);
    }
    if (sequence < newest) return;
    pthread_mutex_lock(&lock);
    ended = 1;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}

/* Prints the events of this program. */
static void print_events(uint64_t began) {
    char query[64], *answer = NULL;
    uint64_t last;
    fuse_stream_t *events;
    must(fuse_orchestrator_newest_event(plane, &last), "newest event", NULL);
    unsigned long newest = (unsigned long)last;
    snprintf(query, sizeof query, "{\"after\":\"%lu\"}", (unsigned long)began);
    must(fuse_orchestrator_events(plane, query, print_event, &newest, NULL, &events, &answer), "events", &answer);
    pthread_mutex_lock(&lock);
    while (!ended) pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    fuse_stream_close(events);
}

static char *wait_running(const char *id) {
    char *answer;
    must(fuse_orchestrator_wait_running(plane, id, SOON_MS, &answer), id, &answer);
    return answer;
}

static void destroy(const char *id) {
    char *answer;
    must(fuse_orchestrator_destroy(plane, id, &answer), id, &answer);
    fuse_string_free(answer);
    must(fuse_orchestrator_get(plane, id, &answer), id, &answer);
    char *state = text_of(answer, "state");
    printf("%s is %s\n", id, state);
    free(state);
    fuse_string_free(answer);
}

static void live(int has_memory) {
    static const char *counts = "echo \\\"$(hostname) counts at $(cat /run/count); "
                                "mark: $(cat /run/mark 2> /dev/null || echo none)\\\"";
    char request[1024], *answer;
    snprintf(request, sizeof request,
             "{\"task_id\":\"demo\",\"spec\":{\"cpus\":1,\"ram_mb\":256},\"startup_script\":\"%s\"}",
             has_memory ? COUNTER : NOTES);
    must(fuse_orchestrator_provision(plane, request, NULL, &answer), "provision", &answer);
    char *id = text_of(answer, "id");
    fuse_string_free(answer);
    answer = wait_running(id);
    char *host = text_of(answer, "host_id");
    printf("%s runs on %s\n", id, host);
    free(host);
    fuse_string_free(answer);

    show(id, "cat /notes");
    /* With memory and processors: what runs goes on from here. */
    const unsigned long before = has_memory ? count_beyond(id, 0) : 0;
    must(fuse_orchestrator_create_snapshot(plane, id, has_memory ? "{\"live\":true}" : NULL, &answer), "snapshot", &answer);
    char *snapshot = text_of(answer, "id");
    fuse_string_free(answer);
    show(id, "echo 'changed later' > /notes; cat /notes");
    const unsigned long later = has_memory ? count_beyond(id, before + 20) : 0;
    must(fuse_orchestrator_restore_snapshot(plane, snapshot, &answer), "restore", &answer);
    fuse_string_free(answer);
    show(id, "cat /notes");
    if (has_memory)
        printf("    the counter was at %lu at the snapshot, at %lu before the restore, and goes on at %lu\n", before, later,
               count_beyond(id, before));

    snprintf(request, sizeof request, "{\"reuse_snapshot_id\":\"%s\"}", snapshot);
    must(fuse_orchestrator_fork(plane, id, request, &answer), "fork", &answer);
    char *fork = text_of(answer, "id");
    fuse_string_free(answer);
    fuse_string_free(wait_running(fork));
    show(fork, "echo 'of the fork' >> /notes; cat /notes");
    show(id, "cat /notes");
    if (has_memory) {
        /* The same process in two memories. */
        free(output_of(fork, "echo 'of the fork' > /run/mark"));
        show(fork, counts);
        show(id, counts);
    }
    must(fuse_orchestrator_drain(plane, id, &answer), "drain", &answer);
    fuse_string_free(answer);
    destroy(id);
    destroy(fork);
    must(fuse_orchestrator_delete_snapshot(plane, snapshot, &answer), "delete the snapshot", &answer);
    fuse_string_free(answer);
    free(id);
    free(fork);
    free(snapshot);
}

int main(int argc, char **argv) {
    char error[1024], *answer;
    uint64_t began;
    if (argc != 2) {
        fprintf(stderr, "usage: %s DIRECTORY OF THE STATE\n", argv[0]);
        return 2;
    }
    if (fuse_orchestrator_open(argv[1], &plane, error, sizeof error) != FUSE_OK) {
        fprintf(stderr, "sandbox: %s\n", error);
        return 1;
    }
    must(fuse_orchestrator_provider(plane, &answer), "provider", &answer);
    char *name = text_of(answer, "name"), *why = text_of(answer, "why");
    const int has_memory = strcmp(name, "local") == 0;
    printf("host default: %s%s%s\n", has_memory ? "real VMs of this machine" : "the STUB, which isolates nothing",
           *why ? ": " : "", why);
    free(name);
    free(why);
    fuse_string_free(answer);
    must(fuse_orchestrator_newest_event(plane, &began), "newest event", NULL);
    live(has_memory);
    print_events(began);
    fuse_orchestrator_close(plane);
    return 0;
}
