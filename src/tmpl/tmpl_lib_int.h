/* Functions that tmpl_prom.c and tmpl_am.c both list (tmpl_lib.c). */
#ifndef VANE_TMPL_TMPL_LIB_INT_H
#define VANE_TMPL_TMPL_LIB_INT_H

#include "tmpl/tmpl_int.h"
#include "tmpl/tmpl_lib.h"

struct tmpl_val lib_take(struct tmpl_call *c, struct buf *b); /* a string in the call's arena; frees b */
enum err lib_float(struct tmpl_call *c, const struct tmpl_val *v, double *ret);
enum err lib_nanoseconds(struct tmpl_call *c, double seconds, const char *what, int64_t *ret);
enum err lib_time(struct tmpl_call *c, const struct tmpl_val *v, struct tmpl_val *ret);
enum err lib_title(struct tmpl_call *c, str s, bool lower_rest, struct tmpl_val *ret);

#define LIB_FN(name) enum err name(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret)
LIB_FN(lib_humanize);
LIB_FN(lib_humanize1024);
LIB_FN(lib_humanize_duration);
LIB_FN(lib_humanize_percentage);
LIB_FN(lib_humanize_timestamp);
LIB_FN(lib_to_upper);
LIB_FN(lib_to_lower);
LIB_FN(lib_match);
LIB_FN(lib_re_replace_all);
LIB_FN(lib_safe_html);
LIB_FN(lib_safe_url);

#endif
