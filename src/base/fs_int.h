/* What fs.c and fs_map.c share. */
#ifndef VANE_BASE_FS_INT_H
#define VANE_BASE_FS_INT_H

#include "base/fs.h"

/* From now on a page of this mapping that cannot be read is a page of zeros (and counted). map.n > 0. */
void fs_map_enter(str map);
void fs_map_leave(str map); /* before munmap */

#endif
