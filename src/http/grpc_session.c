/* HTTP/2 of one connection: from nghttp2's callbacks to calls, and what a peer may not flood us with.
 *
 *   rapid reset     RST_STREAM costs a token; and a stream whose handler still runs counts against streams_max
 *   CONTINUATION    nghttp2's limit per header block, and the time limit of a call's headers
 *   PING            a token each, given back with every call: abuse ends with GOAWAY "too_many_pings"
 *   SETTINGS, PRIORITY, WINDOW_UPDATE, empty DATA: a large bucket
 *   answers nobody reads: reading pauses while the socket takes nothing (grpc_conn.c)
 *
 * An answer that comes before the end of the request (a refusal) is followed by RST_STREAM NO_ERROR, so that the client
 * stops sending (RFC 9113, 8.1). */
#include "base/log.h"
#include "base/stats.h"
#include "http/grpc_int.h"

enum { CONTROL_BURST = 10000, CONTROL_PER_S = 1000, RESETS_PER_S = 100, CONTINUATIONS_MAX = 16, SHUTDOWN_GAP_MS = 100 };

static struct stat streams_refused = STAT_COUNTER(
    "vane_grpc_streams_refused_total", "Streams refused before their headers were read (REFUSED_STREAM)", "");

bool grpc_bucket_take(struct grpc_bucket *b, uint64_t now_ns)
{
    b->tokens = MIN(b->burst, b->tokens + (double)(now_ns - b->at_ns) * 1e-9 * b->per_s);
    b->at_ns = now_ns;
    if (b->tokens < 1)
        return false;
    b->tokens -= 1;
    return true;
}

static struct grpc_bucket bucket(double burst, double per_s)
{
    return (struct grpc_bucket){ .tokens = burst, .burst = burst, .per_s = per_s, .at_ns = os_mono_ns() };
}

void grpc_session_flood(struct grpc_conn *c, const char *reason, const char *debug)
{
    if (c->ending)
        return;
    LOG_INFO("gRPC connection closed: its client floods", "client", c->remote, "with", debug);
    nghttp2_submit_goaway(c->session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(c->session),
                          NGHTTP2_ENHANCE_YOUR_CALM, (const uint8_t *)debug, strlen(debug));
    c->cut = reason;
    c->ending = true;
    grpc_conn_dirty(c);
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *ctx)
{
    (void)session;
    struct grpc_conn *c = ctx;
    uint64_t now = os_mono_ns();
    switch (hd->type) {
    case NGHTTP2_HEADERS:
        c->pings.tokens = MIN(c->pings.burst, c->pings.tokens + 1);
        break;
    case NGHTTP2_CONTINUATION:
        break;
    case NGHTTP2_PING:
        if (!(hd->flags & NGHTTP2_FLAG_ACK) && !grpc_bucket_take(&c->pings, now))
            grpc_session_flood(c, "too_many_pings", "too_many_pings");
        break;
    case NGHTTP2_RST_STREAM:
        if (!grpc_bucket_take(&c->resets, now))
            grpc_session_flood(c, "resets", "too_many_resets");
        break;
    case NGHTTP2_DATA:
        if (hd->length)
            break;
        __attribute__((fallthrough));
    default:
        if (!grpc_bucket_take(&c->control, now))
            grpc_session_flood(c, "control", "too_many_control_frames");
        break;
    }
    return 0;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct grpc_conn *c = ctx;
    struct grpc_server *s = c->server;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    if (c->ending || c->n_calls >= s->cfg.streams_max || atomic_load(&s->n_calls) >= (int)s->cfg.calls_max) {
        stat_add(&streams_refused, 1);
        if (!grpc_bucket_take(&c->resets, os_mono_ns()))
            grpc_session_flood(c, "resets", "too_many_streams");
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_REFUSED_STREAM);
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, grpc_call_new(c, frame->hd.stream_id));
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t n_name,
                     const uint8_t *value, size_t n_value, uint8_t flags, void *ctx)
{
    (void)flags, (void)ctx;
    struct grpc_call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (call && call->state == CALL_HEADERS)
        grpc_call_header(call, str_n((const char *)name, n_name), str_n((const char *)value, n_value));
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct grpc_conn *c = ctx;
    struct grpc_call *call = NULL;
    if (frame->hd.type == NGHTTP2_SETTINGS && c->state == GRPC_CONN_PREFACE) {
        c->state = GRPC_CONN_OPEN;
        grpc_loop_by(c->loop, os_mono_ns()); /* other time limits from now on */
    }
    if (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA)
        call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!call)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        grpc_call_headers_done(call);
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        grpc_call_end_of_body(call);
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *p, size_t n, void *ctx)
{
    (void)flags, (void)ctx;
    struct grpc_call *call = nghttp2_session_get_stream_user_data(session, stream_id);
    if (call)
        grpc_call_data(call, p, n);
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error, void *ctx)
{
    (void)error, (void)ctx;
    struct grpc_call *call = nghttp2_session_get_stream_user_data(session, stream_id);
    if (call) {
        nghttp2_session_set_stream_user_data(session, stream_id, NULL);
        grpc_call_stream_closed(call);
    }
    return 0;
}

static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct grpc_conn *c = ctx;
    bool content = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
    if (content && frame->hd.flags & NGHTTP2_FLAG_END_STREAM &&
        nghttp2_session_get_stream_remote_close(session, frame->hd.stream_id) == 0)
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
    if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR && !c->cut)
        c->cut = "protocol";
    return 0;
}

enum err grpc_session_setup(struct grpc_server *s)
{
    if (nghttp2_session_callbacks_new(&s->callbacks) != 0 || nghttp2_option_new(&s->option) != 0)
        return ERR_LIMIT;
    nghttp2_session_callbacks_set_on_begin_frame_callback(s->callbacks, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(s->callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(s->callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(s->callbacks, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(s->callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(s->callbacks, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(s->callbacks, on_sent);
    nghttp2_option_set_no_closed_streams(s->option, 1);
    nghttp2_option_set_max_continuations(s->option, CONTINUATIONS_MAX);
    /* The library's own guard behind ours, which says ENHANCE_YOUR_CALM. */
    nghttp2_option_set_stream_reset_rate_limit(s->option, 2ull * s->cfg.resets_burst, 2ull * RESETS_PER_S);
    return OK;
}

enum err grpc_session_open(struct grpc_conn *c)
{
    const struct grpc_server_config *cfg = &c->server->cfg;
    const nghttp2_settings_entry settings[] = {
        { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, cfg->streams_max },
        { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, cfg->stream_window_bytes },
        { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, cfg->header_list_bytes_max },
    };
    c->pings = bucket(cfg->pings_burst, 1);
    c->resets = bucket(cfg->resets_burst, RESETS_PER_S);
    c->control = bucket(CONTROL_BURST, CONTROL_PER_S);
    if (nghttp2_session_server_new2(&c->session, c->server->callbacks, c, c->server->option) != 0 ||
        nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, ARRAY_LEN(settings)) != 0 ||
        nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, (int32_t)cfg->conn_window_bytes) != 0)
        return ERR_LIMIT;
    return OK;
}

/* The notice lets streams that are on their way through; the last id follows when they have arrived. */
void grpc_session_shutdown(struct grpc_conn *c)
{
    if (c->shutting || c->ending || !c->session)
        return;
    c->shutting = true;
    nghttp2_submit_shutdown_notice(c->session);
    c->shut_ns = os_mono_ns() + SHUTDOWN_GAP_MS * 1000000ull;
    grpc_loop_by(c->loop, c->shut_ns);
    grpc_conn_dirty(c);
}

void grpc_session_shutdown_final(struct grpc_conn *c)
{
    c->shut_final = true;
    nghttp2_submit_goaway(c->session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(c->session),
                          NGHTTP2_NO_ERROR, NULL, 0);
    grpc_conn_dirty(c);
}
