/* What a notification is about: the alerts of a group as template data (template.Data of Alertmanager). */
#ifndef VANE_ALERTING_AM_DATA_H
#define VANE_ALERTING_AM_DATA_H

#include "model/labels.h"
#include "tmpl/tmpl_lib.h"

/* 64-bit FNV-1a over the sorted labels, each name and value followed by 0xff: the identity of an alert. */
uint64_t am_fingerprint(struct labels ls);

struct am_data_alert {
    struct labels labels, annotations;
    int64_t starts_ms, ends_ms; /* ends_ms <= now: resolved */
    str generator_url;
};
struct am_data_input {
    str receiver, external_url;
    struct labels group_labels, route_labels;
    const struct am_data_alert *alerts;
    size_t n;
    int64_t now_ms;
    const struct am_data_changes { /* since the last message; NULL: not said */
        size_t n_new, n_resolved, n_unchanged;
    } * changes;
};
/* An alert of a fire drill (label drill="true") is named "[DRILL] NAME", so that every text that names it says so.
 * Strings are borrowed; everything else lives in a. */
struct tmpl_val am_data(struct arena *a, const struct am_data_input *in);
bool am_data_firing(const struct tmpl_val *data); /* does any alert fire? */

#endif
