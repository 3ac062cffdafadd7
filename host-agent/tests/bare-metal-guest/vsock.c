#include "vsock.h"
#include "machine.h"

/* Virtio 1.1: the split virtqueue (2.6), the MMIO transport (4.2), the socket device (5.10). */
enum { QUEUE = 8, RX = 0, TX = 1, EVENTS = 2 };
enum { NEXT_WRITABLE = 2, STATUS_OK = 15, STATUS_FEATURES = 11 };
enum {
    MAGIC = 0x00, DEVICE = 0x08, DEVICE_FEATURES = 0x10, DEVICE_FEATURES_SEL = 0x14, DRIVER_FEATURES = 0x20,
    DRIVER_FEATURES_SEL = 0x24, QUEUE_SEL = 0x30, QUEUE_NUM = 0x38, QUEUE_READY = 0x44, NOTIFY = 0x50,
    INTERRUPT_STATUS = 0x60, INTERRUPT_ACK = 0x64, STATUS = 0x70, QUEUE_DESC = 0x80, QUEUE_DRIVER = 0x90,
    QUEUE_DEVICE = 0xa0, CONFIG = 0x100
};
enum { REQUEST = 1, RESPONSE = 2, RST = 3, SHUTDOWN = 4, RW = 5, CREDIT_UPDATE = 6, CREDIT_REQUEST = 7 };

struct descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t flags, next;
};
struct available {
    uint16_t flags, index, ring[QUEUE], event;
};
struct used_element {
    uint32_t id, length;
};
struct used {
    uint16_t flags, index;
    struct used_element ring[QUEUE];
    uint16_t event;
};
struct header {
    uint64_t source, destination;
    uint32_t source_port, destination_port, length;
    uint16_t type, operation;
    uint32_t flags, buffer, consumed;
} __attribute__((packed));

static struct queue {
    struct descriptor descriptors[QUEUE] __attribute__((aligned(16)));
    struct available available __attribute__((aligned(2)));
    struct used used __attribute__((aligned(4)));
    uint16_t seen;
} __attribute__((aligned(4096))) queues[3];

#define PACKET 4096
static uint8_t received[QUEUE][sizeof(struct header) + PACKET] __attribute__((aligned(64)));
static uint8_t outgoing[QUEUE][sizeof(struct header) + PACKET] __attribute__((aligned(64)));
static uint8_t events[QUEUE][16];
static volatile uint32_t *device;
static uint64_t own_context;

struct connection connections[VSOCK_CONNECTIONS];

static uint32_t get(uint32_t at) { return device[at / 4]; }
static void put(uint32_t at, uint32_t value) { device[at / 4] = value; }

static uint16_t used_index(int q)
{
    BARRIER();
    return *(volatile uint16_t *)&queues[q].used.index;
}

static void offer(int q, uint16_t id)
{
    struct available *a = &queues[q].available;
    a->ring[a->index % QUEUE] = id;
    BARRIER();
    a->index++;
    BARRIER();
}

static void start_queue(int q, int writable, uint8_t *memory, uint32_t each)
{
    put(QUEUE_SEL, (uint32_t)q);
    put(QUEUE_NUM, QUEUE);
    for (uint16_t i = 0; i < QUEUE; i++) {
        queues[q].descriptors[i] = (struct descriptor){
            (uint64_t)(memory + (size_t)i * each), each, writable ? NEXT_WRITABLE : 0, 0};
        if (writable)
            offer(q, i);
    }
    const struct { uint32_t reg; const void *part; } parts[] = {
        {QUEUE_DESC, queues[q].descriptors}, {QUEUE_DRIVER, &queues[q].available}, {QUEUE_DEVICE, &queues[q].used}};
    for (int i = 0; i < 3; i++) {
        put(parts[i].reg, (uint32_t)(uint64_t)parts[i].part);
        put(parts[i].reg + 4, 0);
    }
    put(QUEUE_READY, 1);
}

static int find(void)
{
    static const uint64_t bases[] = {0xc0000000u, 0xd0000000u};
    for (int b = 0; b < 2; b++)
        for (uint64_t slot = 0; slot < 16; slot++) {
            device = (volatile uint32_t *)(bases[b] + slot * 4096);
            if (get(MAGIC) == 0x74726976 && get(DEVICE) == 19)
                return 1;
        }
    return 0;
}

int vsock_start(void)
{
    if (!find())
        return 0;
    put(STATUS, 0);
    put(STATUS, 1);
    put(STATUS, 3);
    /* VERSION_1 and nothing else. */
    put(DRIVER_FEATURES_SEL, 1);
    put(DRIVER_FEATURES, 1);
    put(DRIVER_FEATURES_SEL, 0);
    put(DRIVER_FEATURES, 0);
    put(STATUS, STATUS_FEATURES);
    if (!(get(STATUS) & 8))
        return 0;
    start_queue(RX, 1, received[0], sizeof received[0]);
    start_queue(TX, 0, outgoing[0], sizeof outgoing[0]);
    start_queue(EVENTS, 1, events[0], sizeof events[0]);
    own_context = get(CONFIG);
    put(STATUS, STATUS_OK);
    put(NOTIFY, RX);
    put(NOTIFY, EVENTS);
    return 1;
}

/* Sends one packet; waits for the device, which never waits for us. */
static void packet(uint64_t peer, uint32_t local_port, uint32_t peer_port, uint16_t operation, uint32_t flags,
                   uint32_t consumed, const void *bytes, uint32_t n)
{
    struct queue *q = &queues[TX];
    uint16_t id = q->available.index % QUEUE;
    struct header *h = (struct header *)outgoing[id];
    *h = (struct header){own_context, peer, local_port, peer_port, n, 1, operation, flags, VSOCK_IN, consumed};
    memcpy(h + 1, bytes, n);
    q->descriptors[id].length = (uint32_t)sizeof *h + n;
    offer(TX, id);
    put(NOTIFY, TX);
    while (used_index(TX) != q->available.index)
        __asm__ __volatile__("pause");
}

static void tell(struct connection *c, uint16_t operation, uint32_t flags, const void *bytes, uint32_t n)
{
    packet(c->peer, c->local_port, c->peer_port, operation, flags, c->consumed, bytes, n);
    c->told = c->consumed;
}

static struct connection *of(const struct header *h)
{
    for (int i = 0; i < VSOCK_CONNECTIONS; i++)
        if (connections[i].open && connections[i].peer == h->source && connections[i].peer_port == h->source_port &&
            connections[i].local_port == h->destination_port)
            return &connections[i];
    return 0;
}

static struct connection *accept(const struct header *h)
{
    for (int i = 0; i < VSOCK_CONNECTIONS; i++)
        if (!connections[i].open) {
            struct connection *c = &connections[i];
            c->open = 1;
            c->closed = 0;
            c->local_port = h->destination_port;
            c->peer_port = h->source_port;
            c->peer = h->source;
            c->in_length = c->out_start = c->out_length = c->consumed = c->told = c->sent = 0;
            return c;
        }
    return 0;
}

static void refuse(const struct header *h)
{
    packet(h->source, h->destination_port, h->source_port, RST, 0, 0, "", 0);
}

static void take(const struct header *h, const uint8_t *bytes, uint32_t port)
{
    struct connection *c = of(h);
    if (h->operation == REQUEST) {
        if (c || h->destination_port != port || h->source != 2 || !(c = accept(h))) {
            refuse(h);
            return;
        }
        tell(c, RESPONSE, 0, "", 0);
    }
    if (!c) {
        if (h->operation != RST)
            refuse(h);
        return;
    }
    c->peer_buffer = h->buffer;
    c->peer_consumed = h->consumed;
    if (h->operation == RW) {
        if (h->length > PACKET || h->length > VSOCK_IN - c->in_length) {
            vsock_close(c);
            return;
        }
        memcpy(c->in + c->in_length, bytes, h->length);
        c->in_length += h->length;
    } else if (h->operation == CREDIT_REQUEST) {
        tell(c, CREDIT_UPDATE, 0, "", 0);
    } else if (h->operation == SHUTDOWN) {
        tell(c, RST, 0, "", 0);
        c->closed = 1;
    } else if (h->operation == RST) {
        c->closed = 1;
    }
}

static void flush(struct connection *c)
{
    while (c->out_length && !c->closed) {
        uint32_t room = c->peer_buffer - (c->sent - c->peer_consumed);
        uint32_t n = c->out_length < PACKET ? c->out_length : PACKET;
        n = n < room ? n : room;
        if (n == 0) {
            tell(c, CREDIT_REQUEST, 0, "", 0);
            return;
        }
        tell(c, RW, 0, c->out + c->out_start, n);
        c->sent += n;
        c->out_length -= n;
        c->out_start = c->out_length ? c->out_start + n : 0;
    }
}

int vsock_poll(uint32_t port)
{
    int reset = 0;
    while (used_index(RX) != queues[RX].seen) {
        uint16_t id = (uint16_t)queues[RX].used.ring[queues[RX].seen++ % QUEUE].id;
        const struct header *h = (const struct header *)received[id];
        take(h, (const uint8_t *)(h + 1), port);
        offer(RX, id);
        put(NOTIFY, RX);
    }
    while (used_index(EVENTS) != queues[EVENTS].seen) {
        offer(EVENTS, (uint16_t)queues[EVENTS].used.ring[queues[EVENTS].seen++ % QUEUE].id);
        put(NOTIFY, EVENTS);
        put(NOTIFY, RX);
        own_context = get(CONFIG);
        reset = 1;
    }
    for (int i = 0; i < VSOCK_CONNECTIONS; i++) {
        struct connection *c = &connections[i];
        if (c->open && !c->closed) {
            /* The VM that goes on after a snapshot is told too, though its host side still has the connection. */
            if (reset)
                vsock_close(c);
            else
                flush(c);
        }
    }
    uint32_t pending = get(INTERRUPT_STATUS);
    if (pending)
        put(INTERRUPT_ACK, pending);
    return reset;
}

void vsock_consume(struct connection *c, uint32_t n)
{
    c->in_length -= n;
    memmove(c->in, c->in + n, c->in_length);
    c->consumed += n;
    /* The host may send as much again before it must hear of it. */
    if (c->consumed - c->told >= VSOCK_IN / 4 && !c->closed)
        tell(c, CREDIT_UPDATE, 0, "", 0);
}

void vsock_write(struct connection *c, const void *bytes, uint32_t n)
{
    if (c->out_start + c->out_length + n > VSOCK_OUT) {
        memmove(c->out, c->out + c->out_start, c->out_length);
        c->out_start = 0;
    }
    memcpy(c->out + c->out_start + c->out_length, bytes, n);
    c->out_length += n;
}

void vsock_close(struct connection *c)
{
    if (!c->closed)
        tell(c, RST, 0, "", 0);
    c->closed = 1;
}
