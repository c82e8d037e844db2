/* traffic: customers of the shop. The rate follows a day's wave (a "day" takes --day seconds, 1200 by default,
 * so that the wave can be watched), customers think and wander, and every few minutes something happens: payments is slow
 * for a while, then it fails for a while, then somebody guesses passwords.
 * Nobody can scrape it: its metrics (customer_actions_total{action}, customers_logged_in, http_client_*) are pushed when
 * OTEL_EXPORTER_OTLP_METRICS_ENDPOINT is set. Its spans are the roots of the traces.
 * Options: --rate N actions/s at the peak (default 40, at most 500), --day SECONDS, --shop URL, --payments URL,
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
static vane_metric actions;
static vane_updown logged_in;

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

struct customer {
    int number, user;
    char token[33]; /* "": not logged in */
};

static int ask_shop(struct customer *c, const char *path, json_t *body, json_t **ret)
{
    char url[512];
    snprintf(url, sizeof(url), "%s%s", cfg.shop, path);
    int status = demo_call(url, c->token, body, ret, 10000);
    if (status == 401 && c->token[0]) {
        c->token[0] = 0;
        vane_updown_add(logged_in, -1);
    }
    return status;
}

static void log_in(struct customer *c)
{
    char password[40];
    json_t *answer = NULL;
    c->user = 1 + c->number + CUSTOMERS * (int)(demo_random() * 6);
    snprintf(password, sizeof(password), "demo-%d%s", c->user, demo_random() < 0.06 ? "?" : "");
    const char *token = "";
    if (ask_shop(c, "/login", json_pack("{s:i, s:s}", "user", c->user, "password", password), &answer) == 200 &&
        json_unpack(answer, "{s:s}", "token", &token) == 0) {
        snprintf(c->token, sizeof(c->token), "%s", token);
        vane_updown_add(logged_in, 1);
    }
    json_decref(answer);
}

static void log_out(struct customer *c)
{
    if (c->token[0])
        vane_updown_add(logged_in, -1);
    c->token[0] = 0;
}

static void look(struct customer *c)
{
    static const char *const words[] = { "grinder", "beans", "mug", "machines", "teapot" };
    char path[64];
    if (demo_random() < 0.45)
        snprintf(path, sizeof(path), "/");
    else if (demo_random() < 0.8)
        snprintf(path, sizeof(path), "/products/%d", 1 + (int)(demo_random() * 12.2)); /* some do not exist */
    else
        snprintf(path, sizeof(path), "/search?q=%s", words[(int)(demo_random() * 5)]);
    ask_shop(c, path, NULL, NULL);
}

static void buy(struct customer *c)
{
    static const char *const regions[] = { "eu", "us", "asia" };
    int lines = 1 + (int)(demo_random() * 3);
    for (int i = 0; i < lines; i++)
        ask_shop(c, "/cart",
                 json_pack("{s:i, s:i}", "product", 1 + (int)(demo_random() * 12), "quantity",
                           (int)(demo_random() * 3.97)), /* none is a mistake */
                 NULL);
    if (demo_random() < 0.7)
        ask_shop(c, "/checkout", json_pack("{s:s}", "region", regions[(int)(demo_random() * 3)]), NULL);
}

static void chat(struct customer *c)
{
    static const char *const about[] = { "grinder", "espresso", "kettle", "descaler", "tamper", "scale" };
    char question[100];
    snprintf(question, sizeof(question), "Which %s is best for %d cups?", about[(int)(demo_random() * 6)],
             1 + (int)demo_draw(4));
    if (ask_shop(c, "/ask", json_pack("{s:s}", "question", question), NULL) == 200 && demo_random() < 0.4)
        ask_shop(c, "/ask/feedback", json_pack("{s:i}", "score", 1 + (int)(demo_random() * demo_random() * -5 + 5)),
                 NULL);
}

static void act(struct customer *c)
{
    double dice = demo_random();
    const char *what = "look";
    if (!c->token[0] && dice < 0.5)
        what = "log in", log_in(c);
    else if (dice < 0.02)
        what = "log out", log_out(c);
    else if (dice < 0.035)
        what = "register", ask_shop(c, "/users", json_pack("{s:s}", "source", dice < 0.03 ? "web" : "mobile"), NULL);
    else if (dice < 0.05)
        what = "account", ask_shop(c, "/account", NULL, NULL);
    else if (dice < 0.09)
        what = "rate", ask_shop(c, "/ratings",
                                json_pack("{s:i, s:i}", "product", 1 + (int)(demo_random() * 12), "stars",
                                          3 + (int)(demo_random() * 3)),
                                NULL);
    else if (dice < 0.17)
        what = "ask", chat(c);
    else if (dice < 0.27)
        what = "buy", buy(c);
    else
        look(c);
    vane_counter_add_to(actions, 1, VANE_LABELS(what));
}

static void *customer(void *ctx)
{
    struct customer c = { .number = (int)(intptr_t)ctx };
    while (!atomic_load(&stopping)) {
        double per_customer = cfg.rate * wave() / CUSTOMERS;
        nap(-log(1 - demo_random()) / per_customer);
        if (!atomic_load(&stopping))
            act(&c);
    }
    return NULL;
}

/* Somebody tries the passwords of one user. */
static void attack(double seconds)
{
    struct customer c = { .number = 0 };
    for (double end = demo_now() + seconds; demo_now() < end && !atomic_load(&stopping); nap(0.2)) {
        char guess[33];
        demo_token(guess);
        ask_shop(&c, "/login", json_pack("{s:i, s:s}", "user", 42, "password", guess), NULL);
    }
}

static void *incidents(void *ctx)
{
    (void)ctx;
    char url[256];
    for (int turn = 0; !atomic_load(&stopping); turn++) {
        nap(150 + demo_random() * 60);
        if (atomic_load(&stopping))
            break;
        if (turn % 3 == 2) {
            attack(30);
            continue;
        }
        snprintf(url, sizeof(url), "%s/incident?kind=%s&seconds=45", cfg.payments, turn % 3 ? "errors" : "slow");
        demo_call(url, NULL, json_object(), NULL, 2000);
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
    demo_start("traffic");
    actions = vane_counter_new("customer_actions_total", "What customers did.", "action");
    logged_in =
        vane_updown_bind(vane_updown_new("customers_logged_in", "Customers with a session.", ""), VANE_NO_LABELS);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    for (int i = 0; i < CUSTOMERS; i++)
        pthread_create(&threads[i], NULL, customer, (void *)(intptr_t)i);
    pthread_create(&threads[CUSTOMERS], NULL, incidents, NULL);
    while (!atomic_load(&stopping)) {
        nap(1);
        if (cfg.until > 0 && demo_now() > cfg.until)
            atomic_store(&stopping, true);
    }
    for (int i = 0; i <= CUSTOMERS; i++)
        pthread_join(threads[i], NULL);
    vane_stop(2000);
    return 0;
}
