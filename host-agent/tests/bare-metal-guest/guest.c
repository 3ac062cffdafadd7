/* A guest agent without an operating system: it speaks the guest protocol over vsock and has a handful of programs.
 * Its memory is all its state, so a test sees whether a snapshot kept it, and whether two clones drift apart. */
#include "json.h"
#include "machine.h"
#include "protocol.h"

enum { PORT = 9550, FILES = 16, FILE_BYTES = 524288, PATH = 128, NAME = 128, TOKEN = 513 };
enum {
    HELLO = 1, HEALTH, INFO, EXEC, UPLOAD, DOWNLOAD, ATTACH, START_WORKLOAD, STOP_WORKLOAD, WORKLOAD_STATUS, DRAIN,
    SET_TIME, RENEW, SYNC_DISKS, LOGS, SHUTDOWN, SET_TOKEN, NETWORK
};

static struct file {
    char path[PATH];
    uint32_t length, mode;
    uint8_t bytes[FILE_BYTES];
} files[FILES];

static char token[TOKEN], vm_id[NAME], machine_id[33], gateway[256], address[64], command[1024];
static int64_t unix_ns, generation, counter;
static int workload; /* 0 none, 1 running, 2 exited */
static int power_off;

static void answer(struct connection *c, struct stream *s, struct answer *a)
{
    answer_end(a);
    s->doing = NOTHING;
    frame(c, RESULT, 0, 0, s->id, a->text, a->length);
}

static void refuse(struct connection *c, struct stream *s, int code, const char *why)
{
    s->doing = NOTHING;
    fail(c, s->id, code, why);
}

static void exited(struct connection *c, struct stream *s, int code, int signal)
{
    struct answer a;
    answer_begin(&a);
    answer_number(&a, "exit_code", code);
    if (signal)
        answer_number(&a, "signal", signal);
    answer(c, s, &a);
}

static struct file *file_at(const char *path)
{
    for (int i = 0; i < FILES; i++)
        if (files[i].path[0] && same(files[i].path, path))
            return &files[i];
    return 0;
}

static int new_file(const char *path)
{
    struct file *f = file_at(path);
    for (int i = 0; i < FILES && !f; i++)
        if (!files[i].path[0])
            f = &files[i];
    if (!f)
        return -1;
    memcpy(f->path, path, strlen(path) + 1);
    f->length = 0;
    return (int)(f - files);
}

static void print(struct connection *c, struct stream *s, int channel, const char *text)
{
    send_data(c, s, channel, text, (uint32_t)strlen(text));
}

static void print_number(struct connection *c, struct stream *s, int64_t value)
{
    struct answer a;
    a.length = 0;
    answer_number(&a, "", value);
    /* What stands after `"":`. */
    a.text[a.length++] = '\n';
    send_data(c, s, OUTPUT, a.text + 3, a.length - 3);
}

static int64_t number(const char *text)
{
    int64_t value = 0;
    while (*text >= '0' && *text <= '9')
        value = value * 10 + (*text++ - '0');
    return value;
}

/* The next of the strings that stand one after the other. */
static const char *next(const char *text) { return text + strlen(text) + 1; }

static void pour_file(struct connection *c, struct stream *s, const char *path)
{
    struct file *f = file_at(path);
    if (!f) {
        print(c, s, ERROR, "cat: no such file\n");
        exited(c, s, 1, 0);
        return;
    }
    s->doing = POURS;
    s->file = (int)(f - files);
    s->left = f->length;
}

static void run(struct connection *c, struct stream *s, int argc, const char *argv, int with_input)
{
    const char *first = next(argv);
    if (same(argv, "echo")) {
        for (const char *word = first; argc-- > 1; word = next(word)) {
            print(c, s, OUTPUT, word);
            print(c, s, OUTPUT, argc > 1 ? " " : "\n");
        }
        exited(c, s, 0, 0);
    } else if (same(argv, "true")) {
        exited(c, s, 0, 0);
    } else if (same(argv, "false")) {
        exited(c, s, 1, 0);
    } else if (same(argv, "exit") && argc == 2) {
        exited(c, s, (int)number(first), 0);
    } else if (same(argv, "cat") && argc == 2) {
        pour_file(c, s, first);
    } else if (same(argv, "cat") && with_input) {
        s->doing = CATS;
    } else if (same(argv, "cat")) {
        exited(c, s, 0, 0);
    } else if (same(argv, "counter")) {
        print_number(c, s, ++counter);
        exited(c, s, 0, 0);
    } else if (same(argv, "clock")) {
        print_number(c, s, unix_ns);
        exited(c, s, 0, 0);
    } else if (same(argv, "hostname") || same(argv, "machine-id") || same(argv, "address")) {
        print(c, s, OUTPUT, *argv == 'h' ? vm_id : *argv == 'm' ? machine_id : address);
        print(c, s, OUTPUT, "\n");
        exited(c, s, 0, 0);
    } else if (same(argv, "zeros") && argc == 2) {
        s->doing = POURS;
        s->left = (uint32_t)number(first);
    } else if (same(argv, "wait")) {
        s->doing = WAITS;
    } else if (same(argv, "crash")) {
        machine_crash();
    } else if (same(argv, "hang")) {
        for (;;)
            __asm__ __volatile__("pause");
    } else {
        print(c, s, ERROR, argv);
        print(c, s, ERROR, ": not found\n");
        exited(c, s, 127, 0);
    }
}

/* Splits at blanks; quotes keep words together. As much of a shell as the programs need. */
static int split(char *line)
{
    int count = 0;
    char *out = line;
    for (char *at = line; *at;) {
        while (*at == ' ')
            at++;
        if (!*at)
            break;
        char quote = 0;
        for (; *at && (quote || *at != ' '); at++) {
            if (quote ? *at == quote : (*at == '\'' || *at == '"'))
                quote = quote ? 0 : *at;
            else
                *out++ = *at;
        }
        if (*at)
            at++;
        *out++ = 0;
        count++;
    }
    *out = 0;
    return count;
}

static void exec(struct connection *c, struct stream *s, const char *text, uint32_t n)
{
    static char words[8192];
    int argc = json_strings(text, n, "argv", words, sizeof words - 1);
    words[sizeof words - 1] = 0;
    char *line = words;
    if (argc >= 3 && (same(words, "sh") || same(words, "/bin/sh"))) {
        line = (char *)next(next(words));
        argc = split(line);
    } else if (argc == 0 && json_string(text, n, "shell", words, sizeof words - 1)) {
        argc = split(words);
    }
    if (argc == 0) {
        refuse(c, s, INVALID, "exec needs argv or shell");
        return;
    }
    run(c, s, argc, line, json_true(text, n, "stdin"));
}

static void info(struct connection *c, struct stream *s, int claimed)
{
    struct answer a;
    answer_begin(&a);
    answer_string(&a, "agent", "bare-metal");
    answer_string(&a, "version", "1");
    answer_string(&a, "vm_id", vm_id);
    answer_string(&a, "boot_id", "bare-metal");
    answer_raw(&a, "verbs",
               "[\"hello\",\"health\",\"info\",\"exec\",\"upload\",\"download\",\"start_workload\",\"stop_workload\","
               "\"workload_status\",\"drain\",\"set_time\",\"renew\",\"sync\",\"shutdown\",\"set_token\",\"network\"]");
    answer_string(&a, "gateway", gateway);
    answer_number(&a, "generation", generation);
    if (claimed)
        answer_true(&a, "claimed");
    answer(c, s, &a);
}

static void hello(struct connection *c, struct peer *p, struct stream *s, const char *text, uint32_t n)
{
    static char given[TOKEN];
    given[0] = 0;
    json_string(text, n, "token", given, sizeof given);
    int claimed = !token[0] && given[0];
    if (claimed)
        memcpy(token, given, sizeof token);
    if (!same(token, given)) {
        refuse(c, s, UNAUTHORIZED, "that is not the token");
        return;
    }
    p->authenticated = 1;
    info(c, s, claimed);
}

static void upload(struct connection *c, struct stream *s, const char *text, uint32_t n)
{
    char path[PATH];
    int64_t mode = 0644;
    json_number(text, n, "mode", &mode);
    if (!json_string(text, n, "path", path, sizeof path) || path[0] != '/') {
        refuse(c, s, REFUSED, "a path begins with / and has at most 127 characters");
        return;
    }
    s->file = new_file(path);
    if (s->file < 0) {
        refuse(c, s, EXHAUSTED, "this guest keeps 16 files");
        return;
    }
    files[s->file].mode = (uint32_t)mode;
    s->doing = UPLOADS;
}

static void download(struct connection *c, struct stream *s, const char *text, uint32_t n)
{
    char path[PATH];
    struct file *f = json_string(text, n, "path", path, sizeof path) ? file_at(path) : 0;
    if (!f) {
        refuse(c, s, NOT_FOUND, "no such file");
        return;
    }
    if (f->length > WINDOW - 65536) {
        refuse(c, s, UNSUPPORTED, "this guest sends files of at most 192 KiB; `cat` has no such limit");
        return;
    }
    for (uint32_t at = 0; at < f->length; at += MAX_PAYLOAD)
        send_data(c, s, OUTPUT, f->bytes + at, f->length - at < MAX_PAYLOAD ? f->length - at : MAX_PAYLOAD);
    struct answer a;
    answer_begin(&a);
    answer_number(&a, "bytes", f->length);
    answer_number(&a, "size", f->length);
    answer_number(&a, "mode", f->mode);
    answer(c, s, &a);
}

static void workload_facts(struct answer *a)
{
    static const char *const states[] = {"none", "running", "exited"};
    answer_string(a, "state", states[workload]);
    if (workload == 1)
        answer_number(a, "pid", 2);
    if (workload == 2)
        answer_number(a, "exit_code", 143);
}

static void workload_verb(struct connection *c, struct stream *s, int verb, const char *text, uint32_t n)
{
    struct answer a;
    if (verb == START_WORKLOAD) {
        json_string(text, n, "vm_id", vm_id, sizeof vm_id);
        json_string(text, n, "gateway", gateway, sizeof gateway);
        if (json_string(text, n, "command", command, sizeof command))
            workload = 1;
    } else if (verb != WORKLOAD_STATUS && workload == 1) {
        workload = 2;
    }
    answer_begin(&a);
    if (verb == DRAIN) {
        struct answer facts;
        answer_number(&a, "exit_code", 0);
        answer_string(&a, "output", "");
        answer_begin(&facts);
        workload_facts(&facts);
        answer_end(&facts);
        facts.text[facts.length] = 0;
        answer_raw(&a, "workload", facts.text);
    } else {
        workload_facts(&a);
    }
    answer(c, s, &a);
}

static void renew(struct connection *c, struct stream *s, const char *text, uint32_t n)
{
    static char entropy[1024];
    if (!json_string(text, n, "entropy", entropy, sizeof entropy) || strlen(entropy) < 43) {
        refuse(c, s, INVALID, "renew needs 32 to 512 bytes of entropy");
        return;
    }
    json_number(text, n, "unix_ns", &unix_ns);
    json_string(text, n, "vm_id", vm_id, sizeof vm_id);
    json_string(text, n, "address", address, sizeof address);
    json_string(text, n, "token", token, sizeof token);
    if (json_true(text, n, "machine_id"))
        for (uint32_t i = 0, sum = 0; i < 32; i++) {
            if (i % 8 == 0)
                sum = crc32(sum + i, entropy, strlen(entropy));
            machine_id[i] = "0123456789abcdef"[(sum >> (i % 8 * 4)) & 15];
        }
    struct answer a;
    answer_begin(&a);
    answer_string(&a, "machine_id", machine_id);
    answer_true(&a, "reseeded");
    answer_number(&a, "generation", ++generation);
    answer_raw(&a, "warnings", "[]");
    answer(c, s, &a);
}

static void set_time(struct connection *c, struct stream *s, const char *text, uint32_t n)
{
    int64_t before = unix_ns;
    struct answer a;
    if (!json_number(text, n, "unix_ns", &unix_ns)) {
        refuse(c, s, INVALID, "set_time needs unix_ns");
        return;
    }
    answer_begin(&a);
    answer_number(&a, "moved_ns", unix_ns - before);
    answer(c, s, &a);
}

static void simple(struct connection *c, struct stream *s, int verb, const char *text, uint32_t n)
{
    struct answer a;
    answer_begin(&a);
    if (verb == HEALTH) {
        answer_string(&a, "status", "ok");
        answer_string(&a, "vm_id", vm_id);
        answer_string(&a, "healthcheck", "none");
    } else if (verb == SYNC_DISKS) {
        answer_number(&a, "free_bytes", 0);
    } else if (verb == SET_TOKEN) {
        json_string(text, n, "token", token, sizeof token);
    } else if (verb == NETWORK) {
        json_string(text, n, "address", address, sizeof address);
    } else if (verb == SHUTDOWN) {
        power_off = 1;
    }
    answer(c, s, &a);
}

void verb_open(struct connection *c, struct peer *p, struct stream *s, int verb, const char *text, uint32_t n)
{
    if (verb == HELLO)
        hello(c, p, s, text, n);
    else if (verb != HEALTH && !p->authenticated)
        refuse(c, s, UNAUTHORIZED, "say hello with the token first");
    else if (verb == INFO)
        info(c, s, 0);
    else if (verb == EXEC)
        exec(c, s, text, n);
    else if (verb == UPLOAD)
        upload(c, s, text, n);
    else if (verb == DOWNLOAD)
        download(c, s, text, n);
    else if (verb >= START_WORKLOAD && verb <= DRAIN)
        workload_verb(c, s, verb, text, n);
    else if (verb == SET_TIME)
        set_time(c, s, text, n);
    else if (verb == RENEW)
        renew(c, s, text, n);
    else if (verb == HEALTH || verb == SYNC_DISKS || verb == SET_TOKEN || verb == NETWORK || verb == SHUTDOWN)
        simple(c, s, verb, text, n);
    else
        refuse(c, s, UNSUPPORTED, "this guest does not know the verb");
}

void verb_data(struct connection *c, struct stream *s, const uint8_t *bytes, uint32_t n)
{
    if (s->doing == CATS) {
        if (s->window < n + COST) {
            refuse(c, s, EXHAUSTED, "the host does not take the output");
            return;
        }
        send_data(c, s, OUTPUT, bytes, n);
    } else if (s->doing == UPLOADS) {
        struct file *f = &files[s->file];
        if (n > FILE_BYTES - f->length) {
            f->path[0] = 0;
            refuse(c, s, EXHAUSTED, "this guest keeps files of at most 512 KiB");
            return;
        }
        memcpy(f->bytes + f->length, bytes, n);
        f->length += n;
    }
}

void verb_end(struct connection *c, struct stream *s)
{
    struct answer a;
    if (s->doing == CATS) {
        exited(c, s, 0, 0);
    } else if (s->doing == UPLOADS) {
        answer_begin(&a);
        answer_number(&a, "bytes", files[s->file].length);
        answer_number(&a, "size", files[s->file].length);
        answer_number(&a, "mode", files[s->file].mode);
        answer(c, s, &a);
    }
}

void verb_signal(struct connection *c, struct stream *s, int signal)
{
    if (s->doing != UPLOADS)
        exited(c, s, 128 + signal, signal);
}

/* Output that is longer than a window: as much as the host takes now. */
void verb_pour(struct connection *c, struct stream *s)
{
    static const uint8_t zeros[MAX_PAYLOAD];
    while (s->left && s->window > MAX_PAYLOAD + COST && vsock_room(c) > 2 * (HEADER + MAX_PAYLOAD)) {
        uint32_t n = s->left < MAX_PAYLOAD ? s->left : MAX_PAYLOAD;
        const uint8_t *from = s->file >= 0 ? files[s->file].bytes + files[s->file].length - s->left : zeros;
        send_data(c, s, OUTPUT, from, n);
        s->left -= n;
    }
    if (!s->left)
        exited(c, s, 0, 0);
}

static void serve(void)
{
    for (;;) {
        if (vsock_poll(PORT))
            console("the device was reset\n");
        for (int i = 0; i < VSOCK_CONNECTIONS; i++) {
            struct connection *c = &connections[i];
            if (c->open && !c->closed)
                protocol_poll(c, &peers[i]);
            if (c->open && c->closed) {
                c->open = 0;
                peers[i].synced = peers[i].authenticated = 0;
                end_streams(&peers[i]);
            }
            if (power_off && c->open && c->out_length == 0)
                machine_reset();
        }
        __asm__ __volatile__("pause");
    }
}

void main_without_return(void)
{
    machine_map_devices();
    if (!vsock_start()) {
        console("no vsock device\n");
        machine_reset();
    }
    console("guest agent ready\n");
    serve();
}

__asm__(".section .text.start,\"ax\"\n.globl _start\n_start: cli\n lea stack_top(%rip),%rsp\n call main_without_return\n"
        ".section .bss\n.align 16\n.skip 65536\nstack_top:\n.text\n");
