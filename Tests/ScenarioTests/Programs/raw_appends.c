/*
 * raw_appends.c FILE COUNT [storm]: appends COUNT numbered records, or as many as it can until SIGTERM, to FILE by `syscall`
 * instructions of its own. A call that was interrupted before it began (EINTR) is made again. Then reads
 * FILE: each record whose write succeeded is there exactly once, each that failed at most once, in order.
 *
 *     storm: a timer every 150 us whose handler restarts no call
 *
 * Prints "succeeded N failed N interrupted N"; 1: a record is lost, doubled or out of order; a line says which.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

enum { RECORD_BYTES = 16, RECORDS_MAX = 5000000 };

static char failed[RECORDS_MAX];
static volatile sig_atomic_t is_over;

static long raw_write(int file, const void *bytes, size_t count) {
    long answer;
    __asm__ volatile("syscall" : "=a"(answer) : "a"(SYS_write), "D"(file), "S"(bytes), "d"(count) : "rcx", "r11", "memory");
    return answer;
}

static void signalled(int number) { is_over |= number == SIGTERM; }

static void set_timer(long microseconds) {
    struct itimerval timer = {{0, microseconds}, {0, microseconds}};
    setitimer(ITIMER_REAL, &timer, NULL);
}

static int check(const char *path, int count) {
    FILE *file = fopen(path, "r");
    char record[RECORD_BYTES + 1];
    int next = 0, wrong = 0;
    while (fread(record, RECORD_BYTES, 1, file) == 1) {
        record[RECORD_BYTES] = 0;
        int number = atoi(record);
        while (next < number && failed[next]) next++;
        if (number != next++) return printf("record %d where %d should be\n", number, next - 1), 1;
    }
    while (next < count && failed[next]) next++;
    if (next != count) wrong = printf("ends before record %d\n", next);
    fclose(file);
    return wrong != 0;
}

int main(int count, char **arguments) {
    if (count < 3) return 64;
    int records = atoi(arguments[2]), succeeded = 0, interrupted = 0;
    int file = open(arguments[1], O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0644);
    if (file < 0 || records > RECORDS_MAX) return 2;
    struct sigaction action = {.sa_handler = signalled};
    sigaction(SIGALRM, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    if (count > 3) set_timer(150);
    int number = 0;
    for (; number < records && !is_over; number++) {
        char record[RECORD_BYTES + 1];
        snprintf(record, sizeof record, "%015d\n", number);
        long answer;
        while ((answer = raw_write(file, record, RECORD_BYTES)) == -EINTR) interrupted++;
        failed[number] = answer < 0;
        if (answer == RECORD_BYTES) succeeded++;
        else if (answer != -EIO) return printf("record %d: %ld\n", number, answer), 1;
    }
    set_timer(0);
    printf("succeeded %d failed %d interrupted %d\n", succeeded, number - succeeded, interrupted);
    return check(arguments[1], number);
}
