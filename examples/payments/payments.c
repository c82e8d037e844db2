/* payments: charges cards at two imaginary providers.
 *   POST /charge                          {"amount":12.5}: 200, 402 declined, 502 provider failed
 *   POST /incident?kind=slow&seconds=40   makes the service slow, or failing (kind=errors), for a while
 * Metrics: http_*, payments_total{provider,outcome}, payment_amount_dollars_total{provider}, payments_incident. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../common/demo.h"

static struct metric *payments, *amounts, *incident_gauge;
static pthread_mutex_t incident_mu = PTHREAD_MUTEX_INITIALIZER;
static double slow_until, errors_until;

static void incident_state(bool *slow, bool *errors)
{
    double now = demo_now();
    pthread_mutex_lock(&incident_mu);
    *slow = now < slow_until;
    *errors = now < errors_until;
    pthread_mutex_unlock(&incident_mu);
    metric_set(incident_gauge, *slow, LABELS("slow"));
    metric_set(incident_gauge, *errors, LABELS("errors"));
}

static void charge(const struct demo_request *rq, struct demo_response *rs)
{
    double amount = 0;
    bool slow, errors;
    if (sscanf(rq->body, "{\"amount\":%lf}", &amount) != 1 || amount <= 0) {
        rs->status = 400;
        return;
    }
    incident_state(&slow, &errors);
    const char *provider = demo_random() < 0.7 ? "acme-pay" : "bankline";
    demo_work(slow ? 0.9 : provider[0] == 'a' ? 0.035 : 0.06);
    double dice = demo_random();
    const char *outcome = "approved";
    if (dice < (errors ? 0.35 : 0.004)) {
        outcome = "failed";
        rs->status = 502;
    } else if (dice > 0.975) {
        outcome = "declined";
        rs->status = 402;
    }
    metric_add(payments, 1, LABELS(provider, outcome));
    if (rs->status == 200)
        metric_add(amounts, amount, LABELS(provider));
    snprintf(rs->body, sizeof(rs->body), "{\"outcome\":\"%s\",\"provider\":\"%s\"}", outcome, provider);
}

static void start_incident(const struct demo_request *rq, struct demo_response *rs)
{
    const char *kind = demo_query(rq, "kind"), *seconds = demo_query(rq, "seconds");
    if (!kind || (strcmp(kind, "slow") != 0 && strcmp(kind, "errors") != 0)) {
        rs->status = 400;
        strcpy(rs->body, "{\"error\":\"kind must be slow or errors\"}");
        return;
    }
    double until = demo_now() + (seconds ? atof(seconds) : 40);
    pthread_mutex_lock(&incident_mu);
    *(kind[0] == 's' ? &slow_until : &errors_until) = until;
    pthread_mutex_unlock(&incident_mu);
    strcpy(rs->body, "{\"ok\":true}");
}

int main(int argc, char **argv)
{
    static const struct demo_route routes[] = {
        { "POST", "/charge", "/charge", charge },
        { "POST", "/incident", "/incident", start_incident },
    };
    payments = metric_counter("payments_total", "Payments by outcome.", "provider,outcome");
    amounts = metric_counter("payment_amount_dollars_total", "Money taken.", "provider");
    incident_gauge = metric_gauge("payments_incident", "1 while an incident is being played.", "kind");
    demo_wait(demo_start(argc, argv, "payments", 18081, routes, sizeof(routes) / sizeof(routes[0]), NULL));
    return 0;
}
