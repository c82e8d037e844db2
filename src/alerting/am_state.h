/* What the engine writes down, behind its back: statements are queued under am.mu and carried out by a thread that
 * commits all that has come together in one transaction (group commit). Two lanes: facts (alerts, silences, timers, the
 * log of messages, acknowledgements), which somebody may wait for, and the history, which comes after them.
 *
 * When the database fails, facts are kept and tried again every second; those who wait are told. Beyond a bound they
 * are thrown away, and am_state_lost() asks the engine to write down everything again.
 * Threads: any. Lock rank: 160 (under am.mu). */
#ifndef VANE_ALERTING_AM_STATE_H
#define VANE_ALERTING_AM_STATE_H

#include "control/control.h"

enum am_lane { AM_FACTS, AM_HISTORY, AM_LANES };
#define AM_FACTS_BYTES_MAX   (256u << 20)
#define AM_HISTORY_BYTES_MAX (64u << 20) /* more are dropped, with a count */

struct am_state;
struct am_state_options {
    int64_t history_rows_max, history_retention_ms;
};
/* control must have the tables (am_rows.h) and live longer. */
enum err am_state_open(struct control *control, const struct am_state_options *opt, struct am_state **ret) MUST_CHECK;
void am_state_close(struct am_state *s); /* writes what is queued; NULL is fine */
/* sql: a literal. args are copied. */
void am_state_queue(struct am_state *s, enum am_lane lane, const char *sql, const struct control_val *args, size_t n);
/* All that was queued until now; to be waited for, without am.mu. An error: it is in memory and not (yet) on disk. */
uint64_t am_state_mark(struct am_state *s, enum am_lane lane);
enum err am_state_wait(struct am_state *s, enum am_lane lane, uint64_t mark, struct err_text *reterr) MUST_CHECK;
uint64_t am_state_behind(struct am_state *s, enum am_lane lane); /* rows that are queued and not on disk */
/* True once after facts were thrown away and the database works again. */
bool am_state_lost(struct am_state *s);
/* OK, or why the last transaction failed. */
enum err am_state_health(struct am_state *s, struct err_text *reterr);

#endif
