#include "vane_curl.h"

#include <vane/http.h>

#include <stdio.h>
#include <string.h>

/* Headers to send; a failed allocation leaves the list as it was. */
static void set(void *carrier, const char *name, const char *value)
{
    struct curl_slist **list = carrier;
    char line[8000];
    int n = snprintf(line, sizeof line, "%s: %s", name, value);
    struct curl_slist *more = n > 0 && (size_t)n < sizeof line ? curl_slist_append(*list, line) : NULL;
    if (more)
        *list = more;
}

static const char *error_of(CURLcode code)
{
    switch (code) {
    case CURLE_OK:
        return NULL;
    case CURLE_OPERATION_TIMEDOUT:
        return "timeout";
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return "name_resolution_error";
    case CURLE_COULDNT_CONNECT:
        return "connect_error";
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
        return "tls_error";
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_PARTIAL_FILE:
        return "connection_lost";
    default:
        return "curl_error";
    }
}

CURLcode vane_curl_perform(CURL *handle, const char *method, const char *url, struct curl_slist *headers)
{
    if (!handle || !url)
        return handle ? curl_easy_perform(handle) : CURLE_BAD_FUNCTION_ARGUMENT;
    struct curl_slist *all = NULL;
    for (struct curl_slist *h = headers; h; h = h->next) {
        struct curl_slist *more = curl_slist_append(all, h->data);
        if (!more) {
            curl_slist_free_all(all);
            return CURLE_OUT_OF_MEMORY;
        }
        all = more;
    }
    vane_http_client x;
    vane_http_client_begin(&x, method, url, set, &all);
    curl_easy_setopt(handle, CURLOPT_HTTPHEADER, all);
    CURLcode code = curl_easy_perform(handle);
    long status = 0;
    curl_off_t bytes = -1;
    curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(handle, CURLINFO_SIZE_DOWNLOAD_T, &bytes);
    vane_http_client_end(&x, code ? 0 : (int)status, error_of(code), (int64_t)bytes);
    curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers);
    curl_slist_free_all(all);
    return code;
}
