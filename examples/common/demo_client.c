/* Calls of the example services to each other: libcurl, instrumented by contrib/libcurl; see demo.h. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../contrib/libcurl/vane_curl.h"
#include "demo_int.h"

enum { ANSWER_BYTES_MAX = 1 << 20 };

struct received {
    char *p;
    size_t n;
};

static size_t on_answer(char *data, size_t size, size_t n, void *ctx)
{
    struct received *r = ctx;
    size_t all = size * n;
    char *grown = r->n + all <= ANSWER_BYTES_MAX ? realloc(r->p, r->n + all) : NULL;
    if (!grown)
        return 0;
    r->p = grown;
    memcpy(r->p + r->n, data, all);
    r->n += all;
    return all;
}

/* Each thread keeps its connections to the others, and closes them when it ends. */
static pthread_key_t curl_key;
static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void curl_make_key(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
    pthread_key_create(&curl_key, curl_easy_cleanup);
}

static CURL *thread_curl(void)
{
    pthread_once(&curl_once, curl_make_key);
    CURL *curl = pthread_getspecific(curl_key);
    if (curl) {
        curl_easy_reset(curl);
    } else {
        curl = curl_easy_init();
        pthread_setspecific(curl_key, curl);
    }
    return curl;
}

int demo_call(const char *url, const char *token, json_t *body, json_t **ret, int timeout_ms)
{
    struct received got = { NULL, 0 };
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    long status = 0;
    CURL *curl = thread_curl();
    if (token && token[0]) {
        char line[64];
        snprintf(line, sizeof(line), "Authorization: Bearer %.32s", token);
        headers = curl_slist_append(headers, line);
    }
    if (curl) {
        curl_easy_setopt(curl, CURLOPT_URL, url);
        curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
        curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_answer);
        curl_easy_setopt(curl, CURLOPT_WRITEDATA, &got);
        if (text)
            curl_easy_setopt(curl, CURLOPT_POSTFIELDS, text);
        if (vane_curl_perform(curl, text ? "POST" : "GET", url, headers) == CURLE_OK)
            curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    }
    if (ret)
        *ret = status && got.n ? json_loadb(got.p, got.n, JSON_DECODE_ANY, NULL) : NULL;
    curl_slist_free_all(headers);
    json_decref(body);
    free(text);
    free(got.p);
    return (int)status;
}

vane_health demo_check_peer(void *ctx, char *message, size_t n)
{
    int status = demo_call(ctx, NULL, NULL, NULL, 2000);
    if (status == 200)
        return VANE_HEALTHY;
    if (status)
        snprintf(message, n, "%s answered %d", (const char *)ctx, status);
    else
        snprintf(message, n, "%s did not answer", (const char *)ctx);
    return VANE_UNHEALTHY;
}
