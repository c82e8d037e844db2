/* Carries notifications out: templates, HTTP and mail, on threads of its own. Plugs into am_options.send:
 *
 *   am_sender_open(&cfg, &s);  am_open(&(struct am_options){ s, am_sender_send }, ...);  am_sender_serve(s, am, amcfg, &why)
 *
 * A failing template does not lose a notification: it is tried again with the group, and the log says why.
 * Threads: am_sender_send from any thread; the others by whoever opens and reloads. */
#ifndef VANE_ALERTING_AM_SEND_H
#define VANE_ALERTING_AM_SEND_H

#include "alerting/am.h"

struct am_sender;
struct am_sender_config {
    str external_url;  /* back links of messages; copied */
    unsigned threads;  /* messages on their way at once; 0 = 8 */
    struct clock *clk; /* NULL: os_clock() */
};
enum err am_sender_open(const struct am_sender_config *cfg, struct am_sender **ret) MUST_CHECK;
/* Waits for what is on its way. Before am_close(). NULL is fine. */
void am_sender_close(struct am_sender *s);
/* The templates of a configuration (at start and reload), and who is told the outcomes. On error the old ones stay. */
enum err am_sender_serve(struct am_sender *s, struct am *am, struct am_config *cfg, struct err_text *reterr) MUST_CHECK;
void am_sender_send(void *sender, struct am_notice *n); /* am_options.send */

#endif
