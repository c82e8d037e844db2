/* Alertmanager running: the engine (am.h), its sender (am_send.h), and a thread for the turns of groups.
 * Threads: am_service_wake and am_service_am any; the others one. */
#ifndef VANE_ALERTING_AM_SERVICE_H
#define VANE_ALERTING_AM_SERVICE_H

#include "alerting/am_send.h"
#include "base/os.h"

struct am_service;
struct am_service_options {
    struct clock *clock;
    str external_url;                                                                    /* said in messages */
    str (*value)(void *ctx, const struct am_alert *al, int64_t now_ms, struct arena *a); /* as in am_sender_config */
    void *value_ctx;
    bool (*chart)(void *ctx, const struct am_alert *al, int64_t now_ms, struct arena *a,
                  struct am_chart *ret); /* as in am_sender_config */
    void *chart_ctx;
    struct control *control; /* as in struct am_options */
    int64_t history_rows_max, history_retention_ms;
};
/* Takes a reference of cfg. Fails if its templates do not parse. */
enum err am_service_open(const struct am_service_options *opt, struct am_config *cfg, struct am_service **ret,
                         struct err_text *reterr) MUST_CHECK;
void am_service_close(struct am_service *s); /* NULL is fine; waits for what is being sent */
/* On error the old one goes on. Takes a reference of cfg. */
enum err am_service_reload(struct am_service *s, struct am_config *cfg, struct err_text *reterr) MUST_CHECK;
struct am *am_service_am(struct am_service *s);
struct am_sender *am_service_sender(struct am_service *s);
void am_service_wake(void *service); /* something came in */

#endif
