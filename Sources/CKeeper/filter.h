/*
 * filter.h: the seccomp filter that every program of the application inherits. A call that can change a file passes only
 * when it is made from the library's stub; any other is a notification, answered by an agent.
 */
#ifndef KEEPER_FILTER_H
#define KEEPER_FILTER_H

/*
 * Puts the calling thread under the filter and returns the listener, or -1 with errno: EBUSY (a container's runtime has
 * a listener already), EINVAL or ENOSYS (the kernel lacks SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, 5.19).
 * `no_new_privileges`: set because the kernel demands it of the unprivileged.
 */
int filter_install(_Bool *no_new_privileges);

/* For `lockstep audit`: the filter to be installed notifies of these calls wherever they are made, and of exec. */
void filter_observe(void);

#endif
