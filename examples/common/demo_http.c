/* The example services' server and client; see demo.h. */
#include "demo_int.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <math.h>
#include <microhttpd.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BODY_BYTES_MAX = 65536 };

struct demo_service {
    struct MHD_Daemon *daemon;
    const struct demo_route *routes;
    size_t n_routes;
    void *ctx;
    sigset_t signals;
};
struct pending { /* a request while its body arrives */
    char *body;
    size_t n;
    double started;
};

static struct metric *requests, *durations, *in_flight, *client_requests, *client_durations;

double demo_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

double demo_random(void)
{
    static __thread unsigned long long s;
    if (s == 0)
        s = (unsigned long long)(demo_now() * 1e9) ^ (unsigned long long)pthread_self();
    s ^= s << 13;
    s ^= s >> 7;
    s ^= s << 17;
    return (double)(s >> 11) * 0x1p-53;
}

void demo_work(double mean_seconds)
{
    double gauss = 0;
    for (int i = 0; i < 12; i++)
        gauss += demo_random();
    double seconds = mean_seconds * exp((gauss - 6) * 0.5 - 0.125);
    struct timespec ts = { (time_t)seconds, (long)((seconds - floor(seconds)) * 1e9) };
    nanosleep(&ts, NULL);
}

const char *demo_query(const struct demo_request *rq, const char *name)
{
    return MHD_lookup_connection_value(rq->connection, MHD_GET_ARGUMENT_KIND, name);
}

static const struct demo_route *find_route(const struct demo_service *s, const char *method, const char *path)
{
    for (size_t i = 0; i < s->n_routes; i++) {
        const struct demo_route *r = &s->routes[i];
        size_t n = strlen(r->path);
        bool match = r->path[n - 1] == '/' && n > 1 ? strncmp(path, r->path, n) == 0 : strcmp(path, r->path) == 0;
        if (match && strcmp(method, r->method) == 0)
            return r;
    }
    return NULL;
}

static enum MHD_Result answer(struct MHD_Connection *c, int status, const char *type, const char *body, size_t n)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(n, (void *)(size_t)body, MHD_RESPMEM_MUST_COPY);
    MHD_add_response_header(r, "Content-Type", type);
    enum MHD_Result ok = MHD_queue_response(c, (unsigned)status, r);
    MHD_destroy_response(r);
    return ok;
}

static enum MHD_Result answer_metrics(struct MHD_Connection *c)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    if (!f)
        return MHD_NO;
    demo_render_metrics(f);
    fclose(f);
    enum MHD_Result ok = answer(c, 200, "text/plain; version=0.0.4; charset=utf-8", text, n);
    free(text);
    return ok;
}

static enum MHD_Result serve(const struct demo_service *s, struct MHD_Connection *c, const char *method,
                             const char *path, const struct pending *p)
{
    if (strcmp(path, "/metrics") == 0)
        return answer_metrics(c);
    const struct demo_route *r = find_route(s, method, path);
    struct demo_response *rs = calloc(1, sizeof(*rs));
    struct demo_request rq = { method, path, p->body ? p->body : "", p->n, r ? path + strlen(r->path) : "", s->ctx, c };
    if (!rs)
        return MHD_NO;
    rs->status = 200;
    metric_add(in_flight, 1, NO_LABELS);
    if (r)
        r->handle(&rq, rs);
    else
        rs->status = 404;
    metric_add(in_flight, -1, NO_LABELS);
    char status[8];
    snprintf(status, sizeof(status), "%d", rs->status);
    const char *route = r ? r->name : "unknown";
    metric_add(requests, 1, LABELS(method, route, status));
    metric_observe(durations, demo_now() - p->started, LABELS(method, route));
    enum MHD_Result ok = answer(c, rs->status, "application/json", rs->body, strlen(rs->body));
    free(rs);
    return ok;
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *c, const char *path, const char *method,
                                  const char *version, const char *data, size_t *data_bytes, void **state)
{
    (void)version;
    struct pending *p = *state;
    if (!p) {
        p = calloc(1, sizeof(*p));
        if (!p)
            return MHD_NO;
        p->started = demo_now();
        *state = p;
        return MHD_YES;
    }
    if (*data_bytes) {
        if (p->n + *data_bytes > BODY_BYTES_MAX)
            return MHD_NO;
        char *grown = realloc(p->body, p->n + *data_bytes + 1);
        if (!grown)
            return MHD_NO;
        p->body = grown;
        memcpy(p->body + p->n, data, *data_bytes);
        p->n += *data_bytes;
        p->body[p->n] = '\0';
        *data_bytes = 0;
        return MHD_YES;
    }
    return serve(ctx, c, method, path, p);
}

static void on_done(void *ctx, struct MHD_Connection *c, void **state, enum MHD_RequestTerminationCode why)
{
    (void)ctx;
    (void)c;
    (void)why;
    struct pending *p = *state;
    if (p)
        free(p->body);
    free(p);
}

struct demo_service *demo_start(int argc, char **argv, const char *name, int port, const struct demo_route *routes,
                                size_t n_routes, void *ctx)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--port") == 0 && i + 1 < argc) {
            port = atoi(argv[++i]);
        } else {
            fprintf(stderr, "usage: %s [--port N]\n", name);
            exit(2);
        }
    }
    struct demo_service *s = calloc(1, sizeof(*s));
    if (!s)
        exit(1);
    s->routes = routes;
    s->n_routes = n_routes;
    s->ctx = ctx;
    requests = metric_counter("http_requests_total", "HTTP requests handled.", "method,route,status");
    durations = metric_histogram("http_request_duration_seconds", "Time to handle a request.", "method,route");
    in_flight = metric_gauge("http_requests_in_flight", "HTTP requests being handled.", "");
    client_requests = metric_counter("http_client_requests_total", "HTTP requests made to others.", "peer,status");
    client_durations = metric_histogram("http_client_request_duration_seconds", "Time others took to answer.", "peer");
    curl_global_init(CURL_GLOBAL_DEFAULT);
    sigemptyset(&s->signals);
    sigaddset(&s->signals, SIGINT);
    sigaddset(&s->signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &s->signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    struct sockaddr_in loopback = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s->daemon = MHD_start_daemon(MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD, (uint16_t)port, NULL,
                                 NULL, on_request, s, MHD_OPTION_NOTIFY_COMPLETED, on_done, NULL, MHD_OPTION_SOCK_ADDR,
                                 (struct sockaddr *)&loopback, MHD_OPTION_CONNECTION_TIMEOUT, 60u, MHD_OPTION_END);
    if (!s->daemon) {
        fprintf(stderr, "%s: cannot listen on 127.0.0.1:%d (is it in use?); choose another with --port\n", name, port);
        exit(1);
    }
    printf("%s: listening on http://127.0.0.1:%d\n", name, port);
    fflush(stdout);
    return s;
}

void demo_wait(struct demo_service *s)
{
    int which;
    sigwait(&s->signals, &which);
    MHD_stop_daemon(s->daemon);
    free(s);
}

struct answer_sink {
    char *out;
    size_t n, cap;
};

static size_t on_answer(char *data, size_t size, size_t n, void *ctx)
{
    struct answer_sink *sink = ctx;
    size_t all = size * n, take = all;
    if (take > sink->cap - sink->n)
        take = sink->cap - sink->n;
    memcpy(sink->out + sink->n, data, take);
    sink->n += take;
    return all;
}

/* Each thread keeps its connections to the others, and closes them when it ends. */
static pthread_key_t curl_key;
static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void curl_end(void *curl)
{
    curl_easy_cleanup(curl);
}

static void curl_make_key(void)
{
    pthread_key_create(&curl_key, curl_end);
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

int demo_call(const char *peer, const char *url, const char *body, char *out, size_t out_bytes, int timeout_ms)
{
    char none[1];
    struct answer_sink sink = { out ? out : none, 0, out ? out_bytes - 1 : 0 };
    CURL *curl = thread_curl();
    if (!curl)
        return 0;
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_answer);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &sink);
    if (body)
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    double started = demo_now();
    long status = 0;
    if (curl_easy_perform(curl) == CURLE_OK)
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    if (out)
        out[sink.n] = '\0';
    char text[16];
    snprintf(text, sizeof(text), "%ld", status);
    if (client_requests) {
        metric_add(client_requests, 1, LABELS(peer, status ? text : "none"));
        metric_observe(client_durations, demo_now() - started, LABELS(peer));
    }
    return (int)status;
}
