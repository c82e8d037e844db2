/* Between the files of examples/common. */
#ifndef VANE_EXAMPLES_DEMO_INT_H
#define VANE_EXAMPLES_DEMO_INT_H

#include <stdio.h>

#include "demo.h"

void demo_render_metrics(FILE *out);

#endif
