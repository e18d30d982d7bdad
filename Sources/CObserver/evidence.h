/*
 * evidence.h: what has been seen, in tables of fixed size: programs, and how often each made which call by which route. What finds
 * no place is counted as lost, and an audit that has lost something does not say that all is well.
 */
#ifndef OBSERVER_EVIDENCE_H
#define OBSERVER_EVIDENCE_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

enum { EVIDENCE_PROGRAMS_MAX = 512, EVIDENCE_CALLS_MAX = 4096, EVIDENCE_NAME_BYTES = 64, EVIDENCE_WHY_BYTES = 160 };

enum route {
    ROUTE_WRAPPER,   /* a wrapper of the preload library */
    ROUTE_STDIO,     /* libc's streams, taken at their vtables */
    ROUTE_AIO,       /* POSIX AIO */
    ROUTE_LIBC,      /* inside libc, past every wrapper */
    ROUTE_PROGRAM,   /* a system call in the program's own text */
    ROUTE_OBJECT,    /* the same in another object, or in none */
    ROUTE_STATIC,    /* a program without loader, hence without the library */
    ROUTE_UNLOADED,  /* a dynamic program that has not loaded the library */
    ROUTE_FOREIGN,   /* a call of another architecture */
    ROUTES
};

struct evidence_program {
    char path[PATH_MAX];
    const char *kind;                /* "dynamic", ...; "" when its start was not seen */
    const char *privileges;          /* "setuid", ...; "" none */
    char why[EVIDENCE_WHY_BYTES];    /* why it is not dynamic */
    uint64_t started;
    uint64_t after;                  /* calls on the tree since one was refused to which programs know an alternative */
    bool was_refused;
};

/* The program of that path; NULL: no place. */
struct evidence_program *evidence_program(const char *path);

/* One call, or `count` of them at once. `direct`: O_DIRECT; `durable`: O_DSYNC or O_SYNC. Returns the errno with which it is
   to be refused, or 0. */
int evidence_call(struct evidence_program *program, int treated, enum route route, const char *object, const char *path,
                  uint64_t count, bool direct, bool durable);

/* Everything, as lines; 0 or -errno. */
int evidence_write(int descriptor, int command_status, bool keeps_privileges);

#endif
