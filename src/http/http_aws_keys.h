/* Private to room `http`: credentials for Amazon's services, for the client's requests.
 *
 * One entry per set of settings (struct http_sigv4), shared by all requests that name equal ones; as with OAuth2
 * (http_oauth2.h), a request without usable credentials waits, the one search under way serves all who wait, and what
 * nears its end is renewed while it is still in use. A search that fails is remembered for 1 s to 30 s.
 *
 * Spec: docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html (order), feature-container-credentials.html,
 * AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html (version 2), STS/latest/APIReference.
 * Threads: any. */
#ifndef VANE_HTTP_HTTP_AWS_KEYS_H
#define VANE_HTTP_HTTP_AWS_KEYS_H

#include "http/http_aws.h"
#include "http/http_oauth2.h"

struct http_aws_keys;
struct http_aws_keys *http_aws_keys_open(struct http_client *c);
void http_aws_keys_close(struct http_aws_keys *k); /* no request is under way any more */
struct http_aws_found {
    struct http_aws_key key;
    str region, why; /* why: of HTTP_TOKEN_FAILED */
    uint64_t issued_ns;
};
/* *ret in a. May start a search. */
enum http_token_state http_aws_keys_take(struct http_aws_keys *k, const struct http_sigv4 *s, struct arena *a,
                                         struct http_aws_found *ret);
/* A server answered 401 or 403: the next request gets new ones, unless there are newer ones or these are very young. */
void http_aws_keys_refused(struct http_aws_keys *k, const struct http_sigv4 *s, uint64_t issued_ns);

#endif
