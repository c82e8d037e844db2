#include "base/net.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"

enum { UDP_BUFFER_BYTES = 8 << 20, TCP_BACKLOG = 128 };

static void options_set(int fd, enum net_kind kind)
{
    int on = 1, bytes = UDP_BUFFER_BYTES;
    if (kind == NET_TCP) {
        IGNORE_ERR(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ? ERR_IO : OK);
        return;
    }
    IGNORE_ERR(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)) ? ERR_IO : OK);
    IGNORE_ERR(setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof(on)) ? ERR_IO : OK);
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage a;
    socklen_t n = sizeof(a);
    memset(&a, 0, sizeof(a));
    if (getsockname(fd, (struct sockaddr *)(void *)&a, &n) != 0)
        return 0;
    in_port_t port = a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)(void *)&a)->sin6_port
                                             : ((struct sockaddr_in *)(void *)&a)->sin_port;
    return ntohs(port);
}

static int open_one(const struct addrinfo *ai, enum net_kind kind)
{
    int fd = socket(ai->ai_family, ai->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, ai->ai_protocol);
    if (fd < 0)
        return -1;
    options_set(fd, kind);
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 && (kind == NET_UDP || listen(fd, TCP_BACKLOG) == 0))
        return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

enum err net_listen(enum net_kind kind, str host, uint16_t port, int *ret_fd, uint16_t *ret_port,
                    struct err_text *reterr)
{
    char port_text[8];
    struct addrinfo hints, *list = NULL;
    memset(&hints, 0, sizeof(hints));
    hints.ai_socktype = kind == NET_TCP ? SOCK_STREAM : SOCK_DGRAM;
    hints.ai_flags = AI_PASSIVE | (str_eq(host, STR("localhost")) ? 0 : AI_NUMERICHOST);
    snprintf(port_text, sizeof(port_text), "%u", port);
    AUTO_FREE char *name = mem_strdup(host);
    int failed = getaddrinfo(name, port_text, &hints, &list);
    if (failed)
        return err_fail(reterr, ERR_INVALID, "%s: %s", name, gai_strerror(failed));
    int fd = -1;
    for (const struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next)
        fd = open_one(ai, kind);
    int saved = errno;
    freeaddrinfo(list);
    if (fd < 0)
        return err_fail(reterr, err_from_errno(saved), "cannot listen on %s:%u: %s", name, port, strerror(saved));
    *ret_fd = fd;
    if (ret_port)
        *ret_port = port_of(fd);
    return OK;
}

bool net_udp_read(int fd, char *p, size_t cap, size_t *ret_n, uint32_t *dropped)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(uint32_t))];
    } control;
    struct iovec iov = { p, cap };
    struct msghdr m;
    memset(&m, 0, sizeof(m));
    m.msg_iov = &iov;
    m.msg_iovlen = 1;
    m.msg_control = &control;
    m.msg_controllen = sizeof(control);
    ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT);
    if (n < 0)
        return false;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL)
            memcpy(dropped, CMSG_DATA(c), sizeof(*dropped));
    *ret_n = (size_t)n;
    return true;
}
