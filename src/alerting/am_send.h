/* Carries notifications out: templates, HTTP and mail, on threads of its own. Plugs into am_options.send:
 *
 *   am_sender_open(&cfg, &s);  am_open(&(struct am_options){ s, am_sender_send }, ...);  am_sender_serve(s, am, amcfg, &why)
 *
 * A template that fails does not stop a message: it is sent with the error in the text's place. What became of an attempt
 * stands in notice->delivery when am_sent() is called, without secrets. A receiver that is told more often than its
 * max_messages_per_minute, or that answered with Retry-After, is told again by the engine when that time has passed.
 * A receiver that does not answer holds up four threads at most, and no other receiver.
 * Threads: am_sender_send and am_sender_test from any thread; the others by whoever opens and reloads. */
#ifndef VANE_ALERTING_AM_SEND_H
#define VANE_ALERTING_AM_SEND_H

#include "alerting/am.h"
#include "alerting/am_chart.h"

struct am_sender;
struct am_sender_config {
    str external_url;  /* back links of messages; copied */
    unsigned threads;  /* messages on their way at once; 0 = 16 */
    struct clock *clk; /* NULL: os_clock() */
    /* What mails draw: the last hour of an alert's expression (its generator URL names it); false: nothing to draw.
     * NULL: no pictures. From any of the sender's threads. */
    bool (*chart)(void *ctx, const struct am_alert *al, int64_t now_ms, struct arena *a, struct am_chart *ret);
    void *chart_ctx;
    /* What the left side of an ended alert's condition is now ("0.02"; "": nobody knows): the annotation current_value
     * under an alert_policy. NULL: none. From any of the sender's threads. */
    str (*value)(void *ctx, const struct am_alert *al, int64_t now_ms, struct arena *a);
    void *value_ctx;
};
enum err am_sender_open(const struct am_sender_config *cfg, struct am_sender **ret) MUST_CHECK;
/* What is on its way has five seconds; the rest is put off. Before am_close(). NULL is fine. */
void am_sender_close(struct am_sender *s);
/* The templates of a configuration (at start and reload), and who is told the outcomes. On error the old ones stay. */
enum err am_sender_serve(struct am_sender *s, struct am *am, struct am_config *cfg, struct err_text *reterr) MUST_CHECK;
void am_sender_send(void *sender, struct am_notice *n); /* am_options.send */

/* ---- a test of a receiver: a message marked as a drill, on the real way, to each of its integrations ---- */
struct am_test {
    str receiver;
    struct labels labels; /* added to those of the test's alert, win over them */
};
struct am_test_row {
    enum am_kind kind;
    size_t index;
    bool resolved; /* the second message to services that keep incidents: it closes the test's */
    enum am_outcome outcome;
    int status; /* HTTP's or SMTP's; 0: no answer */
    int64_t took_ms;
    str answer; /* for people; "" = taken */
};
#define AM_TEST_MS_MAX 60000 /* then what was not tried yet is not */
/* Blocks. Rows live in a. ERR_NOT_FOUND: no such receiver; ERR_INVALID: it has no integrations; ERR_CLOSED. */
enum err am_sender_test(struct am_sender *s, const struct am_test *t, struct arena *a, struct am_test_row **ret,
                        size_t *ret_n, struct err_text *reterr) MUST_CHECK;

#endif
