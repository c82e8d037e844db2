/* Inside the room ingest. */
#ifndef VANE_INGEST_INT_H
#define VANE_INGEST_INT_H

#include "base/os.h"
#include "ingest/ingest.h"

struct ingest {
    struct tsdb *db;
    struct clock *clock;
};

#endif
