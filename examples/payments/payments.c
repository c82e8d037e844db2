/* payments: charges cards at two imaginary providers.
 *   POST /charge                          {"amount":12.5,"currency":"EUR","card_number":"4000..."}:
 *                                         200, 402 declined, 502 provider failed
 *   POST /incident?kind=slow&seconds=40   makes the service slow, or failing (kind=errors), for a while
 * Metrics: payments_total{provider,outcome}, payment_amount_total{currency}, payments_incident{kind}.
 * Health: providers (DEGRADED while an incident slows them, UNHEALTHY while they fail). */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../common/demo.h"

static vane_metric payments, amounts;
static _Atomic double slow_until, errors_until;

static void observe_incidents(void *ctx, vane_observer *o)
{
    (void)ctx;
    double now = demo_now();
    vane_observe(o, now < slow_until, VANE_LABELS("slow"));
    vane_observe(o, now < errors_until, VANE_LABELS("errors"));
}

/* Asks the provider: the outcome, with a transaction id when it is approved. */
static const char *ask_provider(const char *provider, char transaction[33])
{
    VANE_SPAN(span, "ask provider");
    vane_span_set(&span, vane_str("payment.provider", provider));
    demo_work(demo_now() < slow_until ? 0.9 : provider[0] == 'a' ? 0.035 : 0.06);
    double dice = demo_random();
    if (dice < (demo_now() < errors_until ? 0.35 : 0.004)) {
        vane_span_status(&span, VANE_SPAN_ERROR, "the provider failed");
        return "failed";
    }
    demo_token(transaction);
    return dice > 0.975 ? "declined" : "approved";
}

static int charge(const struct demo_request *rq, json_t **ret)
{
    double amount = 0;
    const char *currency = "", *card = "";
    if (json_unpack(rq->body, "{s:F, s:s, s?s}", "amount", &amount, "currency", &currency, "card_number", &card) ||
        amount <= 0)
        return demo_error(ret, 400, "amount and currency are needed");
    const char *provider = demo_random() < 0.7 ? "acme-pay" : "bankline";
    char transaction[33] = "";
    VANE_INFO("Processing payment", vane_f64("amount", amount), vane_str("currency", currency),
              vane_str("provider", provider), vane_str("card_number", card)); /* which the log never shows */
    const char *outcome = ask_provider(provider, transaction);
    vane_counter_add_to(payments, 1, VANE_LABELS(provider, outcome));
    *ret = json_pack("{s:s, s:s}", "outcome", outcome, "provider", provider);
    if (strcmp(outcome, "approved") == 0) {
        vane_fcounter_add_to(amounts, amount, VANE_LABELS(currency));
        VANE_INFO("Payment successful", vane_str("transaction_id", transaction));
        return 200;
    }
    bool declined = strcmp(outcome, "declined") == 0;
    VANE_LOG(declined ? VANE_LOG_WARN : VANE_LOG_ERROR, "Payment failed",
             vane_str("error_code", declined ? "card_declined" : "provider_error"), vane_str("provider", provider));
    return declined ? 402 : 502;
}

static int start_incident(const struct demo_request *rq, json_t **ret)
{
    const char *kind = demo_query(rq, "kind"), *seconds = demo_query(rq, "seconds");
    if (!kind || (strcmp(kind, "slow") != 0 && strcmp(kind, "errors") != 0))
        return demo_error(ret, 400, "kind must be slow or errors");
    *(kind[0] == 's' ? &slow_until : &errors_until) = demo_now() + (seconds ? atof(seconds) : 40);
    const vane_attr context[] = { vane_str("kind", kind), vane_str("seconds", seconds ? seconds : "40") };
    vane_audit("operator", "incident.start", "payments", "success", context, 2);
    *ret = json_pack("{s:b}", "ok", 1);
    return 200;
}

static vane_health check_providers(void *ctx, char *message, size_t n)
{
    (void)ctx;
    double now = demo_now();
    if (now < errors_until)
        snprintf(message, n, "a third of the charges fail");
    else if (now < slow_until)
        snprintf(message, n, "the providers answer slowly");
    return now < errors_until ? VANE_UNHEALTHY : now < slow_until ? VANE_DEGRADED : VANE_HEALTHY;
}

int main(int argc, char **argv)
{
    static const struct demo_route routes[] = {
        { "POST", "/charge", "/charge", charge },
        { "POST", "/incident", "/incident", start_incident },
    };
    demo_init(argc, argv, "payments", 18081);
    payments = vane_counter_new("payments_total", "Payments by outcome.", "provider,outcome");
    amounts = vane_fcounter_new("payment_amount_total", "Money taken.", "currency");
    vane_metric_opts o = VANE_METRIC_OPTS_INIT;
    o.kind = VANE_GAUGE;
    o.name = "payments_incident";
    o.help = "1 while an incident is being played.";
    o.labels = "kind";
    o.observe = observe_incidents;
    vane_metric_new(&o, NULL);
    vane_health_opts h = { .size = sizeof(h),
                           .name = "providers",
                           .check = check_providers,
                           .flags = VANE_HEALTH_READINESS | VANE_HEALTH_OPTIONAL };
    vane_health_add(&h);
    demo_serve(routes, sizeof(routes) / sizeof(routes[0]));
    return 0;
}
