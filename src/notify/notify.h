/* Room `notify`: alerts of rules to Alertmanagers elsewhere (`alerting:` of a prometheus.yml, API v2).
 *
 *   notify_open(&n, &why); notify_reload(n, prom_config_ref(cfg), external_url);
 *   rules_manager_config.notify = notify_alerts, .notify_ctx = n
 *   notify_close(n)
 *
 * Each Alertmanager has a queue and a thread: a slow one does not hold up the others. What could not be sent is
 * counted and dropped; whoever runs the rules tells firing and lately resolved alerts again every minute
 * (RULES_RESEND_DELAY_MS), so a failure is made good then. A full queue drops its oldest.
 * Targets are those of static_configs, after relabel_configs.
 * Threads: notify_reload and _close by one thread at a time, the rest by any. */
#ifndef VANE_NOTIFY_NOTIFY_H
#define VANE_NOTIFY_NOTIFY_H

#include "rules/rules_group.h"
#include "scrape/scrape_config.h"

#define NOTIFY_QUEUE_MAX   10000u /* alerts, per Alertmanager */
#define NOTIFY_BATCH_MAX   256u   /* alerts in one request */
#define NOTIFY_TARGETS_MAX 64u

struct notify;
enum err notify_open(struct notify **ret, struct err_text *reterr) MUST_CHECK;
void notify_close(struct notify *n); /* NULL is fine. Ends requests under way; what is queued is dropped */
/* Takes the reference. Queues of Alertmanagers that stay are kept. external_url: of links to the rules' expressions. */
void notify_reload(struct notify *n, struct prom_config *cfg, str external_url);
/* Queue alerts (struct rules_manager_config.notify). Copies. */
void notify_alerts(void *notify, struct rule_alert *const *alerts, size_t n);
/* What any Alertmanager is told of an alert, in a: its labels with external_labels and after alert_relabel_configs, and a
 * link to its rule. false: they drop it. */
bool notify_outgoing(struct notify *n, const struct rule_alert *al, struct arena *a, struct labels *ret, str *ret_url);
/* URLs that alerts are sent to, and those that relabelling dropped, in a. */
void notify_status(struct notify *n, struct arena *a, str **ret_active, size_t *ret_n_active, str **ret_dropped,
                   size_t *ret_n_dropped);

#endif
