/* Statements of a database in memory, then the metrics. cc example.c vane_sqlite.c $(pkg-config --cflags --libs libvane sqlite3) */
#include "vane_sqlite.h"

#include <vane/vane.h>

#include <stdio.h>

int main(void)
{
    sqlite3 *db;
    if (vane_start(NULL) || sqlite3_open(":memory:", &db) || vane_sqlite_watch(db, "shop"))
        return 1;
    sqlite3_exec(db, "CREATE TABLE users(id INTEGER, name TEXT)", NULL, NULL, NULL);
    sqlite3_exec(db, "CREATE TABLE seen(id INTEGER)", NULL, NULL, NULL);
    sqlite3_exec(db, "CREATE TRIGGER t AFTER INSERT ON users BEGIN INSERT INTO seen VALUES (new.id); END", NULL, NULL,
                 NULL);
    for (int i = 0; i < 3; i++)
        sqlite3_exec(db, "INSERT INTO users VALUES (1, 'anna')", NULL, NULL, NULL);
    sqlite3_stmt *a, *b; /* stepped in turns */
    sqlite3_prepare_v2(db, "SELECT * FROM users WHERE name = 'anna'", -1, &a, NULL);
    sqlite3_prepare_v2(db, "SELECT count(*) FROM seen", -1, &b, NULL);
    while (sqlite3_step(a) == SQLITE_ROW)
        sqlite3_step(b);
    sqlite3_finalize(a);
    sqlite3_finalize(b);
    sqlite3_exec(db, "SELECT nonsense(", NULL, NULL, NULL); /* never starts */
    sqlite3_close(db);
    char *body;
    size_t n;
    if (vane_render(VANE_FORMAT_TEXT, &body, &n) == VANE_OK) {
        fwrite(body, 1, n, stdout);
        vane_render_free(body);
    }
    return vane_stop(2000);
}
