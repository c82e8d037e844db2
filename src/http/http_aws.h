/* Requests to Amazon's services: signature version 4, in a header.
 * Spec: docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html. */
#ifndef VANE_HTTP_HTTP_AWS_H
#define VANE_HTTP_HTTP_AWS_H

#include "http/http.h"

struct http_aws_key {
    str id, secret, token; /* token: of temporary credentials; "" = none */
};
struct http_aws_request {
    str method, url; /* the query, if any, in the order and encoding in which it is sent */
    str region, service;
    const struct http_pair *headers; /* signed too; Host and X-Amz-Date are added */
    size_t n_headers;
    str body;
    int64_t now_ms;
};
#define HTTP_AWS_HEADERS 3 /* Authorization, X-Amz-Date, X-Amz-Security-Token */
/* The headers to add to the request; in a. Returns how many. Pure. */
size_t http_aws_sign(const struct http_aws_request *rq, const struct http_aws_key *key, struct arena *a,
                     struct http_pair ret[HTTP_AWS_HEADERS]);

#endif
