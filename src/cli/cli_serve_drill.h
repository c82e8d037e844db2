/* Fire drills in the running process: one alert that is none goes the whole way, and every step is timed.
 *
 *   drill_run() gives a synthetic series vane_drill{drill="true", drill_id="..."} to ingest, and to a rules manager of its
 *   own a group with one rule that waits for it, with the interval, `for`, labels and annotations of the real rule. From
 *   there on nothing knows of drills but by the label drill="true": the rule's alert goes to the Alertmanager inside,
 *   is routed, grouped and sent; the history of alerting (am_history.h) tells when. Then the series ends, the receivers
 *   are told so, and series and rule are gone.
 *
 * Never of a real alert's group, no source of inhibition, named "[DRILL] ..." in every message (am_data.h).
 * Results are kept in the control database, DRILLS_KEEP of them. At most DRILLS_AT_ONCE run at a time, each on a thread
 * of its own; drills of alert_policy are started by a thread that looks at the calendar.
 * Threads: drills_start and drills_json any. */
#ifndef VANE_CLI_CLI_SERVE_DRILL_H
#define VANE_CLI_CLI_SERVE_DRILL_H

#include "alerting/am_history.h"
#include "alerting/am_policy.h"
#include "base/json.h"
#include "cli/cli_serve.h"

enum { DRILLS_AT_ONCE = 4, DRILLS_KEEP = 1000, DRILL_DETECT_MS = 60000, DRILL_ALERT_MS = 300000 };

struct drills;
enum err drills_open(struct serve *s, struct drills **ret, struct err_text *reterr) MUST_CHECK;
void drills_close(struct drills *d); /* NULL is fine; those that run are interrupted */
/* api_drills: see api.h */
enum err drills_start(void *drills, const struct api_drill *what, struct arena *a, str *ret_id,
                      struct err_text *reterr) MUST_CHECK;
enum err drills_json(void *drills, str id, size_t limit, struct json_out *j, struct err_text *reterr) MUST_CHECK;

/* ---- private to cli_serve_drill*.c ---- */
enum drill_kind { DRILL_RULE, DRILL_ROUTE, DRILL_RECEIVER };
enum drill_state { DRILL_RUNNING, DRILL_PASSED, DRILL_LATE, DRILL_FAILED, DRILL_INTERRUPTED };

struct drill_step {
    const char *name; /* ingested, pending, firing, received, grouped, sent, delivered, failed, resolved, cleaned */
    int64_t at_ms;
    str receiver, integration, text;
};
struct drill {
    struct serve *s;
    const atomic_bool *stop;
    struct arena a; /* of everything here */
    char id[17];
    enum drill_kind kind;
    bool scheduled;
    str target, alert, file, group;    /* file, group: of the rule */
    struct labels labels, annotations; /* of the rule that is evaluated */
    int64_t interval_ms, for_ms, offset_ms, timeout_ms, started_ms;
    struct mtx mu; /* rank 5; of what follows: others look while it runs */
    enum drill_state state;
    int64_t ended_ms;
    str error; /* "": none */
    VEC(struct drill_step) steps;
    size_t n_expected, n_delivered;
};
/* Waits until it is over; d->state says how. */
void drill_run(struct drill *d);
/* What a drill left in the store. */
enum err drill_delete_series(struct serve *s, str id, int64_t from_ms, struct err_text *reterr) MUST_CHECK;
void drill_json(struct drill *d, struct json_out *j);
const struct drill_step *drill_step(const struct drill *d, const char *name); /* the first; NULL: none; under mu */

#endif
