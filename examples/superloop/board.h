/* The board: what a real one has in registers. Time passes only where the program waits, so each run is the same; the
 * quota timer is a one-shot timer of the process, in time that its code ran, whose signal stands for the interrupt. */
#ifndef BOARD_H
#define BOARD_H

#include <stddef.h>
#include <stdint.h>

/* The free-running counter, in microseconds. */
uint64_t board_now_us(void);
/* Waits for the next interrupt, or until this much time has passed. */
void board_wait_us(uint64_t time_us);

/* The quota timer: after `time_us` of running code, `handler` is called in interrupt context. One shot. */
void board_timer_arm(uint32_t time_us, void (*handler)(void));
void board_timer_stop(void);

/* The memory protection unit: 1 makes the region code, 0 makes it data. 0 when it worked. */
int board_protect(const uint8_t *start, size_t length, int code);

/* A file of the flash memory, which a board has in its address space: 0 when there is none. */
const uint8_t *board_flash(const char *name, size_t *length);

/* The sensor, in degrees Celsius: it warms up by one a read, and cools by what the cooler took. */
float board_temperature(void);
void board_cool(int32_t degrees);

void board_say(const char *text);
void board_say_number(const char *text, uint64_t number);
/* Resets the machine. */
_Noreturn void board_reset(int code);

#endif
