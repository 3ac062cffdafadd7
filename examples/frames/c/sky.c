/* A moving window over the Hubble Deep Field. */
#include "frames.h"

#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 6, STEP_X = 136, STEP_Y = 210, SHIFT_X = 37, SHIFT_Y = 61 };

int sky_load(struct sky *sky, const char *path) {
    FILE *file = fopen(path, "rb");
    int ok = file && fscanf(file, "P5 %zu %zu 255", &sky->width, &sky->height) == 2 && fgetc(file) == '\n' &&
             sky->width >= FRAME_WIDTH && sky->height >= FRAME_HEIGHT && sky->width <= 65535 && sky->height <= 65535;
    sky->pixels = NULL;
    if (ok) {
        size_t size = sky->width * sky->height;
        sky->pixels = malloc(size);
        ok = sky->pixels && fread(sky->pixels, 1, size, file) == size;
    }
    if (file) fclose(file);
    if (!ok) fprintf(stderr, "cannot read %s: it is not `P5 WIDTH HEIGHT 255` with its pixels\n", path);
    return ok;
}

void sky_free(struct sky *sky) { free(sky->pixels); }

void sky_frame(const struct sky *sky, uint32_t number, uint8_t frame[FRAME_BYTES]) {
    /* Row after row, every other one backwards, as a scanning telescope would. */
    uint32_t sweep = number / SWEEP, step = number % SWEEP;
    uint32_t row = step / COLUMNS, along = step % COLUMNS;
    uint32_t column = row % 2 == 0 ? along : COLUMNS - 1 - along;
    size_t x = column * STEP_X + (size_t)((uint64_t)sweep * SHIFT_X % STEP_X);
    size_t y = row * STEP_Y + (size_t)((uint64_t)sweep * SHIFT_Y % STEP_Y);
    if (x > sky->width - FRAME_WIDTH) x = sky->width - FRAME_WIDTH;
    if (y > sky->height - FRAME_HEIGHT) y = sky->height - FRAME_HEIGHT;
    for (size_t line = 0; line < FRAME_HEIGHT; line++)
        memcpy(frame + line * FRAME_WIDTH, sky->pixels + (y + line) * sky->width + x, FRAME_WIDTH);
}
