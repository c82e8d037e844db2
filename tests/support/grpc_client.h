/* A gRPC client for tests: nghttp2's client over a blocking socket, and bare frames for what no client would send. */
#ifndef VANE_TESTS_HTTP_GRPC_CLIENT_H
#define VANE_TESTS_HTTP_GRPC_CLIENT_H

#include <nghttp2/nghttp2.h>

#include "base/buf.h"
#include "http/grpc.h"

struct grpc_result {
    int32_t id;
    bool closed;
    uint32_t error;        /* of RST_STREAM */
    int http_status, code; /* code -1: no grpc-status came */
    char text[1200], details[2000];
    struct buf body; /* with the prefix */
    bool head_only;  /* status in the first HEADERS */
    str left;        /* of the request's body */
    bool open;       /* it does not end */
};
struct grpc_client {
    int fd;
    nghttp2_session *session;
    struct grpc_result *results[2048];
    size_t n;
    bool goaway, eof;
    uint32_t goaway_error;
    int32_t goaway_last;
    char goaway_debug[64];
    unsigned pings;
};

/* settings may be NULL. */
struct grpc_client *grpc_client_open(uint16_t port, const nghttp2_settings_entry *settings, size_t n_settings);
void grpc_client_close(struct grpc_client *c);
/* The head of a call; each NULL field is left out, except that the defaults make a right call. */
struct grpc_head {
    const char *method, *path, *content_type, *te, *encoding, *timeout;
    size_t extra_bytes; /* of one more field */
};
#define GRPC_HEAD(path_)                                                                        \
    {                                                                                           \
        .method = "POST", .path = (path_), .content_type = "application/grpc", .te = "trailers" \
    }
/* body: the frames as they are; open: without END_STREAM. */
struct grpc_result *grpc_client_start(struct grpc_client *c, const struct grpc_head *h, str body, bool open);
/* Sends and receives until the call has ended (true) or so long. r NULL: until GOAWAY and the end of the connection. */
bool grpc_client_wait(struct grpc_client *c, struct grpc_result *r, unsigned ms);
void grpc_client_pump(struct grpc_client *c, unsigned ms); /* exactly so long */
/* One call from start to end. */
struct grpc_result *grpc_client_call(struct grpc_client *c, const struct grpc_head *h, str body);
/* flag, length, bytes -> out */
str grpc_frame(struct arena *a, uint8_t flag, str message);

int grpc_raw_connect(uint16_t port, bool preface); /* with preface: "PRI ..." and empty SETTINGS */
void grpc_raw_frame(int fd, uint8_t type, uint8_t flags, uint32_t stream, const void *p, size_t n); /* n <= 1024 */
bool grpc_raw_closed(int fd, unsigned ms); /* reads on until the server closes */

#endif
