/* What the kill matrix needs beside the product: a load whose clients note what SQLite acknowledged, the look-up of
 * what they noted, and the blow.
 *
 *   kill-load prepare DB MODE                      tables, and the journal mode (wal, delete)
 *   kill-load client DB NUMBER LOG BYTES           transactions without end; each that was acknowledged becomes a line of LOG
 *   kill-load check DB CLIENTS LOGS                exits with 1 if a noted transaction is missing, or anything is wrong
 *   kill-load await [WHEN] PID...                  until the moment; 1 if one of the processes ends before
 *   kill-load strike [WHEN] PID...                 the same, then SIGKILL for all of them and their children, in this order
 *
 * Both say "ready" when they have begun to look.
 *
 * WHEN, all of what is given, in this order: --freeze THREAD (stands still from now on), --acks N LOGS (N new lines in the
 * logs), --replaced FILE (by a rename over it), --delay MICROSECONDS. DB and LOGS are paths, LOGS without the number.
 *
 * A line of a log has always LINE bytes, so that its size says how many there are. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LINE = 11, CLIENTS_MAX = 64, SCRATCH_ROWS = 32, BOUND_SECONDS = 120 };

static _Noreturn void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("kill-load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    exit(2);
}

static uint64_t next(uint64_t *state) { /* splitmix64 */
    uint64_t z = (*state += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

/* The text of a transaction follows from its number and its length: a shorter one is another one. */
static void compose(char *text, size_t bytes, int client, int number) {
    uint64_t state = (uint64_t)client << 56 ^ (uint64_t)number << 24 ^ bytes;
    for (size_t at = 0; at < bytes; at++) text[at] = (char)('a' + next(&state) % 26);
}

/* ---------------------------------------------------------------- the database */

static sqlite3 *db;

static void run(const char *sql) {
    char *message = NULL;
    if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK) fail("%s: %s", sql, message);
}

static sqlite3_stmt *statement(const char *sql) {
    sqlite3_stmt *made;
    if (sqlite3_prepare_v2(db, sql, -1, &made, NULL) != SQLITE_OK) fail("%s: %s", sql, sqlite3_errmsg(db));
    return made;
}

static void done(sqlite3_stmt *made) {
    if (sqlite3_step(made) != SQLITE_DONE) fail("%s: %s", sqlite3_sql(made), sqlite3_errmsg(db));
    sqlite3_reset(made);
}

static void open_database(const char *path) {
    if (sqlite3_open(path, &db) != SQLITE_OK) fail("%s: %s", path, sqlite3_errmsg(db));
    sqlite3_busy_timeout(db, BOUND_SECONDS * 1000);
    /* EXTRA is FULL, and the directory is flushed after the unlink that commits in mode delete: FULL alone does not promise
     * that such a commit outlives a power loss, and so not that it outlives its node (sqlite.org/pragma.html). */
    run("PRAGMA synchronous=EXTRA");
}

static void prepare(const char *path, const char *mode) {
    char sql[64];
    open_database(path);
    snprintf(sql, sizeof sql, "PRAGMA journal_mode=%s", mode);
    sqlite3_stmt *made = statement(sql);
    if (sqlite3_step(made) != SQLITE_ROW || strcmp((const char *)sqlite3_column_text(made, 0), mode) != 0) fail("%s: refused", sql);
    sqlite3_finalize(made);
    run("CREATE TABLE IF NOT EXISTS commits(client INTEGER, number INTEGER, text TEXT, PRIMARY KEY(client, number))");
    run("CREATE TABLE IF NOT EXISTS totals(client INTEGER PRIMARY KEY, count INTEGER)");
    run("CREATE TABLE IF NOT EXISTS scratch(place INTEGER PRIMARY KEY, bytes BLOB)");
    if (sqlite3_close(db) != SQLITE_OK) fail("%s: %s", path, sqlite3_errmsg(db));
}

/* Each transaction touches three tables: a part of one would show. */
static void client(const char *path, int number, const char *log_path, int scratch_bytes) {
    open_database(path);
    int log = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log < 0) fail("%s: %s", log_path, strerror(errno));
    sqlite3_stmt *last = statement("SELECT coalesce(max(number), 0) FROM commits WHERE client = ?");
    sqlite3_bind_int(last, 1, number);
    if (sqlite3_step(last) != SQLITE_ROW) fail("%s", sqlite3_errmsg(db));
    int n = sqlite3_column_int(last, 0);
    sqlite3_finalize(last);
    sqlite3_stmt *insert = statement("INSERT INTO commits VALUES(?, ?, ?)");
    sqlite3_stmt *count = statement("INSERT INTO totals VALUES(?, 1) ON CONFLICT DO UPDATE SET count = count + 1");
    sqlite3_stmt *replace = statement("INSERT OR REPLACE INTO scratch VALUES(?, ?)");
    sqlite3_stmt *remove = statement("DELETE FROM scratch WHERE place % 7 = ?");
    uint64_t state = (uint64_t)getpid() << 20 ^ (uint64_t)n;
    char text[1201], *scratch = malloc((size_t)scratch_bytes + 8), line[32];
    for (;;) {
        n++;
        int bytes = 20 + (int)(next(&state) % 1181), size = (int)(next(&state) % (uint64_t)(scratch_bytes + 1));
        compose(text, (size_t)bytes, number, n);
        for (int at = 0; at < size; at += 8) {
            uint64_t word = next(&state);
            memcpy(scratch + at, &word, 8);
        }
        run("BEGIN IMMEDIATE");
        sqlite3_bind_int(insert, 1, number);
        sqlite3_bind_int(insert, 2, n);
        sqlite3_bind_text(insert, 3, text, bytes, SQLITE_STATIC);
        done(insert);
        sqlite3_bind_int(count, 1, number);
        done(count);
        sqlite3_bind_int(replace, 1, (int)(next(&state) % SCRATCH_ROWS));
        sqlite3_bind_blob(replace, 2, scratch, size, SQLITE_STATIC);
        done(replace);
        if (n % 16 == 0) {
            sqlite3_bind_int(remove, 1, n / 16 % 7);
            done(remove);
        }
        run("COMMIT");
        snprintf(line, sizeof line, "%10d\n", n);
        if (write(log, line, LINE) != LINE) fail("%s: %s", log_path, strerror(errno));
    }
}

static long number_of(const char *sql) {
    sqlite3_stmt *made = statement(sql);
    if (sqlite3_step(made) != SQLITE_ROW) fail("%s: %s", sql, sqlite3_errmsg(db));
    long value = sqlite3_column_int64(made, 0);
    sqlite3_finalize(made);
    return value;
}

/* Looks up in `commits` of one client what its log holds; returns how many are missing. */
static long missing(int number, const char *log_path, long *acknowledged) {
    sqlite3_stmt *find = statement("SELECT text FROM commits WHERE client = ? AND number = ?");
    FILE *log = fopen(log_path, "re");
    if (!log) {
        if (errno == ENOENT) return 0;
        fail("%s: %s", log_path, strerror(errno));
    }
    long lost = 0;
    char line[LINE + 1], text[1201];
    while (fread(line, 1, LINE, log) == LINE) {
        int n = atoi(line);
        (*acknowledged)++;
        sqlite3_bind_int(find, 1, number);
        sqlite3_bind_int(find, 2, n);
        if (sqlite3_step(find) == SQLITE_ROW) {
            int bytes = sqlite3_column_bytes(find, 0);
            if (bytes >= 20 && bytes <= 1200) compose(text, (size_t)bytes, number, n);
            if (bytes < 20 || bytes > 1200 || memcmp(text, sqlite3_column_text(find, 0), (size_t)bytes) != 0) fail("client %d, transaction %d: another text", number, n);
        } else if (++lost <= 5) {
            fprintf(stderr, "lost: transaction %d of client %d, which was acknowledged\n", n, number);
        }
        sqlite3_reset(find);
    }
    fclose(log);
    sqlite3_finalize(find);
    return lost;
}

static int check(const char *path, int clients, const char *logs) {
    char name[4096];
    long acknowledged = 0, lost = 0;
    open_database(path);
    for (int number = 1; number <= clients; number++) {
        snprintf(name, sizeof name, "%s%d", logs, number);
        lost += missing(number, name, &acknowledged);
    }
    long halves = number_of("SELECT count(*) FROM (SELECT client, count(*) AS found, max(number) AS last FROM commits GROUP BY client) "
                            "LEFT JOIN totals USING (client) WHERE found <> last OR found <> coalesce(count, 0)");
    long rows = number_of("SELECT count(*) FROM commits");
    sqlite3_stmt *made = statement("PRAGMA integrity_check");
    if (sqlite3_step(made) != SQLITE_ROW) fail("integrity_check: %s", sqlite3_errmsg(db));
    const char *verdict = (const char *)sqlite3_column_text(made, 0);
    int sound = strcmp(verdict, "ok") == 0;
    printf("acknowledged=%ld found=%ld lost=%ld halves=%ld integrity=%s\n", acknowledged, rows, lost, halves, verdict);
    return lost == 0 && halves == 0 && sound ? 0 : 1;
}

/* ---------------------------------------------------------------- the moment, and the blow */

static int64_t microseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

static long lines(const char *logs) {
    char name[4096];
    struct stat status;
    long sum = 0;
    for (int number = 1; number <= CLIENTS_MAX; number++) {
        snprintf(name, sizeof name, "%s%d", logs, number);
        if (stat(name, &status) == 0) sum += status.st_size / LINE;
    }
    return sum;
}

struct moment {
    int thread;
    long acks, delay;
    const char *logs, *file;
};

/* Parses the options; returns where the processes begin. */
static char **parse(char **word, struct moment *moment) {
    for (; *word && strncmp(*word, "--", 2) == 0 && word[1]; word += 2) {
        if (strcmp(*word, "--freeze") == 0) moment->thread = atoi(word[1]);
        else if (strcmp(*word, "--delay") == 0) moment->delay = atol(word[1]);
        else if (strcmp(*word, "--replaced") == 0) moment->file = word[1];
        else if (strcmp(*word, "--acks") == 0 && word[2]) {
            moment->acks = atol(word[1]);
            moment->logs = word[2];
            word++;
        } else fail("%s: no such option", *word);
    }
    return word;
}

static int lives(const char *pid) {
    char name[64], state = 0;
    snprintf(name, sizeof name, "/proc/%s/stat", pid);
    FILE *file = fopen(name, "re");
    if (!file) return 0;
    int got = fscanf(file, "%*d (%*[^)]) %c", &state);
    fclose(file);
    return got == 1 && state != 'Z' && state != 'X';
}

static int all_live(char **pids) {
    for (char **pid = pids; *pid; pid++)
        if (!lives(*pid)) return fprintf(stderr, "process %s ended by itself\n", *pid), 0;
    return 1;
}

/* A thread that is traced by us stands still while we live; the others of its process go on. */
static void freeze(int thread) {
    int status;
    if (ptrace(PTRACE_SEIZE, thread, NULL, NULL) < 0 || ptrace(PTRACE_INTERRUPT, thread, NULL, NULL) < 0) fail("freeze %d: %s", thread, strerror(errno));
    if (waitpid(thread, &status, __WALL) < 0) fail("freeze %d: %s", thread, strerror(errno));
}

static ino_t inode(const char *file) {
    struct stat status;
    return stat(file, &status) == 0 ? status.st_ino : 0;
}

static int await(const struct moment *moment, char **pids) {
    int64_t now = microseconds(), bound = now + BOUND_SECONDS * 1000000LL, moved = now;
    ino_t before = moment->file ? inode(moment->file) : 0;
    if (moment->thread) freeze(moment->thread);
    puts("ready");
    fflush(stdout);
    long seen = moment->logs ? lines(moment->logs) : 0, wanted = seen + moment->acks;
    while (moment->logs && seen < wanted) {
        if (!all_live(pids)) return 1;
        long found = lines(moment->logs);
        now = microseconds();
        if (found > seen) moved = now;
        seen = found;
        if (now > bound) return fprintf(stderr, "no %ld acknowledgements within %d s\n", moment->acks, BOUND_SECONDS), 1;
        if (moment->thread && now - moved > 2000000) { /* frozen with a lock in its hands */
            ptrace(PTRACE_DETACH, moment->thread, NULL, NULL);
            freeze(moment->thread);
            moved = now;
        }
        usleep(500);
    }
    while (moment->file && inode(moment->file) == before) {
        if (!all_live(pids)) return 1;
        if (microseconds() > bound) return fprintf(stderr, "%s was not replaced within %d s\n", moment->file, BOUND_SECONDS), 1;
        usleep(200);
    }
    int64_t end = microseconds() + moment->delay;
    while (microseconds() < end) continue;
    return all_live(pids) ? 0 : 1;
}

static int strike(const struct moment *moment, char **pids) {
    int victims[1024], count = 0;
    struct moment first = *moment, last = {.delay = moment->delay};
    first.delay = 0;
    if (await(&first, pids)) return 1;
    for (char **pid = pids; *pid; pid++) {
        char name[64];
        int child;
        victims[count++] = atoi(*pid);
        snprintf(name, sizeof name, "/proc/%s/task/%s/children", *pid, *pid);
        FILE *children = fopen(name, "re");
        while (children && count < 1000 && fscanf(children, "%d", &child) == 1) victims[count++] = child;
        if (children) fclose(children);
    }
    if (await(&last, pids)) return 1;
    for (int at = 0; at < count; at++) kill(victims[at], SIGKILL);
    return 0;
}

int main(int count, char **words) {
    const char *verb = count > 1 ? words[1] : "";
    if (strcmp(verb, "prepare") == 0 && count == 4) prepare(words[2], words[3]);
    else if (strcmp(verb, "client") == 0 && count == 6) client(words[2], atoi(words[3]), words[4], atoi(words[5]));
    else if (strcmp(verb, "check") == 0 && count == 5) return check(words[2], atoi(words[3]), words[4]);
    else if (strcmp(verb, "await") == 0 || strcmp(verb, "strike") == 0) {
        struct moment moment = {0};
        char **pids = parse(words + 2, &moment);
        return *verb == 'a' ? await(&moment, pids) : strike(&moment, pids);
    } else fail("prepare, client, check, await or strike; see its head");
    return 0;
}
