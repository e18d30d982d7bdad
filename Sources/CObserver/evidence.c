/*
 * The form, fields separated by tabs, bytes that are not printable and backslashes as \xNN:
 *
 *     lockstep evidence 1
 *     command  STATUS                     exit status, 128 + signal
 *     privileges  kept|dropped
 *     lost  COUNT
 *     program  PATH STARTED KIND PRIVILEGES AFTER WHY
 *     call  PROGRAM-PATH CALL ROUTE OBJECT captured|guard|ERRNO fails|falls-back|harmless COUNT DIRECT DURABLE EXAMPLE-PATH
 */
#include "evidence.h"

#include "treatments.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    int number;
    const char *name;
    int by_library, by_guard, alternative;
} treatments[] = {
#define TREATED(number, name, by_library, by_guard, alternative) {number, name, by_library, by_guard, alternative},
    TREATED_CALLS(TREATED)
#undef TREATED
};
enum { TREATMENTS = sizeof treatments / sizeof *treatments };

static const char *const alternatives[] = {[FAILS] = "fails", [FALLS_BACK] = "falls-back", [HARMLESS] = "harmless"};
static const char *const route_names[ROUTES] = {"wrapper", "stdio", "aio", "libc", "program", "object", "static", "unloaded", "foreign"};

static struct evidence_program programs[EVIDENCE_PROGRAMS_MAX];
static int program_count;

static struct call {
    const struct evidence_program *program;
    int treatment;
    enum route route;
    char object[EVIDENCE_NAME_BYTES];
    char path[PATH_MAX];
    uint64_t count, direct, durable;
} *calls;
static int call_count;
static uint64_t lost;

/* ------------------------------------------------------------------ noting */

struct evidence_program *evidence_program(const char *path) {
    for (int index = 0; index < program_count; index++)
        if (strcmp(programs[index].path, path) == 0) return &programs[index];
    if (program_count == EVIDENCE_PROGRAMS_MAX) {
        lost++;
        return NULL;
    }
    struct evidence_program *program = &programs[program_count++];
    snprintf(program->path, sizeof program->path, "%s", path);
    program->kind = program->privileges = "";
    return program;
}

/* The first with the name of this one. */
static int treatment_of(int treated) {
    int found = 0;
    while (found < TREATMENTS - 1 && treatments[found].number != treated) found++;
    for (int first = 0; first < found; first++)
        if (strcmp(treatments[first].name, treatments[found].name) == 0) return first;
    return found;
}

static int error_of(int treatment, enum route route) {
    return route <= ROUTE_AIO ? treatments[treatment].by_library : treatments[treatment].by_guard;
}

static struct call *find(const struct evidence_program *program, int treatment, enum route route, const char *object, const char *path) {
    if (calls == NULL) calls = calloc(EVIDENCE_CALLS_MAX, sizeof *calls);
    for (int index = 0; calls != NULL && index < call_count; index++) {
        struct call *call = &calls[index];
        if (call->program == program && call->treatment == treatment && call->route == route && strcmp(call->object, object) == 0)
            return call;
    }
    if (calls == NULL || call_count == EVIDENCE_CALLS_MAX) return NULL;
    struct call *call = &calls[call_count++];
    call->program = program;
    call->treatment = treatment;
    call->route = route;
    snprintf(call->object, sizeof call->object, "%s", object);
    snprintf(call->path, sizeof call->path, "%s", path);
    return call;
}

int evidence_call(struct evidence_program *program, int treated, enum route route, const char *object, const char *path,
                  uint64_t count, bool direct, bool durable) {
    char kept[EVIDENCE_NAME_BYTES];
    snprintf(kept, sizeof kept, "%s", object); /* as it is compared */
    int treatment = treatment_of(treated), error = error_of(treatment, route);
    struct call *call = program == NULL ? NULL : find(program, treatment, route, kept, path);
    if (call == NULL) {
        lost += count;
        return error;
    }
    call->count += count;
    call->direct += direct ? count : 0;
    call->durable += durable ? count : 0;
    if (error != 0) program->was_refused |= treatments[treatment].alternative == FALLS_BACK;
    else if (program->was_refused) program->after += count;
    return error;
}

/* ------------------------------------------------------------------ writing */

static void put_text(FILE *file, const char *text) {
    putc('\t', file);
    for (; *text != 0; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte < 0x20 || byte == 0x7f || byte == '\\') fprintf(file, "\\x%02x", byte);
        else putc(byte, file);
    }
}

int evidence_write(int descriptor, int command_status, bool keeps_privileges) {
    FILE *file = fdopen(descriptor, "w");
    if (file == NULL) return -errno;
    fprintf(file, "lockstep evidence 1\ncommand\t%d\nprivileges\t%s\nlost\t%llu\n", command_status,
            keeps_privileges ? "kept" : "dropped", (unsigned long long)lost);
    for (int index = 0; index < program_count; index++) {
        const struct evidence_program *program = &programs[index];
        fputs("program", file);
        put_text(file, program->path);
        fprintf(file, "\t%llu\t%s\t%s\t%llu", (unsigned long long)program->started, program->kind, program->privileges,
                (unsigned long long)program->after);
        put_text(file, program->why);
        putc('\n', file);
    }
    for (int index = 0; index < call_count; index++) {
        const struct call *call = &calls[index];
        int error = error_of(call->treatment, call->route);
        fputs("call", file);
        put_text(file, call->program->path);
        fprintf(file, "\t%s\t%s", treatments[call->treatment].name, route_names[call->route]);
        put_text(file, call->object);
        fprintf(file, "\t%s\t%s\t%llu\t%llu\t%llu", error != 0 ? strerrorname_np(error) : call->route <= ROUTE_AIO ? "captured" : "guard",
                alternatives[treatments[call->treatment].alternative], (unsigned long long)call->count,
                (unsigned long long)call->direct, (unsigned long long)call->durable);
        put_text(file, call->path);
        putc('\n', file);
    }
    /* The descriptor goes on to the reporter. */
    return fflush(file) == 0 ? 0 : -errno;
}
