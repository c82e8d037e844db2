/* Between the files of examples/common. */
#ifndef VANE_EXAMPLES_DEMO_INT_H
#define VANE_EXAMPLES_DEMO_INT_H

#include <signal.h>
#include <vane/vane.h>

#include "demo.h"

struct demo_options {
    const char *name, *db; /* db: NULL for memory */
    int port;
    sigset_t signals; /* blocked in every thread, waited for by demo_serve() */
};
extern struct demo_options demo_options;

#endif
