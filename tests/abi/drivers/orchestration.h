/* orchestration.h: the two halves of a driver of orchestration scenarios. orchestration.c reads calls and prints what came of
 * them; orchestration_c.c and orchestration_cpp.cpp make them, one with fuse.h, the other with fuse.hpp. */
#ifndef ORCHESTRATION_H
#define ORCHESTRATION_H

#include <fuse.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Given by orchestration.c ---- */

/* Says, from a callback, that what is waited for has come; and waits until then. */
void driver_told(void);
void driver_wait(void);
/* Whether nothing happens between calls, so that a stream is ended from inside its callback. */
extern const int driver_is_still;
/* Ends the program. */
void driver_die(const char *why);

/* ---- Given by orchestration_c.c and orchestration_cpp.cpp ---- */

/* One call: the name of a function after fuse_orchestrator_, and its arguments as texts; NULL where none is given. */
struct call {
    const char *name;
    const char *args[5];
    int later; /* by its _async form */
};

/* What came of it: the answer, or the body of the error; for free, NULL when there is none. */
struct outcome {
    fuse_status_t status;
    char *text;
};

/* Takes the handle over; the one of before is closed, unless it is of no use any more. */
void call_take(fuse_orchestrator_t *handle, int old_is_useless);
struct outcome call_connect(const char *url, const char *token);
struct outcome call_make(const struct call *call);
/* Follows events from after one until another: their frames, a line each. */
struct outcome call_events(uint64_t after, uint64_t newest);
struct outcome call_close(void);

#ifdef __cplusplus
}
#endif
#endif
