/* What profile_test.py looks at: threads that burn, requests that are slow, one that waits, bad calls, a fork. */
#include <vane/vane.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#undef NDEBUG
#include <assert.h>

static _Thread_local volatile uint64_t sink;

static double now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

__attribute__((noinline)) static void burn_inner(double seconds)
{
    double end = now(CLOCK_THREAD_CPUTIME_ID) + seconds;
    while (now(CLOCK_THREAD_CPUTIME_ID) < end)
        for (unsigned i = 0; i < 20000; i++)
            sink += i * sink;
}

__attribute__((noinline)) static void burn_outer(double seconds)
{
    burn_inner(seconds);
    sink++;
}

static void *burn_thread(void *arg)
{
    (void)arg;
    vane_thread_attach();
    burn_outer(0.6);
    return NULL;
}

static vane_config config(void)
{
    vane_config c = VANE_CONFIG_INIT;
    c.ignore_environment = VANE_ON;
    c.log_sinks = "none";
    return c;
}

static void start(const vane_config *c)
{
    vane_status st = vane_start(c);
    if (st)
        fprintf(stderr, "vane_start: %s\n", vane_status_text(st));
    assert(!st);
}

static void whole(const char *path)
{
    vane_config c = config();
    assert(vane_profile_start(NULL) == VANE_E_STATE);
    start(&c);
    char *body = NULL;
    size_t n = 0;
    assert(vane_profile_stop(&body, &n) == VANE_E_STATE);
    assert(vane_profile_stop(NULL, NULL) == VANE_E_ARG);
    assert(vane_profile_flush() == VANE_E_STATE); /* nothing is captured */
    vane_profile_opts o = { .size = sizeof o, .hz = 251 };
    assert(vane_profile_start(&o) == VANE_E_ARG);
    o.hz = 200;
    assert(vane_profile_start(&o) == VANE_OK);
    assert(vane_profile_start(&o) == VANE_E_STATE);
    pthread_t t[2];
    for (int i = 0; i < 2; i++)
        assert(!pthread_create(&t[i], NULL, burn_thread, NULL));
    burn_outer(0.6);
#ifndef __SANITIZE_THREAD__ /* which cannot follow a fork of threads */
    pid_t child = fork();
    assert(child >= 0);
    if (!child) { /* the profile is the parent's */
        assert(vane_profile_stop(&body, &n) == VANE_E_STATE);
        assert(vane_profile_start(&o) == VANE_OK);
        burn_outer(0.1);
        assert(vane_profile_stop(&body, &n) == VANE_OK);
        vane_render_free(body);
        vane_stop(0);
        _exit(0);
    }
    int status = 1;
    assert(waitpid(child, &status, 0) == child && status == 0);
#endif
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    assert(vane_profile_stop_to_file(path) == VANE_OK);
    assert(vane_profile_start(&o) == VANE_OK);
    assert(vane_profile_stop_to_file("/nowhere/at/all") == VANE_E_IO);
    assert(vane_profile_start(&o) == VANE_OK);
    assert(vane_profile_stop_to_url("https://127.0.0.1/x") == VANE_E_UNAVAILABLE);
    assert(vane_profile_start(&o) == VANE_OK);
    assert(vane_profile_stop_to_url("http://127.0.0.1:1/x") == VANE_E_IO);
    vane_stop(1000);
}

static void url(const char *address)
{
    vane_config c = config();
    start(&c);
    assert(vane_profile_start(NULL) == VANE_OK);
    burn_outer(0.2);
    vane_status st = vane_profile_stop_to_url(address);
    printf("%s\n", vane_status_text(st));
    vane_stop(1000);
}

static void request(const char *route, void (*work)(void))
{
    vane_http_server x;
    vane_http_request q = { .size = sizeof q, .method = "GET", .path = "/", .route = route, .body_bytes = -1 };
    vane_http_response a = { .size = sizeof a, .status = 200, .body_bytes = -1 };
    vane_http_server_begin(&x, &q);
    work();
    vane_http_server_end(&x, &a);
}

static void fast(void)
{
    burn_outer(0.001);
}

static void slow(void)
{
    burn_outer(0.8);
}

static void waits(void)
{
    struct timespec t = { 0, 700000000 };
    assert(nanosleep(&t, NULL) == 0); /* not disturbed: a signal would end it */
}

static void requests(const char *dir)
{
    vane_config c = config();
    c.profiling = VANE_ON;
    c.profile_dir = dir;
    c.profile_slow_s = 0.2;
    c.profile_sample_rate = 1e-9;
    start(&c);
    for (int i = 0; i < 20; i++)
        request("/fast", fast);
    request("/slow", slow);
    request("/waits", waits);
    assert(vane_profile_flush() == VANE_OK);
    vane_profile_request_end(); /* without a begin */
    vane_profile_request_begin(NULL);
    vane_profile_request_begin("nested");
    vane_profile_request_end();
    vane_profile_request_end();
    assert(vane_stop(1000) == VANE_OK);
    vane_profile_request_begin("stopped");
    vane_profile_request_end();
}

static void sampled(const char *dir)
{
    vane_config c = config();
    c.profiling = VANE_ON;
    c.profile_dir = dir;
    c.profile_sample_rate = 1;
    start(&c);
    for (int i = 0; i < 300; i++)
        request("/fast", fast);
    assert(vane_stop(1000) == VANE_OK); /* writes */
}

static void own(int sig)
{
    (void)sig;
}

static void taken(const char *dir)
{
    signal(SIGPROF, own);
    vane_config c = config();
    c.profiling = VANE_ON;
    c.profile_dir = dir;
    start(&c); /* goes on without capture */
    assert(vane_profile_start(NULL) == VANE_E_EXISTS);
    request("/fast", fast);
    struct sigaction a;
    assert(!sigaction(SIGPROF, NULL, &a) && a.sa_handler == own);
    vane_stop(1000);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*fn)(const char *);
    } modes[] = {
        { "whole", whole }, { "url", url }, { "requests", requests }, { "sampled", sampled }, { "taken", taken }
    };
    for (size_t i = 0; argc == 3 && i < sizeof modes / sizeof *modes; i++)
        if (!strcmp(argv[1], modes[i].name)) {
            modes[i].fn(argv[2]);
            return 0;
        }
    return 2;
}
