/* What a process with PROMETHEUS_MULTIPROC_DIR or VANE_BLACKBOX_DIR left behind, as text: `vane blackbox`. Needs no
 * vane_start(). */
#pragma once

#include <stddef.h>

#pragma GCC visibility push(hidden)

/* path   a folder (each vane_*.vsm in it, in the order of their names) or one such file
 * write  called with pieces of text; non-zero ends it
 * Returns how many files were shown (those that cannot be read get a line that says so and do not count), -1 when the path
 * cannot be opened (errno). One caller at a time. */
int sdk_blackbox_print(const char *path, int (*write)(void *ctx, const char *p, size_t n), void *ctx);

#pragma GCC visibility pop
