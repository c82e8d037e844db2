/* Listening sockets for protocols without HTTP. Descriptors are non-blocking and closed on exec; the caller closes them. */
#ifndef VANE_BASE_NET_H
#define VANE_BASE_NET_H

#include "base/err.h"
#include "base/str.h"

enum net_kind { NET_TCP, NET_UDP };
/* host: a numeric address ("127.0.0.1", "::1") or "localhost"; port 0: any free one. ret_port may be NULL. UDP asks for a receive
 * buffer of 8 MiB (the system may give less) and has the kernel count what it drops (net_udp_read). */
enum err net_listen(enum net_kind kind, str host, uint16_t port, int *ret_fd, uint16_t *ret_port,
                    struct err_text *reterr) MUST_CHECK;
/* One datagram; false: none is waiting. *dropped: how many the kernel has dropped for this socket so far (kept when it does not say). */
bool net_udp_read(int fd, char *p, size_t cap, size_t *ret_n, uint32_t *dropped);

#endif
