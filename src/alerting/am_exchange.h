/* One notification from beginning to end: the requests of its integration in their order, what is learned from one answer
 * for the next (tokens, ids), what the answers mean. The network is the caller's:
 *
 *   struct am_line line = { ctx, call, recall, keep };
 *   outcome = am_exchange(&message, &line, &a, &delivery, &why)
 *
 * Threads: as many at once as the line allows. */
#ifndef VANE_ALERTING_AM_EXCHANGE_H
#define VANE_ALERTING_AM_EXCHANGE_H

#include "alerting/am_payload.h"

struct am_answer {
    int status; /* 0: none */
    str content_type, body;
    int64_t retry_in_ms; /* of Retry-After; 0: none */
};
struct am_line {
    void *ctx;
    /* Carry one request; an error: no answer came, reterr says why. What is returned lives in a. ERR_INVALID: the
     * request itself is wrong, do not try again. */
    enum err (*call)(void *ctx, const struct am_request *rq, struct arena *a, struct am_answer *ret,
                     struct err_text *reterr);
    /* Short-lived secrets (access tokens) between messages; "" = none. Both NULL: nothing is kept. */
    str (*recall)(void *ctx, str key, struct arena *a);
    void (*keep)(void *ctx, str key, str value, int64_t until_ms);
};
/* d: status, retry_in_ms, memory; why: for people, without secrets; also after AM_SENT when something was odd ("" = not).
 * Not for e-mail. */
enum am_outcome am_exchange(const struct am_message *m, const struct am_line *line, struct arena *a,
                            struct am_delivery *d, struct err_text *why);

/* Every occurrence of a secret replaced in a text for people; in a, or text itself. */
str am_scrubbed(struct arena *a, str text, str secret);

#endif
