/* Private to wire: the lexing that expo.c (parser) and expo_check.c (strict checker) share. */
#ifndef VANE_WIRE_EXPO_INT_H
#define VANE_WIRE_EXPO_INT_H

#include "wire/expo.h"

enum {
    EXPO_C_NAME_START = 1,  /* [a-zA-Z_:] */
    EXPO_C_LABEL_START = 2, /* [a-zA-Z_] */
    EXPO_C_DIGIT = 4,
};
extern const uint8_t expo_class[256];

static inline bool expo_is(char c, unsigned classes)
{
    return (expo_class[(uint8_t)c] & classes) != 0;
}
/* End of the name that starts at p: metric (with ':') or label name. p itself if none starts there. */
const char *expo_metric_name_end(const char *p, const char *end);
const char *expo_label_name_end(const char *p, const char *end);
/* p is after an opening quote: the closing quote, or NULL. newline_ok: raw newlines may occur. nul_ok likewise.
 * ret_flags gets EXPO_Q_* of what occurs. */
enum { EXPO_Q_ESCAPE = 1, EXPO_Q_HIGH = 2 };
const char *expo_quote_end(const char *p, const char *end, bool newline_ok, bool nul_ok, unsigned *ret_flags);
/* \" \\ \n decoded, other escapes kept; s itself when it has none. help: \" is kept. */
str expo_unescape(struct arena *a, str s, bool help);
/* Go's ParseFloat without hex and underscores. */
bool expo_number(str s, double *ret);
/* "1" -> "1.0": shortest text that still looks like a float. In a. */
str expo_openmetrics_float(struct arena *a, double v);
/* `le` of histograms and `quantile` of summaries as floats. */
str expo_normal_value(struct arena *a, enum metric_type type, str name, str value);

#endif
