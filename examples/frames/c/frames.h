/* frames.h: what the camera examples in C and C++ share: real frames, a decoder of the packets that their modules
 * send, and the summary that is the same on every run and in every language. */
#ifndef EXAMPLE_FRAMES_H
#define EXAMPLE_FRAMES_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FRAME_WIDTH 320u
#define FRAME_HEIGHT 240u
#define FRAME_BYTES (FRAME_WIDTH * FRAME_HEIGHT)
/* Frames until the window has swept the whole picture. */
#define SWEEP 24u

/* The picture that frames are windows of. */
struct sky {
    uint8_t *pixels;
    size_t width, height;
};

/* Reads hubble_deep_field.pgm; 0 when it could not, after saying why. */
int sky_load(struct sky *sky, const char *path);
void sky_free(struct sky *sky);
/* Copies frame `number` of the sequence. */
void sky_frame(const struct sky *sky, uint32_t number, uint8_t frame[FRAME_BYTES]);

/* What became of one frame. */
struct outcome {
    const uint8_t *packet; /* NULL: the modules kept it back */
    size_t packet_length;
    const char *why;
};

/* A report under way. */
struct report {
    FILE *summary;
    uint32_t kept, dropped, failed;
};

/* Begins OUT/summary.tsv; 0 when it could not, after saying why. The folder must be there. */
int report_begin(struct report *report, const char *out);
/* Decodes the frame's packet, compares it with the frame byte for byte, and adds a row. */
void report_add(struct report *report, uint32_t number, const uint8_t *frame, const struct outcome *outcome);
/* Prints the sums; 0 when the file could not be written. */
int report_end(struct report *report);

#ifdef __cplusplus
}
#endif
#endif
