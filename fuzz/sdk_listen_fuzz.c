/* Requests to the library's own listener: any bytes, sent over a connection, whose sending side is then closed. Oracle: what
 * comes back is a row of whole HTTP answers, and the listener answers the next one. */
#include "../src/sdk/sdk_int.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void start(void)
{
    vane_config c = VANE_CONFIG_INIT;
    c.ignore_environment = VANE_ON;
    c.log_sinks = "none";
    c.listen_any_port = VANE_ON;
    if (vane_start(&c))
        abort();
    vane_health_set("database", VANE_DEGRADED, "slow \"today\"");
}

/* The answers of one connection; their number. A HEAD has no body: its answer ends with its head. */
static size_t ask(const uint8_t *data, size_t size, char *answer, size_t cap, size_t *ret_n)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(vane_listen_port()) };
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval patience = { 60, 0 };
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof at))
        abort();
    for (ssize_t n; size && (n = send(fd, data, size, MSG_NOSIGNAL)) > 0; data += n, size -= (size_t)n)
        ;
    shutdown(fd, SHUT_WR);
    size_t got = 0;
    ssize_t n;
    while (got < cap && (n = recv(fd, answer + got, cap - got, 0)) > 0)
        got += (size_t)n;
    close(fd);
    *ret_n = got;
    size_t answers = 0;
    for (size_t i = 0; i + 9 <= got; i++)
        answers += !memcmp(answer + i, "HTTP/1.1 ", 9);
    return answers;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char answer[1 << 20];
    size_t n;
    if (!vane_running())
        start();
    size = size < 65536 ? size : 65536;
    size_t answers = ask(data, size, answer, sizeof answer, &n);
    if (n && (!answers || memcmp(answer, "HTTP/1.1 ", 9)))
        abort();
    static const char good[] = "GET /health/live HTTP/1.1\r\nConnection: close\r\n\r\n";
    if (ask((const uint8_t *)good, sizeof good - 1, answer, sizeof answer, &n) != 1 || !strstr(answer, " 200 OK\r\n"))
        abort();
    return 0;
}
