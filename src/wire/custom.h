/* POST /metrics/custom: one {"name", "value", "labels", "timestamp"} object or an array of them -> batch.
 *   name       metric name, any non-empty UTF-8 (legacy names need no quoting later)
 *   value      number, or "NaN", "+Inf", "-Inf", or digits in a string
 *   labels     object of strings (numbers and booleans are taken as their text); optional
 *   timestamp  Unix seconds or milliseconds (>= 1e11) as number, or RFC 3339 text; optional: now
 *   type, unit, help  optional metadata ("counter", "gauge", ...)
 * Unknown keys are refused with the nearest known one. All or nothing: errors name the element and the field, with
 * line and column. */
#ifndef VANE_WIRE_CUSTOM_H
#define VANE_WIRE_CUSTOM_H

#include "wire/wire.h"

enum err custom_decode(struct arena *a, str body, int64_t now_ms, const struct wire_limits *lim, struct batch *out,
                       struct err_text *reterr) MUST_CHECK;

#endif
