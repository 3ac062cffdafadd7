/* Plays orchestration scenarios: a call in each line of standard input, one line of answer for each on standard output. Texts
 * are hexadecimal, "-" is an empty one, "." is NULL. An answer is "ok TEXT" or "err STATUS TEXT". Built with WITH_WORLD, it is
 * linked with libfuse_world.so, and its control plane is in this process and in virtual time; without, with libfuse.so. */
#define _POSIX_C_SOURCE 200809L
#include "orchestration.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef WITH_WORLD
#include <world.h>
#endif

void driver_die(const char *why) {
    fprintf(stderr, "driver: %s\n", why);
    exit(70);
}

/* ---- Waiting for a callback ---- */

#ifdef WITH_WORLD
const int driver_is_still = 1;

void driver_told(void) { world_told(); }

void driver_wait(void) {
    if (world_wait()) driver_die("what was waited for did not come");
}
#else
const int driver_is_still = 0;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int told;

void driver_told(void) {
    pthread_mutex_lock(&lock);
    told = 1;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

void driver_wait(void) {
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 100;
    pthread_mutex_lock(&lock);
    while (!told)
        if (pthread_cond_timedwait(&changed, &lock, &end)) driver_die("what was waited for did not come");
    told = 0;
    pthread_mutex_unlock(&lock);
}
#endif

/* ---- Words ---- */

static int digit(char c) { return c >= 'a' ? c - 'a' + 10 : c - '0'; }

/* Decodes in place; NULL for ".". */
static char *unhex(char *word) {
    size_t length = 0;
    if (!strcmp(word, ".")) return NULL;
    if (strcmp(word, "-"))
        for (const char *at = word; at[0] && at[1]; at += 2) word[length++] = (char)(digit(at[0]) << 4 | digit(at[1]));
    word[length] = 0;
    return word;
}

static void put(const char *text) {
    putchar(' ');
    if (!text || !*text) putchar('-');
    for (; text && *text; text++) printf("%02x", (unsigned char)*text);
}

static void answer(struct outcome outcome) {
    if (outcome.status == FUSE_OK) printf("ok");
    else printf("err %" PRId32, outcome.status);
    put(outcome.text);
    putchar('\n');
    fflush(stdout);
    free(outcome.text);
}

/* ---- The world ---- */

#ifdef WITH_WORLD
static void answer_world(int failed, char *text) {
    char *copy = text ? strdup(text) : NULL;
    fuse_string_free(text);
    answer((struct outcome){failed ? FUSE_ERR_FAILED : FUSE_OK, copy});
}

static int do_world(const struct call *call) {
    fuse_orchestrator_t *handle = NULL;
    char *text = NULL;
    int failed;
    if (!strcmp(call->name, "world")) {
        failed = world_open(call->args[0], &handle, &text);
        if (!failed) call_take(handle, 0);
    } else if (!strcmp(call->name, "restart")) {
        failed = world_restart(&handle, &text);
        if (!failed) call_take(handle, 1);
    } else if (!strcmp(call->name, "step")) {
        failed = world_step(call->args[0], &text);
    } else return 0;
    answer_world(failed, text);
    return 1;
}
#else
static int do_world(const struct call *call) {
    (void)call;
    return 0;
}
#endif

static void do_call(const struct call *call) {
    if (do_world(call)) return;
    if (!strcmp(call->name, "connect")) answer(call_connect(call->args[0], call->args[1]));
    else if (!strcmp(call->name, "events"))
        answer(call_events(strtoull(call->args[0], NULL, 10), strtoull(call->args[1], NULL, 10)));
    else if (!strcmp(call->name, "close")) {
        answer(call_close());
#ifdef WITH_WORLD
        world_close();
#endif
    } else answer(call_make(call));
}

int main(void) {
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;
    int later = 0;
    while ((length = getline(&line, &capacity, stdin)) > 0) {
        struct call call = {NULL, {NULL, NULL, NULL, NULL, NULL}, later};
        size_t count = 0;
        char *rest = NULL;
        line[length - 1] = 0;
        call.name = strtok_r(line, " ", &rest);
        for (char *word; (word = strtok_r(NULL, " ", &rest));) {
            if (count == 5) driver_die("too many arguments");
            call.args[count++] = unhex(word);
        }
        if (!call.name) driver_die("an empty line");
        if (!strcmp(call.name, "later")) {
            later = 1;
            answer((struct outcome){FUSE_OK, NULL});
        } else do_call(&call);
    }
    free(line);
    return 0;
}
