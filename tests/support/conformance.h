/* Files of the conformance folder, for tests that are skipped where the checkout has none. */
#ifndef VANE_TESTS_SUPPORT_CONFORMANCE_H
#define VANE_TESTS_SUPPORT_CONFORMANCE_H

#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"

/* <conformance folder>/name in a, NULL-p when the folder or the file is not there. */
static inline str conformance_file(struct arena *a, const char *name)
{
    const char *dir = getenv("VANE_CONFORMANCE");
    char path[1024];
    snprintf(path, sizeof(path), "%s/%s", dir ? dir : "", name);
    FILE *f = dir ? fopen(path, "rb") : NULL;
    if (!f)
        return STR_NONE;
    struct buf b;
    buf_init(&b, 0);
    char chunk[4096];
    for (size_t n; (n = fread(chunk, 1, sizeof(chunk), f)) > 0;)
        buf_add(&b, chunk, n);
    fclose(f);
    str s = arena_str(a, buf_str(&b));
    buf_deinit(&b);
    return s;
}

#endif
