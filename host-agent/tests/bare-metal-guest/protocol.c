#include "protocol.h"
#include "json.h"
#include "machine.h"

struct peer peers[VSOCK_CONNECTIONS];

static const char MAGIC[] = "\xf5" "FUSE-GUEST-SYNC";

static void put16(uint8_t *at, uint32_t v) { at[0] = (uint8_t)v, at[1] = (uint8_t)(v >> 8); }
static void put32(uint8_t *at, uint32_t v) { put16(at, v), put16(at + 2, v >> 16); }
static uint32_t get16(const uint8_t *at) { return (uint32_t)at[0] | (uint32_t)at[1] << 8; }
static uint32_t get32(const uint8_t *at) { return get16(at) | get16(at + 2) << 16; }

void frame(struct connection *c, int kind, int channel, int code, uint32_t stream, const void *payload, uint32_t n)
{
    uint8_t h[HEADER] = {(uint8_t)kind, (uint8_t)channel};
    put16(h + 2, (uint32_t)code);
    put32(h + 4, stream);
    put32(h + 8, n);
    put32(h + 12, crc32(crc32(0, h, 12), payload, n));
    vsock_write(c, h, HEADER);
    vsock_write(c, payload, n);
}

void send_data(struct connection *c, struct stream *s, int channel, const void *bytes, uint32_t n)
{
    frame(c, DATA, channel, 0, s->id, bytes, n);
    s->window -= n + COST;
}

void fail(struct connection *c, uint32_t stream, int code, const char *message)
{
    frame(c, RESULT, 0, code, stream, message, (uint32_t)strlen(message));
}

void end_streams(struct peer *p)
{
    for (int i = 0; i < STREAMS; i++)
        p->streams[i].doing = NOTHING;
    p->arguments_length = 0;
}

static struct stream *find(struct peer *p, uint32_t id)
{
    for (int i = 0; i < STREAMS; i++)
        if (p->streams[i].doing != NOTHING && p->streams[i].id == id)
            return &p->streams[i];
    return 0;
}

static void open(struct connection *c, struct peer *p, const uint8_t *h, const char *payload, uint32_t n)
{
    if (n > sizeof p->arguments - p->arguments_length) {
        p->arguments_length = 0;
        fail(c, get32(h + 4), EXHAUSTED, "the arguments are longer than this guest takes (32,768 bytes)");
        return;
    }
    memcpy(p->arguments + p->arguments_length, payload, n);
    p->arguments_length += n;
    if (h[1] == 1)
        return;
    uint32_t length = p->arguments_length;
    p->arguments_length = 0;
    for (int i = 0; i < STREAMS; i++) {
        struct stream *s = &p->streams[i];
        if (s->doing == NOTHING) {
            *s = (struct stream){get32(h + 4), NOTHING, WINDOW, 0, 0, -1};
            verb_open(c, p, s, (int)get16(h + 2), p->arguments, length);
            return;
        }
    }
    fail(c, get32(h + 4), EXHAUSTED, "16 streams are open");
}

static void data(struct connection *c, struct stream *s, const uint8_t *bytes, uint32_t n)
{
    verb_data(c, s, bytes, n);
    s->owed += n + COST;
    if (s->doing != NOTHING && s->owed >= WINDOW / 2) {
        uint8_t more[4];
        put32(more, s->owed);
        s->owed = 0;
        frame(c, CREDIT, 0, 0, s->id, more, sizeof more);
    }
}

static void dispatch(struct connection *c, struct peer *p, const uint8_t *h, const uint8_t *payload, uint32_t n)
{
    struct stream *s = find(p, get32(h + 4));
    if (h[0] == OPEN)
        open(c, p, h, (const char *)payload, n);
    else if (h[0] == PING)
        frame(c, PONG, 0, 0, 0, payload, n < 64 ? n : 64);
    else if (!s)
        return;
    else if (h[0] == DATA)
        data(c, s, payload, n);
    else if (h[0] == END)
        verb_end(c, s);
    else if (h[0] == CREDIT && n == 4)
        s->window += get32(payload);
    else if (h[0] == RESET) {
        s->doing = NOTHING;
        fail(c, s->id, RESET_BY_HOST, "given up by the host");
    } else if (h[0] == CONTROL && get16(h + 2) == 2) {
        int64_t signal = 0;
        if (json_number((const char *)payload, n, "signal", &signal))
            verb_signal(c, s, (int)signal);
    }
}

/* Looks for a SYNC at the beginning of what came. Returns how many bytes were dealt with; 0: more must come. */
static uint32_t sync(struct connection *c, struct peer *p)
{
    uint32_t skip = 0;
    while (skip < c->in_length && c->in[skip] != 0xf5)
        skip++;
    if (skip)
        return skip;
    if (c->in_length < SYNC)
        return 0;
    if (memcmp(c->in, MAGIC, 16) != 0 || get32(c->in + 36) != crc32(0, c->in, 36))
        return 1;
    end_streams(p);
    p->synced = 1;
    p->authenticated = 0;
    uint8_t back[SYNC];
    memcpy(back, c->in, SYNC);
    back[0] = 0xf6;
    put16(back + 16, 1);
    put32(back + 36, crc32(0, back, 36));
    vsock_write(c, back, SYNC);
    return SYNC;
}

/* One frame, or what stands between frames. Returns how many bytes were dealt with; 0: more must come. */
static uint32_t step(struct connection *c, struct peer *p)
{
    if (c->in_length == 0)
        return 0;
    if (!p->synced || c->in[0] == 0xf5)
        return sync(c, p);
    if (c->in[0] == 0)
        return 1;
    if (c->in_length < HEADER)
        return 0;
    uint32_t n = get32(c->in + 8);
    if (c->in[0] > PONG || n > MAX_PAYLOAD) {
        p->synced = 0;
        end_streams(p);
        return 1;
    }
    if (c->in_length < HEADER + n)
        return 0;
    if (crc32(crc32(0, c->in, 12), c->in + HEADER, n) != get32(c->in + 12)) {
        p->synced = 0;
        end_streams(p);
        return 1;
    }
    dispatch(c, p, c->in, c->in + HEADER, n);
    return HEADER + n;
}

void protocol_poll(struct connection *c, struct peer *p)
{
    /* An answer is at most what one frame brought and a few small frames. */
    const uint32_t room = 2 * (HEADER + MAX_PAYLOAD);
    for (uint32_t done = 1; done && vsock_room(c) > room && !c->closed;) {
        done = step(c, p);
        if (done)
            vsock_consume(c, done);
    }
    for (int i = 0; i < STREAMS; i++)
        if (p->streams[i].doing == POURS)
            verb_pour(c, &p->streams[i]);
}
