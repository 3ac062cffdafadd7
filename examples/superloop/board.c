/* The board, played by a Linux process. A real one has registers here. */
#include "board.h"

#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

static uint64_t now_us;
static float temperature = 20;
static void (*expired)(void);

uint64_t board_now_us(void) { return now_us; }
void board_wait_us(uint64_t time_us) { now_us += time_us; }

static void interrupt(int signal) {
    (void)signal;
    if (expired) expired();
}

void board_timer_arm(uint32_t time_us, void (*handler)(void)) {
    struct sigaction action;
    struct itimerval once = {{0, 0}, {time_us / 1000000, time_us % 1000000}};
    memset(&action, 0, sizeof action);
    action.sa_handler = interrupt;
    action.sa_flags = SA_RESTART;
    expired = handler;
    sigaction(SIGVTALRM, &action, NULL);
    setitimer(ITIMER_VIRTUAL, &once, NULL);
}

void board_timer_stop(void) {
    struct itimerval never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_VIRTUAL, &never, NULL);
}

int board_protect(const uint8_t *start, size_t length, int code) {
    return mprotect((void *)(uintptr_t)start, length, code ? PROT_READ | PROT_EXEC : PROT_READ | PROT_WRITE);
}

const uint8_t *board_flash(const char *name, size_t *length) {
    struct stat file;
    int descriptor = open(name, O_RDONLY);
    if (descriptor < 0 || fstat(descriptor, &file) != 0) return NULL;
    void *start = mmap(NULL, (size_t)file.st_size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    close(descriptor);
    *length = (size_t)file.st_size;
    return start == MAP_FAILED ? NULL : start;
}

float board_temperature(void) { return temperature += 1; }
void board_cool(int32_t degrees) { temperature -= (float)degrees; }

static void out(const char *text, size_t length) {
    while (length > 0) {
        ssize_t written = write(STDOUT_FILENO, text, length);
        if (written <= 0) return;
        text += written;
        length -= (size_t)written;
    }
}

void board_say(const char *text) {
    out(text, strlen(text));
    out("\n", 1);
}

void board_say_number(const char *text, uint64_t number) {
    char digits[24];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    out(text, strlen(text));
    out(digits + at, sizeof digits - at);
    out("\n", 1);
}

void board_reset(int code) { _exit(code); }
