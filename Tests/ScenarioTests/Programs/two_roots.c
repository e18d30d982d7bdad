/* two_roots A B: writes 1, 2, 3, ... first into A/counter and then, when that has been written, into B/counter, as PostgreSQL
   writes here and there; every tenth number is made durable in B and then said on standard output. So at every moment of
   the one order A is at B's number or one ahead, whatever the roots that they lie in. Ends when it is killed. */
#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

static int counter(const char *directory) {
    char path[4096];
    snprintf(path, sizeof path, "%s/counter", directory);
    int descriptor = open(path, O_RDWR | O_CREAT, 0644);
    if (descriptor < 0)
        err(1, "%s", path);
    return descriptor;
}

int main(int count, char *arguments[]) {
    if (count != 3)
        errx(64, "two directories");
    int a = counter(arguments[1]), b = counter(arguments[2]);
    for (uint64_t n = 1;; n++) {
        if (pwrite(a, &n, sizeof n, 0) != sizeof n || pwrite(b, &n, sizeof n, 0) != sizeof n)
            err(1, "write");
        if (n % 10 == 0) {
            if (fdatasync(b))
                err(1, "fdatasync");
            printf("%llu\n", (unsigned long long)n);
            fflush(stdout);
        }
    }
}
