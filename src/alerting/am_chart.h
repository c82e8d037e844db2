/* A small chart as a PNG file: lines over an hour, a threshold, axes with numbers. For mails.
 * Pure; the picture is at most AM_CHART_BYTES_MAX. Spec: w3.org/TR/png (8-bit indexed). */
#ifndef VANE_ALERTING_AM_CHART_H
#define VANE_ALERTING_AM_CHART_H

#include "base/mem.h"

#define AM_CHART_WIDTH      600
#define AM_CHART_HEIGHT     180
#define AM_CHART_LINES_MAX  8
#define AM_CHART_POINTS_MAX 2000
#define AM_CHART_BYTES_MAX  65536

struct am_chart_line {
    const int64_t *t_ms; /* ascending */
    const double *v;     /* NaN: a gap */
    size_t n;            /* points beyond AM_CHART_POINTS_MAX are not drawn */
};
struct am_chart {
    int64_t from_ms, to_ms;
    const struct am_chart_line *lines; /* beyond AM_CHART_LINES_MAX: not drawn */
    size_t n_lines;
    double threshold; /* NaN: none */
    int64_t mark_ms;  /* when the alert began to fire; 0: not marked */
};
/* The file, in a; empty if there is no point to draw. */
str am_chart_png(const struct am_chart *c, struct arena *a);

#endif
