/* The configuration's side of start, stop and fork; see sdk_conf.c. */
#pragma once

#include "sdk_int.h"

#pragma GCC visibility push(hidden)

/* Fill sdk_cfg and sdk_resource. given may be NULL. VANE_OK, VANE_E_ARG (told), VANE_E_NOMEM. */
vane_status sdk_conf_load(const vane_config *given);
void sdk_conf_free(void);
void sdk_conf_fork_child(void);

/* A random UUID, version 4. */
void sdk_uuid(char buf[37]);

/* Whether a comma list has the word, in any case; -1 without a list. */
int sdk_lists(const char *list, const char *word);

/* A resource attribute's value or NULL. */
const char *sdk_resource_value(const char *key);

#pragma GCC visibility pop
