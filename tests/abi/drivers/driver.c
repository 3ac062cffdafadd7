/* Plays a scenario: a command in each line of standard input, one line of answer for each on standard output. Texts and
 * bytes are hexadecimal, "-" is an empty one. An answer is "ok ..." or "err STATUS TEXT". */
#define _POSIX_C_SOURCE 200809L
#include "driver.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t driver_clock_us;

static void die(const char *why) {
    fprintf(stderr, "driver: %s\n", why);
    exit(70);
}

/* ---- Words and hexadecimal ---- */

static char *words; /* what is left of the line */

static char *word(void) {
    char *start = words;
    if (!start || !*start) die("a command is too short");
    words = strchr(start, ' ');
    if (words) *words++ = 0;
    return start;
}

static int more(void) { return words && *words; }

static int digit(char c) { return c >= 'a' ? c - 'a' + 10 : c - '0'; }

/* Decodes in place, with a zero at the end. */
static struct bytes unhex(char *text) {
    struct bytes out = {(uint8_t *)text, 0};
    if (strcmp(text, "-") != 0)
        for (char *at = text; at[0] && at[1]; at += 2) out.data[out.length++] = (uint8_t)(digit(at[0]) << 4 | digit(at[1]));
    out.data[out.length] = 0;
    return out;
}

static char *text_word(void) { return (char *)unhex(word()).data; }
static uint64_t number(void) { return strtoull(word(), NULL, 10); }

static void put_hex(const void *data, size_t length) {
    const uint8_t *bytes = data;
    if (length == 0) putchar('-');
    for (size_t i = 0; i < length; i++) printf("%02x", bytes[i]);
}

static void put_text(const char *text) {
    putchar(' ');
    put_hex(text, strlen(text));
}

/* Begins an answer: whether it is a good one. */
static int answered(fuse_status_t status) {
    if (status == FUSE_OK) {
        printf("ok");
        return 1;
    }
    printf("err %d", status);
    put_text(call_error);
    return 0;
}

/* ---- Scripts of callbacks ---- */

struct script {
    char function[80];
    struct {
        struct answer fixed;
        int clock;
        uint64_t advance_us, spin_us;
        uint32_t post[32];
        size_t posts;
    } answers[32];
    size_t count, next;
    char *calls; /* what was seen */
};

static struct script scripts[64];
static size_t script_count;
/* Calls that a callback made on its own runtime and that were not refused. */
static int reentered;

static struct script *script_of(const char *function) {
    for (size_t i = 0; i < script_count; i++)
        if (strcmp(scripts[i].function, function) == 0) return &scripts[i];
    if (script_count == 64) die("too many functions");
    struct script *script = &scripts[script_count++];
    memset(script, 0, sizeof *script);
    snprintf(script->function, sizeof script->function, "%s", function);
    return script;
}

static void forget_scripts(void) {
    for (size_t i = 0; i < script_count; i++) {
        free(scripts[i].calls);
        for (size_t n = 0; n < scripts[i].count; n++) free((void *)(uintptr_t)scripts[i].answers[n].fixed.bytes);
    }
    script_count = 0;
}

/* KEY=VALUE pairs joined by ';' */
static void read_answer(struct script *script, char *text) {
    if (script->count == 32) die("too many answers");
    struct answer *fixed = &script->answers[script->count].fixed;
    for (char *save, *pair = strtok_r(text, ";", &save); pair; pair = strtok_r(NULL, ";", &save)) {
        char *value = strchr(pair, '=');
        if (value) *value++ = 0;
        if (!strcmp(pair, "i")) fixed->integer = strtoll(value, NULL, 10);
        else if (!strcmp(pair, "f")) fixed->real = strtod(value, NULL);
        else if (!strcmp(pair, "clock")) script->answers[script->count].clock = 1;
        else if (!strcmp(pair, "wrong")) fixed->wrong_type = 1;
        else if (!strcmp(pair, "claim")) fixed->has_claim = 1, fixed->claim = strtoull(value, NULL, 10);
        else if (!strcmp(pair, "fail")) fixed->fail = (int32_t)strtol(value, NULL, 10);
        else if (!strcmp(pair, "advance")) script->answers[script->count].advance_us = strtoull(value, NULL, 10);
        else if (!strcmp(pair, "spin")) script->answers[script->count].spin_us = strtoull(value, NULL, 10);
        else if (!strcmp(pair, "post")) script->answers[script->count].post[script->answers[script->count].posts++] = (uint32_t)strtoul(value, NULL, 10);
        else if (!strcmp(pair, "reenter")) snprintf(fixed->reenter, sizeof fixed->reenter, "%s", value);
        else if (!strcmp(pair, "bytes")) {
            struct bytes bytes = unhex(value);
            uint8_t *copy = malloc(bytes.length + 1);
            if (!copy) die("no memory");
            memcpy(copy, bytes.data, bytes.length);
            fixed->bytes = copy;
            fixed->bytes_length = bytes.length;
        } else if (strcmp(pair, "none") != 0) die("unknown part of an answer");
    }
    script->count++;
}

static uint64_t real_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

struct answer driver_answer(const char *function, const char *arguments, fuse_module_id_t module) {
    struct script *script = script_of(function);
    size_t old = script->calls ? strlen(script->calls) : 0, room = strlen(arguments) + 3;
    char *calls = realloc(script->calls, old + room);
    if (!calls) die("no memory");
    script->calls = calls;
    snprintf(calls + old, room, "%s ", *arguments ? arguments : ".");
    struct answer none = {0, 0, 0, 0, 0, 0, NULL, 0, ""};
    if (script->count == 0) return none;
    size_t at = script->next < script->count ? script->next : script->count - 1;
    script->next++;
    for (uint64_t begun = real_us(); real_us() - begun < script->answers[at].spin_us;) {
    }
    driver_clock_us += script->answers[at].advance_us;
    for (size_t i = 0; i < script->answers[at].posts; i++) call_post(script->answers[at].post[i]);
    struct answer answer = script->answers[at].fixed;
    if (script->answers[at].clock) {
        answer.integer = (int64_t)driver_clock_us;
        answer.real = (double)driver_clock_us;
    }
    if (*answer.reenter && call_plain(answer.reenter, module) != FUSE_ERR_WRONG_STATE) reentered++;
    return answer;
}

/* ---- Artifacts of applications ---- */

static struct {
    char binary[256];
    struct bytes bytes;
} artifacts[1024];
static size_t artifact_count;

int driver_fetch(const char *binary, const uint8_t **out, size_t *out_length) {
    for (size_t i = artifact_count; i-- > 0;)
        if (strcmp(artifacts[i].binary, binary) == 0) {
            *out = artifacts[i].bytes.data;
            *out_length = artifacts[i].bytes.length;
            return 1;
        }
    return 0;
}

static void forget_artifacts(void) {
    while (artifact_count > 0) free(artifacts[--artifact_count].bytes.data);
}

static void keep_artifact(const char *binary, struct bytes bytes) {
    if (artifact_count == 1024) die("too many artifacts");
    snprintf(artifacts[artifact_count].binary, sizeof artifacts[0].binary, "%s", binary);
    uint8_t *copy = malloc(bytes.length + 1);
    if (!copy) die("no memory");
    memcpy(copy, bytes.data, bytes.length);
    artifacts[artifact_count].bytes.data = copy;
    artifacts[artifact_count++].bytes.length = bytes.length;
}

/* ---- Commands ---- */

static fuse_policy_t policy = FUSE_POLICY_INIT;
static struct group_function functions[32];
static size_t function_count;
static fuse_module_id_t ids[IDS_MAX];
static fuse_status_t statuses[IDS_MAX];

static fuse_hal_type_t type_of(const char *name) {
    static const char *const names[] = {"none", "i32", "i64", "f32", "f64", "in", "out", "inout"};
    for (int i = 0; i < 8; i++)
        if (!strcmp(names[i], name)) return i;
    return 99;
}

static void do_policy(fuse_status_t status) {
    uint8_t bytes[FUSE_POLICY_BYTES];
    if (status == FUSE_OK) status = call_policy_to_bytes(&policy, bytes);
    if (!answered(status)) return;
    putchar(' ');
    put_hex(bytes, sizeof bytes);
    printf(" %" PRIu64 " %" PRIu32, policy.fuel_quota, policy.priority);
}

static void do_compile(void) {
    uint32_t metering = (uint32_t)number();
    const char *target = word();
    int portable = (int)number();
    struct bytes source = unhex(word()), out = {NULL, 0};
    if (!answered(call_compile(source.data, source.length, metering, target, portable, &out))) return;
    putchar(' ');
    put_hex(out.data, out.length);
    free(out.data);
}

static void do_function(void) {
    struct group_function *function = &functions[function_count++];
    memset(function, 0, sizeof *function);
    snprintf(function->name, sizeof function->name, "%s", text_word());
    function->result = type_of(word());
    uint64_t params = number();
    while (params-- > 0) function->params[function->param_count++] = type_of(word());
    struct script *script = script_of(function->name);
    script->count = script->next = 0;
    while (more()) read_answer(script, word());
    printf("ok");
}

static void do_callback(void) {
    char *function = word();
    struct script *script = script_of(function);
    script->count = script->next = 0;
    while (more()) read_answer(script, word());
    answered(call_set_callback(function));
}

static void do_tick(void) {
    size_t ran = 0;
    if (!answered(call_tick(ids, statuses, IDS_MAX, &ran))) return;
    for (size_t i = 0; i < ran; i++) printf(" %" PRIu64 ":%d", ids[i], statuses[i]);
}

static uint64_t log_read; /* up to where */

static void do_log(void) {
    fuse_log_record_t r = FUSE_LOG_RECORD_INIT;
    printf("ok");
    while (call_log_next(&log_read, &r) == FUSE_OK) {
        printf(" %" PRIu64 ":%" PRIu64 ":%" PRIu64 ":%d:%d:", r.sequence, r.timestamp_us, r.module, r.level, r.source);
        put_hex(r.text, r.text_length);
    }
}

static void do_stats(void) {
    fuse_module_stats_t s = FUSE_MODULE_STATS_INIT;
    if (!answered(call_stats(number(), &s))) return;
    printf(" steps=%" PRIu64 " traps=%" PRIu64 " violations=%" PRIu64 " quota_hits=%" PRIu64 " step_times=%" PRIu64, s.steps,
           s.traps, s.violations, s.quota_hits, s.step_count);
    printf(" fuel_last=%" PRIu64 " fuel_peak=%" PRIu64 " fuel_total=%" PRIu64 " memory_peak_bytes=%" PRIu64, s.fuel_last,
           s.fuel_peak, s.fuel_total, s.memory_peak_bytes);
    printf(" event_latencies=%" PRIu64 " event_latency_max_us=%" PRIu64, s.latency_count, s.latency_max_ns / 1000);
}

static void do_info(void) {
    fuse_module_info_t info = FUSE_MODULE_INFO_INIT;
    if (!answered(call_info(number(), &info))) return;
    printf(" %s %" PRIu32 " %d", fuse_state_name(info.state), info.latch, info.failure);
    put_text(info.name);
}

static void do_failure(void) {
    char text[512] = "";
    if (answered(call_failure(number(), text))) put_text(text);
}

static void do_load_app(void) {
    size_t count = 0;
    if (!answered(call_load_app(ids, IDS_MAX, &count))) return;
    for (size_t i = 0; i < count; i++) printf(" %" PRIu64, ids[i]);
}

static void do_app_modules(void) {
    char name[FUSE_NAME_CAPACITY], binary[4096];
    printf("ok");
    for (uint32_t index = 0; call_app_module(index, name, binary) == FUSE_OK; index++) {
        put_text(name);
        put_text(binary);
    }
}

static void do_look(const char *command) {
    uint64_t a = 0, b = 0, c = 0;
    size_t count = 0;
    fuse_module_id_t id = 0;
    if (!strcmp(command, "counts")) {
        if (answered(call_log_counts(&a, &b, &c))) printf(" %" PRIu64 " %" PRIu64 " %" PRIu64, a, b, c);
    } else if (!strcmp(command, "deadline")) {
        if (answered(call_deadline(&a))) printf(" %" PRIu64, a);
    } else if (!strcmp(command, "modules")) {
        if (answered(call_modules(ids, IDS_MAX, &count))) printf(" %zu", count);
    } else if (!strcmp(command, "find")) {
        if (answered(call_find(text_word(), &id))) printf(" %" PRIu64, id);
    } else if (!strcmp(command, "calls")) {
        struct script *script = script_of(word());
        printf("ok %s", script->calls ? script->calls : "");
        free(script->calls);
        script->calls = NULL;
    } else if (!strcmp(command, "reentered")) {
        printf("ok %d", reentered);
    } else die(command);
}

static void do_app(const char *command) {
    struct bytes bytes = {NULL, 0};
    if (!strcmp(command, "app_json")) {
        forget_artifacts();
        answered(call_app_json(text_word()));
    } else if (!strcmp(command, "app_binary")) {
        bytes = unhex(word());
        answered(call_app_binary(bytes.data, bytes.length));
    } else if (!strcmp(command, "app_pack")) {
        if (answered(call_app_pack(&bytes))) {
            putchar(' ');
            put_hex(bytes.data, bytes.length);
            free(bytes.data);
        }
    } else if (!strcmp(command, "app_artifact")) {
        uint32_t index = (uint32_t)number();
        bytes = unhex(word());
        answered(call_app_artifact(index, bytes.data, bytes.length));
    } else if (!strcmp(command, "app_fetch")) {
        char *binary = text_word();
        keep_artifact(binary, unhex(word()));
        printf("ok");
    } else if (!strcmp(command, "app_modules")) do_app_modules();
    else if (!strcmp(command, "app_load")) do_load_app();
    else do_look(command);
}

static void do_command(const char *command) {
    static const char *const plain[] = {"start", "pause", "run_step", "unload", "restart_module", "stop", "restart"};
    struct bytes bytes;
    fuse_module_id_t id = 0;
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (!strcmp(plain[i], command)) {
            answered(call_plain(command, more() ? number() : 0));
            return;
        }
    if (!strcmp(command, "new")) {
        int for_app = (int)number(), no_compile = (int)number();
        uint32_t stack = (uint32_t)number();
        forget_scripts();
        driver_clock_us = log_read = 0;
        answered(call_new(for_app, no_compile, stack, (int)number()));
    } else if (!strcmp(command, "policy_json")) do_policy(call_policy_json(text_word(), &policy));
    else if (!strcmp(command, "policy_bytes")) {
        bytes = unhex(word());
        do_policy(call_policy_bytes(bytes.data, bytes.length, &policy));
    } else if (!strcmp(command, "policy_set")) {
        /* What the 32 bytes do not hold. */
        policy.fuel_quota = number();
        policy.priority = (uint32_t)number();
        do_policy(FUSE_OK);
    } else if (!strcmp(command, "policy_default")) {
        fuse_policy_t fresh = FUSE_POLICY_INIT;
        policy = fresh;
        do_policy(FUSE_OK);
    } else if (!strcmp(command, "compile")) do_compile();
    else if (!strcmp(command, "load")) {
        char *name = text_word();
        bytes = unhex(word());
        if (answered(call_load(name, bytes.data, bytes.length, &policy, &id))) printf(" %" PRIu64, id);
    } else if (!strcmp(command, "update")) {
        id = number();
        bytes = unhex(word());
        answered(call_update(id, bytes.data, bytes.length));
    } else if (!strcmp(command, "tick")) do_tick();
    else if (!strcmp(command, "post")) answered(call_post((uint32_t)number()));
    else if (!strcmp(command, "post_from_thread")) answered(call_post_from_thread((uint32_t)number()));
    else if (!strcmp(command, "clear")) answered(call_clear((uint32_t)number()));
    else if (!strcmp(command, "clock")) {
        driver_clock_us = number();
        printf("ok");
    } else if (!strcmp(command, "advance")) {
        driver_clock_us += number();
        printf("ok");
    } else if (!strcmp(command, "callback")) do_callback();
    else if (!strcmp(command, "function")) do_function();
    else if (!strcmp(command, "group")) {
        char *name = text_word();
        fuse_status_t status = call_register(name, (uint32_t)number(), functions, function_count);
        function_count = 0;
        answered(status);
    } else if (!strcmp(command, "log")) do_log();
    else if (!strcmp(command, "stats")) do_stats();
    else if (!strcmp(command, "info")) do_info();
    else if (!strcmp(command, "failure")) do_failure();
    else do_app(command);
}

int main(void) {
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;
#ifdef FLIGHT
    flight_begin();
#endif
    while ((length = getline(&line, &capacity, stdin)) > 0) {
        line[length - 1] = 0;
        words = line;
        do_command(word());
        putchar('\n');
        fflush(stdout);
    }
    free(line);
    call_close();
    call_app_close();
    forget_scripts();
    forget_artifacts();
    return 0;
}
