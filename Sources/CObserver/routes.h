/*
 * routes.h: whose text a system call was made from.
 */
#ifndef OBSERVER_ROUTES_H
#define OBSERVER_ROUTES_H

#include "evidence.h"

#include <linux/seccomp.h>
#include <sys/types.h>

/* The path by which the preload library is mapped. */
void routes_prepare(const char *library);

/* `program`: the path of the caller's executable. `object`: the name of the file that the text is from, or "". */
enum route routes_of(pid_t tid, const struct seccomp_data *data, const char *program, char object[EVIDENCE_NAME_BYTES]);

/* A process has become another program: what was known of addresses is void. */
void routes_forget(void);

#endif
