/* A guest without an operating system, for the tests of the Firecracker driver.
 *
 * It speaks the core of the guest protocol (docs/guest-protocol.md) over virtio-vsock: SYNC, hello, health, info, exec of a
 * few built-in commands, upload into memory, renew. That is enough to test a driver's whole life for real, on hosts whose
 * KVM runs no stock kernel too: interrupts wake it and do nothing else, and it keeps all of its state in memory, so that what a
 * snapshot holds can be seen from outside. With nothing to do it halts its processor until a device interrupts, as a
 * guest with an operating system does: many of them at once do not fight for the processors of the host.
 *
 * Commands: echo, cat FILE, true, false, count (counts and tells), whoami (name, generation, entropy), fill KIB (writes
 * memory), crash (a triple fault), off, and `sh -c LINE` or `sh -lc LINE` of one of these.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

#define BARRIER __asm__ __volatile__("" ::: "memory")

/* ---- the machine ---- */

static void outb(u16 port, u8 value) { __asm__ volatile("outb %0,%1" ::"a"(value), "Nd"(port)); }

static void print(const char *text) {
    while (*text) outb(0x3f8, (u8)*text++);
}

static void pause_cpu(void) { __asm__ volatile("pause"); }

/* Interrupts come through the two controllers of the first PCs, which acknowledge them by themselves, and all lead to one
 * instruction: to return. */
static struct gate { u16 low, selector, attributes, middle; u32 high, zero; } gates[256];

__asm__("interrupted: iretq\n");
extern const char interrupted[];

static void take_interrupts(void) {
    static struct { u16 limit; void *base; } __attribute__((packed)) table = {sizeof gates - 1, gates};
    u64 to = (u64)interrupted;
    for (int i = 0; i < 256; i++) gates[i] = (struct gate){(u16)to, 8, 0x8e00, (u16)(to >> 16), (u32)(to >> 32), 0};
    __asm__ volatile("lidt %0" ::"m"(table));
    for (int i = 0; i < 2; i++) {
        u16 port = i ? 0xa0 : 0x20;
        outb(port, 0x11);
        outb(port + 1, i ? 0x28 : 0x20);
        outb(port + 1, i ? 2 : 4);
        outb(port + 1, 3);
        outb(port + 1, 0);
    }
}

/* Between the two instructions no interrupt gets in, so none that came after the last look is slept through. */
static void halt(void) { __asm__ volatile("sti; hlt; cli" ::: "memory"); }

static void triple_fault(void) {
    struct { u16 limit; u64 base; } __attribute__((packed)) none = {0, 0};
    __asm__ volatile("lidt %0; int3" ::"m"(none));
}

/* With string instructions: a KVM without hardware virtualisation interprets this guest at a million instructions in a
 * second, and these do much at once. */
void *memcpy(void *to, const void *from, u64 count) {
    void *at = to;
    __asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(count)::"memory");
    return to;
}

void *memset(void *to, int value, u64 count) {
    void *at = to;
    __asm__ volatile("rep stosb" : "+D"(at), "+c"(count) : "a"(value) : "memory");
    return to;
}

/* The first of `count` bytes that is `wanted`; where they end when none is. */
static const char *find(const char *at, char wanted, u64 count) {
    const char *end = at + count;
    u8 found = 0;
    if (count) __asm__("repne scasb; sete %2" : "+D"(at), "+c"(count), "=&r"(found) : "a"(wanted) : "memory", "cc");
    return found ? at - 1 : end;
}

static u32 length(const char *text) { return (u32)(find(text, 0, 1 << 30) - text); }

static int same(const char *a, const char *b, u64 count) {
    u8 equal = 1;
    if (count) __asm__("repe cmpsb; sete %3" : "+S"(a), "+D"(b), "+c"(count), "=&r"(equal)::"memory", "cc");
    return equal;
}

static int equal(const char *a, const char *b) { return *a == *b && same(a, b, length(a) + 1); }

/* The VMM ends a moment after it was asked to. */
static void turn_off(void) {
    outb(0x64, 0xfe);
    for (;;) __asm__ volatile("cli; hlt");
}

/* ---- CRC-32, as in zip ---- */

static u32 crc_table[256];

static void crc_prepare(void) {
    for (u32 i = 0; i < 256; i++) {
        u32 c = i;
        for (int k = 0; k < 8; k++) c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
        crc_table[i] = c;
    }
}

static u32 crc_more(u32 crc, const u8 *bytes, u32 count) {
    while (count--) crc = crc_table[(crc ^ *bytes++) & 255] ^ (crc >> 8);
    return crc;
}

/* ---- virtio-vsock, polled ---- */

#define QUEUE 16
#define PACKET 4096
#define AGENT_PORT 9550
#define CREDIT (256 * 1024)

enum { RX, TX, EVENTS };
enum { OP_REQUEST = 1, OP_RESPONSE = 2, OP_RST = 3, OP_SHUTDOWN = 4, OP_RW = 5, OP_CREDIT_UPDATE = 6, OP_CREDIT_REQUEST = 7 };

struct descriptor { u64 address; u32 length; u16 flags, next; };
struct available { u16 flags, index; u16 ring[QUEUE]; u16 event; };
struct used_element { u32 id, length; };
struct used { u16 flags, index; struct used_element ring[QUEUE]; u16 event; };
struct header {
    u64 source_cid, target_cid;
    u32 source_port, target_port, length;
    u16 type, operation;
    u32 flags, buffer, forwarded;
} __attribute__((packed));

static struct queue {
    struct descriptor descriptors[QUEUE] __attribute__((aligned(16)));
    struct available available __attribute__((aligned(2)));
    struct used used __attribute__((aligned(4)));
    u16 seen;
} queues[3] __attribute__((aligned(4096)));

static u8 rx[QUEUE][sizeof(struct header) + PACKET] __attribute__((aligned(64)));
static u8 tx[sizeof(struct header) + PACKET] __attribute__((aligned(64)));
static u8 events[QUEUE][16];
static volatile u32 *device;
static u64 our_cid;

#define REGISTER(offset) device[(offset) / 4]

/* Firecracker's page tables map the first GiB; its devices are in the fourth. */
static void map_devices(void) {
    volatile u64 *directory = (void *)0x300000;
    for (int i = 0; i < 512; i++) directory[i] = 0;
    directory[0] = 0xc0000083;
    directory[128] = 0xd0000083;
    *(volatile u64 *)0xa018 = 0x300003;
    u64 cr3;
    __asm__ volatile("mov %%cr3,%0; mov %0,%%cr3" : "=r"(cr3)::"memory");
}

static int find_device(void) {
    for (u64 i = 0; i < 32; i++) {
        device = (void *)((i < 16 ? 0xc0000000ul : 0xd0000000ul) + ((i & 15) << 12));
        if (REGISTER(0) == 0x74726976 && REGISTER(8) == 19) return 1;
    }
    return 0;
}

static void set_up_queue(u32 number, u32 buffers) {
    struct queue *q = &queues[number];
    q->available.index = (u16)buffers;
    REGISTER(0x30) = number;
    REGISTER(0x38) = QUEUE;
    REGISTER(0x80) = (u32)(u64)q->descriptors, REGISTER(0x84) = 0;
    REGISTER(0x90) = (u32)(u64)&q->available, REGISTER(0x94) = 0;
    REGISTER(0xa0) = (u32)(u64)&q->used, REGISTER(0xa4) = 0;
    REGISTER(0x44) = 1;
}

static void set_up_device(void) {
    REGISTER(0x70) = 0;
    REGISTER(0x70) = 1;
    REGISTER(0x70) = 3;
    REGISTER(0x24) = 1, REGISTER(0x20) = 1; /* VIRTIO_F_VERSION_1 */
    REGISTER(0x24) = 0, REGISTER(0x20) = 0;
    REGISTER(0x70) = 11;
    for (u32 i = 0; i < QUEUE; i++) {
        queues[RX].descriptors[i] = (struct descriptor){(u64)rx[i], sizeof rx[i], 2, 0};
        queues[RX].available.ring[i] = (u16)i;
        queues[EVENTS].descriptors[i] = (struct descriptor){(u64)events[i], sizeof events[i], 2, 0};
        queues[EVENTS].available.ring[i] = (u16)i;
    }
    set_up_queue(RX, QUEUE);
    set_up_queue(TX, 0);
    set_up_queue(EVENTS, QUEUE);
    our_cid = REGISTER(0x100);
    REGISTER(0x70) = 15;
    REGISTER(0x50) = RX;
    REGISTER(0x50) = EVENTS;
}

/* The one connection: a new one takes the place of the one before. */
static struct { u32 open, peer, forwarded, told, synced, token_seen; } connection;

static void transmit(u32 peer, u16 operation, const void *bytes, u32 count) {
    struct header *h = (void *)tx;
    *h = (struct header){our_cid, 2, AGENT_PORT, peer, count, 1, operation, 0, CREDIT, connection.forwarded};
    memcpy(h + 1, bytes, count);
    connection.told = connection.forwarded;
    struct queue *q = &queues[TX];
    q->descriptors[0] = (struct descriptor){(u64)tx, (u32)sizeof *h + count, 0, 0};
    q->available.ring[q->available.index % QUEUE] = 0;
    BARRIER;
    q->available.index++;
    BARRIER;
    REGISTER(0x50) = TX;
    while (*(volatile u16 *)&q->used.index != q->available.index) pause_cpu();
}

static void send_bytes(const void *bytes, u32 count) {
    const u8 *at = bytes;
    while (count && connection.open) {
        u32 now = count < PACKET ? count : PACKET;
        transmit(connection.peer, OP_RW, at, now);
        at += now, count -= now;
    }
}

/* ---- frames ---- */

enum { OPEN = 1, DATA = 2, END = 3, RESULT = 4, RESET = 7, PING = 8, PONG = 9 };
enum { INVALID = 1, UNAUTHORIZED = 2, NOT_FOUND = 3, EXHAUSTED = 5, UNSUPPORTED = 6, WAS_RESET = 9 };
enum { HELLO = 1, HEALTH, INFO, EXEC, UPLOAD, START_WORKLOAD = 8, SET_TIME = 12, RENEW, SYNC, SHUTDOWN = 16, SET_TOKEN, NETWORK };

struct frame { u8 kind, channel; u16 code; u32 stream, length, checksum; };

static void send_frame(u8 kind, u8 channel, u16 code, u32 stream, const void *payload, u32 count) {
    struct frame frame = {kind, channel, code, stream, count, 0};
    u32 crc = crc_more(~0u, (u8 *)&frame, 12);
    frame.checksum = ~crc_more(crc, payload, count);
    static u8 whole[PACKET];
    if (sizeof frame + count <= sizeof whole) {
        memcpy(whole, &frame, sizeof frame);
        memcpy(whole + sizeof frame, payload, count);
        return send_bytes(whole, sizeof frame + count);
    }
    send_bytes(&frame, sizeof frame);
    send_bytes(payload, count);
}

static void answer(u32 stream, const char *json) { send_frame(RESULT, 0, 0, stream, json, length(json)); }
static void refuse(u32 stream, u16 code, const char *why) { send_frame(RESULT, 0, code, stream, why, length(why)); }

/* ---- what the guest remembers ---- */

#define FILES 16
#define FILE_MOST 65536
static struct { char path[256]; u32 size; u8 bytes[FILE_MOST]; } files[FILES];
/* The file that each of the streams that are open writes; 0 is no stream. Several may be: their frames come mixed. */
static u32 uploads[FILES];
static char token[520], vm_id[128] = "nobody";
static u32 generation, counter, entropy_sum;

static int file_at(const char *path, int make) {
    for (int i = 0; i < FILES; i++)
        if (equal(files[i].path, path)) return i;
    for (int i = 0; make && i < FILES; i++)
        if (!files[i].path[0]) return i;
    return -1;
}

/* ---- a little JSON ---- */

/* Reads the string that begins at the quote `at`; where it ends, or none. */
static const char *read_string(const char *at, char *into, u32 most) {
    u32 n = 0;
    if (*at++ != '"') return 0;
    const char *end = find(at, '"', length(at));
    u64 plain = (u64)(find(at, '\\', (u64)(end - at)) - at);
    n = plain < most - 1 ? (u32)plain : most - 1;
    memcpy(into, at, n);
    for (at += plain; *at && *at != '"'; at++) {
        char c = *at;
        if (c == '\\') {
            c = *++at;
            if (c == 'n') c = '\n';
            if (!c) return 0;
        }
        if (n + 1 < most) into[n++] = c;
    }
    into[n] = 0;
    return *at ? at + 1 : 0;
}

/* Where the value of a key is; none when it is not there. */
static const char *value_of(const char *json, const char *key) {
    u32 n = length(key);
    const char *end = json + length(json);
    while ((json = find(json, '"', (u64)(end - json))) < end) {
        json++;
        if (*json == *key && same(json, key, n) && json[n] == '"' && json[1 + n] == ':') return json + 2 + n;
    }
    return 0;
}

static int string_of(const char *json, const char *key, char *into, u32 most) {
    const char *at = value_of(json, key);
    return at && read_string(at, into, most) != 0;
}

static char *append(char *to, const char *text) {
    u32 n = length(text);
    memcpy(to, text, n + 1);
    return to + n;
}

static char *append_number(char *to, u32 number) {
    char digits[12];
    int n = 0;
    do digits[n++] = (char)('0' + number % 10);
    while (number /= 10);
    while (n) *to++ = digits[--n];
    *to = 0;
    return to;
}

/* ---- commands ---- */

#define WORDS 8
static char words[WORDS][1024];
static u8 filled[24 * 1024 * 1024];

static u32 split(const char *line) {
    u32 n = 0, at = 0;
    for (;; line++) {
        int quote = *line == '\'' || *line == '"';
        if (*line && *line != ' ' && !quote) {
            if (at < sizeof words[0] - 1 && n < WORDS) words[n][at++] = *line;
        } else if (at) {
            words[n++][at] = 0;
            at = 0;
        }
        if (!*line || n == WORDS) return n;
    }
}

static u32 read_argv(const char *json) {
    const char *at = value_of(json, "argv");
    u32 n = 0;
    if (at && *at == '[' && at[1] == '"') {
        for (at++; at && *at == '"' && n < WORDS; n++) {
            at = read_string(at, words[n], sizeof words[n]);
            if (at && *at == ',') at++;
        }
    }
    static char line[4096];
    if (!n && string_of(json, "shell", line, sizeof line)) n = split(line);
    if (n > 2 && equal(words[0], "sh")) {
        append(line, words[2]);
        n = split(line);
    }
    return n;
}

static void ended(u32 stream, u32 code) {
    char text[64];
    append(append_number(append(text, "{\"exit_code\":"), code), "}");
    answer(stream, text);
}

static void say(u32 stream, u8 channel, const char *text) { send_frame(DATA, channel, 0, stream, text, length(text)); }

static void command(u32 stream, const char *json) {
    static char text[8 * 1024];
    u32 n = read_argv(json);
    const char *program = n ? words[0] : "";
    char *end = text;
    *end = 0;
    if (equal(program, "echo")) {
        for (u32 i = 1; i < n; i++) end = append(append(end, words[i]), i + 1 < n ? " " : "");
        append(end, "\n");
    } else if (equal(program, "count")) {
        append(append_number(end, ++counter), "\n");
    } else if (equal(program, "whoami")) {
        end = append(append(end, vm_id), " ");
        append(append_number(append(append_number(end, generation), " "), entropy_sum), "\n");
    } else if (equal(program, "fill")) {
        u32 kib = 0;
        for (const char *d = n > 1 ? words[1] : ""; *d >= '0' && *d <= '9'; d++) kib = kib * 10 + (u32)(*d - '0');
        for (u64 at = 0; at < (u64)kib * 1024 && at < sizeof filled; at += 4096) filled[at]++;
    } else if (equal(program, "cat")) {
        int slot = n > 1 ? file_at(words[1], 0) : -1;
        if (slot < 0) {
            say(stream, 2, "cat: no such file\n");
            return ended(stream, 1);
        }
        for (u32 at = 0; at < files[slot].size; at += 32768) {
            u32 left = files[slot].size - at;
            send_frame(DATA, 1, 0, stream, files[slot].bytes + at, left < 32768 ? left : 32768);
        }
    } else if (equal(program, "crash")) {
        triple_fault();
    } else if (equal(program, "off")) {
        turn_off();
    } else if (equal(program, "false")) {
        return ended(stream, 1);
    } else if (!equal(program, "true")) {
        return refuse(stream, NOT_FOUND, "this guest has no such program");
    }
    if (text[0]) say(stream, 1, text);
    ended(stream, 0);
}

/* ---- verbs ---- */

static void hello(u32 stream, const char *json) {
    char given[520];
    given[0] = 0;
    string_of(json, "token", given, sizeof given);
    if (token[0] && !equal(token, given)) return refuse(stream, UNAUTHORIZED, "the guest does not take this token");
    append(token, given);
    connection.token_seen = 1;
    answer(stream, "{\"agent\":\"bare\",\"version\":\"1\"}");
}

static void begin_upload(u32 stream, const char *json) {
    char path[256];
    path[0] = 0;
    string_of(json, "path", path, sizeof path);
    int slot = path[0] == '/' ? file_at(path, 1) : -1;
    if (slot < 0) return refuse(stream, EXHAUSTED, "this guest has no room for another file");
    if (uploads[slot]) return refuse(stream, EXHAUSTED, "this guest is writing that file");
    append(files[slot].path, path);
    files[slot].size = 0;
    uploads[slot] = stream;
}

/* The file that a stream writes, or -1. */
static int slot_of(u32 stream) {
    for (int i = 0; stream && i < FILES; i++)
        if (uploads[i] == stream) return i;
    return -1;
}

static void renew(u32 stream, const char *json) {
    char entropy[1024], text[128];
    entropy[0] = 0;
    string_of(json, "entropy", entropy, sizeof entropy);
    entropy_sum = ~crc_more(~0u, (u8 *)entropy, length(entropy));
    string_of(json, "vm_id", vm_id, sizeof vm_id);
    string_of(json, "token", token, sizeof token);
    append(append_number(append(text, "{\"reseeded\":true,\"generation\":"), ++generation), "}");
    answer(stream, text);
}

static void open_stream(u16 verb, u32 stream, const char *json) {
    if (verb == HELLO) return hello(stream, json);
    if (verb == HEALTH) return answer(stream, "{\"status\":\"ok\"}");
    if (!connection.token_seen) return refuse(stream, UNAUTHORIZED, "hello comes first");
    switch (verb) {
    case INFO: return answer(stream, "{\"agent\":\"bare\",\"version\":\"1\"}");
    case EXEC: return command(stream, json);
    case UPLOAD: return begin_upload(stream, json);
    case RENEW: return renew(stream, json);
    case SHUTDOWN: answer(stream, "{}"); turn_off();
    case START_WORKLOAD: case SET_TIME: case SYNC: case NETWORK: return answer(stream, "{}");
    default: return refuse(stream, UNSUPPORTED, "this guest does not know the verb");
    }
}

static void data(u32 stream, const u8 *bytes, u32 count) {
    int slot = slot_of(stream);
    if (slot < 0) return;
    u32 size = files[slot].size;
    if (size + count > FILE_MOST) {
        uploads[slot] = 0;
        return refuse(stream, EXHAUSTED, "the file is too large for this guest");
    }
    memcpy(files[slot].bytes + size, bytes, count);
    files[slot].size = size + count;
}

static void end_upload(u32 stream, int given_up) {
    int slot = slot_of(stream);
    if (slot < 0) return;
    uploads[slot] = 0;
    if (given_up) refuse(stream, WAS_RESET, "the host gave it up");
    else answer(stream, "{}");
}

static void take_frame(struct frame *frame, u8 *payload) {
    u8 after = payload[frame->length];
    payload[frame->length] = 0;
    switch (frame->kind) {
    case OPEN: open_stream(frame->code, frame->stream, (char *)payload); break;
    case DATA: data(frame->stream, payload, frame->length); break;
    case END: end_upload(frame->stream, 0); break;
    case RESET: end_upload(frame->stream, 1); break;
    case PING: send_frame(PONG, 0, 0, 0, payload, frame->length); break;
    default: break;
    }
    payload[frame->length] = after;
}

/* ---- the stream ---- */

static u8 held[2 * 40960];
static u32 held_count;

/* What the bytes that are held begin with: how many of them are dealt with, 0 when more are needed. */
static u32 deal(void) {
    if (!held[0]) return 1;
    if (!connection.synced) {
        if (held_count < 40) return 0;
        held[0] = 0xf6;
        u32 sum = ~crc_more(~0u, held, 36);
        memcpy(held + 36, &sum, 4);
        connection.synced = 1;
        send_bytes(held, 40);
        return 40;
    }
    struct frame frame;
    if (held_count < sizeof frame) return 0;
    memcpy(&frame, held, sizeof frame);
    if (held_count < sizeof frame + frame.length) return 0;
    take_frame(&frame, held + sizeof frame);
    return (u32)sizeof frame + frame.length;
}

static void take_bytes(const u8 *bytes, u32 count) {
    if (held_count + count >= sizeof held) held_count = 0;
    memcpy(held + held_count, bytes, count);
    held_count += count;
    for (u32 done; held_count && (done = deal());) {
        held_count -= done;
        if (held_count) memcpy(held, held + done, held_count);
    }
}

static void connect(u32 peer) {
    connection.open = 1, connection.peer = peer, connection.forwarded = connection.told = 0;
    connection.synced = connection.token_seen = 0;
    held_count = 0;
    memset(uploads, 0, sizeof uploads);
    transmit(peer, OP_RESPONSE, 0, 0);
}

static void take_packet(struct header *h) {
    int ours = connection.open && h->source_port == connection.peer;
    switch (h->operation) {
    case OP_REQUEST:
        if (h->target_port == AGENT_PORT) connect(h->source_port);
        else transmit(h->source_port, OP_RST, 0, 0);
        break;
    case OP_RW:
        if (!ours) {
            transmit(h->source_port, OP_RST, 0, 0);
            break;
        }
        connection.forwarded += h->length;
        take_bytes((u8 *)(h + 1), h->length);
        /* What is sent says it along. */
        if (connection.open && connection.forwarded - connection.told > CREDIT / 4)
            transmit(connection.peer, OP_CREDIT_UPDATE, 0, 0);
        break;
    case OP_CREDIT_REQUEST: transmit(h->source_port, OP_CREDIT_UPDATE, 0, 0); break;
    case OP_SHUTDOWN: transmit(h->source_port, OP_RST, 0, 0); /* fall through */
    case OP_RST:
        if (ours) connection.open = 0;
        break;
    default: break;
    }
}

static void give_back(u32 number, u16 buffer) {
    struct queue *q = &queues[number];
    q->available.ring[q->available.index % QUEUE] = buffer;
    BARRIER;
    q->available.index++;
    BARRIER;
    REGISTER(0x50) = number;
}

/* The transport was reset: this is another life, after a snapshot. Looked at before each packet: what comes after a
 * reset is of the new life. */
static int events_wait(void) { return *(volatile u16 *)&queues[EVENTS].used.index != queues[EVENTS].seen; }

static void look_at_events(void) {
    struct queue *q = &queues[EVENTS];
    if (!events_wait()) return;
    u32 id = q->used.ring[q->seen++ % QUEUE].id;
    connection.open = 0;
    print("guest: transport reset\n");
    give_back(EVENTS, (u16)id);
    REGISTER(0x50) = RX;
}

void guest_main(void) {
    crc_prepare();
    map_devices();
    if (!find_device()) {
        print("no vsock device\n");
        for (;;) pause_cpu();
    }
    take_interrupts();
    set_up_device();
    print("guest: listening\n");
    for (;;) {
        REGISTER(0x64) = REGISTER(0x60);
        look_at_events();
        struct queue *q = &queues[RX];
        while (*(volatile u16 *)&q->used.index != q->seen) {
            struct used_element *element = &q->used.ring[q->seen++ % QUEUE];
            u32 id = element->id;
            /* The machine may have been saved while the packet before this one was being answered. */
            look_at_events();
            take_packet((struct header *)rx[id]);
            give_back(RX, (u16)id);
        }
        if (!events_wait()) halt();
    }
}

__asm__(".globl _start\n.section .text.start,\"ax\"\n_start: cli\n mov $0x2f0000,%rsp\n call guest_main\n");
