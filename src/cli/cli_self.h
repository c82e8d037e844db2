/* vane's own metrics, stored like any target's: every interval /metrics is rendered, parsed and written with
 * job="vane" and `up`, without a detour over the network. Threads: open and close from one thread. */
#ifndef VANE_CLI_CLI_SELF_H
#define VANE_CLI_CLI_SELF_H

#include "base/buf.h"
#include "model/sample.h"

struct cli_self;
struct cli_self_config {
    void *sink; /* where samples go */
    enum err (*append)(void *sink, const struct batch *b);
    void (*render)(struct buf *out); /* what /metrics shows, text format */
    int64_t interval_ms;             /* 0 = 15 s */
    const char *instance;            /* "127.0.0.1:9090"; copied */
};
enum err cli_self_open(const struct cli_self_config *cfg, struct cli_self **ret) MUST_CHECK;
void cli_self_close(struct cli_self *s); /* NULL is fine */

#endif
