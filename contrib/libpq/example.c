/* Queries, then the metrics. example CONNINFO. cc example.c vane_pq.c $(pkg-config --cflags --libs libvane libpq) */
#include "vane_pq.h"

#include <vane/vane.h>

#include <stdio.h>

int main(int argc, char **argv)
{
    if (argc != 2 || vane_start(NULL))
        return 1;
    PQfinish(vane_pq_connectdb("host=127.0.0.1 port=1 user=u connect_timeout=2", "broken"));
    PGconn *c = vane_pq_connectdb(argv[1], "main");
    vane_db_pool("main", 1, 0, 1);
    const char *const values[] = { "7" };
    PQclear(vane_pq_exec(c, "SELECT name FROM users WHERE id = 7"));
    PQclear(vane_pq_exec(c, "SELECT * FROM missing"));
    PQclear(vane_pq_exec_params(c, "UPDATE users SET seen = now() WHERE id = $1", 1, NULL, values, NULL, NULL, 0));
    PQfinish(c);
    PQclear(vane_pq_exec(NULL, "SELECT 1")); /* no connection */
    char *body;
    size_t n;
    if (vane_render(VANE_FORMAT_TEXT, &body, &n) == VANE_OK) {
        fwrite(body, 1, n, stdout);
        vane_render_free(body);
    }
    return vane_stop(2000);
}
