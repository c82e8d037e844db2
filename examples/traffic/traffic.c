/* traffic: customers of the shop. The rate follows a day's wave (a "day" takes --day seconds, 1200 by default,
 * so that the wave can be watched), customers think and wander, and every few minutes payments has an incident:
 * slow for a while, then failing for a while.
 * Options: --rate N requests/s at the peak (default 40, at most 500), --day SECONDS, --shop URL, --payments URL,
 * --for SECONDS (default: until SIGINT or SIGTERM). */
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../common/demo.h"

enum { CUSTOMERS = 32 };

static struct {
    double rate, day, until;
    const char *shop, *payments;
} cfg = { 40, 1200, 0, "http://127.0.0.1:18080", "http://127.0.0.1:18081" };
static atomic_bool stopping;

static void on_signal(int which)
{
    (void)which;
    atomic_store(&stopping, true);
}

static void nap(double seconds)
{
    for (double end = demo_now() + seconds, left; !atomic_load(&stopping) && (left = end - demo_now()) > 0;) {
        double part = left < 0.2 ? left : 0.2;
        struct timespec ts = { 0, (long)(part * 1e9) };
        nanosleep(&ts, NULL);
    }
}

/* Share of the peak rate now: low at night, two humps by day. */
static double wave(void)
{
    double x = fmod(demo_now(), cfg.day) / cfg.day * 2 * 3.14159265358979;
    return 0.55 - 0.3 * cos(x) + 0.15 * sin(2 * x);
}

static void one_request(void)
{
    static const char *const regions[] = { "eu", "us", "asia" };
    char url[256], body[128];
    double dice = demo_random();
    if (dice < 0.35) {
        snprintf(url, sizeof(url), "%s/", cfg.shop);
        demo_call("shop", url, NULL, NULL, 0, 5000);
    } else if (dice < 0.7) {
        snprintf(url, sizeof(url), "%s/products/%d", cfg.shop, 1 + (int)(demo_random() * 12.2)); /* some do not exist */
        demo_call("shop", url, NULL, NULL, 0, 5000);
    } else if (dice < 0.82) {
        snprintf(url, sizeof(url), "%s/cart", cfg.shop);
        demo_call("shop", url, demo_random() < 0.01 ? "" : "{\"product\":1}", NULL, 0, 5000);
    } else if (dice < 0.9) {
        snprintf(url, sizeof(url), "%s/login", cfg.shop);
        demo_call("shop", url, "{}", NULL, 0, 5000);
    } else {
        snprintf(url, sizeof(url), "%s/checkout", cfg.shop);
        snprintf(body, sizeof(body), "{\"product\":%d,\"quantity\":%d,\"region\":\"%s\"}",
                 1 + (int)(demo_random() * 12), 1 + (int)(demo_random() * 3), regions[(int)(demo_random() * 3)]);
        demo_call("shop", url, body, NULL, 0, 5000);
    }
}

static void *customer(void *ctx)
{
    (void)ctx;
    while (!atomic_load(&stopping)) {
        double per_customer = cfg.rate * wave() / CUSTOMERS;
        nap(-log(1 - demo_random()) / per_customer);
        if (!atomic_load(&stopping))
            one_request();
    }
    return NULL;
}

static void *incidents(void *ctx)
{
    (void)ctx;
    char url[256];
    for (int turn = 0; !atomic_load(&stopping); turn++) {
        nap(150 + demo_random() * 60);
        if (atomic_load(&stopping))
            break;
        snprintf(url, sizeof(url), "%s/incident?kind=%s&seconds=45", cfg.payments, turn % 2 ? "errors" : "slow");
        demo_call("payments", url, "", NULL, 0, 2000);
    }
    return NULL;
}

static void read_options(int argc, char **argv)
{
    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (value && strcmp(argv[i], "--rate") == 0)
            cfg.rate = fmin(fmax(atof(value), 0.1), 500);
        else if (value && strcmp(argv[i], "--day") == 0)
            cfg.day = fmax(atof(value), 10);
        else if (value && strcmp(argv[i], "--for") == 0)
            cfg.until = demo_now() + atof(value);
        else if (value && strcmp(argv[i], "--shop") == 0)
            cfg.shop = value;
        else if (value && strcmp(argv[i], "--payments") == 0)
            cfg.payments = value;
        else {
            fprintf(stderr,
                    "usage: traffic [--rate N] [--day SECONDS] [--for SECONDS] [--shop URL] [--payments URL]\n");
            exit(2);
        }
    }
}

int main(int argc, char **argv)
{
    pthread_t threads[CUSTOMERS + 1];
    read_options(argc, argv);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    for (int i = 0; i < CUSTOMERS; i++)
        pthread_create(&threads[i], NULL, customer, NULL);
    pthread_create(&threads[CUSTOMERS], NULL, incidents, NULL);
    while (!atomic_load(&stopping)) {
        nap(1);
        if (cfg.until > 0 && demo_now() > cfg.until)
            atomic_store(&stopping, true);
    }
    for (int i = 0; i <= CUSTOMERS; i++)
        pthread_join(threads[i], NULL);
    return 0;
}
