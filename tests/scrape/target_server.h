/* A small HTTP server on loopback that misbehaves on demand; one thread per connection. */
#ifndef TESTS_SCRAPE_TARGET_SERVER_H
#define TESTS_SCRAPE_TARGET_SERVER_H

#include <stdatomic.h>

#include "base/buf.h"
#include "base/thread.h"

struct target_server;
/* handler fills the whole answer (status line, headers, body) or returns false to close without one. Called concurrently. */
struct target_answer {
    struct buf raw;
    int hold_ms;  /* keep the connection open and silent after raw (hanging target) */
    bool endless; /* repeat raw's last 1 KiB until the peer goes away */
};
typedef bool (*target_handler)(void *ctx, str path, str head, struct target_answer *ret);
struct target_server *target_server_open(target_handler h, void *ctx);
uint16_t target_server_port(const struct target_server *s);
void target_server_close(struct target_server *s);
/* "HTTP/1.1 200 OK", length, text/plain;version=0.0.4, body. */
void target_answer_text(struct target_answer *a, const char *status, const char *extra_headers, str body);

#endif
