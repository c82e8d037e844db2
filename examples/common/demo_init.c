/* Options, libvane's start, chance; see demo.h. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "demo_int.h"

struct demo_options demo_options;

static void usage(const char *name)
{
    fprintf(stderr, "usage: %s [--port N] [--db FILE]\n", name);
    exit(2);
}

static void said(void *ctx, vane_status status, const char *what)
{
    (void)status;
    fprintf(stderr, "%s: %s\n", (const char *)ctx, what);
}

void demo_start(const char *name)
{
    static char program[64];
    snprintf(program, sizeof(program), "%s", name);
    vane_config cfg = VANE_CONFIG_INIT;
    cfg.service_name = program;
    cfg.service_version = "1.4.0";
    cfg.environment = "demo";
    cfg.log_redact = "card_number";
    cfg.log_file_max_bytes = 16 << 20; /* a demo that runs for weeks fills no disk */
    cfg.log_file_keep = 1;
    cfg.health_interval_s = 5;
    cfg.health_timeout_s = 4;
    cfg.diag = said;
    cfg.diag_ctx = program;
    vane_status st = vane_start(&cfg);
    if (st) {
        fprintf(stderr, "%s: libvane cannot start: %s\n", name, vane_status_text(st));
        exit(1);
    }
    vane_info_set("service_build", "Which build this is.", "version=1.4.0,language=c");
}

void demo_init(int argc, char **argv, const char *name, int port)
{
    demo_options = (struct demo_options){ .name = name, .port = port };
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 < argc && strcmp(argv[i], "--port") == 0)
            demo_options.port = atoi(argv[i + 1]);
        else if (i + 1 < argc && strcmp(argv[i], "--db") == 0)
            demo_options.db = argv[i + 1];
        else
            usage(name);
    }
    if (demo_options.port < 1 || demo_options.port > 65535)
        usage(name);
    sigemptyset(&demo_options.signals);
    sigaddset(&demo_options.signals, SIGINT);
    sigaddset(&demo_options.signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &demo_options.signals, NULL);
    demo_start(name);
}

const char *demo_env(const char *name, const char *otherwise)
{
    const char *v = getenv(name);
    return v && *v ? v : otherwise;
}

double demo_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static unsigned long long random_bits(void)
{
    static __thread unsigned long long s;
    if (s == 0)
        s = (unsigned long long)(demo_now() * 1e9) ^ (unsigned long long)pthread_self();
    s ^= s << 13;
    s ^= s >> 7;
    s ^= s << 17;
    return s;
}

double demo_random(void)
{
    return (double)(random_bits() >> 11) * 0x1p-53;
}

void demo_token(char buf[33])
{
    snprintf(buf, 33, "%016llx%016llx", random_bits(), random_bits());
}

double demo_draw(double mean)
{
    double gauss = 0;
    for (int i = 0; i < 12; i++)
        gauss += demo_random();
    return mean * exp((gauss - 6) * 0.5 - 0.125);
}

void demo_work(double mean_seconds)
{
    double seconds = demo_draw(mean_seconds);
    struct timespec ts = { (time_t)seconds, (long)((seconds - floor(seconds)) * 1e9) };
    nanosleep(&ts, NULL);
}
