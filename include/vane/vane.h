/* libvane: metrics, traces, logs, health checks, usage events and profiles for C and C++ programs.
 *
 * This is the umbrella header. A program that wants less includes single headers; each stands alone.
 *
 *     #include <vane/vane.h>
 *
 *     int main(void)
 *     {
 *         vane_config cfg = VANE_CONFIG_INIT;
 *         cfg.service_name = "shop";
 *         vane_start(&cfg);
 *         vane_counter hits = vane_counter_bind(vane_counter_new("hits_total", "Pages shown", "page"), VANE_LABELS("/"));
 *         vane_counter_inc(hits);
 *         vane_stop(5000);
 *     }
 *
 * Rules that hold for every function of the library, unless its own comment says more:
 *   Never      aborts, prints, raises a signal or changes the process's signal dispositions; the one exception is the
 *              profiler, which uses SIGPROF after vane_profile_start() and says so.
 *   Before     vane_start() and after vane_stop() every call is a cheap no-op: a branch on one global word.
 *   Handles    are small values, copied freely. A zero handle, a freed handle and a handle of an earlier vane_start()
 *              are refused: the call does nothing, vane_self().stale_handles grows by one.
 *   Structs    that may grow begin with `size`; the *_INIT macros set it. The library reads no byte past `size` and
 *              treats what is missing as zero. Zero always means "not set, use the default".
 *   Strings    given to the library are NUL-terminated UTF-8, copied before the call returns unless the comment says
 *              "borrowed". NULL reads as "". Bytes that are not UTF-8 become U+FFFD and are counted; strings over their
 *              limit are cut at a character and counted.
 *   Threads    every function may be called from any thread at any time unless its comment says otherwise.
 *   Signals    functions marked "Signals: safe" may be called from a signal handler; no others.
 *   fork       see vane_fork_* in core.h: a child starts from zero with a new instance id.
 *   Errors     functions that can fail return a vane_status; those on the request path return nothing, and what they
 *              cannot do is counted (vane_self()). */
#ifndef VANE_VANE_H
#define VANE_VANE_H

#include "core.h"
#include "config.h"
#include "metrics.h"
#include "trace.h"
#include "propagate.h"
#include "log.h"
#include "health.h"
#include "event.h"
#include "profile.h"
#include "http.h"
#include "export.h"

#endif
