/* Private to the room conf. */
#ifndef VANE_CONF_CONF_INT_H
#define VANE_CONF_CONF_INT_H

#include "conf/conf.h"

/* Bytes one element of this type takes in a struct or list. */
size_t conf_type_size(enum conf_type t, const struct conf_schema *s);
bool conf_text_is_null(str s);
bool conf_text_bool(str s, bool *ret);
/* Would YAML read this plain text as something else than a string? */
bool conf_text_is_typed(str s);

#endif
