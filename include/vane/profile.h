/* libvane profiling: an in-process CPU sampler that writes pprof, and capture of slow requests.
 *
 * Per-thread CPU timers (SIGPROF, 100 Hz by default) walk the stack in the handler; nothing is allocated there. While the
 * profiler runs the library owns SIGPROF: vane_profile_start() refuses when the host has a handler for it. Only threads
 * that called vane_thread_attach() or any recording call of the library are sampled. A thread that waits gets no signal:
 * its system calls are not disturbed. The handler stays installed after the profiler stopped. */
#ifndef VANE_PROFILE_H
#define VANE_PROFILE_H

#include "core.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct vane_profile_opts {
    size_t size;         /* sizeof(vane_profile_opts) */
    uint32_t hz;         /* samples per second of CPU time and thread, 1 to 250; 0: 100 */
    uint32_t stacks_max; /* different stacks kept; 0: 16384. More are counted in profile_dropped */
} vane_profile_opts;

/* Start sampling all attached threads, and those that attach later. Returns VANE_OK, VANE_E_ARG, VANE_E_STATE (not
 * started, or the profiler runs already), VANE_E_EXISTS (SIGPROF is taken), VANE_E_NOMEM, VANE_E_UNAVAILABLE. */
VANE_API vane_status vane_profile_start(const vane_profile_opts *opts);

/* Stop, and give the profile so far: gzipped pprof (perftools.profiles.Profile), sample types samples/count and
 * cpu/nanoseconds, labels thread, trace_id, span_id, endpoint where known; mappings with build ids; names of functions
 * from ELF symbols. Freed with vane_render_free(). */
VANE_API vane_status vane_profile_stop(char **ret, size_t *ret_n);

/* Stop and write to a file (created 0640, written beside and renamed), or post to an HTTP address. */
VANE_API vane_status vane_profile_stop_to_file(const char *path);
VANE_API vane_status vane_profile_stop_to_url(const char *url); /* http:// only; others: VANE_E_UNAVAILABLE */

/* Requests: from begin to end on this thread it is sampled when `profiling` is on and the request is in the sampled
 * fraction, or as soon as it is over the slow threshold (then from that moment on). At the end of a request that was
 * slow or sampled its stacks are kept with trace and span id, and its span gets the attribute profile.id (in the profile
 * a label of the same name). While it waits, the place where it waits is noted every 50 ms (one frame, label state
 * "waiting", no CPU time). Needs profile_dir; a program with a SIGPROF handler of its own goes without, told by diag.
 * The middleware (http.h) calls these itself. Nests: the outermost request counts. */
VANE_API void vane_profile_request_begin(const char *endpoint);
VANE_API void vane_profile_request_end(void);

/* Write what slow-request capture has gathered to profile_dir now (it does so by itself every 60 s and at stop), as
 * requests-PID-SECONDS-N.pb.gz; nothing when there is nothing. VANE_E_STATE when nothing is captured. */
VANE_API vane_status vane_profile_flush(void);

#ifdef __cplusplus
}
#endif
#endif
