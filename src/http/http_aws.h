/* Requests to Amazon's services: signature version 4, in a header; answers of its query APIs; profiles. Credentials of
 * all other kinds are looked for by the client (struct http_sigv4 of http.h).
 * Spec: docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html. */
#ifndef VANE_HTTP_HTTP_AWS_H
#define VANE_HTTP_HTTP_AWS_H

#include "http/http.h"

struct http_aws_key {
    str id, secret, token; /* token: of temporary credentials; "" = none */
};
struct http_aws_request {
    str method, url; /* as it is sent: without a fragment, all parts encoded */
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

/* [profile] of a credentials or config file: sets what it finds there; *region only when it is empty. In a. */
void http_aws_profile(struct arena *a, str text, str profile, struct http_aws_key *ret, str *region);
str http_aws_host(struct arena *a, const char *service, str region); /* "ec2.eu-west-1.amazonaws.com" */

/* ---- XML, in a ---- */
struct http_aws_xml {
    str name, text; /* without the namespace; text only of elements without elements */
    struct http_aws_xml *first, *next;
};
bool http_aws_xml_parse(struct arena *a, str text, struct http_aws_xml **ret, struct err_text *why);
/* "a/b": the first b of the first a in x, or NULL. x may be NULL. */
const struct http_aws_xml *http_aws_xml_at(const struct http_aws_xml *x, str path);
str http_aws_xml_text(const struct http_aws_xml *x, str path);         /* "" when there is none */
str http_aws_xml_error(struct arena *a, const struct http_aws_xml *x); /* "Code: message" of a refusal, or "" */

#endif
