/* world.h: what a scenario does to the world of its control plane, beside the calls of fuse.h. In libfuse_world.so, which has
 * all of libfuse too. */
#ifndef WORLD_H
#define WORLD_H

#include <fuse.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A control plane of its own over a store in memory, stub hosts and virtual time, as `config` (JSON) says: the handle for
 * the calls of fuse.h. `out_why` (fuse_string_free) says why when it is not 0. One world at a time. */
int world_open(const char *config, fuse_orchestrator_t **out, char **out_why);

/* Does a step (JSON) that is not a call: a fault, the time, a host. `out` (fuse_string_free) is the answer as JSON, or why
 * it failed when this is not 0. */
int world_step(const char *step, char **out);

/* Ends the control plane where it stands, as the end of the process would, and opens another on the same store. The handle
 * of before is of no use any more. */
int world_restart(fuse_orchestrator_t **out, char **out_why);

/* Says, from a callback, that what is waited for has come. */
void world_told(void);

/* Lets the world go on until then. 0, or 1 when an hour of its time has passed. */
int world_wait(void);

/* Ends the world, after its orchestrator was closed. */
void world_close(void);

#ifdef __cplusplus
}
#endif
#endif
