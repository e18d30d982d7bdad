/*
 * calls.h: the one list of calls that the library wraps. tools/build-interposer makes the exported names from it.
 *
 * NOT wrapped, and why:
 *   close, fcntl, recvmsg           what a number means is asked at each call (verdicts.c)
 *   lseek, read*                    change no file; the offset is asked for at the write
 *   fork                            a child finds the process page empty (MADV_WIPEONFORK) and gets its own arena;
 *                                   mappings: by a fork handler (ending.c)
 *   raw clone, clone3 by number without CLONE_VM
 *                                   the child does not have its parent's tracked mappings (MADV_DONTFORK)
 *   fwrite, fprintf, fputs, fflush, fclose, dprintf, perror, err, ...
 *                                   all end in _IO_file_write, reached through patched vtable slots only (stdio.c)
 *   fdopen, fopencookie, open_memstream   open no file
 *   sync_file_range                 no durability point; changes nothing
 *   process_madvise                 of this process: what it allows does not change a file
 *   quick_exit, abort, pthread_exit of the last thread
 *                                   a mapping that they leave is owed whole, as after a kill (ending.c)
 *   shmat with SHM_REMAP            over a tracked mapping: the daemon finds that it is not there
 *   vmsplice, tee                   write to pipes only
 *   io_setup, io_submit, io_getevents, io_queue_run, ... of libaio
 *                                   all of them make their calls with syscall() (generic.c)
 *   io_cancel                       nothing that changes a file can be cancelled: the kernel says EINVAL
 *   flock, lockf, fcntl locks       not replicated: a lock does not outlive its process
 *   opendir, ftw, nftw, glob        read only
 *   __write_nocancel, __open_nocancel, raw `syscall` instructions, static programs
 *                                   never reach a wrapper: left to the guard
 */
#ifndef LOCKSTEP_CALLS_H
#define LOCKSTEP_CALLS_H

#define CALL(name)

/* write.c: captured; positioned without a lock, appends and implicit offsets under the offset lock */
CALL(write)
CALL(__write)
CALL(pwrite)
CALL(pwrite64)
CALL(__pwrite64)
CALL(writev)
CALL(pwritev)
CALL(pwritev64)
CALL(pwritev2)
CALL(pwritev64v2)

/* open.c: creation and truncation captured; umask noted */
CALL(open)
CALL(open64)
CALL(__open)
CALL(__open64)
CALL(__open_2)
CALL(__open64_2)
CALL(openat)
CALL(openat64)
CALL(__openat_2)
CALL(__openat64_2)
CALL(creat)
CALL(creat64)
CALL(open_by_handle_at)
CALL(dup)
CALL(dup2)
CALL(__dup2)
CALL(dup3)
CALL(umask)

/* names.c: captured; across the border of the tree too (border.c), or EXDEV; whiteout refused */
CALL(unlink)
CALL(unlinkat)
CALL(rmdir)
CALL(remove)
CALL(rename)
CALL(renameat)
CALL(renameat2)
CALL(mkdir)
CALL(mkdirat)
CALL(symlink)
CALL(symlinkat)

/* space.c: captured in all modes */
CALL(fallocate)
CALL(fallocate64)
CALL(posix_fallocate)
CALL(posix_fallocate64)

/* links.c: captured; links into the tree too (border.c), or EXDEV; FIFOs, sockets and devices refused */
CALL(link)
CALL(linkat)
CALL(mknod)
CALL(mknodat)
CALL(mkfifo)
CALL(mkfifoat)
CALL(__xmknod)
CALL(__xmknodat)

/* metadata.c: captured */
CALL(truncate)
CALL(truncate64)
CALL(ftruncate)
CALL(ftruncate64)
CALL(chmod)
CALL(fchmod)
CALL(lchmod)
CALL(fchmodat)
CALL(chown)
CALL(fchown)
CALL(lchown)
CALL(fchownat)
CALL(utime)
CALL(utimes)
CALL(lutimes)
CALL(futimes)
CALL(futimesat)
CALL(utimensat)
CALL(futimens)

/* attributes.c: captured */
CALL(setxattr)
CALL(lsetxattr)
CALL(fsetxattr)
CALL(removexattr)
CALL(lremovexattr)
CALL(fremovexattr)

/* durability.c: barrier, local flush in parallel, answer */
CALL(fsync)
CALL(fdatasync)
CALL(sync)
CALL(syncfs)

/* copy.c: into the tree: read and captured write */
CALL(copy_file_range)
CALL(sendfile)
CALL(sendfile64)
CALL(splice)

/* map.c: writable shared mapping tracked, or refused; read-only one of a writable descriptor re-opened */
CALL(mmap)
CALL(mmap64)
CALL(__mmap)

/* unmap.c: a durability point; a hole; refused on a tracked mapping */
CALL(msync)
CALL(madvise)
CALL(remap_file_pages)

/* ending.c: what was written through mappings is told first; mappings of a child registered */
CALL(_exit)
CALL(_Exit)
CALL(_Fork)

/* payload.c: mappings of replicated files by unmap.c; afterwards addresses are asked about anew */
CALL(munmap)
CALL(mprotect)
CALL(pkey_mprotect)
CALL(mremap)
CALL(shmdt)

/* stdio.c, temporary.c: opened here; all stdio output by the vtable patch */
CALL(fopen)
CALL(fopen64)
CALL(_IO_fopen)
CALL(setmntent)
CALL(__setmntent)
CALL(freopen)
CALL(freopen64)
CALL(tmpfile)
CALL(tmpfile64)
CALL(mkstemp)
CALL(mkstemp64)
CALL(mkstemps)
CALL(mkstemps64)
CALL(mkostemp)
CALL(mkostemp64)
CALL(mkostemps)
CALL(mkostemps64)
CALL(mkdtemp)

/* share.c: passed on, after the process has attached */
CALL(vfork)
CALL(__vfork)
CALL(clone)
CALL(__clone)

/* exec.c, spawn.c, actions.c: static and privileged programs refused; environment completed; opens of actions captured */
CALL(execve)
CALL(execv)
CALL(execvp)
CALL(execvpe)
CALL(execveat)
CALL(fexecve)
CALL(execl)
CALL(execlp)
CALL(execle)
CALL(posix_spawn)
CALL(posix_spawnp)
CALL(system)
CALL(popen)
CALL(_IO_popen)
CALL(wordexp)

/* backtrace.c: written here */
CALL(backtrace_symbols_fd)
CALL(__backtrace_symbols_fd)

/* refused.c: refused on the tree: clones, flags, extent moves */
CALL(ioctl)

/* aio_posix.c: on the tree carried out at once; elsewhere libc's */
CALL(aio_write)
CALL(aio_write64)
CALL(aio_fsync)
CALL(aio_fsync64)
CALL(lio_listio)
CALL(lio_listio64)

/* uring_calls.c: liburing's, all that its version 2.3 exports: entries captured, or EPERM unless io_uring is allowed */
CALL(__io_uring_get_cqe)
CALL(__io_uring_sqring_wait)
CALL(io_uring_enter)
CALL(io_uring_enter2)
CALL(io_uring_free_probe)
CALL(io_uring_get_events)
CALL(io_uring_get_probe)
CALL(io_uring_get_probe_ring)
CALL(io_uring_get_sqe)
CALL(io_uring_mlock_size)
CALL(io_uring_mlock_size_params)
CALL(io_uring_peek_batch_cqe)
CALL(io_uring_queue_exit)
CALL(io_uring_queue_init)
CALL(io_uring_queue_init_params)
CALL(io_uring_queue_mmap)
CALL(io_uring_register)
CALL(io_uring_register_buf_ring)
CALL(io_uring_register_buffers)
CALL(io_uring_register_buffers_sparse)
CALL(io_uring_register_buffers_tags)
CALL(io_uring_register_buffers_update_tag)
CALL(io_uring_register_eventfd)
CALL(io_uring_register_eventfd_async)
CALL(io_uring_register_file_alloc_range)
CALL(io_uring_register_files)
CALL(io_uring_register_files_sparse)
CALL(io_uring_register_files_tags)
CALL(io_uring_register_files_update)
CALL(io_uring_register_files_update_tag)
CALL(io_uring_register_iowq_aff)
CALL(io_uring_register_iowq_max_workers)
CALL(io_uring_register_personality)
CALL(io_uring_register_probe)
CALL(io_uring_register_ring_fd)
CALL(io_uring_register_sync_cancel)
CALL(io_uring_ring_dontfork)
CALL(io_uring_setup)
CALL(io_uring_submit)
CALL(io_uring_submit_and_get_events)
CALL(io_uring_submit_and_wait)
CALL(io_uring_submit_and_wait_timeout)
CALL(io_uring_unregister_buf_ring)
CALL(io_uring_unregister_buffers)
CALL(io_uring_unregister_eventfd)
CALL(io_uring_unregister_files)
CALL(io_uring_unregister_iowq_aff)
CALL(io_uring_unregister_personality)
CALL(io_uring_unregister_ring_fd)
CALL(io_uring_wait_cqe_timeout)
CALL(io_uring_wait_cqes)

/* identity.c: asked by lockstep-guard, which runs under the library */
CALL(lockstep_verdict)

/* generic.c: by number: the same functions, and Linux AIO (aio.c); io_uring's EPERM */
CALL(syscall)

#endif
