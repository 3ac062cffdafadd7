/* virtio-vsock over virtio-mmio, by polling. Stream connections from the host (context 2), with their flow control. */
#ifndef VSOCK_H
#define VSOCK_H
#include <stdint.h>

#define VSOCK_CONNECTIONS 8
#define VSOCK_IN 65536
#define VSOCK_OUT 163840

struct connection {
    int open;
    /* The host has closed: what is still to be sent is dropped. */
    int closed;
    uint32_t local_port, peer_port;
    uint64_t peer;
    /* What came and is not consumed; what is to go out. */
    uint32_t in_length, out_start, out_length;
    /* Flow control: consumed by us, sent by us, the peer's buffer and what it has consumed. */
    uint32_t consumed, told, sent, peer_buffer, peer_consumed;
    uint8_t in[VSOCK_IN], out[VSOCK_OUT];
};

extern struct connection connections[VSOCK_CONNECTIONS];

/* Finds the device and starts it. Returns 0 when there is none. */
int vsock_start(void);
/* Takes what the device has for us, and sends what it has room for. Connection requests for `port` are accepted.
 * Returns 1 when the device was reset (the VM was restored from a snapshot): every connection is gone then. */
int vsock_poll(uint32_t port);
/* Takes the first `n` bytes of what came as dealt with. */
void vsock_consume(struct connection *c, uint32_t n);
/* Queues bytes; the caller has checked vsock_room. */
void vsock_write(struct connection *c, const void *bytes, uint32_t n);
static inline uint32_t vsock_room(const struct connection *c) { return VSOCK_OUT - c->out_length; }
void vsock_close(struct connection *c);
#endif
