/* Keeps web pages of others out of a server that trusts everybody who can reach it.
 *
 * DNS rebinding: a page of evil.example lets its name point to 127.0.0.1 and then speaks to us as "its own" server. What
 * gives it away is the Host header, which still names evil.example. So a server on loopback answers only to names that
 * nobody can let point to it from outside:
 *   - addresses (127.0.0.1, [::1], 192.168.0.7): a page that names an address is from there;
 *   - localhost and what ends in .localhost (RFC 6761), .internal (reserved for private use: host.docker.internal);
 *   - names without a dot (the machine's own, a container's): no public domain is one;
 *   - the names it was told (cfg.hosts).
 * Programs are asked the same: curl and Prometheus say the name they were given, which is one of these or to be told.
 * A request without Host (HTTP/1.0) is from no browser.
 *
 * Forged requests: any page may send a simple POST to any server. A browser adds Origin; one that is neither of the host
 * it speaks to nor of a name above may use only the routes that are made for pages of others (HTTP_CORS), or read. */
#include <arpa/inet.h>

#include "http/http_int.h"

#define HOST_WHY                                                                                                      \
    "the Host header names neither this machine nor a name this server was told: add it to web.allowed_hosts or set " \
    "web.external_url (--external-url) in the configuration of vane"
#define ORIGIN_WHY                                                                                      \
    "a page of another origin must not change anything here: add its host to web.allowed_hosts or set " \
    "web.external_url (--external-url) in the configuration of vane"

/* "name:80" -> "name", "[::1]:80" -> "::1" */
static str without_port(str host)
{
    if (host.n && host.p[0] == '[') {
        size_t end = str_find_char(host, ']');
        return end == SIZE_MAX ? host : (str){ host.p + 1, end - 1 };
    }
    size_t colon = str_find_char(host, ':');
    return colon == SIZE_MAX ? host : str_take(host, colon);
}

static bool is_address(str host)
{
    char text[INET6_ADDRSTRLEN + 1];
    unsigned char bin[16];
    if (host.n == 0 || host.n >= sizeof(text))
        return false;
    memcpy(text, host.p, host.n);
    text[host.n] = 0;
    return inet_pton(AF_INET, text, bin) == 1 || inet_pton(AF_INET6, text, bin) == 1;
}

static bool ends_in(str host, str suffix)
{
    return host.n > suffix.n && str_ieq(str_skip(host, host.n - suffix.n), suffix);
}

static bool known(const struct http_server *s, str host_port)
{
    str host = without_port(str_trim(host_port));
    if (host.n && host.p[host.n - 1] == '.') /* the root's dot */
        host.n--;
    if (host.n == 0)
        return false;
    for (size_t i = 0; i < s->cfg.n_hosts; i++)
        if (str_ieq(host, s->cfg.hosts[i]))
            return true;
    return is_address(host) || str_find_char(host, '.') == SIZE_MAX || ends_in(host, STR(".localhost")) ||
           ends_in(host, STR(".internal"));
}

/* "http://name:80" -> "name:80"; "null" stays. */
static str origin_host(str origin)
{
    size_t at = str_find(origin, STR("://"));
    return at == SIZE_MAX ? STR("") : str_skip(origin, at + 3);
}

static bool is_own_page(const struct http_exchange *x, str host)
{
    const struct http_server *s = x->server;
    str origin = origin_host(x->origin);
    if (str_ieq(origin, host))
        return true;
    for (size_t i = 0; i < s->cfg.n_hosts; i++)
        if (str_ieq(without_port(origin), s->cfg.hosts[i]))
            return true;
    return false;
}

bool http_address_is_loopback(const char *address)
{
    return strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0;
}

const char *http_gate(const struct http_exchange *x)
{
    const struct http_route *route = x->rq.route;
    str first = http_header(&x->rq, STR("Host"));
    if (!x->conn->listen->loopback && !x->server->cfg.check_hosts)
        return NULL;
    for (size_t i = 0; i < x->rq.n_headers; i++)
        if (str_ieq(x->rq.headers[i].name, STR("Host")) && !known(x->server, x->rq.headers[i].value))
            return HOST_WHY;
    bool reads = x->method == HTTP_GET || x->method == HTTP_HEAD || x->method == HTTP_OPTIONS;
    if (x->origin.n && !reads && !(route && route->flags & HTTP_CORS) && !is_own_page(x, str_trim(first)))
        return ORIGIN_WHY;
    return NULL;
}
