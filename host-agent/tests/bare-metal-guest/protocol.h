/* The core of the guest protocol (docs/guest-protocol.md): SYNC, frames, streams with their windows. */
#ifndef PROTOCOL_H
#define PROTOCOL_H
#include "vsock.h"

enum { HEADER = 16, MAX_PAYLOAD = 32768, SYNC = 40, WINDOW = 262144, STREAMS = 16, COST = 16 };
enum { OPEN = 1, DATA, END, RESULT, CONTROL, CREDIT, RESET, PING, PONG };
enum { INPUT = 0, OUTPUT = 1, ERROR = 2 };
enum {
    INVALID = 1, UNAUTHORIZED, NOT_FOUND, REFUSED, EXHAUSTED, UNSUPPORTED, FAILED, TIMED_OUT, RESET_BY_HOST
};

/* What a stream that is not answered yet waits for. */
enum doing { NOTHING, CATS, UPLOADS, POURS, WAITS };

struct stream {
    uint32_t id;
    enum doing doing;
    uint32_t window; /* what we may still send */
    uint32_t owed;   /* what we have dealt with and not given back */
    uint32_t left;   /* POURS: bytes to go */
    int file;        /* UPLOADS: which file */
};

/* One side of a connection of the protocol. */
struct peer {
    int synced, authenticated;
    struct stream streams[STREAMS];
    /* Arguments of an OPEN that takes several frames. */
    uint32_t arguments_length;
    char arguments[MAX_PAYLOAD];
};

extern struct peer peers[VSOCK_CONNECTIONS];

void frame(struct connection *c, int kind, int channel, int code, uint32_t stream, const void *payload, uint32_t n);
void send_data(struct connection *c, struct stream *s, int channel, const void *bytes, uint32_t n);
void fail(struct connection *c, uint32_t stream, int code, const char *message);
void end_streams(struct peer *p);
/* Deals with what has come on a connection, as long as there is room for the answers. */
void protocol_poll(struct connection *c, struct peer *p);

/* The verbs. */
void verb_open(struct connection *c, struct peer *p, struct stream *s, int verb, const char *text, uint32_t n);
/* Returns 0 when the stream takes no more (it was answered). */
void verb_data(struct connection *c, struct stream *s, const uint8_t *bytes, uint32_t n);
void verb_end(struct connection *c, struct stream *s);
void verb_signal(struct connection *c, struct stream *s, int signal);
void verb_pour(struct connection *c, struct stream *s);
#endif
