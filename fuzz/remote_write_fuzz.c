/* Remote write 1.0. */
#define RW_DECODE       rw1_decode
#define RW_DECODE_PLAIN rw1_decode_plain
#define RW_ENCODE       rw1_encode
#include "remote_write_fuzz.h"
