/* libcurl with libvane: a client span, propagated headers, http_client_request_duration_seconds. Copy the two files. */
#pragma once

#include <curl/curl.h>

#ifdef __cplusplus
extern "C" {
#endif

/* curl_easy_perform() as one request of this process.
 *   method    what the handle is set up to send, "GET"
 *   url       the same as CURLOPT_URL, for the span; NULL: no span, no headers, no metric
 *   headers   the host's own list or NULL; the handle's CURLOPT_HTTPHEADER is set to it again before this returns
 * Returns what curl_easy_perform() returned. Threads: as the handle. */
CURLcode vane_curl_perform(CURL *handle, const char *method, const char *url, struct curl_slist *headers);

#ifdef __cplusplus
}
#endif
