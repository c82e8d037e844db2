/* The C++ standard library's shortest number <-> text conversion, for num.c only. */
#ifndef VANE_BASE_NUM_TEXT_H
#define VANE_BASE_NUM_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif
/* Shortest scientific form of a finite v ("1.5e+02"); out has 32 bytes; returns the length. */
size_t num_text_sci(char *out, double v);
/* from_chars over [p, end): returns bytes consumed (0: none); *ret is ±inf or ±0 when out of range. */
size_t num_text_parse(const char *p, const char *end, bool hex, double *ret, bool *ret_range);
#ifdef __cplusplus
}
#endif

#endif
