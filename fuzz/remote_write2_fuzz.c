/* Remote write 2.0. */
#define RW_DECODE       rw2_decode
#define RW_DECODE_PLAIN rw2_decode_plain
#define RW_ENCODE       rw2_encode
#include "remote_write_fuzz.h"
