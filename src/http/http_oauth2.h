/* Private to room `http`: tokens of OAuth 2.0 for the client's requests.
 *
 * One entry per set of settings (struct http_oauth2), shared by all requests that name equal ones. A request that finds no
 * usable token waits; the one fetch under way serves all who wait, and http_client_wake() makes every loop look again.
 * A token that nears its end is exchanged while the old one is still in use. A failed fetch is remembered for a
 * growing while (1 s to 30 s), so that a broken token server is not asked once per target.
 *
 * Spec: RFC 6749 4.4 and 2.3.1 (client credentials: in the header, and in the form for servers that refuse that), 5.1, 5.2.
 * Threads: any. */
#ifndef VANE_HTTP_HTTP_OAUTH2_H
#define VANE_HTTP_HTTP_OAUTH2_H

#include "http/http.h"

struct http_tokens;
enum http_token_state {
    HTTP_TOKEN_READY,  /* ret: "Bearer abc" */
    HTTP_TOKEN_WAIT,   /* look again when woken */
    HTTP_TOKEN_FAILED, /* ret: why, for people */
};
struct http_tokens *http_tokens_open(struct http_client *c);
void http_tokens_close(struct http_tokens *t); /* no request is under way any more */
/* ret in a. ret_issued_ns: for http_tokens_refused. May start a fetch. */
enum http_token_state http_tokens_take(struct http_tokens *t, const struct http_oauth2 *o, struct arena *a, str *ret,
                                       uint64_t *ret_issued_ns);
/* A server answered 401: the next request gets a new token, unless there is a newer one or it is very young. */
void http_tokens_refused(struct http_tokens *t, const struct http_oauth2 *o, uint64_t issued_ns);

/* http_client.c: have all loops look at what waits for a token. */
void http_client_wake(struct http_client *c);

#endif
